"""Hold a point or all points of a source, and release them: in the ledger and as a tag."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lastgood.domain.model import Hold, Point
from lastgood.domain.tags import HOLD
from lastgood.errors import UnknownTarget
from lastgood.ports import Clock, Compute, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReport:
    """``held``: whether it is held now. ``points``: those that it is about, as they are listed."""

    target: str
    held: bool
    points: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    compute: Callable[[str], Compute]
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
        for region, snapshots in _by_region(points).items():
            self.compute(region).tag_snapshots(snapshots, HOLD, hold.tag)
        return HoldReport(
            target=target,
            held=True,
            points=tuple(one.id for one in points),
            note=f"{hold}. It counts for no rule, and stays until it is released",
        )

    def release(self, target: str) -> HoldReport:
        """The tags first: who dies in between leaves it held. What is held twice stays held.

        Raises:
            UnknownTarget: as above.
        """
        points = self._points(target)
        if target.startswith("pt-"):
            source = points[0].source.id
            other = self.ledger.source_holds([source]).get(source)
            free = [] if other else points
            note = f"its source {source} is still {other}" if other else "released"
        else:
            free = [one for one in points if one.hold is None]
            still = len(points) - len(free)
            but = f", but for {still} points with a hold of their own" if still else ""
            note = f"released{but}"
        for region, snapshots in _by_region(free).items():
            self.compute(region).untag_snapshots(snapshots, HOLD)
        if target.startswith("pt-"):
            self.ledger.release_hold(target)
        else:
            self.ledger.release_source(target)
        return HoldReport(
            target=target,
            held=len(free) < len(points),
            points=tuple(one.id for one in free),
            note=note,
        )

    def _points(self, target: str) -> list[Point]:
        if target.startswith("pt-"):
            point = self.ledger.point(target)
            found = [point] if point else []
        else:
            found = list(self.ledger.points(target))
        if not found:
            raise UnknownTarget(
                f"there is no point, and no source with points, {target!r}: give the id of a point "
                "(pt-...), an instance (i-...) or a volume (vol-...)"
            )
        return found


def _by_region(points: Iterable[Point]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for one in points:
        found[one.source.region] += one.snapshots
    return {region: snapshots for region, snapshots in found.items() if snapshots}
