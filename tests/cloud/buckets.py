"""S3's bucket policies: moto takes every condition but StringEquals for met.

So "deny unless TLS", as CDK writes it, would deny everything.
"""

from typing import Any

from moto.iam.access_control import IAMPolicyStatement, PermissionResult

from tests.cloud.ec2.patches import Patches


def install(patches: Patches) -> None:
    """Every call counts as encrypted in transit."""
    stock = IAMPolicyStatement.is_action_permitted

    def is_action_permitted(self: IAMPolicyStatement, *args: Any, **kwargs: Any) -> Any:
        secure = self._statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        if str(secure).lower() == "false":
            return PermissionResult.NEUTRAL
        return stock(self, *args, **kwargs)

    patches.set(IAMPolicyStatement, "is_action_permitted", is_action_permitted)
