"""A schedule or a person: select the sources of a policy and ask for a point of each."""

from functools import cache

from lastgood import runtime
from plan_snapshots.usecase import Planner, PlanReport, PlanRequest


@cache
def planner() -> Planner:
    return Planner(
        policies=runtime.policies(),
        compute=runtime.compute,
        ledger=runtime.ledger(),
        queue=runtime.take_queue(),
        clock=runtime.clock(),
        account=runtime.settings().account,
        home_region=runtime.settings().region,
    )


@runtime.instrumented(PlanRequest)
def handler(request: PlanRequest) -> PlanReport:
    return planner().plan(request)
