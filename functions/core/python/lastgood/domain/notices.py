"""What people are told, and in which words: what, where, since when, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lastgood.domain.model import Failure, PointStatus, Run, SourceRecord
from lastgood.domain.names import instant
from lastgood.domain.policy import Policy, duration_text

MOST_NAMED = 20
"""Lines of one notice that name something one by one; beyond that they are counted."""

MOST_CHARACTERS = 200
"""Of a cause: SNS takes 256 KiB, a person less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """``key`` tells a repeat. ``subject`` is ASCII of at most 100 characters (SNS, Publish)."""

    key: str
    subject: str
    text: str


def run_key(run: Run) -> str:
    return f"run#{run.id}"


def run_ended(run: Run, failures: Sequence[Failure]) -> Notice:
    """Of a run that ended ``partial`` or ``failed``, or that never will: which sources, and why."""
    problems = run.planned.problems if run.planned else ()
    failed = run.ended.get(PointStatus.FAILED, 0)
    good = run.ended.get(PointStatus.AVAILABLE, 0)
    unheard = run.planned.points - good - failed if run.planned and not run.over else 0
    came = "ended" if run.over else "does not end"
    lines = [
        f"The run of policy {run.policy} for {_readable(run.slot)} {came}: {run.status}.",
        f"{good} recovery points are available, {failed} failed.",
        *(
            [f"{unheard} were never heard of: see the dead letters of lastgood-create-snapshots."]
            if unheard > 0
            else []
        ),
        "",
        *_named(
            [f"{one.source.id} in {one.source.region}: {_short(one.cause)}" for one in failures],
            failed,
        ),
        *(f"Not planned: {_short(problem)}" for problem in problems),
        "",
        "What to do: mend the cause, then take the failed ones again, each with",
        _take_again(run.policy),
        f"Run: {run.id}",
    ]
    return Notice(
        key=run_key(run),
        subject=f"Lastgood: {run.policy} {run.slot:%Y-%m-%d %H:%M}Z {run.status}, {failed} failed",
        text="\n".join(lines),
    )


def past_rpo(policy: Policy, overdue: Sequence[SourceRecord], now: datetime) -> Notice:
    """Of sources without an available point for longer than ``rpo``; one notice a day."""
    rpo = policy.rpo or timedelta(0)
    lines = [
        f"{len(overdue)} sources of policy {policy.name} have no recovery point that is younger "
        f"than {duration_text(rpo)}, as the policy's rpo wants.",
        "",
        *_named(
            [
                f"{one.source.id} in {one.source.region}: "
                + (f"last good {_readable(one.last_available)}" if one.last_available else "never")
                for one in overdue
            ],
            len(overdue),
        ),
        "",
        "What to do: look why in the policy's last runs (notices, dead letters of",
        "lastgood-create-snapshots), mend it, and take a point of each now, with",
        _take_again(policy.name),
    ]
    return Notice(
        key=f"rpo#{policy.name}#{now:%Y-%m-%d}",
        subject=f"Lastgood: {len(overdue)} sources of {policy.name} are past their rpo",
        text="\n".join(lines),
    )


def caught_up(policy: str, slot: datetime, now: datetime) -> Notice:
    """Of a slot that no schedule had started."""
    return Notice(
        key=f"slot#{policy}#{instant(slot)}",
        subject=f"Lastgood: {policy} was not started at {slot:%Y-%m-%d %H:%M} UTC",
        text="\n".join(
            [
                f"The slot {_readable(slot)} of policy {policy} was started by no schedule. "
                f"The sweep has started it at {_readable(now)}: its points hold the data of now.",
                "",
                "On the day when clocks go forward this is as it should be, for a local time that "
                "does not exist.",
                "What to do otherwise: see that the schedules are there and enabled, with",
                "  aws scheduler list-schedules --group-name lastgood",
                "and look into the dead letters of lastgood-plan-snapshots.",
            ]
        ),
    )


def _take_again(policy: str) -> str:
    """For both versions of the AWS CLI, in bash."""
    return (
        "  aws lambda invoke --function-name lastgood-plan-snapshots --cli-read-timeout 0 "
        f"""--payload fileb://<(echo '{{"policy": "{policy}", "source": "<id>"}}') answer.json"""
    )


def _named(lines: Sequence[str], count: int) -> list[str]:
    shown = [f"- {line}" for line in lines[:MOST_NAMED]]
    return [*shown, *([f"- and {count - len(shown)} more"] if count > len(shown) else [])]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 3]}..."


def _readable(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
