"""Pages of the describe calls.

A token names the position after the last item served, so what is deleted between two pages
neither hides nor repeats another item. Items come in the order of their ids: AWS promises none.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tests.cloud.ec2.errors import refusal

# Source: EC2 API Reference, DescribeInstances MaxResults. The snapshots' and volumes' pages were
# said to be cut to the largest instead of refused; refusing is the stricter of the two.
SMALLEST_PAGE = 5
LARGEST_PAGE = 1000

Item = TypeVar("Item")


def page(
    params: dict[str, Any], items: Iterable[Item], key: Callable[[Item], str], ids: str
) -> tuple[list[Item], str | None]:
    """One page of ``items`` and the token of the next; all of them if no page was asked for.

    ``ids`` names the parameter that AWS refuses beside MaxResults.
    """
    size = params.get("MaxResults")
    if size is not None:
        _check(size, params, ids)
    ordered = sorted(items, key=key)
    if token := params.get("NextToken"):
        after = _read(token)
        ordered = [item for item in ordered if key(item) > after]
    if size is None or len(ordered) <= size:
        return ordered, None
    return ordered[:size], _write(key(ordered[size - 1]))


def _check(size: int, params: dict[str, Any], ids: str) -> None:
    if params.get(ids):
        raise refusal(
            "InvalidParameterCombination",
            f"The parameter {ids} cannot be used with the parameter maxResults",
        )
    if not SMALLEST_PAGE <= size <= LARGEST_PAGE:
        raise refusal(
            "InvalidParameterValue",
            f"Value ( {size} ) for parameter maxResults is invalid. "
            f"Expecting a value between {SMALLEST_PAGE} and {LARGEST_PAGE}.",
        )


def _write(position: str) -> str:
    return base64.urlsafe_b64encode(b"after:" + position.encode()).decode()


def _read(token: str) -> str:
    try:
        label, _, position = base64.urlsafe_b64decode(token).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        label, position = "", ""
    if label != "after":
        # Source: EC2 "Error codes", common client errors
        raise refusal("InvalidPaginationToken", "The specified pagination token is not valid.")
    return position
