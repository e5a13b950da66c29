"""Whether a KMS key can be used, which EBS finds out only after it has answered the call."""

from collections.abc import Set
from typing import Any

from moto.kms.models import kms_backends


def found(given: str, account: str, region: str) -> tuple[str, bool]:
    """The ARN of a key that is given as anything that names one; whether it is enabled there."""
    if given.startswith("arn:"):
        *_, where, owner, _ = given.split(":")
        if where != region:
            return given, False
        account = owner
    keys = kms_backends[account][region]
    if "alias/" in given and not keys.alias_exists(given[given.index("alias/") :]):
        return given, False
    key = keys.keys.get(keys.any_id_to_key_id(given))
    return (key.arn, key.key_state == "Enabled") if key else (given, False)


def denied(backend: Any) -> set[str]:
    """The keys that whoever made the call that is answered now may not use, by ARN."""
    # in the backend, so that it goes with moto's reset
    keys: set[str] = vars(backend).setdefault("denied_keys", set())
    return keys


def obstacle(volume: Any, refused: Set[str] | None = None) -> tuple[str, str] | None:
    """Code and text of the reason why the volume's key cannot be used; None if it can.

    ``refused``: the keys that were denied, if not those of the call that is answered now.

    Source: EC2 User Guide, "Troubleshoot EC2 instance launch issues" (Client.InternalError: no
    permission for the key) and EC2 API Reference, StateReason; the code for a key in a wrong state
    is what callers report.
    """
    if volume.kms_key_id is None:
        return None
    backend = volume.ec2_backend
    arn, usable = found(volume.kms_key_id, backend.account_id, backend.region_name)
    if usable and arn not in (denied(backend) if refused is None else refused):
        return None
    if usable or not _exists(arn):
        return "Client.InternalError", "Client.InternalError: Client error on launch"
    return (
        "Client.InvalidKMSKey.InvalidState",
        "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state",
    )


def _exists(arn: str) -> bool:
    if not arn.startswith("arn:"):
        return False
    *_, region, account, name = arn.split(":")
    return name.removeprefix("key/") in kms_backends[account][region].keys
