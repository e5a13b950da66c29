"""Every quarter of an hour: find what events missed, put it right, tell people of the rest."""

from functools import cache

from lastgood import runtime
from lastgood.domain.measures import Measure
from sweep.usecase import Sweeper, SweepReport, SweepRequest


@cache
def sweeper() -> Sweeper:
    return Sweeper(
        policies=runtime.policies(),
        at=runtime.at,
        ledger=runtime.ledger(),
        queue=runtime.take_queue(),
        planners=runtime.planners(),
        copies=runtime.copy_queue(),
        notices=runtime.notices(),
        machine=runtime.restore_machine(),
        bus=runtime.bus(),
        clock=runtime.clock(),
        patience=runtime.patience(),
        account=runtime.settings().account,
        home_region=runtime.settings().region,
    )


@runtime.instrumented(SweepRequest, about=lambda request: {"rebuild": request.rebuild})
def handler(request: SweepRequest) -> SweepReport:
    report, error = sweeper().sweep(request)
    runtime.measure(Measure.POINTS_IN_FLIGHT, report.in_flight)
    runtime.measure(Measure.POINTS_STUCK, report.stuck)
    runtime.measure(Measure.SURPLUS_REMOVED, report.surplus_removed)
    runtime.measure(Measure.POINTS_REBUILT, report.rebuilt)
    for policy, count in report.caught_up.items():
        runtime.measure(Measure.SLOTS_CAUGHT_UP, count, policy=policy)
    for policy, count in report.past_rpo.items():
        runtime.measure(Measure.SOURCES_PAST_RPO, count, policy=policy)
    for problem in report.problems:
        runtime.logger.warning(problem)
    runtime.logger.info("swept", in_flight=report.in_flight, cut_short=report.cut_short)
    if error is not None:
        raise error
    return report
