"""Lambda function URLs of the test cloud: who may call, what the function gets, what comes back."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.contract.workbench import Bench

ECHO = "event"
BOTH = (
    {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
    {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
)


def url_of(bench: Bench, result: str, kind: str = "NONE", permissions: Any = BOTH) -> str:
    function = bench.function(result=result)
    resources: dict[str, Any] = {
        "Url": {
            "Type": "AWS::Lambda::Url",
            "Properties": {"TargetFunctionArn": function, "AuthType": kind},
        }
    }
    for number, permission in enumerate(permissions):
        resources[f"May{number}"] = {
            "Type": "AWS::Lambda::Permission",
            "Properties": {"FunctionName": function, "Principal": "*", **permission},
        }
    outputs = {"Url": {"Value": {"Fn::GetAtt": ["Url", "FunctionUrl"]}}}
    stack = bench.stack(resources, Outputs=outputs)
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    return str(stack["Outputs"][0]["OutputValue"])


def called(url: str, body: bytes | None = None, **headers: str) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body, headers=named)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as failed:
        return failed.code, failed.headers["Content-Type"], failed.read()


def test_the_function_gets_an_event_in_format_2(bench: Bench) -> None:
    url = url_of(bench, ECHO)

    status, _, body = called(
        f"{url}slack/act?a=1&a=2", b'{"x": 1}', Content_Type="application/json", X_Signed="v0=ab"
    )

    event = json.loads(body)
    assert status == 200
    assert (event["version"], event["rawPath"]) == ("2.0", "/slack/act")
    assert (event["body"], event["isBase64Encoded"]) == ('{"x": 1}', False)
    assert event["headers"]["x-signed"] == "v0=ab"
    assert event["queryStringParameters"] == {"a": "1,2"}
    context = event["requestContext"]
    assert (context["http"]["method"], context["http"]["sourceIp"]) == ("POST", "127.0.0.1")
    now = bench.cloud.now().timestamp() * 1000
    assert abs(context["timeEpoch"] - now) < 60_000


def test_a_form_comes_in_base64(bench: Bench) -> None:
    url = url_of(bench, ECHO)

    _, _, body = called(url, b"a=1", Content_Type="application/x-www-form-urlencoded")

    assert (json.loads(body)["body"], json.loads(body)["isBase64Encoded"]) == ("YT0x", True)


@pytest.mark.parametrize(
    ("result", "seen"),
    [
        ("'hello'", (200, "application/json", b'"hello"')),
        ("{'a': 1}", (200, "application/json", b'{"a": 1}')),
        (
            "{'statusCode': 201, 'headers': {'content-type': 'text/plain'}, 'body': 'made'}",
            (201, "text/plain", b"made"),
        ),
        (
            "{'statusCode': 200, 'isBase64Encoded': True, 'body': 'aGk='}",
            (200, "application/json", b"hi"),
        ),
        ("1 / 0", (502, "text/plain", b"Internal Server Error")),
    ],
)
def test_what_the_client_sees(bench: Bench, result: str, seen: Any) -> None:
    assert called(url_of(bench, result)) == seen


@pytest.mark.parametrize("permissions", [(), BOTH[:1], BOTH[1:]])
def test_without_both_permissions_the_url_is_forbidden(bench: Bench, permissions: Any) -> None:
    status, _, body = called(url_of(bench, ECHO, permissions=permissions))

    assert (status, json.loads(body)) == (403, {"Message": "Forbidden"})


def test_a_url_for_iam_takes_no_unsigned_request(bench: Bench) -> None:
    assert called(url_of(bench, ECHO, kind="AWS_IAM"))[0] == 403


def test_a_body_of_more_than_6_mb_is_too_large(bench: Bench) -> None:
    assert called(url_of(bench, ECHO), b"x" * (6 * 1024 * 1024 + 1))[0] == 413


def test_no_url_is_left_when_the_stack_is_gone(bench: Bench) -> None:
    url = url_of(bench, ECHO)

    bench.client("cloudformation").delete_stack(StackName=bench.name("stack"))

    assert called(url)[0] == 403
