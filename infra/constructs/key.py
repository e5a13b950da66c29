"""The key of a Region: one at home, and one in each Region that copies go to."""

from collections.abc import Sequence

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.grants import Grant, Places

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


def let_in(key: kms.Key, services: Sequence[Grant]) -> None:
    """AWS services that use it for us. By name, not by reference: what they name may be in a stack
    that depends on the key's."""
    stack = Stack.of(key)
    places = Places(partition=stack.partition, account=stack.account, region=stack.region)
    for grant in services:
        for statement in grant.statements(places):
            key.add_to_resource_policy(statement)


def alias_arn(partition: str, account: str, region: str) -> str:
    """By the alias, since no stack can refer to a key of another Region."""
    return f"arn:{partition}:kms:{region}:{account}:{ALIAS}"
