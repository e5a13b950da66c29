"""Restores of the deployed bundle: asked for by hand and in Slack, undone, and without home."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.stacks.state import TABLE
from lastgood.domain.fidelity import UNEXPLAINED
from lastgood.domain.restoring import Restore, RestoreStatus
from lastgood.domain.tags import RESTORE, RESTORED_FROM, TEMPORARY
from lastgood.ledger.dynamo import DynamoLedger
from tests.cloud.driver import ACCOUNT
from tests.cloud.ec2.seed import Network
from tests.e2e.conftest import AWAY, HOME, SLOT, Installation, an_installation
from tests.support import slack
from tests.support.fleet import volumes_of
from tests.support.restores import launch_there, made_by
from tests.support.slack_served import SlackApp, install_app, response_urls

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
MACHINE = f"arn:aws:states:{HOME}:{ACCOUNT}:stateMachine:lastgood-restore"
ENDINGS = "lastgood-restores"


@dataclass(frozen=True)
class Shop:
    """``source``, of the Name "shop", has a point, copied to ``AWAY``, where a network waits."""

    lastgood: Installation
    slack: SlackApp
    source: str
    away: Network

    def ask(self, region: str = HOME, **request: Any) -> dict[str, Any]:
        """As ``aws lambda invoke --payload``."""
        answer = self.lastgood.invoke("clone_instance", request, region)
        assert answer.error is None, answer.payload
        assert answer.payload["status"] != "refused", answer.payload["text"]
        return dict(answer.payload)

    def record(self, restore: str, region: str = HOME) -> Restore:
        ledger = DynamoLedger(self.lastgood.client("dynamodb", region), TABLE)
        found = ledger.restore(restore)
        assert found is not None
        return found

    def latest(self) -> str:
        """The id of the restore that was asked for last."""
        return next(self.lastgood.ledger.restores_of(self.source)).id

    def instance(self, id_: str, region: str = HOME) -> dict[str, Any]:
        reply = self.lastgood.client("ec2", region).describe_instances(InstanceIds=[id_])
        return dict(reply["Reservations"][0]["Instances"][0])

    def schedules(self) -> list[str]:
        listed = self.lastgood.client("scheduler").list_schedules(GroupName=ENDINGS)["Schedules"]
        return [one["Name"] for one in listed]

    def pass_by(self, time: timedelta) -> None:
        self.lastgood.cloud.advance(by=time)


@pytest.fixture(scope="module")
def shop(assembly: Path) -> Iterator[Shop]:
    with an_installation(assembly) as lastgood, response_urls() as hooks:
        cloud = lastgood.cloud
        home = Network(**cloud.network(HOME, name="shop"))
        away = Network(**cloud.network(AWAY, name="shop"))
        cloud.conditions(paced=True)
        source = launch_there(lastgood.client("ec2"), home, "shop", tags={"backup": "shop"})
        lastgood.start_only("prune_snapshots")
        answer = lastgood.plan("shops", slot=SLOT.isoformat())
        assert answer.payload["point_count"] == 1
        cloud.advance(by=HOUR)
        yield Shop(lastgood, install_app(cloud, HOME, hooks), source, away)
        assert cloud.errors() == ""
        state = cloud.state()
        denied = [one for one in state["decisions"] if not one["allowed"]]
        assert [(one["principal"], one["action"], one["resource"]) for one in denied] == []
        assert (state["dead_letters"], state["lost"]) == ([], [])


def tags_of(described: dict[str, Any]) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in described.get("Tags", [])}


def test_a_clone_that_is_asked_for_by_hand_lives_as_long_as_it_was_to(shop: Shop):
    answer = shop.ask(source="shop", name="shop-test", time_to_live="2h", by="anna")
    states = shop.lastgood.client("stepfunctions")
    assert states.describe_execution(executionArn=answer["execution"])["status"] == "RUNNING"
    shop.pass_by(HOUR)

    restore = shop.record(answer["restore"])
    assert (restore.status, restore.cause) == (RestoreStatus.DONE, None)
    assert [one for one in restore.compared if one.why == UNEXPLAINED] == []
    assert states.describe_execution(executionArn=answer["execution"])["status"] == "SUCCEEDED"
    (clone,) = restore.ids("instance")
    tags = tags_of(shop.instance(clone))
    assert (tags["Name"], tags[RESTORE], tags[TEMPORARY]) == ("shop-test", restore.id, restore.id)
    assert tags[RESTORED_FROM] == restore.point
    assert shop.schedules() == [restore.id]

    shop.pass_by(2 * HOUR)

    assert shop.record(restore.id).status is RestoreStatus.ENDED
    assert made_by(shop.lastgood.client("ec2"), restore.id) == {}
    assert shop.schedules() == []
    assert shop.instance(shop.source)["State"]["Name"] == "running"


def test_a_clone_that_is_asked_for_in_slack_is_told_of_there(shop: Shop):
    cold = shop.slack.command("list shop")
    listed = shop.slack.answered("list shop")
    told = shop.slack.command("clone shop as shop-2 for 8h")

    assert [one.status for one in (cold, listed, told)] == [200, 200, 200]
    assert max(one.seconds for one in (cold, listed, told)) < 3
    assert "pt-" in listed.text
    restore = shop.latest()
    shop.pass_by(HOUR)

    done = shop.record(restore)
    assert (done.status, done.request.asker.by) == (RestoreStatus.DONE, f"slack:{slack.PERSON}")
    heard = shop.slack.heard(restore)
    assert len(heard) > 1
    assert done.ids("instance")[0] in heard[-1]
    assert shop.slack.button("remove", restore, person=slack.PERSON).status == 200
    shop.pass_by(HOUR)
    assert shop.record(restore).status is RestoreStatus.ENDED


def test_what_slack_has_not_signed_reaches_nobody(shop: Shop):
    invoked = len(shop.lastgood.cloud.state()["invocations"])

    told = shop.slack.command("clone shop", secret="another")

    assert (told.status, told.message) == (401, None)
    by_whom = [one["function"] for one in shop.lastgood.cloud.state()["invocations"][invoked:]]
    assert by_whom == ["lastgood-chat"]


def test_a_second_person_approves_in_slack_and_what_fails_its_check_is_put_back(shop: Shop):
    ec2 = shop.lastgood.client("ec2")
    before = volumes_of(ec2, shop.source)
    told = shop.slack.command('restore shop volumes /dev/sdf stop because "bad deploy"')
    restore = shop.latest()
    assert slack.actions_of(told.message or {}) == [("approve", restore), ("decline", restore)]
    (piece,) = (one for one in shop.record(restore).pieces if one.device == "/dev/sdf")
    shop.lastgood.cloud.conditions(bad_snapshots=[piece.taken_from])

    shop.slack.button("approve", restore, person=slack.PERSON)
    shop.pass_by(HOUR)
    assert shop.record(restore).status is RestoreStatus.APPROVING
    shop.slack.button("approve", restore, person=slack.OTHER)
    shop.pass_by(HOUR)

    after = shop.record(restore)
    assert after.approved_by == f"slack:{slack.OTHER}"
    assert after.status is RestoreStatus.UNDONE
    assert after.evidence is not None
    assert not after.evidence.passed
    assert volumes_of(ec2, shop.source) == before
    assert shop.instance(shop.source)["State"]["Name"] == "running"
    assert "is undone; nothing is left of it. CheckFailed" in shop.slack.heard(restore)[-1]


def test_from_a_lost_region_the_other_one_restores_by_itself(shop: Shop):
    cloud = shop.lastgood.cloud
    cloud.conditions(dark=[HOME], bad_snapshots=[])
    answer = shop.ask(
        AWAY,
        source="shop",
        subnet=shop.away.subnets[0],
        security_groups=",".join(shop.away.groups),
        key_name="shop",
        time_to_live="2h",
    )
    shop.pass_by(HOUR)

    restore = shop.record(answer["restore"], AWAY)
    assert (restore.status, restore.cause) == (RestoreStatus.DONE, None)
    assert [one for one in restore.compared if one.why == UNEXPLAINED] == []
    (clone,) = restore.ids("instance")
    there = shop.instance(clone, AWAY)
    assert (there["State"]["Name"], there["SubnetId"]) == ("running", shop.away.subnets[0])
    shop.pass_by(2 * HOUR)
    assert shop.record(restore.id, AWAY).status is RestoreStatus.ENDED
    assert made_by(shop.lastgood.client("ec2", AWAY), restore.id) == {}
    assert cloud.state()["unanswered"] == []
