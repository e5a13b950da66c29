"""Chat as Lambda calls it: events of a function URL, Powertools' routes, settings and secrets."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from chat import handler as chat_handler
from infra.chat import chat_document
from lastgood import runtime
from lastgood.domain.chat_permissions import Allow, Permissions, Slack, Verb, Who
from tests import ROOT
from tests.cloud.in_process import InProcessCloud, in_process_cloud
from tests.support import table
from tests.support.slack import (
    CHANNEL,
    PERSON,
    REPLY_TO,
    SECRET,
    TEAM,
    command_body,
    signed_headers,
    text_of,
    url_event,
)

HOME = "eu-west-1"
NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
PERMISSIONS = Permissions(
    slack=Slack(team=TEAM), allow=(Allow(who=Who(users=(PERSON,)), verbs=(Verb.LIST,)),)
)


@dataclass(frozen=True)
class Context:
    function_name: str = "lastgood-chat"
    aws_request_id: str = "request-1"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:lastgood-chat"

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def forget() -> None:
    """What a new execution environment does not know yet."""
    chat_handler.chat.cache_clear()
    for value in vars(runtime).values():
        if hasattr(value, "cache_clear") and value.__module__ == runtime.__name__:
            value.cache_clear()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcessCloud]:
    variables = {
        "ACCOUNT": "123456789012",
        "REGION": HOME,
        "TABLE": table.NAME,
        "BUS": "lastgood",
        "POLICIES": "/lastgood/policies",
        "TIMEOUT": "10",
        "CHAT": "/lastgood/chat",
        "SECRET": "lastgood/slack",
        "CLONER": "lastgood-clone-instance",
        "PRUNER": "lastgood-prune-snapshots",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"LASTGOOD_{name}", value)
    with in_process_cloud(NOW) as cloud:
        forget()
        table.create(cloud.client("dynamodb", HOME))
        cloud.client("ssm", HOME).put_parameter(
            Name="/lastgood/chat", Type="String", Value=chat_document(PERMISSIONS)
        )
        cloud.client("secretsmanager", HOME).create_secret(
            Name="lastgood/slack", SecretString=json.dumps({"signing_secret": SECRET})
        )
        yield cloud
        forget()


def called(body: bytes, path: str = "/slack/commands", **given: Any) -> dict[str, Any]:
    secret = given.pop("secret", SECRET)
    event = url_event(path, body, signed_headers(body, NOW, secret), NOW, **given)
    return chat_handler.handler(event, Context())


def test_a_command_is_answered_with_a_message(cloud):
    response = called(command_body("help"))

    assert response["statusCode"] == 200
    assert response["headers"]["Content-Type"] == "application/json; charset=utf-8"
    assert "clone SOURCE" in text_of(json.loads(response["body"]))


def test_a_polite_no_is_on_record_and_logged_without_the_response_url(cloud, caplog, capsys):
    response = called(command_body("clone web-1"))

    assert text_of(json.loads(response["body"])).startswith("Sorry, ")
    (record,) = cloud.client("dynamodb", HOME).query(
        TableName=table.NAME,
        KeyConditionExpression="pk = :day",
        ExpressionAttributeValues={":day": {"S": "REFUSED#2026-11-30"}},
    )["Items"]
    assert (record["person"]["S"], record["channel"]["S"]) == (PERSON, CHANNEL)
    said = capsys.readouterr().out + caplog.text
    assert "ChatRequestsRefused" in said
    assert REPLY_TO not in said
    assert SECRET not in said


def test_what_is_forged_is_answered_with_a_status_alone(cloud):
    response = called(command_body("help"), secret="x" * 32)

    assert (response["statusCode"], response["body"]) == (401, "")
    assert cloud.calls.of("dynamodb.*Item") == []


def test_the_secret_is_read_anew_once_a_minute_at_most_however_much_is_forged(cloud):
    for number in range(20):
        called(command_body("help", trigger_id=f"1.{number}"), secret="x" * 32)

    assert len(cloud.calls.of("secretsmanager.GetSecretValue")) == 2


def test_a_new_secret_holds_at_once(cloud):
    assert called(command_body("help"))["statusCode"] == 200
    cloud.client("secretsmanager", HOME).put_secret_value(
        SecretId="lastgood/slack", SecretString=json.dumps({"signing_secret": "n" * 32})
    )

    assert called(command_body("help"), secret="n" * 32)["statusCode"] == 200


@pytest.mark.parametrize("value", ["", "{}", "[]", "x", '{"signing_secret": ""}'])
def test_without_a_signing_secret_nothing_is_let_in(cloud, value):
    cloud.client("secretsmanager", HOME).put_secret_value(
        SecretId="lastgood/slack", SecretString=value or " "
    )

    assert called(command_body("help"), secret="")["statusCode"] == 503


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/", "POST"),
        ("/slack/commands", "GET"),
        ("/slack/commands/x", "POST"),
        ("/slack/../slack/commands", "POST"),
        ("/slack/events", "POST"),
    ],
)
def test_there_is_nothing_else(cloud, path, method):
    assert called(command_body("help"), path, method=method)["statusCode"] == 404


def test_the_sample_event_is_a_command_of_long_ago(cloud, caplog):
    event = json.loads((ROOT / "tests/events/chat.json").read_text())

    with caplog.at_level(logging.WARNING):
        response = chat_handler.handler(event, Context())

    assert response["statusCode"] == 401
