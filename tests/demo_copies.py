"""A chapter of ``make demo``: copies to another Region and to another account."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lastgood.domain import tags
from lastgood.domain.copying import CopyStatus, PointCopy
from lastgood.domain.model import Point
from lastgood.domain.names import point_id
from lastgood.domain.place import Place
from lastgood.ledger.dynamo import DynamoLedger
from tests.cloud.driver import ACCOUNT, CloudProcess
from tests.support import table
from tests.support.fleet import disk, launch, own_snapshots
from tests.support.schedules import change, switch

POLICY = "orders"
HOME, NORTH, CENTRAL = "eu-west-1", "eu-north-1", "eu-central-1"
VAULT = "210987654321"
PLACES = (Place(region=NORTH, account=ACCOUNT), Place(region=CENTRAL, account=VAULT))
NIGHTS = 8
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEPT = {None: 2, PLACES[0]: 4, PLACES[1]: NIGHTS}
"""How many points or copies its policy leaves in each place; None: at home."""
SWEEPER, PRUNER = "lastgood-sweep", "lastgood-prune-snapshots"


@dataclass
class Copies:
    """``show`` is the demo's."""

    cloud: CloudProcess
    show: Any

    def __post_init__(self) -> None:
        self.ledger = DynamoLedger(self.cloud.client("dynamodb", HOME), table.NAME)
        self.scheduler = self.cloud.client("scheduler", HOME)
        self.source = ""

    def tell(self, repository: Path) -> Iterator[str]:
        """Show it all; a line for each thing that is not as it should be."""
        self._deploy(repository)
        self.source = launch(
            self.cloud.client("ec2", HOME),
            "orders",
            disk("/dev/sdf", 20),
            tags={"backup": "orders"},
        )
        first = self.cloud.now().replace(hour=4, minute=0, second=0, microsecond=0) + DAY
        nights = [first + number * DAY for number in range(NIGHTS)]
        yield from self._a_night(nights[0])
        yield from self._a_night_without_key(nights[1])
        self.show.step(f"{NIGHTS - 2} more nights, each with a prune at 05:40; the sweep rests")
        switch(self.scheduler, SWEEPER, on=False)
        self.cloud.advance(to=nights[-1] + 3 * HOUR)
        yield from self._what_is_where(nights)

    def _deploy(self, repository: Path) -> None:
        self.show.step("Copies: a second Region and a vault account. What a person does for it:")
        trusting = (
            f"--trust {ACCOUNT} --cloudformation-execution-policies "
            "arn:aws:iam::aws:policy/AdministratorAccess"
        )
        self.show.line(f"cdk bootstrap aws://{ACCOUNT}/{NORTH}")
        self.cloud.bootstrap(NORTH)
        self.show.line(f"cdk bootstrap aws://{VAULT}/{CENTRAL} {trusting}   (in the vault account)")
        self.cloud.bootstrap(CENTRAL, account=VAULT, trust=[ACCOUNT])
        files = {"policies": "tests/demo-policies.yaml", "chat": "tests/demo-chat.yaml"}
        given = [one for name, file in files.items() for one in ("-c", f"lastgood:{name}={file}")]
        self.show.line(f"cdk deploy --all {' '.join(given)}")
        out = self.cloud.cdk(
            *("deploy", "--all", "--require-approval", "never"),
            *given,
            cwd=repository,
            region=HOME,
        )
        for line in out.splitlines():
            if line.strip().startswith(("✅", "✨")):
                self.show.line(line.strip())
        # As it is deployed; the chapter before had it weekly.
        change(self.scheduler, PRUNER, "cron(40 5 * * ? *)")

    def _a_night(self, slot: datetime) -> Iterator[str]:
        self.show.step(f"The clock moves to {slot:%Y-%m-%d %H:%M} UTC, the slot of {POLICY}")
        self.cloud.advance(to=slot + HOUR)
        yield from self._show_night(slot)
        for place in PLACES:
            copy = self._copy(slot, place)
            if copy is None or copy.status is not CopyStatus.AVAILABLE:
                yield f"there is no copy in {place} at {slot:%Y-%m-%d}"

    def _a_night_without_key(self, slot: datetime) -> Iterator[str]:
        kms = self.cloud.client("kms", NORTH)
        key = kms.describe_key(KeyId="alias/lastgood")["KeyMetadata"]["KeyId"]
        self.cloud.advance(to=slot - HOUR)
        self.show.step(f"The key of the copies in {NORTH} is disabled, and a night passes")
        kms.disable_key(KeyId=key)
        # The daily sweep stays off: it would start slots that nobody wants in this demo.
        switch(self.scheduler, SWEEPER, on=True)
        self.cloud.advance(to=slot + HOUR)
        yield from self._show_night(slot)
        failed = self._copy(slot, PLACES[0])
        if failed is None or "is Disabled: enable it" not in (failed.cause or ""):
            yield f"the copy did not fail: {failed}"
        kms.enable_key(KeyId=key)
        self.show.step("The key is enabled again; nobody does anything else, and three hours pass")
        self.cloud.advance(to=slot + 4 * HOUR)
        yield from self._show_night(slot)
        healed = self._copy(slot, PLACES[0])
        if healed is None or healed.status is not CopyStatus.AVAILABLE:
            yield f"the copy did not heal: {healed}"

    def _copy(self, slot: datetime, place: Place) -> PointCopy | None:
        return self.ledger.copy(point_id(POLICY, slot, self.source), place)

    def _show_night(self, slot: datetime) -> Iterator[str]:
        point = self.ledger.point(point_id(POLICY, slot, self.source))
        if point is None:
            yield f"there is no point at {slot:%Y-%m-%d}"
            return
        self.show.line(f"{'home':32} {point.status:10} {_took(point.settled_at, slot)}")
        for place in PLACES:
            if copy := self._copy(slot, place):
                failed = f", after {copy.failures} failures" if copy.failures else ""
                self.show.line(
                    f"{place!s:32} {copy.status:10} {_took(copy.settled_at, slot)}{failed}"
                )
                if copy.cause:
                    self.show.line(f"  {copy.cause}; next at {copy.not_before:%H:%M}")

    def _what_is_where(self, nights: list[datetime]) -> Iterator[str]:
        self.show.step("What is left, by the rules of each place:")
        points = list(self.ledger.points(self.source))
        yield from self._check("home", None, points, nights)
        for place in PLACES:
            copies = list(self.ledger.copies_of(self.source, place))
            yield from self._check(str(place), place, copies, nights)
        home = self.cloud.client("ec2", HOME)
        ours = [{"Name": f"tag:{tags.POLICY}", "Values": [POLICY]}]
        for one in home.describe_snapshots(OwnerIds=["self"], Filters=ours)["Snapshots"]:
            shared = home.describe_snapshot_attribute(
                SnapshotId=one["SnapshotId"], Attribute="createVolumePermission"
            )["CreateVolumePermissions"]
            if shared:
                yield f"{one['SnapshotId']} is shared still: {shared}"

    def _check(
        self,
        name: str,
        place: Place | None,
        listed: list[Point] | list[PointCopy],
        nights: list[datetime],
    ) -> Iterator[str]:
        slots = sorted(one.slot for one in listed if one.status == "available")
        self.show.line(f"{name:32} {', '.join(f'{one:%m-%d}' for one in slots)}")
        if slots != nights[-KEPT[place] :]:
            yield f"{name} has {slots}"
        if place:
            ec2 = self.cloud.client("ec2", place.region, account=place.account)
            there = {one["SnapshotId"] for one in own_snapshots(ec2)}
            known = {
                member.snapshot
                for one in listed
                if isinstance(one, PointCopy)
                for member in one.members
            }
            if there != known:
                yield f"{name}: snapshots that are no copies: {there ^ known}"


def _took(at: datetime | None, slot: datetime) -> str:
    return f"{(at - slot).total_seconds() / 60:3.0f} min after its slot" if at else ""
