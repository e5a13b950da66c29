"""A role's rights, in as many policies as IAM wants them to be in."""

import json
from collections.abc import Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.grants import Grant, Places
from infra.reviewed import acknowledge_wide

INLINE = 10_240
"""Characters of all inline policies of a role, white space not counted (IAM, "IAM and AWS STS
quotas")."""
MANAGED = 6_144
"""The same, of a managed policy."""
OF_A_REFERENCE = 100
"""At least as many as a reference will have: the ARN of a queue or a role."""
ROUND_ABOUT = len('{"Version":"2012-10-17","Statement":[]}')


def granted_role(
    scope: Construct,
    construct_id: str,
    *,
    granted: Sequence[Grant],
    places: Places,
    assumed_by: iam.IPrincipal,
    description: str,
    name: str | None = None,
) -> iam.IRole:
    """It may do what is granted, and nothing else, whatever constructs of CDK's would add.

    Its policy is part of the role: AWS checks it when something is made that uses the role, which a
    policy that is attached afterwards may come too late for. What is too long for that is in
    managed policies of its own, which are made before it.
    """
    inline, *further = _packed(scope, granted, places)
    managed = [
        iam.ManagedPolicy(
            scope,
            f"{construct_id}Further{number}",
            description=f"{description}: further rights",
            document=iam.PolicyDocument(statements=list(statements)),
        )
        for number, statements in enumerate(further, start=1)
    ]
    role = iam.Role(
        scope,
        construct_id,
        role_name=name,
        description=description,
        assumed_by=assumed_by,
        inline_policies={"Granted": iam.PolicyDocument(statements=inline)},
        managed_policies=managed or None,
    )
    for one in (role, *managed):
        acknowledge_wide(one, granted, places)
    return role.without_policy_updates()


def _packed(
    scope: Construct, granted: Sequence[Grant], places: Places
) -> list[list[iam.PolicyStatement]]:
    """What is inline, and what is in each managed policy. The longest come first to a place, and
    all keep their order there."""
    every = [one for grant in granted for one in grant.statements(places)]
    sizes = [_size(Stack.of(scope).resolve(one.to_statement_json())) for one in every]
    room, where = [INLINE - ROUND_ABOUT], [0] * len(every)
    for index in sorted(range(len(every)), key=lambda index: -sizes[index]):
        fitting = [number for number, left in enumerate(room) if sizes[index] <= left]
        if not fitting:
            room.append(MANAGED - ROUND_ABOUT)
        where[index] = fitting[0] if fitting else len(room) - 1
        room[where[index]] -= sizes[index]
        if room[where[index]] < 0:
            raise ValueError(
                f"a statement of {scope.node.path} has more than IAM takes in a policy"
            )
    return [
        [one for one, place in zip(every, where, strict=True) if place == number]
        for number in range(len(room))
    ]


def _size(statement: Any) -> int:
    """With a comma after it."""
    return len("".join(json.dumps(_flat(statement), separators=(",", ":")).split())) + 1


def _flat(value: Any) -> Any:
    """With a text as long as any for each reference."""
    if isinstance(value, list):
        return [_flat(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "Fn::Join" in value:
        return "".join(str(_flat(one)) for one in value["Fn::Join"][1])
    if len(value) == 1 and next(iter(value)).startswith(("Fn::", "Ref")):
        return "x" * OF_A_REFERENCE
    return {key: _flat(one) for key, one in value.items()}
