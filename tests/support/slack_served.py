"""Slack beside a served test cloud: it calls the chat function by its URL, and takes messages."""

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

from infra.constructs.chat import SECRET, SIGNING
from tests.cloud.driver import CloudProcess
from tests.support import slack

FUNCTIONS = ("lastgood-chat", "lastgood-tell-chat")
SETTING = "LASTGOOD_SLACK_HOOKS"
LATE = re.compile("^(Under way|That took too long)")


@dataclass(frozen=True)
class Posted:
    """A message to a response URL."""

    path: str
    message: dict[str, Any]

    @property
    def text(self) -> str:
        return slack.text_of(self.message)


@dataclass
class ResponseUrls:
    """Stands for hooks.slack.com. ``posted``: what came, in order. ``busy``: how many of the next
    messages it does not take."""

    url: str
    busy: int = 0
    posted: list[Posted] = field(default_factory=list)


@contextmanager
def response_urls() -> Iterator[ResponseUrls]:
    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if urls.busy:
                urls.busy -= 1
                self.send_response(503)
            else:
                urls.posted.append(Posted(self.path, json.loads(body)))
                self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        urls = ResponseUrls(f"http://127.0.0.1:{server.server_port}/")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield urls
        server.shutdown()


@dataclass(frozen=True)
class Told:
    """What Slack got for its request. ``seconds``: of real time."""

    status: int
    message: dict[str, Any] | None
    seconds: float

    @property
    def text(self) -> str:
        return slack.text_of(self.message) if self.message else ""


@dataclass
class SlackApp:
    """Lastgood's app in a workspace, whose requests go to ``url``, the output ChatUrl."""

    cloud: CloudProcess
    url: str
    hooks: ResponseUrls
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def command(self, text: str, *, person: str = slack.PERSON, secret: str = slack.SECRET) -> Told:
        """``/lastgood TEXT``, as a person writes it."""
        body = slack.command_body(text, user_id=person, **self._of_this_time("commands"))
        return self.send("slack/commands", body, secret=secret)

    def answered(self, text: str, *, tries: int = 5) -> Told:
        """As ``command``, again until it is answered and not only said to be under way: functions
        that have just been deployed, on a busy machine, may be late."""
        told = self.command(text)
        while LATE.search(told.text) and tries > 1:
            tries -= 1
            told = self.command(text)
        return told

    def button(self, action: str, restore: str, *, person: str = slack.OTHER) -> Told:
        """As a person pushes it on a message about a restore."""
        who = {"id": person, "username": "bert", "team_id": slack.TEAM}
        body = slack.button_body(action, restore, user=who, **self._of_this_time("actions"))
        return self.send("slack/interactions", body)

    def send(self, path: str, body: bytes, *, secret: str = slack.SECRET) -> Told:
        headers = slack.signed_headers(body, self.cloud.now(), secret)
        request = urllib.request.Request(f"{self.url}{path}", data=body, headers=headers)
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(request) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            status, text = refused.code, refused.read()
        took = time.perf_counter() - began
        return Told(status, json.loads(text) if text else None, took)

    def heard(self, restore: str) -> Sequence[str]:
        """What was posted about a restore, in order."""
        return [one.text for one in self.hooks.posted if restore in one.text]

    def _of_this_time(self, kind: str) -> dict[str, str]:
        number = next(self._numbers)
        return {
            "trigger_id": f"{number}.738474920.8088930838d88f008e0",
            "response_url": f"{self.hooks.url}{kind}/{slack.TEAM}/{number}/AbCdEf0123456789",
        }


def install_app(cloud: CloudProcess, region: str, hooks: ResponseUrls) -> SlackApp:
    """As docs/chat.md has it; and for Slack's own host, ours stands in both functions."""
    secrets = cloud.client("secretsmanager", region)
    secrets.put_secret_value(SecretId=SECRET, SecretString=json.dumps({SIGNING: slack.SECRET}))
    client = cloud.client("lambda", region)
    for name in FUNCTIONS:
        known = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**known, SETTING: hooks.url}}
        )
    stacks = cloud.client("cloudformation", region).describe_stacks(StackName="Lastgood")
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stacks["Stacks"][0]["Outputs"]}
    return SlackApp(cloud, outputs["ChatUrl"], hooks)
