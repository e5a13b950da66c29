"""Cold start of each function: a fresh process imports it and answers its first event.

The floor beside it is a fresh process that imports boto3 and makes the same clients with the same
settings. Both have the files and the path that Lambda would give them: the assets as they are
deployed, and boto3 compiled. The two alternate, and a ratio is of two neighbours, so that a busy
machine slows both. ``net`` leaves out the time in which calls were out: the cloud's is nobody's.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from infra import packages
from infra.assets import LAYER, TASK, staged
from infra.catalog import CATALOG, QueueTrigger, Row
from infra.stacks.state import TABLE
from lastgood.ledger.dynamo import DynamoLedger
from tests.bench import show
from tests.bench.installation import HOME, Installation, installed
from tests.cloud.driver import REPOSITORY
from tests.cloud.environment import image
from tests.support.builders import a_restore
from tests.support.fleet import disk, launch
from tests.support.history import past_point

PROCESS = Path(__file__).with_name("cold_process.py")
SLOT = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
TARGET = 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repetitions", type=int, default=9, help="of each function")
    parser.add_argument("--function", action="append", help="only these (default: all)")
    parser.add_argument(
        "--importtime", type=Path, help="a folder for one -X importtime report of each function"
    )


@dataclass
class Measured:
    firsts: list[dict[str, Any]] = field(default_factory=list)
    floors: list[dict[str, Any]] = field(default_factory=list)

    def row(self, name: str) -> tuple[str, ...]:
        firsts, floors = self.firsts, self.floors
        return (
            name,
            show.milliseconds(median(one["imported"] for one in firsts)),
            show.milliseconds(median(one["whole"] for one in firsts)),
            show.milliseconds(median(map(_net, firsts))),
            show.milliseconds(median(map(_net, floors))),
            f"{self._ratio(_net):.2f}",
            f"{self._ratio(lambda one: one['cpu']):.2f}",
            ", ".join(sorted({service for service, _, _ in firsts[0]["clients"]})),
        )

    def _ratio(self, of: Callable[[dict[str, Any]], float]) -> float:
        """The median of the neighbours' ratios, which bears a load that comes and goes."""
        pairs = zip(self.firsts, self.floors, strict=True)
        return median(of(first) / of(floor) for first, floor in pairs)


def _net(one: dict[str, Any]) -> float:
    return float(one["whole"] - one["waited"])


class Bench:
    """Functions as processes, and events that have them do their work."""

    def __init__(self, place: Installation, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._variables: dict[str, dict[str, str]] = {}
        self._ledger = DynamoLedger(place.client("dynamodb"), TABLE)
        for root in (REPOSITORY / "functions/core/python", packages.installed() / "python"):
            layer = staged(root, inside="python", unpacked=LAYER).folder / "python"
            shutil.copytree(layer, folder / "opt", dirs_exist_ok=True)
        for row in [row for row in CATALOG if row.name in EVENTS]:
            code = REPOSITORY / "functions" / row.name
            task = staged(code, inside=row.name, unpacked=TASK).folder
            shutil.copytree(task, folder / row.name)
            configuration = place.client("lambda").get_function_configuration(
                FunctionName=row.physical_name
            )
            self._variables[row.name] = configuration["Environment"]["Variables"]

    def first(self, row: Row, event: dict[str, Any], report: Path | None = None) -> dict[str, Any]:
        handler = f"{row.name}.handler.handler"
        python = ("-X", "importtime") if report else ()
        done = self._run(row, ("first", handler, row.physical_name), event, python)
        if report:
            report.write_text(done.stderr)
        return _last_line(done.stdout)

    def floor(self, row: Row, clients: list[Any]) -> dict[str, Any]:
        return _last_line(self._run(row, ("floor",), clients).stdout)

    def _run(
        self, row: Row, arguments: tuple[str, ...], given: Any, python: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        path = (self._folder / row.name, self._folder / "opt", image())
        environment = {
            **self._place.cloud.environment(HOME),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "AWS_LAMBDA_FUNCTION_NAME": row.physical_name,
            **self._variables[row.name],
        }
        return subprocess.run(
            [sys.executable, "-S", "-P", *python, str(PROCESS), *arguments],
            input=json.dumps(given),
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )

    def event(self, row: Row, number: int) -> dict[str, Any]:
        """One that nobody has handled yet; plan, create and record hand the same point on."""
        return EVENTS[row.name](self, row, number)

    def _plan(self, row: Row, number: int) -> dict[str, Any]:
        slot = SLOT + timedelta(minutes=number)
        return {"policy": "web-daily", "slot": slot.isoformat(), "source": self._place.ids[0]}

    def _queued(self, row: Row, number: int) -> dict[str, Any]:
        message = self._place.take_message(row.physical_name)
        return {"Records": [_record(row, message)]}

    def _ended(self, row: Row, number: int) -> dict[str, Any]:
        """EBS tells of each snapshot and then of the set, which settles the point."""
        self._place.cloud.advance(by=timedelta(hours=2))
        while True:
            message = self._place.take_message(row.physical_name)
            if "Multi-Volume" in json.loads(message["Body"])["detail-type"]:
                return {"Records": [_record(row, message)]}

    def _to_prune(self, row: Row, number: int) -> dict[str, Any]:
        """A recent point, from which rules count back, and four of an old day, of which some go:
        fewer than half of all, above which a prune would ask."""
        recent = SLOT - timedelta(days=1) + timedelta(hours=number)
        old = SLOT - timedelta(days=60 - number)
        for slot in (recent, *(old - timedelta(hours=hours) for hours in range(4))):
            self._place.cloud.advance(by=timedelta(minutes=1))
            past_point(self._place.client("ec2"), self._ledger, self._place.ids[1], slot)
        self._place.cloud.advance(by=timedelta(minutes=1))
        return {"policy": "web-daily"}

    def _copied(self, row: Row, number: int) -> dict[str, Any]:
        """No policy of the repository's has copies: EBS tells of one of somebody else's."""
        event = json.loads((REPOSITORY / "tests/events" / f"{row.name}.json").read_text())
        return dict(event)

    def _swept(self, row: Row, number: int) -> dict[str, Any]:
        return {}

    def _to_clone(self, row: Row, number: int) -> dict[str, Any]:
        return {"source": self._place.ids[0], "by": "bench", "request_id": f"bench-{number}"}

    def _step(self, row: Row, number: int) -> dict[str, Any]:
        """Of a restore that no machine works at."""
        restore = a_restore(f"{row.name}-{number}", time_to_live=timedelta(hours=8))
        self._ledger.open_restore(restore)
        return {"restore": restore.id, "step": STEPS[row.name]}


STEPS = {"restore_instance": "hand_over", "check_restore": "check", "undo_restore": "undo"}
"""Of the steps of each, that which calls most services."""


EVENTS: dict[str, Callable[[Bench, Row, int], dict[str, Any]]] = {
    "plan_snapshots": Bench._plan,
    "create_snapshots": Bench._queued,
    "record_snapshot": Bench._ended,
    "copy_snapshots": Bench._copied,
    "prune_snapshots": Bench._to_prune,
    "delete_snapshots": Bench._queued,
    "sweep": Bench._swept,
    "clone_instance": Bench._to_clone,
    "restore_instance": Bench._step,
    "check_restore": Bench._step,
    "undo_restore": Bench._step,
}


def run(given: argparse.Namespace) -> int:
    """Prints a table; 1 if a function is above the target."""
    show.title(f"Cold start: medians of {given.repetitions} processes, in milliseconds")
    rows = [row for row in CATALOG if row.name in (given.function or EVENTS)]
    measured = {row.name: Measured() for row in rows}
    with (
        installed(datetime(2026, 3, 2, 3, 0, tzinfo=UTC)) as place,
        tempfile.TemporaryDirectory() as folder,
    ):
        place.stop_pollers()
        ec2 = place.client("ec2")
        # The second has old points only: what is new is the first one's.
        place.ids = [launch(ec2, "web-1", disk("/dev/sdf")), launch(ec2, "web-2", disk("/dev/sdf"))]
        bench = Bench(place, Path(folder))
        for number in range(given.repetitions + 1):
            for row in [row for row in CATALOG if row.name in EVENTS]:
                _measure(bench, row, number, measured.get(row.name), given.importtime)
    table = [one.row(name) for name, one in measured.items()]
    show.table(
        ("function", "imported", "answered", "net", "floor", "net/floor", "by CPU", "clients"),
        table,
    )
    above = [row[0] for row in table if float(row[5]) > TARGET]
    show.line(f"target {TARGET}: " + (f"missed by {', '.join(above)}" if above else "met by all"))
    return int(bool(above))


def _measure(
    bench: Bench, row: Row, number: int, into: Measured | None, reports: Path | None
) -> None:
    """The first round warms the disk's cache, and is where imports are reported."""
    report = reports / f"{row.name}.txt" if reports and number == 0 else None
    if report:
        report.parent.mkdir(parents=True, exist_ok=True)
    first = bench.first(row, bench.event(row, number), report)
    if into is None:
        return
    floor = bench.floor(row, first["clients"])
    if number:
        into.firsts.append(first)
        into.floors.append(floor)


def _record(row: Row, message: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(row.trigger, QueueTrigger)
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{HOME}:123456789012:{row.physical_name}",
        "awsRegion": HOME,
    }


def _last_line(output: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return result
