"""The last chapter of ``make demo``: restores, asked for in Slack, put back, and without home."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from lastgood.domain.fidelity import UNEXPLAINED
from lastgood.domain.restoring import Compared, Restore, RestoreStatus
from lastgood.ledger.dynamo import DynamoLedger
from tests.cloud.driver import CloudProcess
from tests.cloud.ec2.seed import Network
from tests.support import slack, table
from tests.support.fleet import volumes_of
from tests.support.restores import launch_there, made_by
from tests.support.slack_served import SlackApp, Told, install_app, response_urls

HOME, NORTH = "eu-west-1", "eu-north-1"
TAGS = {"backup": "shop"}
LOST, BROKEN = "shop-1", "shop-2"
CLONER = "lastgood-clone-instance"
HOUR, DAY, STEP = timedelta(hours=1), timedelta(days=1), timedelta(seconds=30)
PATIENCE = timedelta(hours=1)
WIDTH = 24


@dataclass
class Restores:
    """``show`` is the demo's."""

    cloud: CloudProcess
    show: Any
    _told: int = field(default=0, init=False)

    def tell(self) -> Iterator[str]:
        """Show it all; a line for each thing that is not as it should be."""
        ec2 = self.cloud.client("ec2", HOME)
        home = Network(**self.cloud.network(HOME, name="shop"))
        north = Network(**self.cloud.network(NORTH, name="shop"))
        # From here on, machines take the time that they take on AWS.
        self.cloud.conditions(paced=True)
        lost, broken = (launch_there(ec2, home, name, tags=TAGS) for name in (LOST, BROKEN))
        with response_urls() as hooks:
            app = install_app(self.cloud, HOME, hooks)
            self._a_night()
            yield from self._lost_and_cloned(app, lost)
            yield from self._put_back(app, broken)
            yield from self._without_home(north, lost)

    def _a_night(self) -> None:
        night = self.cloud.now().replace(hour=1, minute=0, second=0, microsecond=0) + DAY
        self.show.step(f"Restores: two instances, {LOST} and {BROKEN}, and a night in which both")
        self.show.line("get a point, which is copied to eu-north-1. Lastgood's app is in Slack:")
        self.show.line("its signing secret is in Secrets Manager, and chat.yaml names two people.")
        self.cloud.advance(to=night + HOUR)

    # ------------------------------------------------------------- a clone of what is lost

    def _lost_and_cloned(self, app: SlackApp, source: str) -> Iterator[str]:
        self.cloud.client("ec2", HOME).terminate_instances(InstanceIds=[source])
        self.cloud.advance(by=3 * HOUR)
        self.show.step(f"Somebody terminates {LOST}, {source}; after an hour EC2 forgets it.")
        forged = app.command(f"clone {LOST}", secret="a guess")
        self.show.line(f"A stranger asks for a clone, with a forged signature: {forged.status}")
        if forged.status != 401:
            yield f"a forged request was answered with {forged.status}"
        self.show.line("Anna asks for one in Slack, by a signed request over HTTP:")
        self._said(app, app.command(f"clone {LOST} for 8h"), f"/lastgood clone {LOST} for 8h")
        restore = self._watch(app, source, HOME)
        yield from self._is(restore, RestoreStatus.DONE)
        yield from self._compared(restore)
        steps = ", ".join(f"{one.name} {one.seconds:.0f}" for one in restore.steps if one.seconds)
        self.show.line(f"Seconds of virtual time: {steps}; {_took(restore)} in all.")

    def _compared(self, restore: Restore) -> Iterator[str]:
        (clone,) = restore.ids("instance")
        self.show.step(f"The settings of the clone, {clone}, beside those of {restore.source.id}:")
        for one in restore.compared:
            self._beside(one)
        self.show.line(f"The same are: {', '.join(restore.same)}.")
        self.show.line(
            f"{len(restore.same)} are the same, {len(restore.compared)} are not, each for a reason."
        )
        for one in restore.compared:
            if one.why == UNEXPLAINED:
                yield f"{one.field} of the clone is {one.clone}, not {one.original}"

    # -------------------------------------------------------------- in place, and put back

    def _put_back(self, app: SlackApp, source: str) -> Iterator[str]:
        ec2 = self.cloud.client("ec2", HOME)
        before = volumes_of(ec2, source)
        ledger = self._ledger(HOME)
        point = next(ledger.points(source))
        known = ledger.point(point.id)
        # Nothing that is made of these snapshots will pass its status checks.
        self.cloud.conditions(bad_snapshots=known.snapshots if known else [])
        self.show.step(f"{BROKEN} itself is to go back to its point, which does not boot any more.")
        text = f'restore {BROKEN} stop because "bad deploy"'
        self._said(app, app.command(text), f"/lastgood {text}")
        restore = next(ledger.restores_of(source)).id
        app.button("approve", restore, person=slack.PERSON)
        self._heard(app, "Anna pushes Approve, although she asked for it herself:")
        app.button("approve", restore, person=slack.OTHER)
        self._heard(app, "Bert pushes Approve:")
        ended = self._watch(app, source, HOME)
        yield from self._is(ended, RestoreStatus.UNDONE)
        after = volumes_of(ec2, source)
        state = ec2.describe_instances(InstanceIds=[source])["Reservations"][0]["Instances"][0]
        for device, volume in before.items():
            self.show.line(f"{device:10} before {volume}, now {after.get(device)}")
        self.show.line(f"{BROKEN} is {state['State']['Name']}; seconds until then: {_took(ended)}.")
        if after != before or state["State"]["Name"] != "running":
            yield f"{source} was not put back: {after}, {state['State']['Name']}"
        if left := made_by(ec2, restore):
            yield f"{restore} left {left}"

    # ------------------------------------------------------------------ from a lost Region

    def _without_home(self, north: Network, source: str) -> Iterator[str]:
        self.cloud.conditions(dark=[HOME], bad_snapshots=[])
        self.show.step(f"{HOME} goes dark: every call there is cut off. In {NORTH} there are the")
        self.show.line(
            "copies, a replica of the ledger, and the functions and machine of restores."
        )
        request = {
            "source": LOST,
            "subnet": north.subnets[0],
            "security_groups": ",".join(north.groups),
            "key_name": north.key,
            "by": "anna",
        }
        self.show.line(f"aws lambda invoke --region {NORTH} --function-name {CLONER} \\")
        self.show.line(f"  --cli-binary-format raw-in-base64-out --payload '{json.dumps(request)}'")
        reply = self.cloud.client("lambda", NORTH).invoke(
            FunctionName=CLONER, Payload=json.dumps(request)
        )
        answer = json.loads(reply["Payload"].read())
        for line in answer["text"].splitlines():
            self.show.line(f"  {line}")
        if not answer["restore"]:
            yield f"{CLONER} in {NORTH} refused it"
            return
        restore = self._watch(None, source, NORTH)
        yield from self._is(restore, RestoreStatus.DONE)
        for one in restore.compared:
            self._beside(one)
            if one.why == UNEXPLAINED:
                yield f"{one.field} of the clone is {one.clone}, not {one.original}"
        self.show.line(
            f"{len(restore.same)} settings are the same; {_took(restore)} s of virtual time in all."
        )
        if tried := self.cloud.state()["unanswered"]:
            yield f"calls to {HOME}, which is dark: {tried}"

    # --------------------------------------------------------------------------- the rest

    def _watch(self, app: SlackApp | None, source: str, region: str) -> Restore:
        """Move the clock until the latest restore of the source is over."""
        ledger, until = self._ledger(region), self.cloud.now() + PATIENCE
        while True:
            now = self.cloud.advance(by=STEP)
            if app:
                self._heard(app)
            restore = next(ledger.restores_of(source))
            if not restore.status.at_work or now > until:
                whole = ledger.restore(restore.id)
                return whole or restore

    def _beside(self, one: Compared) -> None:
        values = f"{_short(one.original):{WIDTH}} {_short(one.clone):{WIDTH}}"
        self.show.line(f"! {one.field:32} {values}  ({one.why})")

    def _said(self, app: SlackApp, told: Told, text: str) -> None:
        self.show.line(f"  anna: {text}")
        self.show.line(f"  HTTP {told.status} after {told.seconds:.1f} s")
        self._lines(told.text)
        self._heard(app)

    def _heard(self, app: SlackApp, what: str = "") -> None:
        """What was posted to Slack's response URLs since the last look."""
        if what:
            self.show.line(what)
        posted = app.hooks.posted
        for one in posted[self._told :]:
            self._lines(one.text)
        self._told = len(posted)

    def _lines(self, text: str) -> None:
        now = self.cloud.now()
        for number, line in enumerate(text.splitlines()):
            who = f"{now:%H:%M:%S} lastgood:" if not number else " " * 18
            self.show.line(f"  {who} {line}")

    def _is(self, restore: Restore, wanted: RestoreStatus) -> Iterator[str]:
        if restore.status is not wanted:
            yield f"{restore.id} is {restore.status}, not {wanted}: {restore.cause}"

    def _ledger(self, region: str) -> DynamoLedger:
        return DynamoLedger(self.cloud.client("dynamodb", region), table.NAME)


def _took(restore: Restore) -> str:
    ended = restore.settled_at
    return f"{(ended - restore.asked_at).total_seconds():.0f}" if ended else "?"


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
