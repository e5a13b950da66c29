"""Chat: what is not proved to be Slack's, new, and allowed never reaches the function that makes
restores."""

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.usecase import PATIENCES, Chat, Received, Reply
from lastgood.domain.chat_permissions import Allow, Permissions, Slack, Verb, Who
from lastgood.domain.conversing import Conversation
from lastgood.domain.names import restore_id
from lastgood.domain.slack_requests import MOST_BYTES
from lastgood.errors import (
    AccessDenied,
    AlreadyDone,
    CallRefused,
    NotPermitted,
    Throttled,
    Unavailable,
    UnknownTarget,
)
from lastgood.ledger.memory import MemoryLedger
from tests.support.slack import (
    CHANNEL,
    FORM,
    HOOKS,
    OTHER,
    PERSON,
    REPLY_TO,
    SECRET,
    TEAM,
    Recording,
    actions_of,
    button_body,
    command_body,
    signature,
    signed_headers,
    text_of,
)

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
RESTORE = "rs-0123456789abcdef0123"
SOON = timedelta(seconds=5)
EVERY_VERB = tuple(one for one in Verb if one is not Verb.DECLINE)
PERMISSIONS = Permissions(
    slack=Slack(team=TEAM),
    groups={"oncall": (PERSON, OTHER)},
    allow=(
        Allow(who=Who(groups=("oncall",), channels=(CHANNEL,)), verbs=EVERY_VERB),
        Allow(
            who=Who(users=("U01WEBTEAM",)),
            verbs=(Verb.CLONE, Verb.EXPLAIN, Verb.EXTEND),
            sources={"team": ("web",)},
        ),
    ),
)


@dataclass
class Given:
    """A clock, permissions and a secret that stand still until a test moves them."""

    at: datetime = NOW
    secret: str = SECRET
    anew: str | None = None
    permissions: Permissions = PERMISSIONS
    fault: Exception | None = None

    def now(self) -> datetime:
        return self.at

    def left(self) -> timedelta:
        return timedelta(seconds=10)

    def renewed(self) -> str | None:
        return self.anew

    def get(self) -> Any:
        if self.fault:
            raise self.fault
        return self.secret


@dataclass
class Permitted:
    given: Given

    def get(self) -> Permissions:
        return self.given.permissions


@dataclass
class Bench:
    given: Given = field(default_factory=Given)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    cloner: Recording = field(default_factory=Recording)
    explainer: Recording = field(default_factory=lambda: Recording({"lines": ["Kept:", "  x"]}))
    replies: Recording = field(default_factory=lambda: Recording(None))
    patience: list[timedelta] = field(default_factory=list)

    @property
    def chat(self) -> Chat:
        def asked(recording: Recording) -> Any:
            def with_patience(patience: timedelta) -> Recording:
                self.patience.append(patience)
                return recording

            return with_patience

        return Chat(
            permitted=Permitted(self.given),
            secret=self.given,
            ledger=self.ledger,  # type: ignore[arg-type]
            cloner=asked(self.cloner),
            explainer=asked(self.explainer),
            replies=self.replies,
            hooks=HOOKS,
            clock=self.given,
        )

    def says(self, text: str, **given: str) -> Reply:
        return self.chat.command(sent(command_body(text, **given)))

    def pushes(self, action: str, restore: str = RESTORE, **given: Any) -> Reply:
        return self.chat.interaction(sent(button_body(action, restore, **given)))

    def reached(self) -> int:
        return len(self.cloner.asked) + len(self.explainer.asked)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def sent(body: bytes, at: datetime = NOW, secret: str = SECRET, **headers: str) -> Received:
    signed = signed_headers(body, at, secret)
    return Received(
        body=base64.b64encode(body).decode(),
        is_base64=True,
        headers=signed | {name.replace("_", "-"): value for name, value in headers.items()},
        at=NOW,
    )


def without(received: Received, header: str) -> Received:
    kept = {name: value for name, value in received.headers.items() if name != header}
    return replace(received, headers=kept)


BODY = command_body("clone web-1")
STAMP = str(int(NOW.timestamp()))
FORGED: dict[str, tuple[Received, HTTPStatus, str]] = {
    "no signature": (
        without(sent(BODY), "x-slack-signature"),
        HTTPStatus.UNAUTHORIZED,
        "forged",
    ),
    "an empty signature": (sent(BODY, x_slack_signature=""), HTTPStatus.UNAUTHORIZED, "forged"),
    "another secret": (sent(BODY, secret="x" * 32), HTTPStatus.UNAUTHORIZED, "forged"),
    "an empty secret": (sent(BODY, secret=""), HTTPStatus.UNAUTHORIZED, "forged"),
    "the signature of another body": (
        sent(BODY, x_slack_signature=signature(command_body("help"), STAMP)),
        HTTPStatus.UNAUTHORIZED,
        "forged",
    ),
    "the signature of another time": (
        sent(BODY, x_slack_signature=signature(BODY, str(int(STAMP) - 1))),
        HTTPStatus.UNAUTHORIZED,
        "forged",
    ),
    "a signature in capitals": (
        sent(BODY, x_slack_signature=signature(BODY, STAMP).upper()),
        HTTPStatus.UNAUTHORIZED,
        "forged",
    ),
    "a signature without its version": (
        sent(BODY, x_slack_signature=signature(BODY, STAMP)[3:]),
        HTTPStatus.UNAUTHORIZED,
        "forged",
    ),
    "two signatures": (
        sent(BODY, x_slack_signature=f"v0={'0' * 64},{signature(BODY, STAMP)}"),
        HTTPStatus.UNAUTHORIZED,
        "forged",
    ),
    "a signature that is no ASCII": (
        sent(BODY, x_slack_signature="v0=\u00e9\ud800"),
        HTTPStatus.UNAUTHORIZED,
        "forged",
    ),
    "no time": (
        without(sent(BODY), "x-slack-request-timestamp"),
        HTTPStatus.UNAUTHORIZED,
        "malformed",
    ),
    **{
        f"the time {stamp!r}": (
            sent(
                BODY,
                x_slack_request_timestamp=stamp,
                x_slack_signature=signature(BODY, stamp),
            ),
            HTTPStatus.UNAUTHORIZED,
            "malformed",
        )
        for stamp in (
            f" {STAMP}",
            f"{STAMP}.0",
            f"{STAMP}\n",
            f"+{STAMP}",
            f"-{STAMP}",
            "1_764_493_200",
            "nan",
            "1e9",
            "\u0661\u0667\u0666\u0664\u0664\u0669\u0663\u0662\u0660\u0660",
            "9" * 13,
        )
    },
    "a time with a nought before": (
        sent(
            BODY,
            x_slack_request_timestamp=f"0{STAMP}",
            x_slack_signature=signature(BODY, STAMP),
        ),
        HTTPStatus.UNAUTHORIZED,
        "forged",
    ),
    "five minutes and a second old": (
        sent(BODY, NOW - timedelta(minutes=5, seconds=1)),
        HTTPStatus.UNAUTHORIZED,
        "stale",
    ),
    "a day old": (sent(BODY, NOW - timedelta(days=1)), HTTPStatus.UNAUTHORIZED, "stale"),
    "five minutes and a second ahead": (
        sent(BODY, NOW + timedelta(minutes=5, seconds=1)),
        HTTPStatus.UNAUTHORIZED,
        "stale",
    ),
    "a byte too large": (
        sent(BODY + b"&x=" + b"x" * (MOST_BYTES - len(BODY) - 2)),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too large",
    ),
    "a megabyte": (
        sent(command_body("clone " + "x" * 1_000_000)),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too large",
    ),
    "no Base64": (replace(sent(BODY), body="clone!"), HTTPStatus.BAD_REQUEST, "malformed"),
    "a lone surrogate": (
        replace(sent(BODY), body="\ud800", is_base64=False),
        HTTPStatus.BAD_REQUEST,
        "malformed",
    ),
    "no body": (
        replace(sent(b""), body=None, is_base64=False),
        HTTPStatus.BAD_REQUEST,
        "malformed",
    ),
    "JSON": (
        sent(BODY, content_type="application/json"),
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "content type",
    ),
    "no content type": (
        without(sent(BODY), "content-type"),
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "content type",
    ),
    **{
        f"a form that is none: {body[:24]!r}": (sent(body), HTTPStatus.BAD_REQUEST, "malformed")
        for body in (
            b"{}",
            b"clone web-1",
            b"\xff\xfe",
            b"a=1&a=1;b",
            BODY + b"&text=clone+db-1",
            BODY + b"&user_id=" + OTHER.encode(),
            BODY + "&x=\u00e9".encode(),
            BODY + b"&x=%ff",
            BODY + b"&" + b"&".join(b"k%d=1" % number for number in range(40)),
            BODY.replace(b"user_id", b"user_di"),
            BODY.replace(b"team_id", b"meat_id"),
        )
    },
    **{
        f"the {name} {value!r}": (
            sent(command_body("clone web-1", **{name: value})),
            HTTPStatus.BAD_REQUEST,
            "malformed",
        )
        for name, value in (
            ("user_id", ""),
            ("user_id", f"{PERSON}\n"),
            ("user_id", "u01aaaaaaa"),
            ("user_id", f"{PERSON} {OTHER}"),
            ("channel_id", "#ops"),
            ("team_id", "*"),
            ("trigger_id", ""),
            ("trigger_id", "a b"),
        )
    },
    **{
        f"the response URL {url!r}": (
            sent(command_body("clone web-1", response_url=url)),
            HTTPStatus.BAD_REQUEST,
            "response URL",
        )
        for url in (
            "",
            HOOKS,
            "http://hooks.slack.com/commands/T/1/a",
            "https://hooks.slack.com.evil.example/commands/T/1/a",
            "https://hooks.slack.com@evil.example/commands/T/1/a",
            "https://evil.example/https://hooks.slack.com/commands",
            "https://hooks.slack.com:444/commands/T/1/a",
            "https://hooks.slack.com/../latest/meta-data",
            "https://hooks.slack.com//evil.example/a",
            "https://hooks.slack.com/commands/T/1/a?x=1",
            "https://hooks.slack.com/commands/T/1/a\n",
            "https://hooks.slack.com\\.evil.example/a",
            "https://HOOKS.slack.com/commands/T/1/a",
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
        )
    },
}


@pytest.mark.parametrize("case", FORGED)
def test_what_is_not_a_request_of_slack_goes_nowhere_and_is_told_nothing(bench, case):
    received, status, reason = FORGED[case]

    reply = bench.chat.command(received)

    assert (reply.status, reply.refused, reply.message) == (status, reason, None)
    assert bench.reached() == 0
    assert bench.ledger.refusals == []


@pytest.mark.parametrize("age", [-300, -299, 0, 299, 300])
def test_five_minutes_before_and_after_are_accepted(bench, age):
    reply = bench.chat.command(sent(BODY, NOW - timedelta(seconds=age)))

    assert (reply.status, reply.refused) == (HTTPStatus.OK, "")
    assert bench.reached() == 1


def test_a_body_of_16_kilobytes_is_accepted_with_and_without_base64(bench):
    body = BODY + b"&x=" + b"x" * (MOST_BYTES - len(BODY) - 3)
    received = sent(body)

    assert bench.chat.command(received).status is HTTPStatus.OK
    bench.given.at = NOW + timedelta(seconds=1)
    plain = replace(sent(body, bench.given.at), body=body.decode(), is_base64=False)
    assert bench.chat.command(plain).status is HTTPStatus.OK
    assert bench.reached() == 2


@given(
    st.sampled_from(["body", "timestamp", "signature"]),
    st.integers(min_value=0),
    st.integers(min_value=1, max_value=255),
)
def test_any_byte_that_is_changed_is_refused(part, place, change):
    bench = Bench()
    signed = sent(BODY)

    def changed(text: bytes) -> bytes:
        index = place % len(text)
        return text[:index] + bytes([text[index] ^ change]) + text[index + 1 :]

    if part == "body":
        received = replace(signed, body=base64.b64encode(changed(BODY)).decode())
    else:
        header = {"timestamp": "x-slack-request-timestamp", "signature": "x-slack-signature"}[part]
        value = changed(signed.headers[header].encode()).decode("latin-1")
        received = replace(signed, headers={**signed.headers, header: value})
    reply = bench.chat.command(received)

    assert reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.BAD_REQUEST)
    assert bench.reached() == 0


@given(st.binary(max_size=2_000), st.binary(max_size=200))
def test_whatever_a_stranger_sends_is_refused(body, stamp):
    bench = Bench()
    headers = {
        "content-type": FORM,
        "x-slack-request-timestamp": stamp.decode("latin-1"),
        "x-slack-signature": stamp.decode("latin-1"),
    }
    for is_base64 in (True, False):
        received = Received(
            body=body.decode("latin-1"), is_base64=is_base64, headers=headers, at=NOW
        )

        assert bench.chat.command(received).status >= HTTPStatus.BAD_REQUEST
        assert bench.chat.interaction(received).status >= HTTPStatus.BAD_REQUEST
    assert bench.reached() == 0


@given(st.binary(max_size=2_000))
def test_whatever_slack_signs_is_answered_and_what_is_malformed_goes_nowhere(body):
    bench = Bench()

    assert bench.chat.command(sent(body)).status is HTTPStatus.BAD_REQUEST
    assert bench.chat.interaction(sent(body)).status is HTTPStatus.BAD_REQUEST
    assert bench.reached() == 0


def test_a_request_that_is_sent_again_as_it_was_is_refused_for_as_long_as_it_would_fit(bench):
    ahead = NOW + timedelta(minutes=5)
    received = sent(BODY, ahead)

    assert bench.chat.command(received).status is HTTPStatus.OK
    for at in (NOW, NOW + timedelta(minutes=10)):
        bench.given.at = at
        again = bench.chat.command(received)
        assert (again.status, again.refused) == (HTTPStatus.CONFLICT, "replayed")
    bench.given.at = NOW + timedelta(minutes=10, seconds=1)
    assert bench.chat.command(received).refused == "stale"
    assert bench.reached() == 1


def test_a_command_that_slack_delivers_twice_is_one_request(bench):
    bench.chat.command(sent(BODY))
    bench.chat.command(sent(BODY, NOW + timedelta(seconds=3)))

    first, second = bench.cloner.asked
    assert first["request_id"] == second["request_id"]


def test_another_command_of_the_same_words_is_another_request(bench):
    bench.says("clone web-1")
    bench.says("clone web-1", trigger_id="2.2.2")

    first, second = bench.cloner.asked
    assert first["request_id"] != second["request_id"]


def test_a_new_secret_is_read_when_a_signature_does_not_fit_the_one_that_is_known(bench):
    bench.given.anew = "n" * 32

    assert bench.chat.command(sent(BODY, secret="n" * 32)).status is HTTPStatus.OK
    assert bench.chat.command(sent(BODY, secret="o" * 32)).refused == "forged"


@pytest.mark.parametrize("error", [AccessDenied("no"), Throttled("slow", SOON)])
def test_without_the_secret_nobody_is_believed_and_nobody_is_told_why(bench, error):
    bench.given.fault = error

    reply = bench.chat.command(sent(BODY))

    assert (reply.status, reply.message) == (HTTPStatus.SERVICE_UNAVAILABLE, None)
    assert reply.error is error
    assert bench.reached() == 0


def test_another_workspace_gets_a_polite_no_and_a_record(bench):
    reply = bench.says("clone web-1", team_id="T0666666666")

    assert reply.refused == "not permitted"
    assert "not the workspace" in text_of(reply.message)
    assert bench.reached() == 0
    assert [one.team for one in bench.ledger.refusals] == ["T0666666666"]


WRONG_PEOPLE = {
    "a stranger": {"user_id": "U09STRANGE"},
    "somebody of the group, elsewhere": {"channel_id": "C09ELSE"},
    "in a direct message": {"channel_id": "D0123456"},
    "a bot": {"user_id": "B01AAAAAAA"},
    "the name of a group for a person": {"user_id": "ONCALL"},
}


@pytest.mark.parametrize("who", WRONG_PEOPLE)
@pytest.mark.parametrize(
    "text",
    [
        "list web-1",
        "explain pt-1a06e54b74a29cab5d06",
        "status web-1",
        "clone web-1",
        "restore web-1 stop",
        *(f"{verb} {RESTORE}" for verb in ("keep", "cancel", "remove", "approve", "decline")),
        f"extend {RESTORE} for 8h",
    ],
)
def test_wrong_people_get_a_polite_no_that_only_they_see_and_the_ledger_a_record(bench, who, text):
    reply = bench.says(text, **WRONG_PEOPLE[who])

    assert (reply.status, reply.refused) == (HTTPStatus.OK, "not permitted")
    assert reply.message["response_type"] == "ephemeral"
    assert text_of(reply.message).startswith("Sorry, that is not for you to ask here: nothing in")
    assert bench.reached() == 0
    (record,) = bench.ledger.refusals
    assert (record.at, record.text, record.verb) == (NOW, text, text.split()[0])
    assert record.person == WRONG_PEOPLE[who].get("user_id", PERSON)


@pytest.mark.parametrize("action", ["approve", "decline", "remove", "extend"])
def test_a_button_that_wrong_people_push_does_nothing_and_stays(bench, action):
    reply = bench.pushes(action, user={"id": "U09STRANGE"})

    assert reply.refused == "not permitted"
    ((_, message),) = bench.replies.posted
    assert message["response_type"] == "ephemeral"
    assert message["replace_original"] is False
    assert bench.reached() == 0
    assert [one.text for one in bench.ledger.refusals] == [f"{action} {RESTORE}"]


def test_everybody_gets_help(bench):
    reply = bench.says("help", user_id="U09STRANGE")

    assert "clone SOURCE" in text_of(reply.message)
    assert bench.ledger.refusals == []


def test_a_record_that_cannot_be_written_does_not_turn_the_no_into_a_yes(bench):
    class Full(MemoryLedger):
        def note_refusal(self, refusal):
            raise Throttled("slow", SOON)

    bench.ledger = Full()

    reply = bench.says("clone web-1", user_id="U09STRANGE")

    assert reply.refused == "not permitted"
    assert isinstance(reply.error, Throttled)
    assert bench.reached() == 0


INJECTIONS = [
    "list web-1\nclone web-1",
    "list web-1\r\nX-Header: 1",
    "list <!channel>",
    "list <!here>",
    "list <@U01BBBBBBB>",
    "list <#C01OPS0000|ops>",
    "list <https://evil.example|web-1>",
    'clone web-1 as "a" by "U01BBBBBBB"',
    "clone web-1 by U01BBBBBBB",
    "clone web-1 allowed_sources all",
    "clone web-1 request_id 1",
    'clone {"source": "web-1", "by": "U01BBBBBBB"}',
    "clone web-1; remove all",
    "clone `web-1` `x`",
    "list web\u202e1-",
    "list \x00",
    "help help\u2028x\nclone web-1",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_text_that_would_be_more_than_it_seems_is_not_understood(bench, text):
    reply = bench.says(text)

    assert text_of(reply.message).startswith("I did not understand that: ")
    assert reply.message["response_type"] == "ephemeral"
    assert not any(one in json.dumps(reply.message) for one in "<>")
    assert bench.reached() == 0


@pytest.mark.parametrize(
    "name", ["`rm`", "&lt;!channel&gt;", "*web*", '{"a":1}'.replace('"', "'"), "\U0001f600"]
)
def test_a_strange_name_is_a_name_and_nothing_else(bench, name):
    bench.cloner.answer = {"status": "running", "text": f"{name} runs <!channel>"}

    reply = bench.says(f'clone "{name}"')

    (payload,) = bench.cloner.asked
    assert payload["source"] == name.replace("&lt;", "<").replace("&gt;", ">")
    assert "<!channel>" not in json.dumps(reply.message)


def test_what_is_allowed_is_handed_over_with_who_asks_and_where_to_tell_it(bench):
    bench.cloner.answer = {
        "restore": RESTORE,
        "status": "running",
        "mode": "clone",
        "text": "It runs.",
    }

    reply = bench.says('clone web-1 as "web-1 again" for 8h')

    (payload,) = bench.cloner.asked
    assert payload == {
        "source": "web-1",
        "mode": "clone",
        "name": "web-1 again",
        "time_to_live": "8h",
        "by": f"slack:{PERSON}",
        "via": "chat",
        "channel": CHANNEL,
        "request_id": payload["request_id"],
        "answer": "json",
    }
    assert text_of(reply.message) == "It runs."
    assert reply.message["response_type"] == "in_channel"
    talk = bench.ledger.conversation(restore_id(payload["request_id"]))
    assert (talk.reply_to, talk.by, talk.answered) == (REPLY_TO, f"slack:{PERSON}", True)


def test_who_may_touch_certain_sources_only_has_that_said_to_who_knows_the_tags(bench):
    bench.says("clone web-1", user_id="U01WEBTEAM")
    bench.says(f"extend {RESTORE} for 8h", user_id="U01WEBTEAM")
    bench.says("explain pt-1a06e54b74a29cab5d06", user_id="U01WEBTEAM")

    asked = [*bench.cloner.asked, *bench.explainer.asked]
    assert [one["allowed_sources"] for one in asked] == [[{"team": ["web"]}]] * 3


def test_a_source_that_is_not_ones_own_is_a_polite_no_with_a_record(bench):
    bench.cloner.answer = {
        "status": "refused",
        "error": "NotPermitted",
        "text": "db-1 is not a source that you may clone",
    }

    reply = bench.says("clone db-1", user_id="U01WEBTEAM")

    assert reply.refused == "not permitted"
    assert "db-1 is not a source that you may clone" in text_of(reply.message)
    assert [one.why for one in bench.ledger.refusals] == ["db-1 is not a source that you may clone"]


def test_a_request_that_cannot_work_is_answered_to_who_asked_only(bench):
    bench.cloner.answer = {"status": "refused", "problems": ["x"], "text": "There is no web-9."}

    reply = bench.says("clone web-9")

    assert (text_of(reply.message), reply.refused) == ("There is no web-9.", "")
    assert reply.message["response_type"] == "ephemeral"
    assert bench.ledger.refusals == []


def test_a_restore_that_waits_for_approval_has_buttons_for_the_channel(bench):
    bench.cloner.answer = {
        "restore": RESTORE,
        "status": "approving",
        "mode": "in_place",
        "text": "It waits.",
    }

    reply = bench.says("restore web-1 stop")

    assert actions_of(reply.message) == [("approve", RESTORE), ("decline", RESTORE)]
    assert reply.message["response_type"] == "in_channel"


def an_open_restore(bench: Bench, by: str = PERSON) -> None:
    bench.ledger.converse(
        Conversation(
            restore=RESTORE,
            by=f"slack:{by}",
            reply_to=f"{HOOKS}commands/old",
            since=NOW - timedelta(hours=2),
        )
    )


@pytest.mark.parametrize("way", ["says", "pushes"])
def test_who_asked_for_a_restore_cannot_approve_it(bench, way):
    an_open_restore(bench)

    reply = bench.says(f"approve {RESTORE}") if way == "says" else bench.pushes("approve")

    assert reply.refused == "not permitted"
    assert bench.reached() == 0
    assert "somebody else" in bench.ledger.refusals[0].why


def test_who_asked_for_a_restore_can_decline_it(bench):
    an_open_restore(bench)

    bench.pushes("decline")

    assert [one["action"] for one in bench.cloner.asked] == ["decline"]


def test_somebody_else_approves_and_what_follows_is_told_where_that_was(bench):
    an_open_restore(bench, by=OTHER)
    bench.cloner.answer = {"restore": RESTORE, "status": "running", "text": "Approved."}

    reply = bench.pushes("approve")

    (payload,) = bench.cloner.asked
    assert (payload["action"], payload["by"]) == ("approve", f"slack:{PERSON}")
    ((url, message),) = bench.replies.posted
    assert message["replace_original"] is True
    assert reply.message is None
    talk = bench.ledger.conversation(RESTORE)
    assert (talk.reply_to, talk.by, talk.since) == (url, f"slack:{OTHER}", NOW)


def test_a_clone_that_is_extended_keeps_the_message_with_its_buttons(bench):
    bench.pushes("extend")

    assert bench.cloner.asked[0]["time_to_live"] == "8h"
    assert bench.replies.posted[0][1]["replace_original"] is False


BAD_BUTTONS = {
    "no payload": urlencode({"payloat": "{}"}).encode(),
    "no JSON": urlencode({"payload": "{"}).encode(),
    "a list": urlencode({"payload": "[]"}).encode(),
    "deep JSON": urlencode({"payload": "[" * 5_000}).encode(),
    "another kind": button_body("remove", RESTORE, type="view_submission"),
    "no team": button_body("remove", RESTORE, team=None),
    "a team that is a list": button_body("remove", RESTORE, team={"id": [TEAM]}),
    "a person that is a mapping": button_body("remove", RESTORE, user={"id": {}}),
    "no actions": button_body("remove", RESTORE, actions=[]),
    "two actions": button_body(
        "remove", RESTORE, actions=[{"action_id": "remove", "value": RESTORE}] * 2
    ),
    "a restore that is none": button_body("remove", "web-1"),
    "a restore and more": button_body("remove", f"{RESTORE}\nremove {RESTORE}"),
    "another action": button_body("keep", RESTORE),
    "an action with more": button_body("extend for 9d", RESTORE),
    "a foreign response URL": button_body("remove", RESTORE, response_url="https://evil.example/a"),
    "no response URL": button_body("remove", RESTORE, response_url=None),
    "a command": command_body(f"remove {RESTORE}"),
}


@pytest.mark.parametrize("case", BAD_BUTTONS)
def test_a_button_that_is_none_of_ours_does_nothing(bench, case):
    reply = bench.chat.interaction(sent(BAD_BUTTONS[case]))

    assert reply.status is HTTPStatus.BAD_REQUEST
    assert bench.reached() == 0
    assert bench.replies.posted == []


def test_a_button_is_no_command(bench):
    reply = bench.chat.command(sent(button_body("remove", RESTORE)))

    assert reply.status is HTTPStatus.BAD_REQUEST
    assert bench.reached() == 0


@pytest.mark.parametrize(
    "error", [AlreadyDone("404"), Throttled("x", SOON), Unavailable("x", SOON)]
)
def test_a_button_whose_answer_is_lost_has_done_its_work(bench, error):
    bench.replies.answer = error

    reply = bench.pushes("remove")

    assert (reply.status, reply.error) == (HTTPStatus.OK, error)
    assert bench.reached() == 1


LATE = {
    "clone web-1": "Under way: web-1. I will tell you here",
    "restore web-1 stop": "Under way: web-1. I will tell you here",
    "list web-1": "Ask again",
    "status web-1": "Ask again",
    "explain pt-1a06e54b74a29cab5d06": "Ask again",
    f"remove {RESTORE}": f"/lastgood status {RESTORE}",
}


@pytest.mark.parametrize("text", LATE)
def test_an_answer_that_does_not_come_in_time_comes_later_or_is_asked_for_again(bench, text):
    bench.cloner.answer = bench.explainer.answer = Unavailable("no answer", SOON)

    reply = bench.says(text)

    assert LATE[text] in text_of(reply.message)
    if text.startswith(("clone", "restore")):
        talk = bench.ledger.conversation(restore_id(bench.cloner.asked[0]["request_id"]))
        assert talk.answered is False


@pytest.mark.parametrize(
    ("began", "patience"), [(0, 2), (0.7, 1.5), (1.2, 1), (1.9, 0.5), (2.1, 0.5), (9, 0.5)]
)
def test_a_cold_start_shortens_what_is_waited_so_that_slack_is_answered_within_three_seconds(
    bench, began, patience
):
    bench.given.at = NOW + timedelta(seconds=began)

    bench.says("list web-1")

    assert bench.patience == [timedelta(seconds=patience)]
    assert bench.patience[0] in PATIENCES
    assert began > 2.1 or began + patience <= 2.6


@pytest.mark.parametrize(
    "error",
    [
        Throttled("Lambda is busy", SOON),
        Unavailable("not sent", SOON, effect_unknown=False),
        AccessDenied("arn:aws:iam::123456789012:role/x may not"),
        CallRefused("lastgood-clone-instance failed: KeyError 'x'"),
    ],
)
def test_a_fault_is_told_without_what_is_inside_and_logged(bench, error):
    bench.cloner.answer = error

    reply = bench.says("clone web-1")

    assert text_of(reply.message).startswith("Lastgood could not do that just now.")
    assert str(error) not in json.dumps(reply.message)
    assert reply.error is error


def test_an_explanation_is_shown_as_it_is(bench):
    reply = bench.says("explain pt-1a06e54b74a29cab5d06")

    assert text_of(reply.message) == "Kept:\n  x"
    assert bench.explainer.asked == [
        {"explain": "pt-1a06e54b74a29cab5d06", "by": f"slack:{PERSON}"}
    ]


def test_a_point_that_is_not_there_or_not_ones_own_is_explained_to_nobody(bench):
    bench.explainer.answer = UnknownTarget("'pt-...' is not on record")
    assert "not on record" in text_of(bench.says("explain pt-1a06e54b74a29cab5d06").message)

    bench.explainer.answer = NotPermitted("it is of a source that you may not ask about")
    reply = bench.says("explain pt-1a06e54b74a29cab5d06", trigger_id="2.2.2")

    assert reply.refused == "not permitted"
    assert len(bench.ledger.refusals) == 1
