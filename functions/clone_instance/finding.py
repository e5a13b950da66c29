"""Which source is meant, and which of its points there are."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from lastgood.domain import choosing
from lastgood.domain.choosing import Candidate, Chosen
from lastgood.domain.model import Source
from lastgood.domain.names import instant
from lastgood.domain.place import Place
from lastgood.domain.policy import Mode, Policy, TagMatch
from lastgood.errors import CannotRestore, UnknownPolicy
from lastgood.ports import Ledger, Machines, Policies

OFFERED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``policy``: that of the newest point, if it is deployed still. ``every``: newest first.
    ``notes``: what a person should know who did not name it by its id."""

    source: Source
    policy: Policy | None
    every: list[Candidate]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """``here``: where the function is. ``alone``: it restores only there and from what is there,
    for the home Region may not answer."""

    ledger: Ledger
    policies: Policies
    machines: Callable[[str], Machines]
    here: Place
    alone: bool

    def find(self, text: str, region: str | None) -> Found:
        """``text``: an id or a Name. ``region``: where it is to be restored; None: where it was.

        Raises:
            CannotRestore: there is no such source, or several, or it is in another account.
        """
        sources, bearing = self._sources(text)
        found = [self.of_source(one, region) for one in sources]
        found = [one for one in found if one.every] or found
        live = [one for one in found if any(each.places for each in one.every)]
        if len(live or found) > 1:
            raise CannotRestore([_which(text, live or found)])
        if not found:
            raise CannotRestore(
                [
                    f"source: nothing with the id or Name {text!r} has a recovery point; see that "
                    "it is written so, and that a policy selects it"
                ]
            )
        one = (live or found)[0]
        if one.source.account != self.here.account:
            raise CannotRestore(
                [
                    f"source: {one.source.id} is in account {one.source.account}; restores are "
                    f"made in {self.here.account} only"
                ]
            )
        return replace(one, notes=_of_now(text, one.source, bearing))

    def of_source(self, source: Source, region: str | None) -> Found:
        points = list(self.ledger.points(source.id))
        policy = self.policy_of(points[0].policy) if points else None
        places = self._copy_places(source, region, policy)
        copies = [one for place in places for one in self.ledger.copies_of(source.id, place)]
        if policy is None and copies:
            policy = self.policy_of(copies[0].policy)
        safety = {
            one.in_place.safety_point: one.id
            for one in self.ledger.restores_of(source.id)
            if one.in_place and one.in_place.safety_point
        }
        every = choosing.candidates(points, copies, safety)
        if self.alone:
            every = [self._only_here(one) for one in every]
        return Found(source=source, policy=policy, every=every)

    def policy_of(self, name: str) -> Policy | None:
        """None: it is not deployed any more; its points stay."""
        try:
            return self.policies.get(name)
        except UnknownPolicy:
            return None

    def selects(self) -> tuple[TagMatch, ...]:
        """By which tags policies select what is in this account."""
        every = [one.policy.select for one in self.policies.all()]
        ours = [
            one.tags
            for one in every
            if any(place.account == self.here.account for place in one.places(self.here))
        ]
        return tuple(one for number, one in enumerate(ours) if one not in ours[:number])

    def approving(self, found: Found, mode: Mode) -> tuple[bool, tuple[str, ...]]:
        """Whether a second person must approve it: any policy that has points of the source may
        want that, and what one wants that is not deployed any more is not known. With a note, in
        that case."""
        names = dict.fromkeys(one.policy for one in found.every)
        known = {name: policy for name in names if (policy := self.policy_of(name))}
        unknown = dict.fromkeys(
            one.policy for one in found.every if one.places and one.policy not in known
        )
        if any(mode in policy.restores.approval for policy in known.values()):
            return True, ()
        return bool(unknown), tuple(
            f"a second person must approve it: the policy {name} of some of its points is not "
            "deployed any more, so what it says of that is not known"
            for name in unknown
        )

    def choose(self, found: Found, text: str, now: datetime) -> Chosen:
        zone = ZoneInfo(found.policy.retention.timezone if found.policy else "UTC")
        return choosing.choose(found.every, choosing.wish(text, zone), zone, now)

    def _sources(self, text: str) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
        """Those that are or were named so, and of them those that are now: a Name that a source
        once had may be another's since."""
        # A Name may begin so too.
        if text.startswith(("i-", "vol-")) and (known := self._by_id(text)):
            return (known,), ()
        named = self.ledger.named(text)
        if self.alone:
            return named, ()
        live = self.machines(self.here.region).instances_named(text)
        bearing = tuple(
            Source(id=one.id, region=self.here.region, account=self.here.account)
            for one in live
            if not one.gone
        )
        return tuple(dict.fromkeys((*named, *bearing))), bearing

    def _by_id(self, id_: str) -> Source | None:
        """By one of its points, or of its copies where points are gone."""
        point = next(self.ledger.points(id_), None)
        if point:
            return point.source
        copy = next(self.ledger.copies_of(id_, self.here), None)
        return copy.source if copy else None

    def _copy_places(
        self, source: Source, region: str | None, policy: Policy | None
    ) -> Iterable[Place]:
        wanted = {Place(region=region or self.here.region, account=self.here.account)}
        if policy and not self.alone:
            ways = policy.ways(self.here)
            wanted |= {to for start, to in ways if start == source.place}
        return sorted(one for one in wanted if one.account == self.here.account)

    def _only_here(self, one: Candidate) -> Candidate:
        places = tuple(place for place in one.places if place == self.here)
        lacks = "" if places else f"has no copy that is available in {self.here.region}"
        return replace(one, places=places, lacks=lacks)


def _of_now(text: str, meant: Source, bearing: tuple[Source, ...]) -> tuple[str, ...]:
    if not bearing or meant in bearing:
        return ()
    ids = ", ".join(one.id for one in bearing[:OFFERED])
    return (
        f"{text!r} is the Name of {ids} now, of which there is no recovery point: {meant.id} is "
        "meant, whose points have it",
    )


def _which(text: str, found: list[Found]) -> str:
    lines = [
        f"{one.source.id} (newest point {instant(one.every[0].taken_at)})"
        if one.every
        else one.source.id
        for one in found[:OFFERED]
    ]
    return f"source: {len(found)} have the Name {text!r}: {', '.join(lines)}; give the id of one"
