"""Policies mean in the test cloud what they mean in IAM, or they raise."""

from typing import Any

import pytest

from tests.cloud.policy import Caller, Need, NotTaught, judge, lets_in, owner_of

SNAPSHOT = "arn:aws:ec2:eu-west-1::snapshot/snap-1"
DELETE = Need("ec2:DeleteSnapshot", SNAPSHOT)


def policy(effect: str = "Allow", **elements: Any) -> dict[str, Any]:
    statement = {"Effect": effect, "Action": "ec2:*", "Resource": "*", **elements}
    return {"Version": "2012-10-17", "Statement": [statement]}


def verdict(condition: dict[str, Any], **context: Any) -> bool:
    keys = {name.replace("__", "/").replace("_", ":", 1): value for name, value in context.items()}
    need = Need(DELETE.action, DELETE.resource, keys)
    return judge([policy(Condition=condition)], need) == "allowed"


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    assert judge([], DELETE) == "implicitDeny"
    assert judge([policy(Action="ec2:Describe*")], DELETE) == "implicitDeny"


def test_a_deny_wins_over_every_allow() -> None:
    assert judge([policy("Deny"), policy()], DELETE) == "explicitDeny"


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("arn:aws:ec2:*::snapshot/*", True),
        (SNAPSHOT, True),
        ("arn:aws:ec2:*::snapshot/snap-?", True),
        ("arn:aws:ec2:us-east-1::snapshot/*", False),
        ("arn:aws:ec2:*:123456789012:snapshot/*", False),
    ],
)
def test_a_resource_is_judged_by_its_own_arn(pattern: str, allowed: bool) -> None:
    assert (judge([policy(Resource=pattern)], DELETE) == "allowed") is allowed


def test_actions_are_compared_without_regard_to_case() -> None:
    assert judge([policy(Action="EC2:deletesnapshot")], DELETE) == "allowed"


def test_not_action_and_not_resource_are_everything_else() -> None:
    others = {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}
    assert judge([{"Statement": others}], DELETE) == "allowed"
    assert judge([{"Statement": others}], Need("s3:GetObject")) == "implicitDeny"
    excluded = {"Effect": "Allow", "Action": "ec2:*", "NotResource": "arn:aws:ec2:*::snapshot/*"}
    assert judge([{"Statement": excluded}], DELETE) == "implicitDeny"


def test_a_condition_on_a_tag_that_the_resource_lacks_does_not_hold() -> None:
    ours = {"StringEquals": {"aws:ResourceTag/lastgood": "yes"}}

    assert verdict(ours, aws_ResourceTag__lastgood="yes")
    assert not verdict(ours, aws_ResourceTag__lastgood="no")
    assert not verdict(ours)


def test_a_negated_condition_holds_for_a_key_that_is_absent() -> None:
    assert verdict({"StringNotEquals": {"aws:ResourceTag/hold": "true"}})
    assert verdict({"StringEqualsIfExists": {"aws:ResourceTag/hold": "no"}})


def test_null_asks_whether_a_key_is_there() -> None:
    assert verdict({"Null": {"aws:RequestTag/lastgood": "true"}})
    assert not verdict({"Null": {"aws:RequestTag/lastgood": "false"}})
    assert verdict({"Null": {"aws:RequestTag/lastgood": "false"}}, aws_RequestTag__lastgood="1")


def test_for_all_values_wants_each_value_in_the_list() -> None:
    only = {"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}

    assert verdict(only, aws_TagKeys=["a"])
    assert verdict(only)
    assert not verdict(only, aws_TagKeys=["a", "c"])


def test_leading_keys_are_compared_by_their_prefix_and_all_of_them() -> None:
    points = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["POINT#*", "RUN#*"]}}

    assert verdict(points, dynamodb_LeadingKeys=["POINT#1", "RUN#2"])
    assert not verdict(points, dynamodb_LeadingKeys=["POINT#1", "POLICY#2"])


def test_an_arn_is_compared_part_by_part() -> None:
    rule = {"ArnLike": {"aws:SourceArn": "arn:aws:events:*:*:rule/mine"}}

    assert verdict(rule, aws_SourceArn="arn:aws:events:us-east-1:1:rule/mine")
    assert not verdict(rule, aws_SourceArn="arn:aws:events:us-east-1:1:x:rule/mine")


@pytest.mark.parametrize(
    "condition",
    [
        {"DateGreaterThan": {"aws:RequestedRegion": "2026-01-01"}},
        {"StringEquals": {"ec2:Owner": "self"}},
    ],
)
def test_an_operator_or_key_that_nobody_taught_raises(condition: dict[str, Any]) -> None:
    with pytest.raises(NotTaught):
        verdict(condition)


def test_the_root_of_an_account_is_not_each_of_its_roles() -> None:
    account = "123456789012"
    role = Caller(account, arn=f"arn:aws:iam::{account}:role/x")
    root = Caller(account, arn=f"arn:aws:iam::{account}:root")
    document = policy(Principal={"AWS": f"arn:aws:iam::{account}:root"})

    assert judge([document], DELETE, role) == "implicitDeny"
    assert judge([document], DELETE, root) == "allowed"


def test_another_account_is_let_in_as_a_whole_or_by_its_role() -> None:
    caller = Caller("2", arn="arn:aws:iam::2:role/x")

    def let_in(principal: str, effect: str = "Allow", **more: Any) -> str:
        return lets_in([policy(effect, Principal={"AWS": principal}, **more)], DELETE, caller)

    by_role = {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::2:role/*"}}
    by_account = {"StringEquals": {"aws:PrincipalAccount": "1"}}
    assert let_in("2") == let_in("arn:aws:iam::2:root") == let_in(str(caller.arn)) == "allowed"
    assert let_in("1") == let_in("arn:aws:iam::2:role/y") == "implicitDeny"
    assert let_in("2", "Deny") == "explicitDeny"
    assert let_in("2", Condition=by_role) == "allowed"
    assert let_in("2", Condition=by_account) == "implicitDeny"


@pytest.mark.parametrize(
    ("resource", "account"),
    [
        ("*", None),
        (SNAPSHOT, None),
        ("arn:aws:s3:::bucket/a:b:c", None),
        ("arn:aws:iam::aws:policy/AdministratorAccess", None),
        ("arn:aws:iam::210987654321:role/x", "210987654321"),
        ("arn:aws:kms:eu-west-1:210987654321:key/k", "210987654321"),
    ],
)
def test_the_owner_of_a_resource_is_in_its_arn(resource: str, account: str | None) -> None:
    assert owner_of(resource) == account


def test_a_service_is_named_by_its_principal() -> None:
    document = policy(Principal={"Service": "events.amazonaws.com"})

    assert judge([document], DELETE, Caller("1", service="events.amazonaws.com")) == "allowed"
    assert judge([document], DELETE, Caller("1", service="sns.amazonaws.com")) == "implicitDeny"
