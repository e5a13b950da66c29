"""moto's answers, in half of the time of a story.

It looks for each of the ten kinds of every value of DynamoDB, under many spellings; a value has one
kind, and that is spelled as the API does. It reads the class that answers anew for each call.
"""

from functools import cache
from typing import Any

from moto.core import responses
from moto.core.serialize import JSONSerializer
from moto.dynamodb.models.dynamo_type import DynamoType

from tests.cloud.ec2.patches import Patches


def install(patches: Patches) -> None:
    structure = JSONSerializer._serialize_type_structure

    def write(serializer: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue" and value is not None:
            serializer._default_serialize(serialized, _plain(value), shape, key)
        else:
            structure(serializer, serialized, value, shape, key)

    for name in ("camelcase_to_underscores", "method_names_from_class"):
        patches.set(responses, name, cache(getattr(responses, name)))
    patches.set(JSONSerializer, "_serialize_type_structure", write)


def _plain(value: Any) -> Any:
    """As the API writes it, in plain dictionaries and lists."""
    if isinstance(value, DynamoType):
        value = value.to_json()
    ((kind, inside),) = value.items()
    if kind == "M":
        return {kind: {name: _plain(one) for name, one in inside.items()}}
    if kind == "L":
        return {kind: [_plain(one) for one in inside]}
    return value
