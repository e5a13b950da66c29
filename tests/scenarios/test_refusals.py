"""Requests for restores that cannot work: each is refused before anything is made."""

from collections.abc import Iterator
from typing import Any

import pytest

from lastgood.domain import asking
from tests.support import refusal_table, table
from tests.support.refusal_table import ABROAD, ROWS, Row, Stage, a_stage
from tests.support.world import HOME, MACHINE


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with a_stage() as running:
        yield running


def everything(stage: Stage) -> list[Any]:
    """The ledger, what there is of EC2 in both Regions, executions and schedules."""
    world, found = stage.world, []
    pages = world.client("dynamodb").get_paginator("scan").paginate(TableName=table.NAME)
    found += [item for page in pages for item in page["Items"]]
    for region in (HOME, ABROAD):
        ec2 = world.client("ec2", region)
        for call in (ec2.describe_instances, ec2.describe_volumes, ec2.describe_snapshots):
            reply = call() if call != ec2.describe_snapshots else call(OwnerIds=["self"])
            found.append({key: one for key, one in reply.items() if key != "ResponseMetadata"})
        found.append(ec2.describe_images(Owners=["self"])["Images"])
    found.append(
        world.client("stepfunctions").list_executions(stateMachineArn=MACHINE)["executions"]
    )
    found.append(world.client("scheduler").list_schedules()["Schedules"])
    return found


def test_the_table_has_rows_of_every_mode_and_no_two_alike():
    modes = {one.asked.get("mode", "clone") for one in ROWS}

    assert len(ROWS) >= 36
    assert len({one.about for one in ROWS}) == len(ROWS)
    assert modes == {"clone", "volumes", "in_place", "drill"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.about)
def test_a_request_that_cannot_work_is_refused_before_anything_is_made(stage, row: Row):
    with row.wrong(stage):
        before, called = everything(stage), len(stage.world.cloud.calls)
        answer = stage.world.invoke("clone_instance", row.request(stage.named))
        calls = stage.world.cloud.calls[called:]
        after = everything(stage)

    assert answer["status"] == "refused"
    assert answer["problems"] == list(row.told(stage.named))
    assert answer["text"].startswith("Nothing was made or changed:\n- ")
    assert after == before
    told = [one for one in calls if one.by and not one.params.get("DryRun")]
    reading = ("Describe", "Get", "BatchGet", "Query", "List")
    assert [one.name for one in told if not one.operation.startswith(reading)] == []
    assert stage.world.bugs == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.about)
def test_what_people_are_told_begins_with_what_to_change(row: Row):
    keys = {*row.asked, *asking.OF_RESTORES, "launch"}

    for line in row.problems:
        assert line.partition(":")[0] in keys


def test_the_page_is_that_of_the_table():
    assert refusal_table.FILE.read_text() == refusal_table.page()
