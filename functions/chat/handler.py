"""Slack, by a function URL: slash commands and buttons."""

import json
from datetime import UTC, datetime
from functools import cache

from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from chat.usecase import Chat, Received, Reply
from lastgood import runtime
from lastgood.domain.measures import Measure

app = LambdaFunctionUrlResolver()


@cache
def chat() -> Chat:
    return Chat(
        permitted=runtime.permissions(),
        secret=runtime.signing_secret(),
        ledger=runtime.ledger(),
        cloner=runtime.cloner,
        explainer=runtime.explainer,
        replies=runtime.replies(runtime.CHAT_REPLY_SECONDS),
        hooks=runtime.settings().slack_hooks,
        clock=runtime.clock(),
    )


@app.post("/slack/commands")
def commands() -> Response[str]:
    return _response(chat().command(_received()))


@app.post("/slack/interactions")
def interactions() -> Response[str]:
    return _response(chat().interaction(_received()))


@runtime.served
def handler(event: runtime.Response, context: LambdaContext) -> runtime.Response:
    return app.resolve(event, context)


def _received() -> Received:
    event = app.current_event.raw_event
    milliseconds = event["requestContext"]["timeEpoch"]
    return Received(
        body=event.get("body"),
        is_base64=bool(event.get("isBase64Encoded")),
        headers={name.lower(): value for name, value in event["headers"].items()},
        at=datetime.fromtimestamp(milliseconds / 1000, UTC),
    )


def _response(reply: Reply) -> Response[str]:
    """What was refused is counted and logged; never what was sent, which a stranger may have
    written, nor the response URL, which is a right to write."""
    runtime.logger.append_keys(**(reply.asked or {}))
    if reply.error:
        runtime.report(reply.error)
    if reply.refused:
        runtime.measure(Measure.CHAT_REFUSED, reason=reply.refused)
        runtime.logger.warning("refused", reason=reply.refused)
    elif not reply.error:
        runtime.logger.info("answered")
    if reply.message is None:
        return Response(status_code=reply.status.value, content_type="text/plain", body="")
    return Response(
        status_code=reply.status.value,
        content_type="application/json; charset=utf-8",
        body=json.dumps(reply.message),
    )
