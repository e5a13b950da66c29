"""The key of a Region: one at home, and one in each Region that copies go to."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_kms as kms
from constructs import Construct

ALIAS = "alias/lastgood"


def retained_key(scope: Construct, construct_id: str, *, description: str) -> kms.Key:
    """Stays when its stack goes, and what is encrypted with it can still be read; its alias goes.
    Who may use it, identity policies of the account say."""
    return kms.Key(
        scope,
        construct_id,
        alias=ALIAS,
        description=description,
        enable_key_rotation=True,
        removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    )


def alias_arn(partition: str, account: str, region: str) -> str:
    """By the alias, since no stack can refer to a key of another Region."""
    return f"arn:{partition}:kms:{region}:{account}:{ALIAS}"
