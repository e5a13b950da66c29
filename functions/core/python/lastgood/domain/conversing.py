"""What chat keeps of a restore that was asked for there, and what is told of it, and when."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from lastgood.domain.restoring import RestoreStatus

REFUSED = "refused"
"""The ``status`` of what clone_instance answers and announces when it makes nothing."""

MOST_MESSAGES = 5
REPLIES_FOR = timedelta(minutes=30)
"""What Slack takes at one response URL. Source: Slack, "Handling user interaction"."""
ON_THE_WAY = timedelta(seconds=15)
"""Of these, what a message may be under way."""
ANSWERED_BY = timedelta(seconds=4)
"""From when it was asked on: by then chat has answered, or has said that it does not know yet."""
KEPT_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """``reply_to``: where the messages about ``restore`` go, from ``since`` on. ``by``: who asked
    for the restore. ``answered``: chat said itself what became of it at first. ``said``: the ids of
    the announcements that were told, the latest of which was made at ``said_at``."""

    restore: str
    by: str
    reply_to: str
    since: datetime
    answered: bool = False
    said: tuple[str, ...] = ()
    said_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One announcement of how a restore goes. ``status``: a RestoreStatus, or ``refused``.
    ``what``: what it did or is, without its name; of a refusal, the whole reason. ``name``: by
    which the source was asked for. ``step``: the latest that began; empty before the first."""

    id: str
    at: datetime
    restore: str
    status: str
    what: str
    mode: str = ""
    name: str = ""
    step: str = ""

    @property
    def first(self) -> bool:
        """It says that the restore was opened or refused: what chat answers itself, if that is
        known in time."""
        return not self.step and self.status in (
            RestoreStatus.APPROVING,
            RestoreStatus.RUNNING,
            REFUSED,
        )

    @property
    def text(self) -> str:
        if self.status == REFUSED:
            return self.what
        return f"{self.restore} ({self.mode} of {self.name}) {self.what}"

    @property
    def goes_on(self) -> bool:
        """More will follow without anybody's doing."""
        return self.status in (RestoreStatus.RUNNING, RestoreStatus.UNDOING, RestoreStatus.ENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRefusal:
    """Somebody asked for what he may not have done. ``text``: what was asked for, cut short."""

    key: str
    at: datetime
    team: str
    person: str
    channel: str
    verb: str
    text: str
    why: str


def undecided(conversation: Conversation, progress: Progress, now: datetime) -> bool:
    """Chat may be about to say this itself."""
    return progress.first and not conversation.answered and now < conversation.since + ANSWERED_BY


def left_out(conversation: Conversation, progress: Progress, now: datetime) -> str | None:
    """Why this is not told; None if it is to be."""
    if progress.id in conversation.said:
        return "it was told before"
    if progress.first and conversation.answered:
        return "chat said so itself"
    if conversation.said_at and progress.at < conversation.said_at:
        return "something later was told already"
    if now > conversation.since + REPLIES_FOR - ON_THE_WAY:
        return "Slack takes messages for 30 minutes only"
    left = MOST_MESSAGES - len(conversation.said)
    if left <= 0:
        return f"Slack takes {MOST_MESSAGES} messages only"
    if left == 1 and progress.goes_on:
        return "the last message is kept for the end"
    return None
