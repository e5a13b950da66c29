"""S3 as far as moto does not go: what a bucket's policy denies, and what is in a bucket."""

from typing import Any

from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.s3.models import FakeBucket, FakeKey, s3_backends

from tests.cloud.backbone import PARTITION
from tests.cloud.ec2.patches import Patches


def install(patches: Patches) -> None:
    """moto takes every condition but StringEquals for met: "deny unless TLS" denies everything."""
    stock = IAMPolicyStatement.is_action_permitted

    def is_action_permitted(self: IAMPolicyStatement, *args: Any, **kwargs: Any) -> Any:
        secure = self._statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        if str(secure).lower() == "false":
            return PermissionResult.NEUTRAL
        return stock(self, *args, **kwargs)

    patches.set(IAMPolicyStatement, "is_action_permitted", is_action_permitted)


def bucket_of(given: dict[str, Any], account: str) -> FakeBucket | None:
    """The bucket that the parameters of a call name, if it is there."""
    return s3_backends[account][PARTITION].buckets.get(given["Bucket"])


def owner_of(given: dict[str, Any]) -> str | None:
    """The account whose bucket it is; None if there is none."""
    _, account = s3_backends.bucket_accounts.get(given["Bucket"], (PARTITION, None))
    return account


def object_of(given: dict[str, Any], account: str) -> FakeKey | None:
    bucket = bucket_of(given, account)
    found = bucket.keys.get(given["Key"]) if bucket else None
    # a deleted object leaves a marker
    return found if isinstance(found, FakeKey) else None
