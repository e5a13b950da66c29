"""Points that became available, and of which whoever copies them has not heard."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile

from lastgood.domain.copying import place_of
from lastgood.domain.model import Point, PointStatus, Source
from lastgood.domain.policy import Encryption, Policy
from lastgood.ports import Bus, Ledger
from sweep.progress import Progress

WINDOW = timedelta(days=30)
"""How old a slot may be: so long may whoever copies have been away. But a policy asks for all to be
encrypted, if for any."""

HEARD = timedelta(hours=1)
"""By when a copy that waits for a slot, too, is on record."""


@dataclass(frozen=True, slots=True)
class Reminding:
    ledger: Ledger
    bus: Bus

    def remind(self, policy: Policy, progress: Progress) -> None:
        """Announce again each point of the last days that is to be copied, and of any age that is
        to be encrypted, of which a copy is not on record."""
        if not policy.copies and policy.encryption is not Encryption.REQUIRED:
            return
        for record in self.ledger.sources(policy.name):
            if progress.out_of_time():
                return
            for point in self._unheard(policy, record.source, progress):
                self.bus.announce(point, repeat=True)
                progress.done["reminded"] += 1

    def _unheard(self, policy: Policy, source: Source, progress: Progress) -> Iterator[Point]:
        since = progress.now - WINDOW
        required = policy.encryption is Encryption.REQUIRED
        every = self.ledger.points(source.id)
        ready = [
            one
            for one in (every if required else takewhile(lambda one: one.slot > since, every))
            if one.policy == policy.name
            and one.status is PointStatus.AVAILABLE
            and progress.now - (one.settled_at or one.slot) > HEARD
        ]
        plain = [one for one in ready if required and one.plain]
        yield from self._unencrypted(plain)
        ready = [one for one in ready if one not in plain and one.slot > since]
        if not ready:
            return
        begun = [
            {one.point for one in takewhile(lambda one: one.slot > since, every)}
            for every in (
                self.ledger.copies_of(source.id, place_of(one, source.account))
                for one in policy.copies
            )
        ]
        for point in ready:
            if not all(point.id in some for some in begun):
                yield point

    def _unencrypted(self, points: list[Point]) -> Iterator[Point]:
        """Of one source, those of which no encrypted copy is on record."""
        if points:
            source = points[0].source
            begun = {one.point for one in self.ledger.copies_of(source.id, source.place)}
            yield from (one for one in points if one.id not in begun)
