"""Points and copies that are not on record, written anew from the tags of their snapshots."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lastgood.domain import mending, tags
from lastgood.domain.model import Tagged
from lastgood.domain.place import Place
from lastgood.ports import Compute, Ledger, Patience
from sweep.progress import Progress


@dataclass(frozen=True, slots=True)
class Rebuilding:
    at: Callable[[Place], Compute]
    ledger: Ledger
    patience: Patience

    def rebuild(self, place: Place, progress: Progress, run: str | None = None) -> bool:
        """Rebuild what is missing of a place, or of a ``run`` in it whose record is lost: what of
        it has ended will count once it is planned again.

        False if not all could be: because time ran out, or because a snapshot is so young that
        describes may not show the others of its point yet.
        """
        complete = True
        for page in self.at(place).own_snapshots(run):
            if progress.out_of_time():
                return False
            ids = {one.tags[tags.POINT] for one in page.items if tags.POINT in one.tags}
            complete &= self._rebuild(place, ids - self.ledger.known(ids), progress)
            if run:
                self._count(run, ids, progress)
        return complete

    def _rebuild(self, place: Place, missing: set[str], progress: Progress) -> bool:
        complete = True
        # The snapshots of one point may be on several pages.
        for found in self.at(place).snapshots_of_points(missing).values():
            newest = max(one.member.started_at for one in found)
            if progress.now - newest < self.patience.lag:
                complete = False
                continue
            point = mending.rebuilt(
                found, region=place.region, account=place.account, now=progress.now
            )
            if point:
                # First, so that who is killed in between is not the last to know of it.
                if name := _name(found):
                    self.ledger.note_name(name, point.source, progress.now)
                progress.done["rebuilt"] += self.ledger.rebuild(point)
        return complete

    def rebuild_copies(self, place: Place, progress: Progress) -> None:
        """Of points that may be gone. One that is not whole is left alone: its point, if it is
        there still, is copied anew."""
        found: dict[str, list[Tagged]] = defaultdict(list)
        for page in self.at(place).own_snapshots():
            if progress.out_of_time():
                return
            for one in page.items:
                if tags.COPY in one.tags and not tags.in_place(one.tags):
                    found[one.tags[tags.COPY].partition("/")[0]].append(one)
        points = (some[0].tags.get(tags.POINT, "") for some in found.values())
        for missing in found.keys() - self.ledger.known_copies(points, place):
            newest = max(one.member.started_at for one in found[missing])
            copy = mending.rebuilt_copy(found[missing], place, progress.now)
            if copy and progress.now - newest >= self.patience.lag:
                # First, so that who is killed in between is not the last to know of the source.
                self.ledger.note_source(copy.policy, copy.source, progress.now)
                progress.done["rebuilt"] += self.ledger.open_copy(copy)

    def _count(self, run: str, ids: set[str], progress: Progress) -> None:
        for id_ in ids:
            point = self.ledger.point(id_)
            if point and point.status.settled:
                self.ledger.taken_elsewhere(run, id_, progress.now)


def _name(found: Sequence[Tagged]) -> str:
    """Of the source, if all snapshots bear the same: those of volumes with Names bear theirs."""
    names = {one.tags.get(tags.NAME, "") for one in found}
    return names.pop() if len(names) == 1 else ""
