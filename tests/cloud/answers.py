"""moto's answers, in half of the time of a story.

It looks for each of the ten kinds of every value of DynamoDB, under many spellings; a value has one
kind, and that is spelled as the API does. It reads the class that answers anew for each call. It
converts a whole item for each attribute that an index has of it, and sorts a whole table for each
query of an index, by keys that it unpacks at each comparison.
"""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

from moto.core import responses
from moto.core.serialize import JSONSerializer
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table

from tests.cloud.ec2.patches import Patches


def install(patches: Patches) -> None:
    structure = JSONSerializer._serialize_type_structure

    def write(serializer: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue" and value is not None:
            serializer._default_serialize(serialized, _plain(value), shape, key)
        else:
            structure(serializer, serialized, value, shape, key)

    patches.set(Item, "project", _quick_project(Item.project))
    patches.set(Table, "all_items", _all_items)
    patches.set(Table, "sorted_items", _sorted_items)
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


def _quick_project(whole: Callable[[Item, list[list[str]]], Item]) -> Any:
    def project(item: Item, paths: list[list[str]]) -> Item:
        if any(len(path) > 1 or "[" in path[0] for path in paths):
            return whole(item, paths)
        shown = Item(item.hash_key, item.range_key, {})
        for (name,) in paths:
            if name in item.attrs:
                # Its size was checked when it was written.
                dict.__setitem__(shown.attrs, name, copy.deepcopy(item.attrs[name]))
        return shown

    return project


def _all_items(table: Any) -> list[Item]:
    if not table.range_key_attr:
        found = list(table.items.values())
        return sorted(found, key=lambda one: one.hash_key.cast_value)
    return [
        item
        for _, hash_set in sorted(table.items.items(), key=lambda pair: pair[0].cast_value)
        for item in sorted(hash_set.values(), key=lambda one: one.range_key.cast_value)
    ]


def _sorted_items(
    table: Any, hash_keys: list[str], range_keys: list[str | None], found: list[Item]
) -> list[Item]:
    names = table._generate_attr_to_sort_by(hash_keys, range_keys)
    return sorted(found, key=lambda one: tuple(one.attrs[name].cast_value for name in names))
