"""AWS requests and answers on the wire, read and written by the service models of botocore."""

import re
import socket
from dataclasses import dataclass
from typing import Any, NoReturn

from botocore.exceptions import UnknownServiceError
from moto.core.model import OperationModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from moto.moto_server.werkzeug_app import BackendRequest
from werkzeug.exceptions import NotFound

# The name that a client signs with, where it is not the name of the service model.
SIGNED_AS = {
    "monitoring": "cloudwatch",
    "servicequotas": "service-quotas",
    "states": "stepfunctions",
    "tagging": "resourcegroupstaggingapi",
}
CREDENTIAL = re.compile(r"Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/")
ATTEMPT = re.compile(r"attempt=(\d+)")


class Refused(Exception):
    """An answer other than success, under the code that the service itself uses."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class Unreadable(Exception):
    """Not a request of a service that botocore knows."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Call:
    """One signed request: who asks for which operation, where, with which parameters."""

    service: str
    operation: str
    region: str
    access_key: str
    parameters: dict[str, Any]
    headers: dict[str, str]
    protocol: str
    model: OperationModel

    @property
    def attempt(self) -> int:
        """Which try of its call this is, from 1, as botocore writes in each request."""
        sent = ATTEMPT.search(self.headers.get("amz-sdk-request", ""))
        return int(sent[1]) if sent else 1

    def answer(self, result: dict[str, Any]) -> Reply:
        return self._written(result)

    def error(self, refused: Refused) -> Reply:
        reply = self._written(refused)
        return Reply(refused.status or reply.status, reply.headers, reply.body)

    def _written(self, result: object) -> Reply:
        serializer = get_serializer_class(self.service, self.protocol)(operation_model=self.model)
        written = serializer.serialize(result)
        body = written["body"] or b""
        headers = {str(name): str(value) for name, value in written["headers"].items()}
        content = body.encode() if isinstance(body, str) else body
        return Reply(written["status_code"], headers, content)


def read(environ: dict[str, Any]) -> Call:
    """Parse a WSGI request whose body can be read again afterwards.

    Raises:
        Unreadable: it is not signed, or its service or operation is in no model.
    """
    request = BackendRequest(environ)
    request.get_data(cache=True, parse_form_data=False)
    signed = CREDENTIAL.search(request.headers.get("Authorization", ""))
    if signed is None:
        raise Unreadable(f"unsigned request: {request.method} {request.path}")
    service = SIGNED_AS.get(signed["service"], signed["service"])
    try:
        model = get_service_model(service)
        operation, uri = get_service_router(service).match(request)
    except (UnknownServiceError, NotFound) as unknown:
        raise Unreadable(f"{service}: {request.method} {request.path}") from unknown
    protocol = determine_request_protocol(model, request.content_type)
    parameters = PROTOCOL_PARSERS[protocol](operation).parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": request.get_data(),
            "url_path": request.path,
            "url_params": uri,
        }
    )
    return Call(
        service=service,
        operation=str(operation.name),
        region=signed["region"],
        access_key=signed["key"],
        parameters=parameters,
        headers={name.lower(): value for name, value in request.headers.items()},
        protocol=protocol,
        model=operation,
    )


def hang_up(environ: dict[str, Any]) -> NoReturn:
    """Close the connection with no answer on it; the caller sees that at once."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError
