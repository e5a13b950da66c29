"""Filters of the describe calls: wildcards, AND between filters, OR between values.

Source: EC2 User Guide, "Find your Amazon EC2 resources", filtering considerations: ``*`` matches
zero or more characters, ``?`` zero or one, a backslash takes the next one literally; values are
case-sensitive and have up to 255 characters; up to 50 filters, and 200 values to a filter.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from tests.cloud.ec2.errors import refusal
from tests.cloud.ec2.tags import Tags, tags_of

MAX_FILTERS = 50
MAX_VALUES = 200
MAX_LENGTH = 255

Fields = Mapping[str, Callable[[Any], Iterable[Any]]]
Test = Callable[[Any], bool]


@lru_cache(maxsize=4096)
def wildcard(pattern: str) -> re.Pattern[str]:
    wildcards = {"*": ".*", "?": ".?"}
    tokens = re.findall(r"\\.|.", pattern, re.DOTALL)
    return re.compile(
        "".join(
            re.escape(token[1:]) if len(token) > 1 else wildcards.get(token, re.escape(token))
            for token in tokens
        ),
        re.DOTALL,
    )


def matcher(
    filters: list[dict[str, Any]], fields: Fields, tags: Callable[[Any], Tags] = tags_of
) -> Test:
    """A test that holds for what matches every filter, under the ``tags`` that the caller sees.

    Raises:
        InvalidParameterValue: no such filter, or one without name or values.
        FilterLimitExceeded: too many filters or values.
    """
    if len(filters) > MAX_FILTERS:
        raise refusal("FilterLimitExceeded", f"more than {MAX_FILTERS} filters")
    tests = [_test(given.get("Name"), given.get("Values") or [], fields, tags) for given in filters]
    return lambda item: all(test(item) for test in tests)


def _test(name: str | None, values: list[str], fields: Fields, tags: Callable[[Any], Tags]) -> Test:
    if not name:
        raise refusal("InvalidParameterValue", "The filter 'null' is invalid")
    if not values:
        raise refusal("InvalidParameterValue", f"The filter '{name}' has no values")
    if len(values) > MAX_VALUES:
        raise refusal("FilterLimitExceeded", f"more than {MAX_VALUES} values for '{name}'")
    if any(len(value) > MAX_LENGTH for value in values):
        raise refusal("InvalidParameterValue", f"more than {MAX_LENGTH} characters in '{name}'")
    texts = _field(name, fields, tags)
    literals = {value for value in values if not set(value) & set("*?\\")}
    patterns = [wildcard(value) for value in values if value not in literals]
    return lambda item: any(
        text in literals or any(pattern.fullmatch(text) for pattern in patterns)
        for text in texts(item)
    )


def _field(
    name: str, fields: Fields, tags: Callable[[Any], Tags]
) -> Callable[[Any], Iterable[str]]:
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda item: [tags(item)[key]] if key in tags(item) else []
    if name == "tag-key":
        return tags
    if name not in fields:
        raise refusal("InvalidParameterValue", f"The filter '{name}' is invalid")
    return lambda item: [_text(value) for value in fields[name](item) if value is not None]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
