"""The answers, as data and as text for people."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from lastgood.domain.choosing import Candidate, age
from lastgood.domain.launching import Launch
from lastgood.domain.model import Source
from lastgood.domain.names import instant
from lastgood.domain.restoring import (
    Compared,
    Evidence,
    Made,
    Restore,
    RestoreStatus,
    Step,
)

MOST_LISTED = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the ledger has of a restore: who asked for it and from where, what became of it, how
    long each step took, what of the clone is not as the original's, and the names of what is."""

    by: str
    via: str
    channel: str
    reason: str
    asked_at: datetime
    approved_by: str | None
    cancelled_by: str | None
    settled_at: datetime | None
    cause: str | None
    steps: tuple[Step, ...]
    made: tuple[Made, ...]
    compared: tuple[Compared, ...]
    same: tuple[str, ...]
    evidence: Evidence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``status``: of the restore; or ``planned`` (a dry run), ``refused``, ``listed``.

    ``makes``: what it will make or change. ``problems``: why it cannot be, each with the key of the
    request that it is about; ``error``: the name of the error that says so. ``text``: all of it,
    for people. ``record``: of one restore, when its status is asked for.
    """

    status: str
    text: str
    restore: str = ""
    mode: str = ""
    source: str = ""
    point: str = ""
    why: str = ""
    place: str = ""
    makes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    execution: str = ""
    approval: bool = False
    expires_at: datetime | None = None
    made: tuple[str, ...] = ()
    error: str = ""
    record: Record | None = None


def refused(problems: list[str], error: str) -> Answer:
    lines = "\n".join(f"- {one}" for one in problems)
    text = f"Nothing was made or changed:\n{lines}"
    return Answer(status="refused", problems=tuple(problems), error=error, text=text)


def planned(restore: Restore, notes: tuple[str, ...]) -> Answer:
    head = f"A dry run: this {restore.request.mode} can be made; nothing was made."
    return _answer(restore, "planned", head, makes=makes_of(restore), notes=notes, id_="")


def answer_of(
    restore: Restore,
    now: datetime,
    *,
    makes: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    execution: str = "",
) -> Answer:
    return _answer(
        restore,
        restore.status.value,
        _head(restore, now),
        makes=makes,
        notes=notes,
        id_=restore.id,
        execution=execution,
    )


def status_of(restore: Restore, now: datetime) -> Answer:
    answer, request = answer_of(restore, now), restore.request
    record = Record(
        by=request.asker.by,
        via=request.asker.via,
        channel=request.asker.channel,
        reason=request.reason,
        asked_at=restore.asked_at,
        approved_by=restore.approved_by,
        cancelled_by=restore.cancelled_by,
        settled_at=restore.settled_at,
        cause=restore.cause,
        steps=restore.steps,
        made=restore.made,
        compared=restore.compared,
        same=restore.same,
        evidence=restore.evidence,
    )
    return replace(answer, record=record, text="\n".join((answer.text, *_details(restore))))


def _details(restore: Restore) -> Iterator[str]:
    asker = restore.request.asker
    approved = f", approved by {restore.approved_by}" if restore.approved_by else ""
    yield f"asked for by {asker.by} by way of {asker.via}, {instant(restore.asked_at)}{approved}"
    took = [
        f"{one.name} {one.seconds:.0f} s{' (failed)' if one.failed else ''}"
        for one in restore.steps
        if one.seconds
    ]
    if took:
        yield f"took: {', '.join(took)}"
    if restore.evidence:
        proof = restore.evidence
        only = f"; {proof.only_status}" if proof.only_status else ""
        yield f"checked: {proof.status}{only}"
    if restore.compared:
        yield (f"{len(restore.same)} settings are the original's, {len(restore.compared)} are not:")
        for one in restore.compared:
            yield f"- {one.field}: {one.original} -> {one.clone} ({one.why})"


def _answer(
    restore: Restore,
    status: str,
    head: str,
    *,
    makes: tuple[str, ...],
    notes: tuple[str, ...],
    id_: str,
    execution: str = "",
) -> Answer:
    lines = [
        head,
        f"point {restore.point}, {restore.why}",
        *(f"- {one}" for one in makes),
        *(f"note: {one}" for one in notes),
    ]
    return Answer(
        status=status,
        text="\n".join(lines),
        restore=id_,
        mode=restore.request.mode.value,
        source=restore.source.id,
        point=restore.point,
        why=restore.why,
        place=str(restore.place),
        makes=makes,
        notes=notes,
        execution=execution,
        approval=restore.approval,
        expires_at=restore.expires_at,
        made=tuple(f"{one.kind} {one.id}" for one in restore.made if one.removed_at is None),
    )


def makes_of(restore: Restore) -> tuple[str, ...]:
    """What it will make or change, a line each."""
    return tuple(_makes_clones(restore.launch) if restore.launch else _makes_volumes(restore))


def _makes_volumes(restore: Restore) -> list[str]:
    made = [
        f"a volume {one.type} of {one.size_gib} GiB in {restore.zone} from the snapshot of "
        f"{one.piece}" + (f" ({one.device})" if one.device else "")
        for one in restore.disks
    ]
    if restore.attach:
        made += [
            f"it is attached to {restore.attach.instance} as {device}"
            for device in restore.attach.devices.values()
        ]
    plan = restore.in_place
    if plan is None:
        return made
    if plan.must_stop and plan.was_running:
        made.append(f"{plan.instance} is stopped, and started again")
    made.append(f"a recovery point of {plan.instance} as it is now, before anything is changed")
    for one in plan.swaps:
        how = "EC2 replaces it while the instance runs" if one.by_task else "swapped"
        kept = f"{one.old} is kept" if one.old else "nothing is there now"
        made.append(f"{one.device}: {how}; {kept}")
    return made


def _makes_clones(launch: Launch) -> list[str]:
    count = "an instance" if launch.count == 1 else f"{launch.count} instances"
    name = launch.tags.get("Name", "")
    first = launch.cards[0]
    lines = [
        f"{count} {launch.type} named {name} in {launch.zone}, {first.subnet}, "
        f"groups {', '.join(first.groups)}",
        *(
            f"{one.device}: {one.type} of {one.size_gib} GiB"
            + (f" under {one.kms_key}" if one.kms_key else "")
            for one in launch.disks
        ),
    ]
    if launch.image:
        lines.append(f"launched from {launch.image}, for its licence; its root is swapped then")
    return lines


def _head(restore: Restore, now: datetime) -> str:
    what = f"{restore.id}: {restore.request.mode} of {restore.source.id} in {restore.place}"
    if restore.status.forward and restore.cancelled_by:
        why = restore.cause or f"{restore.cancelled_by} cancelled it"
        return f"{what} is stopped, and what it made is removed: {why}"
    match restore.status:
        case RestoreStatus.APPROVING if restore.approved_by:
            return f"{what} is approved by {restore.approved_by}, and goes on"
        case RestoreStatus.APPROVING:
            return f"{what} waits for a second person to approve it (asked for by " + (
                f"{restore.request.asker.by})"
            )
        case RestoreStatus.RUNNING:
            step = restore.steps[-1].name if restore.steps else "about to begin"
            return f"{what} is under way since {age(now - restore.asked_at)}: {step}"
        case RestoreStatus.DONE:
            ends = f"; it ends {instant(restore.expires_at)}" if restore.expires_at else ""
            made = ", ".join(restore.ids("instance") or restore.ids("volume"))
            took = age((restore.settled_at or now) - restore.asked_at)
            return f"{what} is done after {took}: {made}{ends}"
        case RestoreStatus.UNDONE | RestoreStatus.UNDOING:
            left = (
                "nothing is left of it"
                if restore.status is RestoreStatus.UNDONE
                else ("what it made is being removed")
            )
            return f"{what} failed, and {left}: {restore.cause or 'no cause is known'}"
        case _:
            return f"{what} is {restore.status}"


def list_of(source: Source, every: list[Candidate], now: datetime) -> Answer:
    lines = [f"{source.id} in {source.place} has {len(every)} recovery points:"]
    for one in every[:MOST_LISTED]:
        where = ", ".join(place.region for place in one.places) or one.lacks
        if one.safety_of:
            where += f" (taken before {one.safety_of} changed the source)"
        lines.append(
            f"- {one.id} of {instant(one.taken_at)}, {age(now - one.taken_at)} ago: {where}"
        )
    if len(every) > MOST_LISTED:
        lines.append(f"and {len(every) - MOST_LISTED} older ones")
    return Answer(status="listed", source=source.id, text="\n".join(lines))
