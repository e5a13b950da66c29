"""What comes from Slack, which is what a stranger sends until its signature is checked."""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from lastgood.domain.names import RESTORE_PATTERN

MOST_BYTES = 16_384
"""Of a body. Slack's own are a few thousand: a text of 4,000 characters, or a message of ours that
a button is on."""
WINDOW = timedelta(minutes=5)
"""Before and after now (Slack, "Verifying requests from Slack")."""
REMEMBERED = 2 * WINDOW
"""How long a signature fits: its time may be as far ahead as it may be past."""
MOST_FIELDS = 40
FORM = "application/x-www-form-urlencoded"

ID_PATTERN = r"[A-Z][A-Z0-9]{1,31}"
TRIGGER_PATTERN = r"[\w.-]{1,120}"


@dataclass(frozen=True, slots=True)
class Bad:
    """A request that is not answered. ``reason`` is for the log and the metric; who sent it is told
    the status, and nothing that helps to send a better one."""

    status: HTTPStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody typed (``text``), or the button that was pushed (``action``, with the restore
    that it is about as ``value``). ``trigger``: Slack's name for this one act of a person."""

    team: str
    person: str
    channel: str
    reply_to: str
    trigger: str
    text: str = ""
    action: str = ""
    value: str = ""


def body_of(text: str | None, *, is_base64: bool) -> bytes | Bad:
    """The body as Slack sent it, as a function URL hands it over."""
    given = text or ""
    most = -(-MOST_BYTES // 3) * 4 if is_base64 else MOST_BYTES
    if len(given) > most:
        return Bad(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
    try:
        # What is in the event came as UTF-8; a lone surrogate did not.
        body = base64.b64decode(given, validate=True) if is_base64 else given.encode()
    except (binascii.Error, ValueError):
        return Bad(HTTPStatus.BAD_REQUEST, "malformed")
    if len(body) > MOST_BYTES:
        return Bad(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
    return body


def wrong_type(content_type: str) -> Bad | None:
    if content_type.partition(";")[0].strip().lower() != FORM:
        return Bad(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content type")
    return None


def out_of_time(timestamp: str, now: datetime) -> Bad | None:
    """``timestamp``: seconds since 1970, of the header ``X-Slack-Request-Timestamp``."""
    if not re.fullmatch("[0-9]{1,12}", timestamp, re.ASCII):
        return Bad(HTTPStatus.UNAUTHORIZED, "malformed")
    if abs(now.timestamp() - int(timestamp)) > WINDOW.total_seconds():
        return Bad(HTTPStatus.UNAUTHORIZED, "stale")
    return None


def signature_of(secret: str, timestamp: str, body: bytes) -> str:
    """Source: Slack, "Verifying requests from Slack"."""
    base = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), base, sha256).hexdigest()


def signed(secret: str, timestamp: str, body: bytes, signature: str) -> bool:
    """In a time that does not depend on how much of ``signature`` is right."""
    wanted = signature_of(secret, timestamp, body)
    return hmac.compare_digest(wanted.encode(), signature.encode(errors="replace"))


def command_of(body: bytes) -> Asked | Bad:
    """Of a slash command. Source: Slack, "Implementing slash commands"."""
    form = _form(body)
    if form is None:
        return _MALFORMED
    return _checked(
        team=form.get("team_id"),
        person=form.get("user_id"),
        channel=form.get("channel_id"),
        reply_to=form.get("response_url"),
        trigger=form.get("trigger_id"),
        text=form.get("text", ""),
    )


def interaction_of(body: bytes) -> Asked | Bad:
    """Of a button. Source: Slack, "block_actions payloads"."""
    form = _form(body)
    if form is None:
        return _MALFORMED
    match _json(form.get("payload", "")):
        case {
            "type": "block_actions",
            "team": {"id": team},
            "user": {"id": person},
            "channel": {"id": channel},
            "response_url": reply_to,
            "trigger_id": trigger,
            "actions": [{"action_id": str(action), "value": str(value)}],
        } if re.fullmatch(RESTORE_PATTERN, value, re.ASCII):
            return _checked(
                team=team,
                person=person,
                channel=channel,
                reply_to=reply_to,
                trigger=trigger,
                action=action,
                value=value,
            )
        case _:
            return _MALFORMED


def is_reply_url(url: str, hooks: str) -> bool:
    """Whether messages may be sent there: below ``hooks``, which ends with a slash, so that nothing
    that follows can make another host of it."""
    return bool(re.fullmatch(re.escape(hooks) + r"[\w-]+(/[\w-]+)*", url, re.ASCII))


_MALFORMED = Bad(HTTPStatus.BAD_REQUEST, "malformed")


def _checked(**fields: Any) -> Asked | Bad:
    ids = all(_is(fields[name], ID_PATTERN) for name in ("team", "person", "channel"))
    texts = all(isinstance(one, str) for one in fields.values())
    if not ids or not texts or not _is(fields["trigger"], TRIGGER_PATTERN):
        return _MALFORMED
    return Asked(**fields)


def _is(value: object, pattern: str) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(pattern, value, re.ASCII))


def _form(body: bytes) -> Mapping[str, str] | None:
    """None if it is none, or has a key twice: which of the two counts must not be a matter of who
    reads it."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
