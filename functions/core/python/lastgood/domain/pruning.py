"""What to delete of a source's points, by their verdicts and what is in the way."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from lastgood.domain.copying import CopyStatus, PointCopy, place_of
from lastgood.domain.mending import GONE_AFTER
from lastgood.domain.model import Hold, MemberState, Point, PointStatus, Source, Tagged
from lastgood.domain.place import Place
from lastgood.domain.policy import Encryption, MaxDeletes, Policy
from lastgood.domain.prune_plan import Fate, Obstacle, Obstacles, PointPlan, SourcePlan
from lastgood.domain.retention import PointFacts, Verdict, floor, newest_first
from lastgood.domain.tags import COPY_OF, HOLD, in_place

AVAILABLE = PointStatus.AVAILABLE


def facts(
    point: Point, *, hold: Hold | None, tags: Mapping[str, str], locked: Mapping[str, str]
) -> PointFacts:
    """For the judge. ``hold``: of its source. ``tags``: of its snapshots, as EC2 has them now.
    ``locked``: by snapshot, how."""
    protections = [f"{one} is {locked[one]}" for one in point.snapshots if one in locked]
    if hold:
        protections.insert(0, f"its source is {hold}")
    if held := point.hold or hold_of(tags, point.slot):
        protections.insert(0, str(held))
    return PointFacts(
        id=point.id,
        taken_at=point.taken_at or point.slot,
        status=point.status,
        tags=tags,
        protections=tuple(protections),
    )


def hold_of(tags: Mapping[str, str], at: datetime) -> Hold | None:
    """What the tag says that anybody may put on a snapshot."""
    return Hold.of_tag(tags[HOLD], at) if HOLD in tags else None


def lost(point: Point, found: Sequence[Tagged], now: datetime) -> str | None:
    """Why an AVAILABLE point cannot be restored any more, if so: somebody has deleted snapshots of
    it. ``found``: those with its tag that EC2 shows.

    What was encrypted in place meanwhile is not lost: who read ``point`` before may look for its
    members after that.
    """
    if point.status is not AVAILABLE or now - (point.settled_at or point.slot) < GONE_AFTER:
        return None
    replaced = {one.tags.get(COPY_OF) for one in found if in_place(one.tags) and is_complete(one)}
    gone = set(point.snapshots) - {one.member.snapshot for one in found} - replaced
    if not gone:
        return None
    return f"{len(gone)} of its {len(point.snapshots)} snapshots are not in EC2 any more"


def is_complete(one: Tagged) -> bool:
    return one.member.state is MemberState.COMPLETED


def newest(points: Iterable[Point], at_least: int, now: datetime) -> set[str]:
    """The ids of the points of one source that a plan may never delete: see ``Retention``. None of
    ``points`` is lost."""
    plain = (facts(one, hold=None, tags={}, locked={}) for one in points)
    return {one.id for one in floor(newest_first(plain), at_least, now)}


def missing_copies(
    policy: Policy,
    point: Point,
    copies: Sequence[PointCopy],
    since: Mapping[Place, datetime],
) -> Obstacles:
    """What the policy asks for and is not available yet, of an available point. ``copies``: those
    of the point that are on record. ``since``: when the policy began to ask for copies in a place:
    of points from before then there are none, and none is required. Encryption is, of all."""
    if point.status is not AVAILABLE:
        return {}
    known = {one.place: one for one in copies}
    wanted = [place_of(one, point.source.account) for one in policy.copies]
    if policy.encryption is Encryption.REQUIRED and point.plain:
        return {Obstacle.COPY: _unencrypted(point, known)}
    missing = []
    for place in wanted:
        copy = known.get(place)
        # What was there, and went by its own retention, has had its time.
        if copy is None:
            if (point.settled_at or point.slot) >= since.get(place, point.slot):
                missing.append(f"its copy to {place} is required, and not begun")
        elif copy.status not in (CopyStatus.AVAILABLE, CopyStatus.EXPIRED, CopyStatus.DELETED):
            why = f": {copy.cause}" if copy.cause else ""
            missing.append(f"its copy to {place} is required, and {copy.status}{why}")
    missing += [
        f"it is being copied to {one.place}"
        for one in copies
        if one.status is CopyStatus.COPYING and one.place not in wanted
    ]
    return {Obstacle.COPY: "; ".join(missing)} if missing else {}


def _unencrypted(point: Point, known: Mapping[Place, PointCopy]) -> str:
    copy = known.get(point.source.place)
    why = f": {copy.cause}" if copy and copy.cause else ""
    how = copy.status if copy else "not begun"
    return f"its members are to be encrypted first, and that is {how}{why}"


def plan_source(
    source: Source,
    points: Iterable[Point],
    verdicts: Sequence[Verdict],
    obstacles: Mapping[str, Obstacles],
    cap: MaxDeletes,
) -> SourcePlan:
    """``obstacles``: by point, of those that the rules free."""
    by_id = {one.id: one for one in points}
    planned = tuple(_planned(by_id[one.point.id], one, obstacles) for one in verdicts)
    available = [one for one in planned if one.status is AVAILABLE]
    going = sum(one.fate is Fate.DELETE for one in available)
    return SourcePlan(source=source, points=planned, over_share=going > cap.share * len(available))


def _planned(point: Point, verdict: Verdict, obstacles: Mapping[str, Obstacles]) -> PointPlan:
    blocked_by = {} if verdict.keep else obstacles.get(point.id, {})
    return PointPlan(
        id=point.id,
        status=point.status,
        taken_at=verdict.point.taken_at,
        snapshots=point.snapshots,
        gib=point.gib,
        fate=Fate.KEEP if verdict.keep else Fate.BLOCKED if blocked_by else Fate.DELETE,
        reasons=verdict.reasons,
        blocked_by=blocked_by,
        lost=verdict.point.lost is not None,
    )
