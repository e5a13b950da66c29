"""The queue of parts of prune plans: delete what each says."""

from functools import cache

from delete_snapshots.usecase import Deleter, Progress
from lastgood import runtime
from lastgood.domain.measures import Measure
from lastgood.domain.prune_plan import PruneMessage
from lastgood.ports import Delivery


@cache
def deleter() -> Deleter:
    return Deleter(
        policies=runtime.policies(),
        series=runtime.series(),
        ledger=runtime.ledger(),
        plans=runtime.plans(),
        queue=runtime.prune_queue(),
        clock=runtime.clock(),
    )


@runtime.batch(runtime.message_of(PruneMessage), about=runtime.about_prune)
def handler(message: PruneMessage, _: Delivery) -> None:
    progress = Progress()
    try:
        deleter().apply(message, progress)
    finally:
        # What was deleted is deleted, also if the rest comes again.
        _tell(message, progress)


def _tell(message: PruneMessage, progress: Progress) -> None:
    runtime.measure(Measure.POINTS_DELETED, progress.deleted, policy=message.policy)
    runtime.measure(Measure.GIB_DELETED, progress.gib, policy=message.policy)
    for obstacle, count in progress.blocked.items():
        runtime.measure(
            Measure.DELETES_BLOCKED, count, policy=message.policy, reason=obstacle.value
        )
    for point, why in progress.left.items():
        runtime.logger.warning(f"{point} stays: {why}", point=point)
    runtime.logger.info(
        f"{progress.deleted} points deleted, {len(progress.left)} left",
        carried_over=progress.carried_over,
    )
