"""Slack's response URLs: where an answer goes that comes later."""

import json
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from lastgood.domain.slack_requests import is_reply_url
from lastgood.errors import AlreadyDone, CallRefused, Throttled, Unavailable

SOON = timedelta(seconds=5)
_NO_MORE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class SlackReplies:
    """``Replies``, to URLs that begin with ``hooks`` and nowhere else, whatever a request says: it
    is a person in Slack who has them sent there, and the function may reach more than he does.

    By urllib3, which is there wherever botocore is, and is loaded with it.
    """

    def __init__(self, hooks: str, seconds: float) -> None:
        self._hooks = hooks
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=seconds), retries=False, cert_reqs="CERT_REQUIRED"
        )

    def post(self, url: str, message: Mapping[str, Any]) -> None:
        if not is_reply_url(url, self._hooks):
            raise CallRefused(f"a response URL that does not begin with {self._hooks}")
        try:
            reply = self._http.request(
                "POST",
                url,
                body=json.dumps(message).encode(),
                headers={"Content-Type": "application/json; charset=utf-8"},
                redirect=False,
            )
        except HTTPError as error:
            # The URL is a right to write into the channel: it is in no message of ours.
            raise Unavailable(f"tell Slack: {type(error).__name__}", SOON) from None
        status = reply.status
        if status == HTTPStatus.OK:
            return
        said = reply.data[:200].decode(errors="replace")
        if status in _NO_MORE:
            raise AlreadyDone(f"Slack takes no more messages there: {status} {said}")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Throttled("Slack is told too much", _after(reply.headers.get("Retry-After", "")))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"tell Slack: {status} {said}", SOON)
        raise CallRefused(f"Slack did not take a message: {status} {said}")


def _after(seconds: str) -> timedelta:
    return timedelta(seconds=int(seconds)) if seconds.isascii() and seconds.isdigit() else SOON
