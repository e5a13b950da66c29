"""Progress in chat: what is told, what is left out, and what Slack says to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lastgood.aws.bus import progress_event
from lastgood.domain.conversing import Conversation, Progress
from lastgood.errors import (
    AlreadyDone,
    CallRefused,
    MalformedMessage,
    NotSettledYet,
    Throttled,
    Unavailable,
)
from lastgood.ledger.memory import MemoryLedger
from lastgood.slack import SlackReplies
from tell_chat.usecase import NOT_CHAT, TOLD, Telling
from tests.support.slack import HOOKS, REPLY_TO, Recording, actions_of, text_of

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
RESTORE = "rs-0123456789abcdef0123"
SOON = timedelta(seconds=5)
TALK = Conversation(restore=RESTORE, by="slack:U01AAAAAAA", reply_to=REPLY_TO, since=NOW)


def progress(number=1, minutes=1.0, **given):
    facts = {
        "id": f"e{number}",
        "at": NOW + timedelta(minutes=minutes),
        "restore": RESTORE,
        "status": "running",
        "what": f"is at step {number}",
        "mode": "clone",
        "name": "web-1",
        "step": f"Step {number}",
    }
    return Progress(**facts | given)


class Bench:
    def __init__(self, talk: Conversation | None = TALK) -> None:
        self.ledger = MemoryLedger()
        self.replies = Recording(None)
        self.at = NOW
        if talk:
            self.ledger.converse(talk)

    def now(self) -> datetime:
        return self.at

    def left(self) -> timedelta:
        return timedelta(minutes=1)

    def tell(self, one: Progress, late: float = 0) -> str:
        self.at = one.at + timedelta(minutes=late)
        telling = Telling(ledger=self.ledger, replies=self.replies, clock=self)  # type: ignore[arg-type]
        return telling.tell(one)

    def told(self) -> list[str]:
        return [text_of(message) for _, message in self.replies.posted]


def test_progress_is_told_where_the_restore_was_asked_for():
    bench = Bench()

    assert bench.tell(progress(1)) == TOLD
    assert bench.tell(progress(2, 2, status="done", what="is done")) == TOLD

    assert [url for url, _ in bench.replies.posted] == [REPLY_TO] * 2
    assert bench.told() == [
        f"{RESTORE} (clone of web-1) {what}" for what in ("is at step 1", "is done")
    ]
    done = bench.replies.posted[1][1]
    assert actions_of(done) == [("extend", RESTORE), ("remove", RESTORE)]
    assert done["response_type"] == "in_channel"


def test_a_restore_that_was_asked_for_elsewhere_is_not_told():
    bench = Bench(None)

    assert bench.tell(progress()) == NOT_CHAT
    assert bench.replies.posted == []


def test_a_message_that_comes_again_is_told_once():
    bench = Bench()

    assert bench.tell(progress(1)) == TOLD
    assert bench.tell(progress(1)) == "it was told before"

    assert len(bench.replies.posted) == 1


def test_of_five_messages_the_last_is_kept_for_the_end():
    bench = Bench()

    outcomes = [bench.tell(progress(number, number)) for number in range(1, 8)]
    end = bench.tell(progress(9, 9, status="undone", what="is undone"))
    more = bench.tell(progress(10, 10, status="ended"))

    assert outcomes == [TOLD] * 4 + ["the last message is kept for the end"] * 3
    assert (end, more) == (TOLD, "Slack takes 5 messages only")
    assert bench.told()[-1].endswith(" is undone")


def test_what_comes_after_half_an_hour_is_left_out():
    bench = Bench()

    assert bench.tell(progress(1, 29.7)) == TOLD
    assert (
        bench.tell(progress(2, 29.8, status="done")) == "Slack takes messages for 30 minutes only"
    )


def test_what_was_overtaken_is_left_out():
    bench = Bench()
    bench.tell(progress(2, 2, status="done", what="is done"))

    assert bench.tell(progress(1, 1), late=2) == "something later was told already"


def test_the_first_announcement_waits_until_it_is_known_whether_chat_says_it_itself():
    opened = progress(1, 0.01, step="")
    bench = Bench()
    with pytest.raises(NotSettledYet) as waits:
        bench.tell(opened)
    assert timedelta(0) < waits.value.after <= timedelta(seconds=4)

    assert bench.tell(opened, late=0.1) == TOLD

    answered = Bench(replace(TALK, answered=True))
    assert answered.tell(opened) == "chat said so itself"


def test_a_refusal_that_chat_did_not_wait_for_is_told_to_who_asked():
    bench = Bench()

    bench.tell(progress(1, 1, step="", status="refused", what="There is no web-9."))

    ((_, message),) = bench.replies.posted
    assert message["response_type"] == "ephemeral"
    assert text_of(message) == "There is no web-9."


def test_a_url_that_takes_no_more_is_the_end_of_it():
    bench = Bench()
    bench.replies.answer = AlreadyDone("Slack takes no more messages there: 404 used_url")

    assert bench.tell(progress(1)) == "Slack takes no more messages there: 404 used_url"


@pytest.mark.parametrize("error", [Throttled("x", SOON), Unavailable("x", SOON), CallRefused("x")])
def test_what_slack_did_not_take_was_not_told(error):
    bench = Bench()
    bench.replies.answer = error
    with pytest.raises(type(error)):
        bench.tell(progress(1))
    bench.replies.answer = None

    assert bench.tell(progress(1)) == TOLD


def an_event(**given):
    return {
        "version": "0",
        "id": "e1",
        "detail-type": "Restore Progress",
        "source": "lastgood",
        "account": "123456789012",
        "time": "2026-11-30T09:01:00Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": {
            "restore": RESTORE,
            "status": "running",
            "what": "is at step 1",
            "mode": "clone",
            "source": "i-0a",
            "name": "web-1",
            "step": "Step 1",
            "by": "slack:U01AAAAAAA",
            "via": "chat",
        },
        **given,
    }


def test_an_announcement_is_read_from_what_eventbridge_makes_of_it():
    assert progress_event(an_event()) == progress(1)


@pytest.mark.parametrize(
    "event",
    [
        {},
        an_event(time="yesterday"),
        an_event(time="2026-11-30T09:01:00"),
        an_event(detail={"restore": RESTORE}),
        an_event(detail={"restore": 1, "status": "done", "what": "x"}),
        an_event(**{"detail-type": "Recovery Point Available"}),
    ],
)
def test_what_is_no_announcement_is_refused(event):
    with pytest.raises(MalformedMessage):
        progress_event(event)


# -- Slack itself -----------------------------------------------------------------------------


class _Hooks(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers = self.server.answers.pop(0)
        self.server.got.append((self.path, json.loads(body)))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"used_url" if status == 404 else b"ok")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hooks(*answers: tuple[int, dict[str, str]]) -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), _Hooks) as server:
        server.answers, server.got = list(answers), []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def base(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/"


def test_a_message_is_sent_as_json():
    with hooks((200, {})) as server:
        SlackReplies(base(server), 5).post(f"{base(server)}commands/T/1/a", {"text": "\u00fc"})

        assert server.got == [("/commands/T/1/a", {"text": "\u00fc"})]


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (404, {}, AlreadyDone),
        (410, {}, AlreadyDone),
        (429, {"Retry-After": "30"}, Throttled),
        (500, {}, Unavailable),
        (503, {}, Unavailable),
        (400, {}, CallRefused),
        (302, {"Location": "http://169.254.169.254/"}, CallRefused),
    ],
)
def test_each_answer_of_slack_has_a_meaning_and_is_asked_for_once(status, headers, error):
    with hooks((status, headers)) as server, pytest.raises(error) as refused:
        SlackReplies(base(server), 5).post(f"{base(server)}commands/T/1/a", {})

    assert len(server.got) == 1
    assert "/T/1/a" not in str(refused.value)
    if status == 429:
        assert refused.value.after == timedelta(seconds=30)


def test_slack_that_is_not_there_may_be_there_later():
    with hooks() as server:
        url = f"{base(server)}commands/T/1/a"

    with pytest.raises(Unavailable) as refused:
        SlackReplies(url.removesuffix("commands/T/1/a"), 5).post(url, {})
    assert "/T/1/a" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://evil.example/a", f"{HOOKS}../a", "http://hooks.slack.com/a", HOOKS]
)
def test_nothing_is_sent_anywhere_else(url):
    with pytest.raises(CallRefused, match="does not begin with"):
        SlackReplies(HOOKS, 5).post(url, {})


def test_a_restore_that_fails_before_its_first_step_is_told_although_chat_answered():
    bench = Bench(replace(TALK, answered=True))

    assert bench.tell(progress(1, step="", status="undoing", what="failed")) == TOLD
