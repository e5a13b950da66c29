"""A point of the source as it is, before a restore in place changes anything."""

from dataclasses import dataclass, replace
from datetime import datetime

from lastgood.domain import names
from lastgood.domain.model import Hold, Method, Planned, PointStatus, Run
from lastgood.domain.requests import TakeRequest
from lastgood.domain.restoring import SAFETY, STEPS, Restore
from lastgood.errors import MadeInVain
from lastgood.ports import Ledger, Queue
from lastgood.stepping import Advanced


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyPoints:
    """It is a point like any other, of the same policy, with the time of the step as its slot: the
    restore may have waited for approval for long. Held until the volumes that were taken out go."""

    ledger: Ledger
    queue: Queue

    def take(self, restore: Restore, now: datetime) -> Advanced:
        plan = restore.in_place
        if plan is None:
            return Advanced(restore=restore, done=True)
        step = restore.step(STEPS["safety"])
        began = step.began_at if step else now
        # The slots of policies are whole minutes; theirs and this are never the same point.
        slot = began.replace(second=max(began.second, 1), microsecond=0)
        id_ = plan.safety_point
        if id_ is None:
            id_ = names.point_id(restore.policy, slot, restore.source.id)
            self._ask(restore, id_, slot, now)
            return Advanced(restore=replace(restore, in_place=replace(plan, safety_point=id_)))
        point = self.ledger.point(id_)
        if point is None or point.status is PointStatus.CREATING:
            return Advanced(restore=restore)
        if point.status is PointStatus.FAILED:
            raise MadeInVain(f"the safety point {id_} failed: {point.cause}")
        # Its snapshots have the data of this instant, complete or not.
        why = f"{restore.id} changed {restore.source.id} after it"
        self.ledger.hold(id_, Hold(by=SAFETY, why=why, at=now))
        return Advanced(restore=restore, done=True)

    def _ask(self, restore: Restore, id_: str, slot: datetime, now: datetime) -> None:
        """With a run of its own, so that it is seen where points are."""
        run = names.run_id(restore.policy, slot, restore.source.id)
        self.ledger.open_run(
            Run(id=run, policy=restore.policy, slot=slot, started_at=now, source=restore.source.id)
        )
        self.ledger.plan_run(run, Planned(at=now, points=1, regions=(restore.source.region,)))
        self.queue.send(
            [
                TakeRequest(
                    point=id_,
                    policy=restore.policy,
                    run=run,
                    slot=slot,
                    source=restore.source,
                    method=Method.SET,
                    planned_at=now,
                    notes=(f"taken before {restore.id} changed it in place",),
                    bare=True,
                )
            ]
        )
