"""Whether the next copy of a source will be incremental, and why.

Source: EBS User Guide, "Copy an Amazon EBS snapshot", "Incremental snapshot copying": it is, if the
volume was copied to the same Region and account before, the newest of those copies is still there
and not archived, and all are under one key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lastgood.domain.copying import CopyStatus, PointCopy
from lastgood.domain.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class NextCopy:
    """``incremental``: of all volumes. ``gib``: of the volumes that go whole, or, if none does, of
    all: at most so much is sent, since nobody tells what has changed."""

    place: str
    incremental: bool
    why: str
    gib: int


def next_copy(
    place: Place,
    key: str | None,
    volumes: Mapping[str, int],
    copies: Iterable[PointCopy],
    broken: Mapping[str, str] | None = None,
) -> NextCopy:
    """``key``: that the next copy is asked for. ``volumes``: of the source, with their GiB.
    ``copies``: of the source in the place, newest first. ``broken``: by copy, why it counts for
    nothing."""
    newest = next((one for one in copies if one.status is CopyStatus.AVAILABLE), None)
    if newest is None:
        return _full(place, "no copy of it is there yet", volumes)
    day = f"{newest.taken_at:%Y-%m-%d}"
    if why := (broken or {}).get(newest.id):
        return _full(place, f"of the newest copy there, of {day}, {why}", volumes)
    if newest.key != key:
        before, after = newest.key or "the Region's own key", key or "the Region's own key"
        why = f"the newest copy there, of {day}, is under {before}, and the next under {after}"
        return _full(place, why, volumes)
    known = {one.volume for one in newest.members}
    new = {volume: gib for volume, gib in volumes.items() if volume not in known}
    if new:
        return _full(place, f"{', '.join(sorted(new))} was not copied there before", new)
    return NextCopy(
        place=str(place),
        incremental=True,
        why=f"to the newest copy there, of {day}",
        gib=sum(volumes.values()),
    )


def _full(place: Place, why: str, volumes: Mapping[str, int]) -> NextCopy:
    return NextCopy(place=str(place), incremental=False, why=why, gib=sum(volumes.values()))
