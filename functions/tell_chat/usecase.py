"""How a restore goes, told in the conversation in which it was asked for."""

from dataclasses import dataclass

from lastgood.domain.conversing import ANSWERED_BY, Progress, left_out, undecided
from lastgood.domain.restoring import RestoreStatus
from lastgood.domain.slack_messages import buttons_for, message
from lastgood.errors import AlreadyDone, NotSettledYet
from lastgood.ports import Clock, Ledger, Replies

TOLD = "told"
NOT_CHAT = "it was not asked for in chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    ledger: Ledger
    replies: Replies
    clock: Clock

    def tell(self, progress: Progress) -> str:
        """``TOLD``, or why it was left out. Twice if this is killed in between.

        Raises:
            NotSettledYet: chat may be about to say the same.
            CallRefused: Slack does not take the message, which is a mistake of ours.
            Throttled, Unavailable: Slack does not take it now.
        """
        conversation = self.ledger.conversation(progress.restore)
        if conversation is None:
            return NOT_CHAT
        now = self.clock.now()
        if undecided(conversation, progress, now):
            raise NotSettledYet(
                f"chat may say itself what became of {progress.restore}",
                after=conversation.since + ANSWERED_BY - now,
            )
        why_not = left_out(conversation, progress, now)
        if why_not:
            return why_not
        shown = message(
            progress.text,
            restore=progress.restore,
            buttons=buttons_for(progress.status, progress.mode),
            for_all=progress.status in list(RestoreStatus),
        )
        try:
            self.replies.post(conversation.reply_to, shown)
        except AlreadyDone as done:
            return str(done)
        self.ledger.note_said(progress.restore, progress.id, progress.at)
        return TOLD
