"""The points of a policy's sources in one place: the originals, or the copies of them there.

Both are judged, planned and deleted alike, each by the retention of its place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from lastgood.domain import copying, lineage, pruning, tags
from lastgood.domain.copying import CopyStatus, PointCopy
from lastgood.domain.lineage import NextCopy
from lastgood.domain.model import Point, Source, Tagged
from lastgood.domain.names import point_id
from lastgood.domain.place import Place
from lastgood.domain.policy import Copy, Policy, Retention
from lastgood.domain.prune_plan import Obstacles
from lastgood.errors import Conflict
from lastgood.ports import Compute, Ledger

Found = Mapping[str, Sequence[Tagged]]
"""The snapshots with the tags of points, by point, as EC2 shows them."""


class Series(Protocol):
    """``place``: None for the originals, which are where their sources are."""

    @property
    def policy(self) -> Policy: ...

    @property
    def place(self) -> Place | None: ...

    @property
    def retention(self) -> Retention: ...

    @property
    def at(self) -> Callable[[Place], Compute]:
        """The EC2 of a place."""
        ...

    def points(self, source: Source) -> list[Point]:
        """Newest slot first."""
        ...

    def found(self, compute: Compute, points: Iterable[Point]) -> Found: ...

    def point_of(self, tagged: Tagged) -> str | None:
        """The id of the point of this series that a snapshot's tags name."""
        ...

    def missing_copies(self, point: Point, /) -> Obstacles: ...

    def next_copy(self, source: Source, broken: Mapping[str, str], /) -> NextCopy | None:
        """What is to be expected of the next one, if this is a place of copies. ``broken``: as in
        ``lineage.next_copy``."""
        ...

    def expire(self, point: Point, at: datetime, reason: str) -> Point:
        """As ``Ledger.expire``."""
        ...

    def deleted(self, point: Point, at: datetime) -> None:
        """As ``Ledger.deleted``."""
        ...


@dataclass(frozen=True, slots=True)
class Originals:
    policy: Policy
    ledger: Ledger
    at: Callable[[Place], Compute]
    since: Mapping[Place, datetime]
    place: None = None

    @property
    def retention(self) -> Retention:
        return self.policy.retention

    def points(self, source: Source) -> list[Point]:
        return [one for one in self.ledger.points(source.id) if one.policy == self.policy.name]

    def found(self, compute: Compute, points: Iterable[Point]) -> Found:
        return compute.snapshots_of_points(one.id for one in points)

    def point_of(self, tagged: Tagged) -> str | None:
        ours = tags.COPY not in tagged.tags or tags.in_place(tagged.tags)
        return tagged.tags.get(tags.POINT) if ours else None

    def missing_copies(self, point: Point) -> Obstacles:
        copies = self.ledger.copies(point.id)
        return pruning.missing_copies(self.policy, point, copies, self.since)

    def next_copy(self, _: Source, __: Mapping[str, str]) -> None:
        return None

    def expire(self, point: Point, at: datetime, reason: str) -> Point:
        return self.ledger.expire(point, at, reason)

    def deleted(self, point: Point, at: datetime) -> None:
        self.ledger.deleted(point.id, at)


@dataclass(frozen=True, slots=True)
class Copies:
    """Those that ``policy`` has in ``place``; ``home`` is that of the stack."""

    policy: Policy
    ledger: Ledger
    at: Callable[[Place], Compute]
    home: Place
    place: Place

    @property
    def wanted(self) -> Copy | None:
        """What the policy says of the place; None, if it named it only once."""
        here = {one.account: one for one in self.policy.copies if one.region == self.place.region}
        accounts = {one.account for one in self.policy.select.places(self.home)}
        of_source = here.get(None) if self.place.account in accounts else None
        return here.get(self.place.account, of_source)

    @property
    def retention(self) -> Retention:
        own = self.wanted.retention if self.wanted else None
        return own or self.policy.retention

    def points(self, source: Source) -> list[Point]:
        """With the holds of the points that they are copies of."""
        every = self.ledger.copies_of(source.id, self.place)
        ours = [one for one in every if one.policy == self.policy.name and not one.in_place]
        holds = {one.id: one.hold for one in self.ledger.points(source.id) if one.hold and ours}
        return [replace(copying.as_point(one), hold=holds.get(one.point)) for one in ours]

    def found(self, compute: Compute, points: Iterable[Point]) -> Found:
        found: dict[str, list[Tagged]] = {}
        operations = [f"{one.id}/{number}" for one in points for number in range(len(one.members))]
        for operation, some in compute.copies_made(operations).items():
            found.setdefault(operation.partition("/")[0], []).extend(some)
        return found

    def point_of(self, tagged: Tagged) -> str | None:
        operation = tagged.tags.get(tags.COPY)
        return operation.partition("/")[0] if operation else None

    def missing_copies(self, _: Point) -> Obstacles:
        return {}

    def next_copy(self, source: Source, broken: Mapping[str, str]) -> NextCopy | None:
        if self.wanted is None:
            return None
        every = self.ledger.copies_of(source.id, self.place)
        copies = [one for one in every if one.policy == self.policy.name]
        members = copies[0].members if copies else ()
        volumes = {one.volume: one.size_gib for one in members}
        return lineage.next_copy(self.place, self.wanted.kms_key, volumes, copies, broken)

    def expire(self, point: Point, at: datetime, reason: str) -> Point:
        copy = self._known(point)
        if copy.status is not CopyStatus.EXPIRED:
            if copying.as_point(copy).status is not point.status:
                raise Conflict(f"{copy.id} is {copy.status} now")
            self.ledger.change_copy(copy, copying.expired(copy, at, reason))
            copy = self._known(point)
        return copying.as_point(copy)

    def deleted(self, point: Point, at: datetime) -> None:
        copy = self._known(point)
        if copy.status is CopyStatus.EXPIRED:
            self.ledger.change_copy(copy, copying.deleted(copy, at))
        elif copy.status is not CopyStatus.DELETED:
            raise Conflict(f"{copy.id} is not expired")

    def _known(self, point: Point) -> PointCopy:
        of = point_id(point.policy, point.slot, point.source.id)
        copy = self.ledger.copy(of, self.place)
        if copy is None:
            raise Conflict(f"there is no copy {point.id}")
        return copy


@dataclass(frozen=True, slots=True)
class AllSeries:
    """``at`` gives the EC2 of a place; ``home`` is that of the stack."""

    ledger: Ledger
    at: Callable[[Place], Compute]
    home: Place

    def places(self, policy: Policy) -> list[Place]:
        """Those that the policy names, in its order."""
        return list(dict.fromkeys(to for _, to in policy.ways(self.home)))

    def of(self, policy: Policy, since: Mapping[Place, datetime]) -> list[Series]:
        """The originals, and then the copies in each of ``places``. ``since``: as in
        ``Ledger.copying_since``."""
        places = (None, *self.places(policy))
        return [self.within(policy, place, since) for place in places]

    def within(
        self, policy: Policy, place: Place | None, since: Mapping[Place, datetime]
    ) -> Series:
        """``place``: None for the originals."""
        if place is None:
            return Originals(policy, self.ledger, self.at, since)
        return Copies(policy, self.ledger, self.at, self.home, place)
