"""Everything that restores and chat do, once: for the rights of the roles that do it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from lastgood.domain.restoring import Restore, RestoreStatus
from tests.cloud.driver import ACCOUNT
from tests.cloud.ec2.conditions import CommandOutcome
from tests.cloud.ec2.seed import Network
from tests.cloud.faults import aws_error
from tests.e2e.conftest import AWAY, HOME, Installation
from tests.support import slack
from tests.support.fleet import volumes_of
from tests.support.restores import launch_there, made_by
from tests.support.slack_served import SlackApp, install_app, response_urls

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TAGS = {"backup": "shop", "ssm": "true"}
STRANGER = "U09STRANGE"
FREE = "10.20.0.77"
MACHINE = "lastgood-restore"
DONE, UNDONE, ENDED = RestoreStatus.DONE, RestoreStatus.UNDONE, RestoreStatus.ENDED


class Stories:
    """What is asked of clone_instance, in the order in which it is told."""

    def __init__(self, lastgood: Installation, key: str) -> None:
        self.lastgood, self.cloud = lastgood, lastgood.cloud
        self.ec2 = lastgood.client("ec2")
        self.home = Network(**self.cloud.network(HOME, name="shop"))
        self.away = Network(**self.cloud.network(AWAY, name="shop"))
        self.source = launch_there(
            self.ec2,
            self.home,
            "shop",
            tags=TAGS,
            root={"Encrypted": True, "KmsKeyId": key},
            Placement={"GroupName": "shop"},
        )
        self.helper = launch_there(self.ec2, self.home, "helper", tags=TAGS)
        # A policy of instances that are copied nowhere.
        self.plain = launch_there(self.ec2, self.home, "plain")
        self._points()

    def _points(self) -> None:
        slot = self.cloud.now().replace(microsecond=0).isoformat()
        for policy, source in (("shops", None), ("web-daily", self.plain)):
            wanted = {"source": source} if source else {}
            answer = self.lastgood.plan(policy, slot=slot, **wanted)
            assert answer.payload["point_count"] > 0, answer.payload
        self.cloud.advance(by=HOUR)

    def ask(self, **request: Any) -> dict[str, Any]:
        """By anna, of the shop, unless it says otherwise."""
        given = {"by": "anna", **request}
        if "action" not in given:
            given.setdefault("source", self.source)
        answer = self.lastgood.invoke("clone_instance", given)
        assert answer.error is None, answer.payload
        assert answer.payload["status"] != "refused", answer.payload["text"]
        return dict(answer.payload)

    def record(self, restore: str) -> Restore:
        found = self.lastgood.ledger.restore(restore)
        assert found is not None
        return found

    def restore(self, wanted: RestoreStatus, **request: Any) -> Restore:
        """From asking to the end that is wanted."""
        approved = request.get("mode") == "in_place"
        restore = self.ask(**request)["restore"]
        if approved:
            self.cloud.advance(by=MINUTE)
            self.ask(action="approve", restore=restore, by="bert")
        self.cloud.advance(by=HOUR)
        found = self.record(restore)
        assert (found.status, wanted) == (wanted, wanted), (found.status, found.cause)
        return found

    @contextmanager
    def spoilt(self) -> Iterator[None]:
        """Nothing that is made of a snapshot that there is passes its checks."""
        points = [point for point in self.lastgood.points() if point.policy == "shops"]
        self.cloud.conditions(bad_snapshots=[one for point in points for one in point.snapshots])
        yield
        self.cloud.conditions(bad_snapshots=[])


def restores_happen(lastgood: Installation, key: str) -> None:
    """``key``: under which a volume is encrypted."""
    lastgood.cloud.conditions(paced=True)
    stories = Stories(lastgood, key)
    clones(stories)
    volumes(stories)
    in_place(stories)
    ends(stories)
    lost(stories)
    with response_urls() as hooks:
        in_chat(stories, install_app(lastgood.cloud, HOME, hooks))
    lastgood.cloud.conditions(paced=False)


def clones(stories: Stories) -> None:
    cloud = stories.cloud
    cloud.conditions(commands={"*": CommandOutcome(output="active")})
    stories.ask(action="points", source="shop")
    stories.ask(dry_run="true", private_ip=FREE)
    by_name = ",".join(f"shop-{one}" for one in ("front", "back"))
    clone = stories.restore(
        DONE, check="systemctl is-active shop", security_groups=by_name, time_to_live="2h"
    )
    stories.ask(action="extend", restore=clone.id, time_to_live="4h")
    stories.ask(action="keep", restore=clone.id)
    stories.ask(action="status", restore=clone.id)
    stories.restore(
        DONE,
        source=stories.plain,
        region=AWAY,
        subnet=stories.away.subnets[0],
        security_groups=",".join(stories.away.groups),
        key_name="shop",
        time_to_live="2h",
    )
    isolated = stories.ec2.create_security_group(
        GroupName="lastgood-isolated", Description="drills", VpcId=stories.home.vpc
    )
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    stories.ec2.revoke_security_group_egress(
        GroupId=isolated["GroupId"], IpPermissions=[everything]
    )
    stories.restore(ENDED, mode="drill")
    with stories.spoilt():
        stories.restore(UNDONE)


def volumes(stories: Stories) -> None:
    stories.restore(
        DONE,
        mode="volumes",
        volumes="/dev/sdf",
        instance=stories.helper,
        device="/dev/sdz",
        time_to_live="2h",
    )
    stories.cloud.advance(by=2 * HOUR)
    assert "/dev/sdz" not in volumes_of(stories.ec2, stories.helper)


def in_place(stories: Stories) -> None:
    """The root by EC2 while it runs; all volumes, in vain; one, and its old volume is removed."""
    stories.restore(DONE, mode="in_place", source="helper", volumes="/dev/xvda")
    with stories.spoilt():
        stories.restore(UNDONE, mode="in_place", stop="true")
    swapped = stories.restore(DONE, mode="in_place", stop="true", volumes="/dev/sdf")
    stories.ask(action="remove", restore=swapped.id)
    stories.cloud.advance(by=HOUR)
    assert stories.record(swapped.id).status is ENDED


def ends(stories: Stories) -> None:
    """Declined, cancelled, and one whose schedule is refused."""
    asked = stories.ask(mode="in_place", stop="true")["restore"]
    stories.cloud.advance(by=MINUTE)
    stories.ask(action="decline", restore=asked, by="bert")
    cancelled = stories.ask()["restore"]
    stories.cloud.advance(by=MINUTE)
    stories.ask(action="cancel", restore=cancelled)
    stories.cloud.advance(by=HOUR)
    assert {stories.record(one).status for one in (asked, cancelled)} == {UNDONE}
    # The machine is gone, as far as Scheduler knows: it does not try that again.
    refused = stories.restore(DONE, time_to_live="2h")
    role = ending_role(stories.lastgood)
    gone = aws_error("StateMachineDoesNotExist", "State Machine Does Not Exist")
    stories.cloud.add_fault("stepfunctions.StartExecution", gone, by=role)
    stories.cloud.advance(by=2 * HOUR)
    assert stories.record(refused.id).status is DONE
    assert stories.lastgood.sweep()["restores_ended"] == 1
    stories.cloud.advance(by=HOUR)
    assert stories.record(refused.id).status is ENDED


def lost(stories: Stories) -> None:
    """Its execution is stopped by hand; the sweep has it undone."""
    asked = stories.ask()
    stories.cloud.advance(by=MINUTE)
    states = stories.lastgood.client("stepfunctions")
    states.stop_execution(executionArn=asked["execution"])
    stories.cloud.advance(by=HOUR)
    stories.lastgood.sweep()
    stories.cloud.advance(by=HOUR)
    assert stories.record(asked["restore"]).status is UNDONE
    assert made_by(stories.ec2, asked["restore"]) == {}


def in_chat(stories: Stories, app: SlackApp) -> None:
    app.command("help")
    app.command("clone shop", person=STRANGER)
    app.command("list shop")
    point = next(stories.lastgood.ledger.points(stories.source)).id
    app.command(f"explain {point}")
    app.command("clone shop for 2h")
    stories.cloud.advance(by=HOUR)
    restore = next(stories.lastgood.ledger.restores_of(stories.source))
    assert restore.status is DONE
    assert len(app.heard(restore.id)) > 0
    app.command("restore shop stop")
    asked = next(stories.lastgood.ledger.restores_of(stories.source)).id
    stories.cloud.advance(by=MINUTE)
    app.button("approve", asked, person=slack.PERSON)
    app.button("approve", asked, person=slack.OTHER)
    stories.cloud.advance(by=HOUR)
    assert stories.record(asked).status is DONE


def ending_role(lastgood: Installation) -> str:
    """The name of the role of the schedules that end restores."""
    known = lastgood.client("lambda").get_function_configuration(
        FunctionName="lastgood-clone-instance"
    )
    return str(known["Environment"]["Variables"]["LASTGOOD_ENDING_ROLE"]).rsplit("/", 1)[-1]


def machine_role(lastgood: Installation) -> str:
    machine = f"arn:aws:states:{HOME}:{ACCOUNT}:stateMachine:{MACHINE}"
    found = lastgood.client("stepfunctions").describe_state_machine(stateMachineArn=machine)
    return str(found["roleArn"]).rsplit("/", 1)[-1]
