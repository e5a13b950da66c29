"""Points that are available, copies that ended, places to look after: fill the free slots."""

from functools import cache

from copy_snapshots.usecase import Copied, Copier
from lastgood import runtime
from lastgood.domain.copying import CopyEnded, CopyLate, CopyStatus, CopyWork, PlaceDue
from lastgood.domain.measures import Measure
from lastgood.ports import Delivery


@cache
def copier() -> Copier:
    return Copier(
        policies=runtime.policies(),
        at=runtime.at,
        ledger=runtime.ledger(),
        clock=runtime.clock(),
        accounts=frozenset(runtime.settings().accounts.split(",")),
    )


@runtime.batch(runtime.copy_work, about=runtime.about_copy)
def handler(work: CopyWork, _: Delivery) -> None:
    done = Copied()
    try:
        match work:
            case CopyEnded():
                copier().settle(work, done)
            case CopyLate():
                copier().note_late(work, done)
            case PlaceDue():
                copier().look_after(work.place, done)
            case _:
                copier().queue(work.point, done)
    finally:
        # What has ended has ended, also if the rest comes again.
        _tell(done)


def _tell(done: Copied) -> None:
    for copy in done.available:
        runtime.measure(Measure.COPIES_AVAILABLE, policy=copy.policy)
        runtime.logger.info(f"{copy.id} of {copy.point} is in {copy.place}", point=copy.point)
    for copy in done.failed:
        over = copy.status is CopyStatus.FAILED
        after = "it is given up" if over else f"it is tried again after {copy.not_before}"
        runtime.measure(Measure.COPIES_FAILED, policy=copy.policy)
        runtime.logger.error(
            f"the copy of {copy.point} to {copy.place} failed, {after}: {copy.cause}",
            point=copy.point,
        )
    for copy in done.late:
        runtime.measure(Measure.COPIES_LATE, policy=copy.policy)
        runtime.logger.warning(
            f"the copy of {copy.point} to {copy.place} is not there after {copy.minutes} minutes",
            point=copy.point,
        )
    if done.asked:
        runtime.logger.info(f"{done.asked} copies begun", full=done.full)
