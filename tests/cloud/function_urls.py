"""Lambda function URLs, served on loopback: http://127.0.0.1:PORT/_url/ID/.

Source: Lambda Developer Guide, "Invoking Lambda function URLs" (payload format 2.0) and "Control
access to Lambda function URLs".
"""

import base64
import json
import uuid
from datetime import datetime
from typing import Any

from moto.awslambda.models import FunctionUrlConfig, LambdaFunction, lambda_backends
from werkzeug.wrappers import Request

from tests.cloud.backbone import Backbone, Operator, Role, regions_of
from tests.cloud.ec2.patches import Patches
from tests.cloud.iam import Gate
from tests.cloud.lambdas import Functions, deployed
from tests.cloud.policy import Caller, Need, NotTaught, judge
from tests.cloud.wire import CREDENTIAL, Call, Refused, Reply, hang_up

Json = dict[str, Any]
PREFIX = "/_url/"
# Source: "Lambda quotas": 6 MB each for request and response.
MOST_BYTES = 6 * 1024 * 1024
ANYBODY = Caller("anonymous")
# Any other body comes in base64, as one of a form does. Source: "Invoking Lambda function URLs".
TEXT = ("text/", "application/json", "application/javascript", "application/xml")


def install(patches: Patches, backbone: Backbone) -> None:
    """URLs that can be reached; moto makes up addresses of AWS."""
    create, shown = LambdaFunction.create_url_config, FunctionUrlConfig.to_dict

    def reachable(function: LambdaFunction, config: Json) -> FunctionUrlConfig:
        made = create(function, config)
        made.url = f"{backbone.url}{PREFIX}{uuid.uuid4().hex}/"
        return made

    def to_dict(config: FunctionUrlConfig) -> Json:
        return shown(config) | {"InvokeMode": config.config.get("InvokeMode") or "BUFFERED"}

    patches.set(LambdaFunction, "create_url_config", reachable)
    patches.set(FunctionUrlConfig, "to_dict", to_dict)


def before(call: Call) -> None:
    """Raises NotTaught for a URL of another kind than a buffered one of the whole function."""
    given = call.parameters
    if call.operation in ("CreateFunctionUrlConfig", "UpdateFunctionUrlConfig") and (
        given.get("InvokeMode", "BUFFERED") != "BUFFERED" or given.get("Qualifier")
    ):
        raise NotTaught(f"a function URL with {given}")


def after(call: Call, account: str) -> None:
    """moto keeps these two as elements of the statement, where AWS has conditions."""
    if call.operation != "AddPermission":
        return
    function = lambda_backends[account][call.region].get_function(call.parameters["FunctionName"])
    statement = function.policy.statements[-1]
    conditions = statement.setdefault("Condition", {})
    if kind := statement.pop("FunctionUrlAuthType", None):
        conditions.setdefault("StringEquals", {})["lambda:FunctionUrlAuthType"] = kind
    if (via := statement.pop("InvokedViaFunctionUrl", None)) is not None:
        conditions["Bool"] = {"lambda:InvokedViaFunctionUrl": str(via).lower()}


class FunctionUrls:
    def __init__(self, backbone: Backbone, functions: Functions, gate: Gate) -> None:
        self._backbone = backbone
        self._functions = functions
        self._gate = gate

    def answer(self, environ: Json) -> Reply:
        """Invoke the function whose URL was called, and answer what it says."""
        request = Request(environ)
        url_id, _, path = request.path.removeprefix(PREFIX).partition("/")
        config = self._find(url_id)
        if config is None or not self._allowed(config, request):
            return _message(403, "Forbidden")
        if config.function.region in self._backbone.dark:
            hang_up(environ)
        body = request.get_data()
        if len(body) > MOST_BYTES:
            return _message(413, f"Request must be smaller than {MOST_BYTES} bytes")
        event = self._event(config, request, url_id, f"/{path}", body)
        with self._backbone.lock:
            function = deployed(config.function)
        try:
            outcome = self._functions.run(function, json.dumps(event).encode())
        except Refused as refused:
            return _message(refused.status or 502, refused.message)
        if outcome.error or len(outcome.payload) > MOST_BYTES:
            return Reply(502, {"Content-Type": "text/plain"}, b"Internal Server Error")
        return _interpreted(json.loads(outcome.payload or b"null"))

    def _find(self, url_id: str) -> FunctionUrlConfig | None:
        with self._backbone.lock:
            for backend in regions_of(lambda_backends):
                for function in backend.list_functions():
                    config: FunctionUrlConfig | None = function.url_config
                    if config is not None and config.url.endswith(f"{PREFIX}{url_id}/"):
                        return config
        return None

    def _allowed(self, config: FunctionUrlConfig, request: Request) -> bool:
        """Two rights are needed since October 2025: to call the URL, and the function by it.

        Signatures are not verified.
        """
        function, kind = config.function, config.config["AuthType"]
        needs = (
            Need(
                "lambda:InvokeFunctionUrl",
                function.function_arn,
                {"lambda:FunctionUrlAuthType": kind},
            ),
            Need(
                "lambda:InvokeFunction",
                function.function_arn,
                {"lambda:InvokedViaFunctionUrl": "true"},
            ),
        )
        signed = CREDENTIAL.search(request.headers.get("Authorization", ""))
        if kind == "AWS_IAM":
            if signed is None:
                return False
            principal = self._backbone.principal(signed["key"])
            if principal.account != function.account_id:
                raise NotTaught("a function URL that another account calls")
            if isinstance(principal, Role):
                return all(self._gate.allows(principal, need) for need in needs)
            return isinstance(principal, Operator)
        with self._backbone.lock:
            policies = [{"Statement": function.policy.statements}]
            return all(judge(policies, need, ANYBODY) == "allowed" for need in needs)

    def _event(
        self, config: FunctionUrlConfig, request: Request, url_id: str, path: str, body: bytes
    ) -> Json:
        now, region = self._backbone.clock.now(), config.function.region
        headers = {name.lower(): value for name, value in request.headers.items()}
        cookies = [one for one in headers.pop("cookie", "").split("; ") if one]
        query = {name: ",".join(values) for name, values in request.args.lists()}
        return {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": request.query_string.decode(),
            **({"cookies": cookies} if cookies else {}),
            "headers": headers,
            **({"queryStringParameters": query} if query else {}),
            "requestContext": {
                "accountId": "anonymous",
                "apiId": url_id,
                "domainName": f"{url_id}.lambda-url.{region}.on.aws",
                "domainPrefix": url_id,
                "http": {
                    "method": request.method,
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": request.remote_addr,
                    "userAgent": headers.get("user-agent", ""),
                },
                "requestId": str(uuid.uuid4()),
                "routeKey": "$default",
                "stage": "$default",
                "time": _common_log(now),
                "timeEpoch": int(now.timestamp() * 1000),
            },
            **_body(body, request.mimetype),
        }


def _common_log(moment: datetime) -> str:
    return moment.strftime("%d/%b/%Y:%H:%M:%S +0000")


def _body(body: bytes, kind: str) -> Json:
    if not body:
        return {"isBase64Encoded": False}
    if kind.startswith(TEXT):
        return {"body": body.decode(), "isBase64Encoded": False}
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def _interpreted(response: Any) -> Reply:
    """What the client sees: without a statusCode, the whole response is the body, as JSON."""
    if not isinstance(response, dict) or "statusCode" not in response:
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(response).encode())
    if response.get("cookies"):
        raise NotTaught("cookies in the response of a function URL")
    headers = {name: str(value) for name, value in (response.get("headers") or {}).items()}
    if "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = "application/json"
    body = response.get("body") or ""
    encoded = response.get("isBase64Encoded")
    content = base64.b64decode(body) if encoded else body.encode()
    return Reply(int(response["statusCode"]), headers, content)


def _message(status: int, message: str) -> Reply:
    body = json.dumps({"Message": message}).encode()
    return Reply(status, {"Content-Type": "application/json"}, body)
