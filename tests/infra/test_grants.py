"""What may be done, by whom, on what."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra import grants
from infra.catalog import CATALOG, Row
from infra.grants import Grant, Places
from tests.infra.conftest import HOME, Synthesised

READS = ("Describe", "Get", "List")
GRANTS = {name: one for name, one in vars(grants).items() if isinstance(one, Grant)}
ROW = {row.name: row for row in CATALOG}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(bundle: Synthesised) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of every role of every stack."""
    for path in bundle.templates:
        stack = path.name.removesuffix(".template.json")
        for name, role in bundle.resources("AWS::IAM::Role", stack).items():
            for policy in role["Policies"]:
                for statement in policy["PolicyDocument"]["Statement"]:
                    yield f"{stack}/{name}", statement


def actions(row: Row, bundle: Synthesised) -> set[str]:
    return {one for statement in bundle.granted(row) for one in listed(statement["Action"])}


def test_nothing_that_changes_anything_is_granted_on_everything(bundle: Synthesised) -> None:
    wide = [
        (who, action)
        for who, statement in statements(bundle)
        for action in listed(statement["Action"])
        if "*" in listed(statement["Resource"]) and not action.partition(":")[2].startswith(READS)
    ]

    assert wide == []


def test_every_action_is_spelled_in_full(bundle: Synthesised) -> None:
    found = {one for _, statement in statements(bundle) for one in listed(statement["Action"])}

    assert not [action for action in found if "*" in action]
    assert all(statement["Effect"] == "Allow" for _, statement in statements(bundle))


def test_roles_have_no_policies_but_their_own(bundle: Synthesised) -> None:
    for path in bundle.templates:
        stack = path.name.removesuffix(".template.json")
        for role in bundle.resources("AWS::IAM::Role", stack).values():
            assert "ManagedPolicyArns" not in role
        assert bundle.resources("AWS::IAM::Policy", stack) == {}


def test_ec2_is_called_in_the_policies_regions_only(bundle: Synthesised) -> None:
    conditions = [
        statement["Condition"]["StringEquals"]["aws:RequestedRegion"]
        for _, statement in statements(bundle)
        if any(action.startswith("ec2:") for action in listed(statement["Action"]))
    ]

    assert conditions
    assert all(one == ["eu-north-1", HOME] for one in conditions)


def test_a_snapshot_cannot_be_made_without_the_tag_of_its_point(bundle: Synthesised) -> None:
    on_snapshots = [
        statement
        for statement in bundle.granted(ROW["create_snapshots"])
        if "arn:aws:ec2:*::snapshot/*" in listed(statement["Resource"])
    ]

    conditions = {
        action: one["Condition"] for one in on_snapshots for action in listed(one["Action"])
    }

    needs_tag = {"Null": {"aws:RequestTag/lastgood:point": "false"}}
    assert needs_tag.items() <= conditions["ec2:CreateSnapshot"].items()
    assert needs_tag.items() <= conditions["ec2:CreateSnapshots"].items()


def test_tags_are_put_on_snapshots_only_as_they_are_made(bundle: Synthesised) -> None:
    (statement,) = (
        one
        for row in CATALOG
        for one in bundle.granted(row)
        if "ec2:CreateTags" in listed(one["Action"])
    )

    assert statement["Resource"] == "arn:aws:ec2:*::snapshot/*"
    assert statement["Condition"]["StringEquals"]["ec2:CreateAction"] == [
        "CreateSnapshot",
        "CreateSnapshots",
    ]


def test_only_the_taker_makes_snapshots_and_nobody_deletes_any(bundle: Synthesised) -> None:
    takers = {row.name for row in CATALOG if "ec2:CreateSnapshots" in actions(row, bundle)}
    everything = set().union(*(actions(row, bundle) for row in CATALOG))

    assert takers == {"create_snapshots"}
    assert not [one for one in everything if "Delete" in one and one != "sqs:DeleteMessage"]


@pytest.mark.parametrize(
    ("name", "ledger"),
    [
        ("plan_snapshots", {"GetItem", "PutItem", "UpdateItem"}),
        ("create_snapshots", {"GetItem", "PutItem", "UpdateItem"}),
        ("record_snapshot", {"GetItem", "UpdateItem", "Query"}),
    ],
)
def test_each_function_may_do_what_it_does_with_the_ledger(
    name: str, ledger: set[str], bundle: Synthesised
) -> None:
    granted = {one for one in actions(ROW[name], bundle) if one.startswith("dynamodb:")}

    assert granted == {f"dynamodb:{one}" for one in ledger}


def test_the_key_is_used_by_way_of_the_service_whose_data_it_is(bundle: Synthesised) -> None:
    through = {
        statement["Condition"]["StringEquals"]["kms:ViaService"]
        for _, statement in statements(bundle)
        if any(action.startswith("kms:") for action in listed(statement["Action"]))
    }

    assert through == {f"sqs.{HOME}.amazonaws.com", f"dynamodb.{HOME}.amazonaws.com"}


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_a_function_buries_and_logs_in_its_own_places_only(row: Row, bundle: Synthesised) -> None:
    own, _ = bundle.named("AWS::SQS::Queue", "QueueName", f"{row.physical_name}-dead-letters")
    taken, _ = bundle.named("AWS::SQS::Queue", "QueueName", "lastgood-create-snapshots")

    sends = {
        statement["Resource"]["Fn::GetAtt"][0]
        for statement in bundle.granted(row)
        if "sqs:SendMessage" in listed(statement["Action"])
    }
    (logs,) = (
        statement["Resource"]
        for statement in bundle.granted(row)
        if "logs:PutLogEvents" in listed(statement["Action"])
    )

    assert sends == ({own, taken} if row.name == "plan_snapshots" else {own})
    assert logs.endswith(f":log-group:/aws/lambda/{row.physical_name}:*")


@pytest.mark.parametrize("name", GRANTS)
def test_a_grant_says_why_and_why_its_patterns_are_patterns(name: str) -> None:
    grant = GRANTS[name]
    places = Places(
        partition="aws",
        account="123456789012",
        region=HOME,
        key="key",
        table="table",
        bus="bus",
        policies="/path",
        take_queue="take",
        queue="queue",
        dead_letters="dead",
        log_group="log",
        function="function",
        rule="rule",
    )

    assert grant.name == name
    assert grant.reason
    assert "\n" not in grant.reason
    assert all(grant.wide(places).values())
    json.dumps([one.to_statement_json() for one in grant.statements(places)])


def test_a_grant_on_what_is_not_there_is_refused() -> None:
    nowhere = Places(partition="aws", account="123456789012", region=HOME)

    with pytest.raises(ValueError, match="CONSUME_QUEUE is granted where there is nothing"):
        grants.CONSUME_QUEUE.statements(nowhere)
