"""EBS's events, by a queue: settle the points whose snapshots ended."""

from functools import cache

from lastgood import runtime
from lastgood.domain.ended import SnapshotsEnded
from lastgood.domain.model import Point
from lastgood.ports import Delivery
from record_snapshot.usecase import Recorder


@cache
def recorder() -> Recorder:
    return Recorder(
        at=runtime.at,
        ledger=runtime.ledger(),
        bus=runtime.bus(),
        clock=runtime.clock(),
        accounts=frozenset(runtime.settings().members.split(",")),
    )


@runtime.batch(
    runtime.ebs_snapshots,
    about=lambda event: {"snapshots": [one.snapshot for one in event.snapshots]},
)
def handler(event: SnapshotsEnded, delivery: Delivery) -> Point | None:
    return recorder().record(event, delivery)
