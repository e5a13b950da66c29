"""The queue of take requests: take the point of one source for each."""

from functools import cache

from create_snapshots.usecase import Taker
from lastgood import runtime
from lastgood.domain.measures import Measure
from lastgood.domain.model import Point, PointStatus
from lastgood.domain.requests import TakeRequest
from lastgood.ports import Delivery


@cache
def taker() -> Taker:
    return Taker(
        at=runtime.at,
        ledger=runtime.ledger(),
        bus=runtime.bus(),
        clock=runtime.clock(),
        patience=runtime.patience(),
    )


@runtime.batch(runtime.message_of(TakeRequest), about=runtime.about_request)
def handler(request: TakeRequest, delivery: Delivery) -> Point:
    point = taker().take(request, delivery)
    if point.status is PointStatus.PENDING:
        runtime.measure(Measure.POINTS_CREATED, policy=point.policy)
    return point
