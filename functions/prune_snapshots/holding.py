"""Hold a point or all points of a source, and release them: in the ledger and as a tag."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lastgood.domain.copying import as_point
from lastgood.domain.model import Hold, Point
from lastgood.domain.place import Place
from lastgood.domain.tags import HOLD
from lastgood.errors import UnknownTarget
from lastgood.ports import Clock, Compute, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReport:
    """``held``: whether it is held now. ``points``: those that were held or released, as they are
    listed."""

    target: str
    held: bool
    points: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    at: Callable[[Place], Compute]
    ledger: Ledger
    clock: Clock

    def hold(self, target: str, by: str, why: str) -> HoldReport:
        """In the ledger first: the tag is for people, and for a ledger that is lost.

        Raises:
            UnknownTarget: there is no such point, and no such source on record.
            Conflict: the point is being deleted.
        """
        hold = Hold(by=by, why=why, at=self.clock.now())
        points = self._points(target)
        if target.startswith("pt-"):
            self.ledger.hold(target, hold)
        else:
            self.ledger.hold_source(target, hold)
        for compute, snapshots in self._snapshots(points):
            compute.tag_snapshots(snapshots, HOLD, hold.tag)
        return HoldReport(
            target=target,
            held=True,
            points=tuple(one.id for one in points),
            note=f"{hold}. It counts for no rule, and stays until it is released",
        )

    def release(self, target: str) -> HoldReport:
        """The tags first: who dies in between leaves it held. What is held twice stays held, and
        a tag that we did not put stays.

        Raises:
            UnknownTarget: there is no such point, and no such source that has points or is held.
        """
        points = self._points(target, held=True)
        if target.startswith("pt-"):
            other = self.ledger.source_holds([points[0].source.id]).get(points[0].source.id)
            self._retag(points, points[0].hold, other)
            self.ledger.release_hold(target)
        else:
            hold = self.ledger.source_holds([target]).get(target)
            for one in points:
                self._retag([one], hold, one.hold)
            self.ledger.release_source(target)
        still = self._still_held(target, points)
        return HoldReport(
            target=target,
            held=bool(still),
            points=tuple(one.id for one in points if one.id not in still),
            note="released" if not still else f"still held: {_told(still)}",
        )

    def _retag(self, points: Sequence[Point], hold: Hold | None, other: Hold | None) -> None:
        """The tag of the one hold goes, that of the other comes in its place."""
        for compute, snapshots in self._snapshots(points):
            if hold:
                compute.untag_snapshots(snapshots, HOLD, hold.tag)
            if other:
                compute.tag_snapshots(snapshots, HOLD, other.tag)

    def _snapshots(self, points: Iterable[Point]) -> Iterator[tuple[Compute, list[str]]]:
        """Those of the points, and of their copies, with where each are."""
        found: dict[Place, list[str]] = defaultdict(list)
        for one in points:
            found[one.source.place] += one.snapshots
            for copy in self.ledger.copies(one.id):
                found[copy.place] += as_point(copy).snapshots
                if copy.unmerged:
                    found[copy.place] += [member.of for member in copy.members]
        for where, snapshots in found.items():
            if snapshots:
                yield self.at(where), snapshots

    def _still_held(self, target: str, points: Sequence[Point]) -> dict[str, str]:
        """By point, why."""
        sources = {one.source.id for one in points} - {target}
        by_source = self.ledger.source_holds(sources)
        still = {}
        for place in {one.source.place for one in points}:
            ids = [one.id for one in points if one.source.place == place]
            found = self.at(place).snapshots_of_points(ids)
            for one in points:
                own = None if one.id == target else one.hold
                every = [tagged.tags for tagged in found.get(one.id, ())]
                tags = [tags[HOLD] for tags in every if HOLD in tags]
                if hold := own or by_source.get(one.source.id):
                    still[one.id] = str(hold)
                elif tags:
                    still[one.id] = f"somebody put the tag {HOLD}={tags[0]} on it: take it off"
        return still

    def _points(self, target: str, *, held: bool = False) -> list[Point]:
        """``held``: a source without points will do, if it is held."""
        if target.startswith("pt-"):
            point = self.ledger.point(target)
            found = [point] if point else []
        else:
            found = list(self.ledger.points(target))
        if not found and not (held and self.ledger.source_holds([target])):
            raise UnknownTarget(
                f"there is no point, and no source with points, {target!r}: give the id of a point "
                "(pt-...), an instance (i-...) or a volume (vol-...)"
            )
        return found


def _told(still: Mapping[str, str]) -> str:
    """Each reason once, with how many points it is about."""
    counted = Counter(still.values())
    return "; ".join(f"{count} of {why}" if count > 1 else why for why, count in counted.items())
