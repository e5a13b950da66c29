"""What comes from Slack: proved to be Slack's and allowed, and only then handed over."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from lastgood.domain import slash
from lastgood.domain.chat_permissions import Verb, Verdict, may
from lastgood.domain.conversing import REFUSED, ChatRefusal, Conversation
from lastgood.domain.names import chat_request_id, restore_id
from lastgood.domain.slack_messages import (
    BUTTONS,
    EXTENDED_BY,
    Button,
    Message,
    buttons_for,
    message,
)
from lastgood.domain.slack_requests import (
    REMEMBERED,
    Asked,
    Bad,
    body_of,
    command_of,
    interaction_of,
    is_reply_url,
    out_of_time,
    signed,
    wrong_type,
)
from lastgood.domain.slash import Command, NotUnderstood
from lastgood.errors import (
    AlreadyDone,
    LastgoodError,
    MalformedMessage,
    NotPermitted,
    TryAgain,
    Unavailable,
    UnknownTarget,
)
from lastgood.ports import (
    Clock,
    Cloner,
    Explainer,
    Ledger,
    Permitted,
    Replies,
    SigningSecret,
)

ANSWER_WITHIN = timedelta(seconds=2.6)
"""From when the request came to AWS on, of the 3 seconds after which Slack says to the person that
it failed; the rest is the way there and back."""
REPLY_WITHIN = timedelta(seconds=0.5)
"""Of these, what a message to the response URL takes: of a button, Slack shows nothing else."""
PATIENCES = tuple(timedelta(seconds=one) for one in (2, 1.5, 1, 0.5))
"""How long an answer is waited for; few, since each needs a client of its own."""
LONGEST_RECORDED = 200

FAULT = (
    "Lastgood could not do that just now. Ask again in a minute: what was begun is not begun twice."
    " If it stays so, the logs of lastgood-chat say why."
)
NO = "Sorry, that is not for you to ask here: {why}. Whoever keeps chat.yaml can allow it."
PEOPLE = "slack:"
"""Before the id of a person, so that nobody else bears the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came. ``headers`` by their names in lower case. ``at``: when it came to AWS,
    before a new instance of the function was begun, if that had to be."""

    body: str | None
    is_base64: bool
    headers: Mapping[str, str]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """``message``: for who asked; None says nothing. ``refused``: why nothing was done, for the
    metric; ``asked``: what the log lines bear."""

    status: HTTPStatus = HTTPStatus.OK
    message: Message | None = None
    refused: str = ""
    asked: Mapping[str, str] | None = None
    error: LastgoodError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What is to be said, before it is known where."""

    text: str
    for_all: bool = False
    restore: str = ""
    buttons: tuple[Button, ...] = ()
    refused: str = ""
    done: bool = False
    error: LastgoodError | None = None

    def message(self, *, replace: bool = False) -> Message:
        return message(
            self.text,
            restore=self.restore,
            buttons=self.buttons,
            for_all=self.for_all,
            replace=replace,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """``hooks``: how every response URL begins."""

    permitted: Permitted
    secret: SigningSecret
    ledger: Ledger
    cloner: Callable[[timedelta], Cloner]
    explainer: Callable[[timedelta], Explainer]
    replies: Replies
    hooks: str
    clock: Clock

    def command(self, received: Received) -> Reply:
        """Of a slash command: the answer is the response itself."""
        asked = self._proved(received, command_of)
        if isinstance(asked, Reply):
            return asked
        said = self._heard(asked, slash.read(asked.text), received.at + ANSWER_WITHIN)
        return _reply(asked, said, said.message())

    def interaction(self, received: Received) -> Reply:
        """Of a button: the answer goes to the response URL, in place of the message that it is on
        if that is settled by it; Slack shows no response."""
        asked = self._proved(received, interaction_of)
        if isinstance(asked, Reply):
            return asked
        if asked.action not in BUTTONS:
            return Reply(status=HTTPStatus.BAD_REQUEST, refused="malformed")
        read = slash.of_button(asked.action, asked.value, EXTENDED_BY)
        until = received.at + ANSWER_WITHIN - REPLY_WITHIN
        said = self._heard(asked, read, until)
        settled = said.done and asked.action != Verb.EXTEND
        try:
            self.replies.post(asked.reply_to, said.message(replace=settled))
        except (AlreadyDone, TryAgain) as error:
            said = replace(said, error=said.error or error)
        return _reply(asked, said, None)

    # whose it is

    def _proved(self, received: Received, read: Callable[[bytes], Asked | Bad]) -> Asked | Reply:
        """What is asked, if Slack sent it now, for the first time, and of our workspace."""
        body = body_of(received.body, is_base64=received.is_base64)
        if isinstance(body, Bad):
            return _bad(body)
        headers, now = received.headers, self.clock.now()
        timestamp = headers.get("x-slack-request-timestamp", "")
        wrong = wrong_type(headers.get("content-type", "")) or out_of_time(timestamp, now)
        if wrong:
            return _bad(wrong)
        signature = headers.get("x-slack-signature", "")
        try:
            if not self._signed(timestamp, body, signature):
                return _bad(Bad(HTTPStatus.UNAUTHORIZED, "forged"))
            asked = read(body)
            if isinstance(asked, Asked) and not is_reply_url(asked.reply_to, self.hooks):
                asked = Bad(HTTPStatus.BAD_REQUEST, "response URL")
            if isinstance(asked, Bad):
                return _bad(asked)
            team = self.permitted.get().slack.team
            if asked.team != team:
                said = self._no(asked, None, "this is not the workspace that chat.yaml names")
                return _reply(asked, said, said.message())
            if not self.ledger.note_request(signature, now + REMEMBERED):
                return _bad(Bad(HTTPStatus.CONFLICT, "replayed"))
        except LastgoodError as error:
            # Who sent it may be anybody still, and learns nothing.
            return Reply(status=HTTPStatus.SERVICE_UNAVAILABLE, error=error)
        return asked

    def _signed(self, timestamp: str, body: bytes, signature: str) -> bool:
        if signed(self.secret.get(), timestamp, body, signature):
            return True
        renewed = self.secret.renewed()
        return renewed is not None and signed(renewed, timestamp, body, signature)

    # what becomes of it

    def _heard(self, asked: Asked, read: Command | NotUnderstood, until: datetime) -> _Said:
        if isinstance(read, NotUnderstood):
            return _Said(text=read.text)
        try:
            verdict = may(
                self.permitted.get(), person=asked.person, channel=asked.channel, verb=read.verb
            )
            if not verdict.allowed:
                return self._no(asked, read, verdict.why)
            if read.verb is Verb.HELP:
                return _Said(text=slash.HELP)
            return self._handed_over(asked, read, verdict, until)
        except LastgoodError as error:
            return _Said(text=FAULT, error=error)

    def _handed_over(self, asked: Asked, read: Command, verdict: Verdict, until: datetime) -> _Said:
        by = PEOPLE + asked.person
        if read.verb is Verb.APPROVE and self._asker(read.target) == by:
            return self._no(asked, read, "somebody else has to approve what you asked for")
        request = chat_request_id(asked.team, asked.trigger)
        payload: dict[str, Any] = {**read.payload, "by": by}
        if verdict.sources is not None:
            payload["allowed_sources"] = [
                {key: list(values) for key, values in one.items()} for one in verdict.sources
            ]
        if read.verb is Verb.EXPLAIN:
            return self._explained(asked, read, payload, until)
        payload |= {
            "via": "chat",
            "channel": asked.channel,
            "answer": "json",
        }
        if read.verb.opens:
            payload["request_id"] = request
        restore = restore_id(request) if read.verb.opens else read.target
        talk = Conversation(restore=restore, by=by, reply_to=asked.reply_to, since=self.clock.now())
        if read.verb.opens:
            # Before it is asked for: what is announced later finds where to go.
            self.ledger.converse(talk)
        try:
            answer = self.cloner(self._patience(until)).ask(payload)
        except Unavailable as error:
            if not error.effect_unknown:
                raise
            return _Said(text=_late(read), error=error)
        if read.verb.opens:
            # If this is lost, it is told twice, which is better than not at all.
            with suppress(TryAgain):
                self.ledger.answered(restore)
        return self._answered(asked, read, answer, talk)

    def _answered(
        self, asked: Asked, read: Command, answer: Mapping[str, Any], talk: Conversation
    ) -> _Said:
        text = str(answer.get("text") or "Done.")
        status = str(answer.get("status") or "")
        if answer.get("error") == NotPermitted.__name__:
            return self._no(asked, read, text)
        if status == REFUSED:
            return _Said(text=text)
        if read.verb is Verb.APPROVE and (asker := self._asker(read.target)):
            # A restore may have waited for longer than Slack takes messages at the first URL.
            with suppress(TryAgain):
                self.ledger.converse(replace(talk, by=asker, answered=True))
        shows = read.verb.opens or read.verb is Verb.STATUS
        return _Said(
            text=text,
            for_all=read.verb not in (Verb.LIST, Verb.STATUS),
            restore=str(answer.get("restore") or ""),
            buttons=_buttons(answer, status) if shows else (),
            done=True,
        )

    def _explained(
        self, asked: Asked, read: Command, payload: Mapping[str, Any], until: datetime
    ) -> _Said:
        try:
            answer = self.explainer(self._patience(until)).ask(payload)
        except NotPermitted as error:
            return self._no(asked, read, str(error))
        except (UnknownTarget, MalformedMessage) as error:
            return _Said(text=str(error))
        except Unavailable as error:
            if not error.effect_unknown:
                raise
            return _Said(text=_late(read), error=error)
        return _Said(text="\n".join(str(one) for one in answer.get("lines", ())), done=True)

    def _asker(self, restore: str) -> str:
        """Who asked for it in chat within the last day; empty if nobody did."""
        talk = self.ledger.conversation(restore)
        return talk.by if talk else ""

    def _no(self, asked: Asked, read: Command | None, why: str) -> _Said:
        """Politely, and on record. A record that cannot be written is no reason to say yes."""
        verb = read.verb.value if read else ""
        what = asked.text or f"{asked.action} {asked.value}"
        refusal = ChatRefusal(
            key=chat_request_id(asked.team, asked.trigger),
            at=self.clock.now(),
            team=asked.team,
            person=asked.person,
            channel=asked.channel,
            verb=verb,
            text=what[:LONGEST_RECORDED],
            why=why[:LONGEST_RECORDED],
        )
        error = None
        try:
            self.ledger.note_refusal(refusal)
        except LastgoodError as lost:
            error = lost
        return _Said(text=NO.format(why=why.rstrip(".")), refused="not permitted", error=error)

    def _patience(self, until: datetime) -> timedelta:
        """How long to wait: what was handed over is done even if nobody waits."""
        left = until - self.clock.now()
        return next((one for one in PATIENCES if one <= left), PATIENCES[-1])


def _buttons(answer: Mapping[str, Any], status: str) -> tuple[Button, ...]:
    return buttons_for(status, str(answer.get("mode") or "")) if answer.get("restore") else ()


def _late(read: Command) -> str:
    if read.verb.opens:
        return f"Under way: {read.target}. I will tell you here what becomes of it."
    if read.verb in (Verb.LIST, Verb.STATUS, Verb.EXPLAIN):
        return "That took too long just now. Ask again: the second time is faster."
    return f"Under way. Ask what became of it: /lastgood status {read.target}"


def _bad(bad: Bad) -> Reply:
    return Reply(status=bad.status, refused=bad.reason)


def _reply(asked: Asked, said: _Said, shown: Message | None) -> Reply:
    return Reply(
        message=shown,
        refused=said.refused,
        asked={"person": asked.person, "channel": asked.channel},
        error=said.error,
    )
