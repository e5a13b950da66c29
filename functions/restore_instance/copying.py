"""The snapshots of a point that is elsewhere are copied to where it is restored."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from lastgood.domain.model import MemberState, Tagged
from lastgood.domain.place import Place
from lastgood.domain.restoring import Piece, Restore, noted
from lastgood.domain.tags import COPY_OF, VOLUME, of_restore
from lastgood.errors import AlreadyDone, LimitReached, MadeInVain
from lastgood.ports import Compute, Machines, Patience
from lastgood.stepping import Advanced, Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """CopySnapshot has no token: what a call has made is found by its tags, and one that made
    nothing that can be seen is believed to have failed only when describes must show it."""

    walk: Walk
    at: Callable[[Place], Compute]
    machines: Callable[[str], Machines]
    patience: Patience

    def fetch(self, restore: Restore, now: datetime) -> Advanced:
        things = self.machines(restore.place.region).things_of(restore.id)
        copies = {one.tags[VOLUME]: one for one in things.snapshots if VOLUME in one.tags}
        for one in copies.values():
            if one.member.state is MemberState.ERROR:
                raise MadeInVain(
                    f"the copy of {one.tags.get(COPY_OF)} to {restore.place} failed: "
                    f"{one.member.cause or 'EC2 gives no reason'}"
                )
        missing = [one for one in restore.pieces if one.volume not in copies]
        if missing:
            tried = restore.attempted_at
            if tried is None or now - tried > self.patience.describes:
                restore = self._copy(self.walk.attempt(restore), missing)
            return Advanced(restore=restore)
        ids = [one.member.snapshot for one in copies.values()]
        restore = noted(restore, "snapshot", ids, now)
        if any(one.member.state is not MemberState.COMPLETED for one in copies.values()):
            return Advanced(restore=restore)
        return Advanced(restore=replace(restore, pieces=_here(restore, copies)), done=True)

    def _copy(self, restore: Restore, missing: list[Piece]) -> Restore:
        compute = self.at(restore.place)
        key = restore.request.overrides.kms_key
        tags = of_restore(restore.id, restore.point, temporary=True)
        for one in missing:
            try:
                compute.copy_snapshot(
                    one.taken_from,
                    restore.origin.region,
                    {**tags, VOLUME: one.volume, COPY_OF: one.taken_from},
                    key=key,
                    encrypted=one.encrypted or key is not None,
                    minutes=None,
                )
            except AlreadyDone as error:
                raise MadeInVain(str(error)) from error
            except LimitReached:
                # Other copies come to this Region; the next call of the step tries again.
                break
        return restore


def _here(restore: Restore, copies: dict[str, Tagged]) -> tuple[Piece, ...]:
    return tuple(
        replace(one, snapshot=copies[one.volume].member.snapshot) for one in restore.pieces
    )
