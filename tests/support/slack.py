"""Slack's side: requests as it sends them through a function URL, signed, and what comes back."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TEAM = "T0123456789"
PERSON = "U01AAAAAAA"
OTHER = "U01BBBBBBB"
CHANNEL = "C01OPS0000"
HOOKS = "https://hooks.slack.com/"
REPLY_TO = f"{HOOKS}commands/{TEAM}/1234567890/AbCdEf0123456789"
TRIGGER = "13345224609.738474920.8088930838d88f008e0"
FORM = "application/x-www-form-urlencoded"


def command_body(text: str = "list web-1", **given: str) -> bytes:
    """As of a slash command. Source: Slack, "Implementing slash commands"."""
    fields = {
        "token": "gIkuvaNzQIHg97ATvDxqgjtO",
        "team_id": TEAM,
        "team_domain": "example",
        "channel_id": CHANNEL,
        "channel_name": "ops",
        "user_id": PERSON,
        "user_name": "anna",
        "command": "/lastgood",
        "text": text,
        "api_app_id": "A123456",
        "is_enterprise_install": "false",
        "response_url": REPLY_TO,
        "trigger_id": TRIGGER,
    }
    return urlencode(fields | given).encode()


def button_body(action: str, restore: str, **given: Any) -> bytes:
    """As of a button. Source: Slack, "block_actions payloads"."""
    payload = {
        "type": "block_actions",
        "user": {"id": PERSON, "username": "anna", "team_id": TEAM},
        "api_app_id": "A123456",
        "container": {"type": "message", "message_ts": "1548261231.000200"},
        "trigger_id": TRIGGER,
        "team": {"id": TEAM, "domain": "example"},
        "channel": {"id": CHANNEL, "name": "ops"},
        "message": {"type": "message", "text": "..."},
        "response_url": f"{HOOKS}actions/{TEAM}/1234567890/AbCdEf0123456789",
        "actions": [
            {
                "action_id": action,
                "block_id": "b1",
                "value": restore,
                "type": "button",
                "action_ts": "1548426417.840180",
            }
        ],
    }
    return urlencode({"payload": json.dumps(payload | given)}).encode()


def signature(body: bytes, timestamp: str, secret: str = SECRET) -> str:
    base = f"v0:{timestamp}:".encode() + body
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()


def signed_headers(body: bytes, at: datetime, secret: str = SECRET) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    return {
        "content-type": FORM,
        "x-slack-request-timestamp": timestamp,
        "x-slack-signature": signature(body, timestamp, secret),
        "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
    }


def url_event(
    path: str, body: bytes, headers: Mapping[str, str], at: datetime, method: str = "POST"
) -> dict[str, Any]:
    """As Lambda hands it to a function with a URL: a form comes as Base64. Source: Lambda Developer
    Guide, "Invoking Lambda function URLs", "Request payload format"."""
    host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-west-1.on.aws"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {**headers, "host": host, "x-forwarded-proto": "https"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghijklmnopqrstuvwxyz012345",
            "domainName": host,
            "domainPrefix": "abcdefghijklmnopqrstuvwxyz012345",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            },
            "requestId": "8d0d7a35-64c4-4f0b-8f5b-3f1f6d2c7e55",
            "routeKey": "$default",
            "stage": "$default",
            "time": at.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(at.timestamp() * 1000),
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


@dataclass
class Recording:
    """A ``Cloner``, an ``Explainer`` and ``Replies``: what each was told, and what it answers."""

    answer: Any = field(default_factory=lambda: {"status": "running", "text": "It runs."})
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    posted: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def ask(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(payload)
        return self._given()

    def post(self, url: str, message: Mapping[str, Any]) -> None:
        self.posted.append((url, message))
        self._given()

    def _given(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def text_of(message: Mapping[str, Any]) -> str:
    """What a person reads of a message's sections."""
    sections = [one["text"]["text"] for one in message["blocks"] if one["type"] == "section"]
    return "\n".join(sections)


def actions_of(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The buttons of a message, each with its value."""
    rows = [one["elements"] for one in message["blocks"] if one["type"] == "actions"]
    return [(one["action_id"], one["value"]) for row in rows for one in row]
