"""A schedule or a person: select the sources of a policy and ask for a point of each."""

from functools import cache

from lastgood import runtime
from lastgood.domain.measures import Measure
from plan_snapshots.usecase import Planner, PlanReport, PlanRequest


@cache
def planner() -> Planner:
    return Planner(
        policies=runtime.policies(),
        at=runtime.at,
        ledger=runtime.ledger(),
        queue=runtime.take_queue(),
        planners=runtime.planners(),
        clock=runtime.clock(),
        account=runtime.settings().account,
        home_region=runtime.settings().region,
    )


@runtime.instrumented(
    PlanRequest, about=lambda request: {"policy": request.policy, "source": request.source}
)
def handler(request: PlanRequest) -> PlanReport:
    report = planner().plan(request)
    for left in report.left_out:
        runtime.logger.info(f"left out: {left.reason}", run=report.run, source=left.source.id)
    runtime.logger.info(
        f"{report.point_count} points asked for, {report.left_out_count} sources left out",
        run=report.run,
        dry_run=report.dry_run,
    )
    if report.dry_run:
        return report
    for kind, count in report.left_out_kinds.items():
        runtime.measure(Measure.SOURCES_LEFT_OUT, count, policy=report.policy, reason=kind)
    if report.carried_over:
        runtime.logger.info("another invocation goes on", regions=report.carried_over)
    else:
        runtime.measure(Measure.POINTS_PLANNED, report.point_count, policy=report.policy)
    return report
