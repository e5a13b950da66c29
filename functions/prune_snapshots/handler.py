"""A schedule or a person: plan what to prune, apply a plan, explain a point, hold one."""

from functools import cache

from lastgood import runtime
from lastgood.domain.measures import Measure
from lastgood.domain.prune_plan import PlanStatus
from prune_snapshots.explaining import Explaining
from prune_snapshots.holding import Holding
from prune_snapshots.planning import DailyReport, PruneReport, Pruning
from prune_snapshots.usecase import Answer, Pruner, PruneRequest


@cache
def pruner() -> Pruner:
    policies, ledger, clock = runtime.policies(), runtime.ledger(), runtime.clock()
    series = runtime.series()
    return Pruner(
        pruning=Pruning(
            policies=policies,
            series=series,
            ledger=ledger,
            plans=runtime.plans(),
            queue=runtime.prune_queue(),
            pruners=runtime.pruners(),
            notices=runtime.notices(),
            clock=clock,
        ),
        holding=Holding(at=runtime.at, ledger=ledger, clock=clock),
        explaining=Explaining(
            policies=policies,
            series=series,
            ledger=ledger,
            clock=clock,
        ),
    )


@runtime.instrumented(PruneRequest, about=lambda request: request.asked)
def handler(request: PruneRequest) -> Answer:
    answer = pruner().answer(request)
    match answer:
        case PruneReport() if request.policy and not request.dry_run:
            _measure(answer)
        case DailyReport():
            for policy, count in answer.unmanaged.items():
                runtime.measure(Measure.POINTS_UNMANAGED, count, policy=policy)
        case _:
            pass
    runtime.logger.info("answered", by=request.by)
    return answer


def _measure(report: PruneReport) -> None:
    if report.status is PlanStatus.PLANNING:
        return
    stopped = report.status is PlanStatus.STOPPED or report.over_share > 0
    runtime.measure(Measure.POINTS_KEPT, report.keep, policy=report.policy)
    runtime.measure(Measure.PRUNES_STOPPED, int(stopped), policy=report.policy)
    for obstacle, count in report.blocked.items():
        runtime.measure(Measure.DELETES_BLOCKED, count, policy=report.policy, reason=obstacle.value)
