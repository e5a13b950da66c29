"""Items of the ledger's table, to and from the domain's values."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from lastgood.codec import structure, unstructure
from lastgood.domain.copying import PointCopy
from lastgood.domain.model import (
    Change,
    Claim,
    Doubt,
    Member,
    Outcome,
    Point,
    PointStatus,
    Proof,
    Run,
    Source,
)
from lastgood.domain.names import shard
from lastgood.domain.place import Place
from lastgood.domain.prune_plan import PLAN_FOR, PrunePlan
from lastgood.domain.restoring import Restore
from lastgood.ledger import keys

T = TypeVar("T")
Item = dict[str, Any]

_write = TypeSerializer().serialize
_read = TypeDeserializer().deserialize

FAILED_FOR = timedelta(days=90)
"""How long the record of a failed point stays. Snapshots that it may have keep its tags."""
LEAD_FOR = timedelta(days=90)
"""A lead is of use until its point is settled."""
RUN_FOR = timedelta(days=400)
"""A yearly policy's last run can still be seen when the next is due."""
DELETED_FOR = RUN_FOR
"""How long one can ask what became of a point, and why."""
COPY_DELETED_FOR = timedelta(days=3_653)
"""Ten years: as long as its point may be kept, which waits for no copy that was there once."""
RESTORE_FOR = RUN_FOR
"""How long one can ask what became of a restore, once there is nothing to do. What keeps a point
from being deleted goes then at the latest: no restore is made for so long."""
CHAT_REFUSED_FOR = RUN_FOR
NOTICE_FOR = RUN_FOR
"""As long as a run that people were told of: a policy's newest run is looked at however old."""


def to_item(plain: Mapping[str, Any]) -> Item:
    """In DynamoDB's notation, without the attributes that are None."""
    return {name: _write(value) for name, value in plain.items() if value is not None}


def value(one: Any) -> Any:
    """In DynamoDB's notation: a value of the domain, a list of such, or a plain one."""
    return _write(unstructure(one))


def from_item(type_: type[T], item: Item) -> T:
    """A value of ``type_``. Attributes that it does not have (keys, index keys) are passed over."""
    names = {one.name for one in fields(type_)}  # type: ignore[arg-type]
    return structure({key: _read(item[key]) for key in item.keys() & names}, type_)


def expires(at: datetime, after: timedelta) -> int:
    """For DynamoDB's TTL: seconds since 1970."""
    return int((at + after).timestamp())


def point(one: Point) -> Item:
    flight = {} if one.status.settled else {"flight": keys.flight(shard(one.id, keys.SHARDS))}
    return to_item(
        {
            **keys.point(one.id),
            **unstructure(one),
            **flight,
            "listed": keys.points_of(one.source.id),
            "at": keys.by_slot(one.slot, one.id),
        }
    )


def first_claim(claim: Claim) -> Point:
    """The point as its first claim writes it: an attempt is taken to follow."""
    return Point(
        id=claim.id,
        policy=claim.policy,
        run=claim.run,
        slot=claim.slot,
        source=claim.source,
        method=claim.method,
        status=PointStatus.CREATING,
        claimed_at=claim.at,
        owner=claim.owner,
        lease_until=lease_end(claim),
        attempted_at=claim.at,
        history=(Change(at=claim.at, status=PointStatus.CREATING, reason="claimed"),),
    )


def given_up(claim: Claim, outcome: Outcome) -> Point:
    """A point that was never claimed, as FAILED."""
    return replace(
        first_claim(claim),
        status=outcome.status,
        owner=None,
        lease_until=None,
        attempted_at=None,
        settled_at=outcome.at,
        cause=outcome.cause,
        history=(settled(outcome),),
    )


def doubt(one: Doubt) -> Item:
    """Under names that the index of what is in flight holds."""
    return to_item(
        {
            **keys.doubt(one.point),
            "flight": keys.DOUBT,
            "at": keys.by_slot(one.since, one.point),
            "id": one.point,
            "claimed_at": unstructure(one.since),
        }
    )


def read_doubt(item: Item) -> Doubt:
    return Doubt(point=_read(item["id"]), since=datetime.fromisoformat(_read(item["claimed_at"])))


def copy(one: PointCopy) -> Item:
    """Like a point, one that is DELETED is listed no more, and goes by itself; one MERGED, too."""
    waits = {"flight": keys.copies_to(one.place)} if one.open else {}
    listed = keys.copies_of(one.source.id, one.place)
    gone = not one.status.listed
    return to_item(
        {
            **keys.copy(one.point, one.place),
            **unstructure(one),
            **waits,
            "listed": None if gone else listed,
            "at": keys.by_turn(*one.turn),
            "ttl": expires(one.history[-1].at, COPY_DELETED_FOR) if gone else None,
        }
    )


def restore(one: Restore) -> Item:
    """While it is open, it is in flight; then it goes by itself."""
    told = (one.asked_at, one.settled_at, *(step.began_at for step in one.steps))
    return to_item(
        {
            **keys.restore(one.id),
            **unstructure(one),
            "listed": keys.restores_of(one.source.id),
            "at": keys.by_slot(one.asked_at, one.id),
            "flight": keys.RESTORES if one.open else None,
            "ttl": None if one.open else expires(max(filter(None, told)), RESTORE_FOR),
        }
    )


def restored_from(point: str, by: Iterable[str]) -> str:
    return f"{point} is being restored from, by {', '.join(sorted(by))}"


def not_available(restore: Restore) -> str:
    """Why it cannot be held for the restore."""
    copy = f"the copy in {restore.origin} of " if restore.from_copy else ""
    return f"{copy}{restore.point} is not available any more"


def proof(one: Proof) -> Proof:
    """In whole seconds, since conditions compare these times as texts."""
    return replace(one, at=one.at.replace(microsecond=0))


def name(of: str, source: Source, at: datetime) -> Item:
    noted = {"source": unstructure(source), "noted_at": unstructure(at)}
    return to_item({**keys.name(of, source.id), **noted})


def read_name(item: Item) -> Source:
    return structure(_read(item["source"]), Source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """Where a policy has copies, and since when; None: not any more."""

    place: Place
    since: datetime | None = None


def lease_end(claim: Claim) -> datetime:
    """In whole seconds, since conditions compare these times as texts."""
    return (claim.at + claim.lease).replace(microsecond=0) + timedelta(seconds=1)


def plan(one: PrunePlan) -> Item:
    return to_item({**keys.plan(one.id), **unstructure(one), "ttl": expires(one.made_at, PLAN_FOR)})


def settled(outcome: Outcome) -> Change:
    reason = outcome.cause or "every snapshot completed"
    return Change(at=outcome.at, status=outcome.status, reason=reason)


def exchange(before: Point, after: tuple[Member, ...], at: datetime) -> Change:
    """What the history says when a point gets other members."""
    pairs = zip(before.members, after, strict=True)
    told = (f"{new.snapshot} for {old.snapshot}" for old, new in pairs if new != old)
    return Change(at=at, status=before.status, reason=f"encrypted in place: {', '.join(told)}")


def run(one: Run) -> Item:
    plain = unstructure(one)
    del plain["ended"]  # counted in items of their own
    return to_item(
        {
            **keys.run(one.id),
            **plain,
            "listed": keys.runs_of(one.policy),
            "at": keys.by_slot(one.slot, one.id),
            "ttl": expires(one.started_at, RUN_FOR),
        }
    )


def counted_run(items: Iterable[Item], point: Callable[[str], Point | None]) -> Run | None:
    """A run from its partition: the run itself, its counts, and the points of other runs.

    One that is not on record any more had ended long ago, and is taken to have ended well.
    """
    found = None
    counts = dict.fromkeys((PointStatus.AVAILABLE, PointStatus.FAILED), 0)
    for item in items:
        sort = item["sk"]["S"]
        if sort == keys.RUN:
            found = from_item(Run, item)
        elif sort.startswith(keys.ELSEWHERE):
            other = point(sort.removeprefix(keys.ELSEWHERE))
            status = other.ended if other else PointStatus.AVAILABLE
            if status in counts:
                counts[status] += 1
        elif sort.startswith(keys.COUNT):
            for status in counts:
                counts[status] += int(item.get(status.value, {"N": "0"})["N"])
    return replace(found, ended=counts) if found else None
