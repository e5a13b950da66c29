"""What people are told, and in which words: what, where, since when, what to do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lastgood.domain.model import Failure, PointStatus, Run, SourceRecord
from lastgood.domain.names import instant
from lastgood.domain.policy import MaxDeletes, Policy, duration_text
from lastgood.domain.prune_plan import PlanStatus, PrunePlan

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


def prune_stopped(plan: PrunePlan, cap: MaxDeletes, place: str) -> Notice:
    """Of a plan that is over the cap, as a whole or for some sources."""
    totals = plan.totals
    stopped = plan.status is PlanStatus.STOPPED
    what = f"{totals.going} points" if stopped else f"{totals.sources_over_share} sources"
    lines = [
        *(
            [
                f"{totals.going} recovery points of policy {plan.policy} are free to go, and its "
                f"max_deletes.count allows {cap.count} in one run. None was deleted."
            ]
            if stopped
            else []
        ),
        *(
            [
                f"Of {totals.sources_over_share} sources more than {cap.share:.0%} of their points "
                f"would go, which is more than max_deletes.share allows: {totals.over_share} "
                "points. None of these was deleted."
            ]
            if totals.sources_over_share
            else []
        ),
        f"Planned at {_readable(plan.made_at)}.",
        "",
        "This is as it should be after a change of the retention, or when pruning was off for a "
        "while. If it is not, correct the retention before you approve anything.",
        "",
        "What to do: look at the plan, with",
        f"  aws s3 cp --recursive {place} {plan.id}",
        "and if all of it shall go, within a week, approve it, with",
        _invoke("lastgood-prune-snapshots", {"plan": plan.id, "by": "<your name>"}),
        "or raise max_deletes in policies.yaml and deploy.",
        "Nothing happens if you do nothing: the next prune plans anew.",
    ]
    return Notice(
        key=f"prune#{plan.id}",
        subject=f"Lastgood: pruning of {plan.policy} stopped, {what} over its cap",
        text="\n".join(lines),
    )


def unmanaged(policy: str, points: int, sources: int, now: datetime) -> Notice:
    """Of a policy that was taken out of the file, or renamed; one notice a month."""
    return Notice(
        key=f"unmanaged#{policy}#{now:%Y-%m}",
        subject=f"Lastgood: {points} points of {policy}, which is not deployed, stay for ever",
        text="\n".join(
            [
                f"The policy {policy} is not deployed any more. It has left {points} recovery "
                f"points of {sources} sources, which nobody prunes: they are kept, and they cost.",
                "",
                f"What to do: put {policy} back into policies.yaml, without schedules if it shall "
                "take no more points, and deploy: then its retention holds for them again.",
                "There is no need to hurry: nothing is deleted meanwhile.",
            ]
        ),
    )


def _take_again(policy: str) -> str:
    return _invoke("lastgood-plan-snapshots", {"policy": policy, "source": "<id>"})


def _invoke(function: str, request: Mapping[str, str]) -> str:
    """For both versions of the AWS CLI, in bash."""
    return (
        f"  aws lambda invoke --function-name {function} --cli-read-timeout 0 "
        f"--payload fileb://<(echo '{json.dumps(request)}') answer.json"
    )


def _named(lines: Sequence[str], count: int) -> list[str]:
    shown = [f"- {line}" for line in lines[:MOST_NAMED]]
    return [*shown, *([f"- and {count - len(shown)} more"] if count > len(shown) else [])]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 3]}..."


def _readable(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
