"""Everything that restores and chat do, once: for the rights of the roles that do it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from lastgood.domain.restoring import Restore, RestoreStatus
from tests.cloud.driver import ACCOUNT
from tests.cloud.ec2.conditions import CommandOutcome
from tests.cloud.ec2.seed import Network
from tests.cloud.faults import KILL, aws_error
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
LICENCE = f"arn:aws:license-manager:{HOME}:{ACCOUNT}:license-configuration:lic-{'1' * 32}"
DONE, UNDONE, ENDED = RestoreStatus.DONE, RestoreStatus.UNDONE, RestoreStatus.ENDED


class Stories:
    """What is asked of clone_instance, in the order in which it is told."""

    def __init__(self, lastgood: Installation, key: str) -> None:
        self.lastgood, self.cloud = lastgood, lastgood.cloud
        self.ec2, there = lastgood.client("ec2"), lastgood.client("ec2", AWAY)
        self.home = Network(**self.cloud.network(HOME, name="shop"))
        self.away = Network(**self.cloud.network(AWAY, name="shop"))
        self.source = launch_there(
            self.ec2,
            self.home,
            "shop",
            tags=TAGS,
            root={"Encrypted": True, "KmsKeyId": key},
            Placement={"GroupName": "shop"},
            LicenseSpecifications=[{"LicenseConfigurationArn": LICENCE}],
        )
        self._routes(self.source)
        self.helper = launch_there(self.ec2, self.home, "helper", tags=TAGS)
        # A policy of instances that are copied nowhere.
        self.plain = launch_there(self.ec2, self.home, "plain")
        abroad = lastgood.client("kms", AWAY).create_key()["KeyMetadata"]["KeyId"]
        self.far = launch_there(
            there, self.away, "far", root={"Encrypted": True, "KmsKeyId": abroad}
        )
        # Its licence is billed through its image.
        image = "ami-0fedcba9876543210"
        facts = {"usage_operation": "RunInstances:0002", "platform": "windows"}
        self.cloud.conditions(images={image: facts})
        self.licensed = launch_there(self.ec2, self.home, "licensed", ImageId=image)
        self._points()

    def _points(self) -> None:
        slot = self.cloud.now().replace(microsecond=0).isoformat()
        assert self.lastgood.plan("shops", slot=slot).payload["point_count"] == 2
        for source in (self.plain, self.far, self.licensed):
            answer = self.lastgood.plan(source=source, slot=slot)
            assert answer.payload["point_count"] == 1, answer.payload
        self.cloud.advance(by=HOUR)

    def _routes(self, instance: str) -> None:
        """It forwards what others sent: a setting that a launch cannot give."""
        found = self.ec2.describe_instances(InstanceIds=[instance])
        (card,) = found["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
        self.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=card["NetworkInterfaceId"], SourceDestCheck={"Value": False}
        )

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

    def restore(
        self, wanted: RestoreStatus, *, approved_after: timedelta = MINUTE, **request: Any
    ) -> Restore:
        """From asking to the end that is wanted."""
        answer = self.ask(**request)
        restore = answer["restore"]
        if answer["approval"]:
            if approved_after:
                self.cloud.advance(by=approved_after)
            self.ask(action="approve", restore=restore, by="bert")
        self.cloud.advance(by=HOUR)
        found = self.record(restore)
        assert (found.status, wanted) == (wanted, wanted), (found.status, found.cause)
        return found

    @contextmanager
    def spoilt(self) -> Iterator[None]:
        """Nothing that is made of a snapshot that there is passes its checks."""
        points = self.lastgood.points()
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
    without_policy(stories)
    with response_urls() as hooks:
        in_chat(stories, install_app(lastgood.cloud, HOME, hooks))
    lastgood.cloud.conditions(paced=False)


def clones(stories: Stories) -> None:
    cloud = stories.cloud
    cloud.conditions(commands={"*": CommandOutcome(output="active")})
    stories.ask(action="points", source="shop")
    stories.ask(dry_run="true", private_ip=FREE)
    by_name = ",".join(f"shop-{one}" for one in ("front", "back"))
    content = json.dumps({"schemaVersion": "2.2", "mainSteps": []})
    stories.lastgood.client("ssm").create_document(
        Name="shop-check", DocumentType="Command", Content=content
    )
    checked = {"check": "systemctl is-active shop", "security_groups": by_name}
    stories.restore(DONE, **checked, check_document="shop-check")
    # Who made its schedule died: it is there when it is to be made again.
    cloud.add_fault("scheduler.CreateSchedule", KILL, by="lastgood-restore-instance")
    clone = stories.restore(DONE, **checked, time_to_live="2h")
    stories.ask(action="extend", restore=clone.id, time_to_live="4h")
    stories.ask(action="keep", restore=clone.id)
    stories.ask(action="status", restore=clone.id)
    there = {
        "region": AWAY,
        "subnet": stories.away.subnets[0],
        "security_groups": ",".join(stories.away.groups),
        "key_name": "shop",
    }
    # From its copy, from a copy that is made for it, and to home.
    stories.restore(DONE, **there)
    stories.restore(DONE, source=stories.plain, **there)
    home = {"subnet": stories.home.subnets[0], "security_groups": ",".join(stories.home.groups)}
    stories.restore(DONE, source=stories.far, region=HOME, key_name="shop", **home)
    given_up(stories, MINUTE, source=stories.plain, **there)
    stories.restore(DONE, source=stories.licensed)
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


def given_up(stories: Stories, after: timedelta, **request: Any) -> None:
    """A restore that is cancelled on its way."""
    asked = stories.ask(**request)["restore"]
    stories.cloud.advance(by=after)
    stories.ask(action="cancel", restore=asked)
    stories.cloud.advance(by=HOUR)
    assert stories.record(asked).status is UNDONE


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
    """In vain, and then: the root by EC2 while it runs; one volume, and the old one is removed."""
    root = {"mode": "in_place", "source": "helper", "volumes": "/dev/xvda"}
    with stories.spoilt():
        # Approved before the machine waits for that.
        stories.restore(UNDONE, approved_after=timedelta(0), **root)
        stories.restore(UNDONE, mode="in_place", stop="true")
        stories.restore(UNDONE, mode="in_place", stop="true", source=stories.far)
    stories.restore(DONE, **root)
    swapped = stories.restore(DONE, mode="in_place", stop="true", volumes="/dev/sdf", check="true")
    stories.ask(action="remove", restore=swapped.id)
    stories.cloud.advance(by=HOUR)
    assert stories.record(swapped.id).status is ENDED


def ends(stories: Stories) -> None:
    """Declined, cancelled, and one whose schedule is refused."""
    asked = stories.ask(mode="in_place", stop="true")["restore"]
    stories.cloud.advance(by=MINUTE)
    stories.ask(action="decline", restore=asked, by="bert")
    given_up(stories, timedelta(seconds=10))
    assert stories.record(asked).status is UNDONE
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
    """Its execution is stopped by hand; the sweep has it undone, while another restore ends, of
    which it must see whose end that is."""
    other = stories.restore(DONE, time_to_live="2h")
    asked = stories.ask()
    stories.cloud.advance(by=MINUTE)
    states = stories.lastgood.client("stepfunctions")
    states.stop_execution(executionArn=asked["execution"])
    assert other.expires_at is not None
    # Scheduler knows whole minutes.
    fires = (other.expires_at + MINUTE).replace(second=0, microsecond=0)
    stories.cloud.advance(to=fires + timedelta(seconds=10))
    assert stories.lastgood.sweep()["restores_ended"] == 1
    stories.cloud.advance(by=HOUR)
    assert stories.record(asked["restore"]).status is UNDONE
    assert made_by(stories.ec2, asked["restore"]) == {}


def without_policy(stories: Stories) -> None:
    """It is not deployed any more: its points can be restored all the same."""
    ssm, name = stories.lastgood.client("ssm"), "/lastgood/policies/web-daily"
    shipped = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    ssm.delete_parameter(Name=name)
    stories.cloud.advance(by=HOUR)
    stories.ask(source=stories.plain, dry_run="true")
    ssm.put_parameter(Name=name, Value=shipped, Type="String")


def in_chat(stories: Stories, app: SlackApp) -> None:
    stories.lastgood.send("lastgood-tell-chat", "no JSON at all")
    app.command("help")
    app.command("clone shop", person=STRANGER)
    app.answered("list shop")
    point = next(stories.lastgood.ledger.points(stories.source)).id
    app.command(f"explain {point}")
    app.answered("clone shop for 2h")
    app.hooks.busy = 1
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
