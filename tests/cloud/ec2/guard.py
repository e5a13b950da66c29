"""Around every EC2 call: closed Regions, throttling, our own operations, a loud no to the rest."""

from collections.abc import Callable, Iterable
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses import EC2Response

from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.errors import NotModelled, http_status, refusal
from tests.cloud.ec2.patches import Patches
from tests.cloud.ec2.request import Operation, Request, refuse_unmodelled
from tests.cloud.ec2.throttling import Api, is_broad


def install(patches: Patches, world: World, operations: Iterable[Operation]) -> None:
    ours = {operation.name for operation in operations}
    for operation in operations:
        patches.set(EC2Response, camelcase_to_underscores(operation.name), _ours(world, operation))
    patches.set(EC2Response, "_get_param", _noting(EC2Response._get_param))
    patches.set(EC2Response, "_get_params", _noting_all(EC2Response._get_params))
    patches.set(EC2Response, "call_action", _guarded(world, ours, EC2Response.call_action))


class PlainResult(ActionResult):
    """A dict with the names of the API: moto's search for names takes half of a large answer."""

    def execute_result(self, context: Any) -> Any:
        serializer = context.serializer_class(
            operation_model=context.operation_model,
            value_picker=lambda wanted: wanted.obj.get(wanted.key),
        )
        answer = serializer.serialize(self.result)
        return answer["status_code"], answer["headers"], answer["body"]


def _ours(world: World, operation: Operation) -> Callable[[Any], Any]:
    def act(response: Any) -> Any:
        request = Request(operation.name, response.params, response.ec2_backend, response)
        try:
            refuse_unmodelled(operation.name, request.params, operation.modelled)
            return PlainResult(operation.handler(world, request))
        except EC2ClientError as error:
            return _refused(world, response, error)

    return act


def _noting(moto_get_param: Callable[..., Any]) -> Callable[..., Any]:
    def _get_param(response: Any, name: str, if_none: Any = None) -> Any:
        _read(response).add(name.split(".")[0])
        return moto_get_param(response, name, if_none)

    return _get_param


def _noting_all(moto_get_params: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def _get_params(response: Any) -> Any:
        _read(response).update(response.params)
        return moto_get_params(response)

    return _get_params


def _read(response: Any) -> set[str]:
    names: set[str] = vars(response).setdefault("parameters_read", set())
    return names


def _guarded(world: World, ours: set[str], moto_call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Of the operations that moto answers alone, a parameter it did not read was ignored.

    Source of AuthFailure: AWS Account Management, "Enable or disable AWS Regions", and EC2
    "Error codes": a Region that is not enabled does not know the account's credentials.
    """

    def call_action(response: Any) -> Any:
        if response.region in world.conditions.closed_regions:
            error = refusal(
                "AuthFailure", "AWS was not able to validate the provided access credentials"
            )
            return _finished(response, _refused(world, response, error))
        operation = response._get_action()
        if world.conditions.throttling and not _token(world, operation, response):
            error = refusal("RequestLimitExceeded", "Request limit exceeded.")
            return _finished(response, _refused(world, response, error))
        answer = moto_call(response)
        if operation in ours or int(answer[0]) >= 300:
            return answer
        ignored = set(response.params) - _read(response)
        if not ignored:
            return answer
        error = NotModelled(operation, f"the parameter {', '.join(sorted(ignored))}")
        return _finished(response, _refused(world, response, error))

    return call_action


def _token(world: World, operation: str, response: Any) -> bool:
    broad = is_broad(operation, response.params)
    api = Api(response.current_account, response.region, operation, broad)
    return world.conditions.buckets.take(api, world.clock.now())


def _refused(world: World, response: Any, error: EC2ClientError) -> tuple[Any, dict[str, Any]]:
    if isinstance(error, NotModelled):
        world.conditions.not_modelled.append(str(error.message))
    _, headers, body = response.serialized(ActionResult(error))
    return body, {**headers, "status": http_status(error)}


def _finished(response: Any, refused: tuple[Any, dict[str, Any]]) -> Any:
    status, headers, body = response._transform_response(response.response_headers, refused)
    headers, body = response._enrich_response(headers, body)
    return status, headers, body
