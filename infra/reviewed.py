"""What cdk-nag finds and why it may stay, said at the construct that it is about."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from constructs import Construct

from infra.grants import Grant, Places


def acknowledge_wide(scope: Construct, granted: Sequence[Grant], places: Places) -> None:
    """Every resource of ``granted`` that is a pattern, with the grant's own reason."""
    reasons: dict[str, list[str]] = {}
    for grant in granted:
        for resource, reason in grant.wide(places).items():
            said = reasons.setdefault(_shown(Stack.of(scope).resolve(resource)), [])
            if reason not in said:
                said.append(reason)
    for resource, said in reasons.items():
        Validations.of(scope).acknowledge(
            Acknowledgment(id=f"AwsSolutions-IAM5[Resource::{resource}]", reason="; ".join(said))
        )


def _shown(value: Any) -> str:
    """A resource as cdk-nag writes it: references become ``<Name>`` and ``<Name.Attribute>``."""
    if isinstance(value, str):
        return value
    ((function, given),) = value.items()
    if function == "Ref":
        return f"<{given}>"
    if function == "Fn::GetAtt":
        return f"<{'.'.join(given)}>"
    separator, parts = given
    return str(separator).join(map(_shown, parts))
