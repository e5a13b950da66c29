"""What a schedule or a person may ask about pruning, and who answers it."""

from dataclasses import dataclass
from datetime import datetime

from lastgood.domain.policy import TagMatch
from lastgood.errors import MalformedMessage
from prune_snapshots.explaining import Explaining, Explanation
from prune_snapshots.holding import Holding, HoldReport
from prune_snapshots.planning import DailyReport, PruneReport, Pruning

ASKED = ("policy", "plan", "explain", "hold", "release")

Answer = DailyReport | PruneReport | Explanation | HoldReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """One of five, or none for all policies, as the daily schedule asks.

    ``policy``: prune it, or only plan it with ``dry_run``; ``slot``: when that was due, now if
    absent; both hold for all policies as well. ``plan``: apply that plan; with ``dry_run``, tell
    how far it is. ``explain``: a point or snapshot; ``allowed_sources``: only if its source has the
    tags of one of these. ``hold``, with ``by`` and ``why``, and
    ``release``: a point or source.
    """

    policy: str | None = None
    plan: str | None = None
    explain: str | None = None
    hold: str | None = None
    release: str | None = None
    dry_run: bool = False
    slot: datetime | None = None
    by: str | None = None
    why: str | None = None
    allowed_sources: tuple[TagMatch, ...] | None = None

    @property
    def asked(self) -> dict[str, str]:
        """Raises MalformedMessage: more than one thing is asked for, or a hold without reason."""
        asked = {name: value for name in ASKED if (value := getattr(self, name)) is not None}
        if len(asked) > 1:
            raise MalformedMessage(
                f"asks for {' and '.join(asked)} at once: give one of {', '.join(ASKED)}"
            )
        if self.hold is not None and not (self.by and self.why):
            raise MalformedMessage(
                'a hold needs "by" and "why": who wants it and what for, for whoever finds it'
            )
        if self.dry_run and (self.hold is not None or self.release is not None):
            raise MalformedMessage("there is no dry run of a hold or a release: leave it out")
        return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruner:
    pruning: Pruning
    holding: Holding
    explaining: Explaining

    def answer(self, request: PruneRequest) -> Answer:
        """Raises what the one that is asked does."""
        match request.asked:
            case {"policy": name}:
                return self.pruning.plan(name, request.slot, dry_run=request.dry_run)
            case {"plan": plan} if request.dry_run:
                return self.pruning.look(plan)
            case {"plan": plan}:
                return self.pruning.apply(plan, request.by)
            case {"explain": target}:
                return self.explaining.explain(target, request.allowed_sources)
            case {"hold": target}:
                return self.holding.hold(target, request.by or "", request.why or "")
            case {"release": target}:
                return self.holding.release(target)
            case _:
                return self.pruning.ask_for_all(request.slot, dry_run=request.dry_run)
