"""Tags of EC2 resources: the checks AWS makes in a create call, and reading them in O(1)."""

from typing import Any

from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from tests.cloud.ec2.errors import NotModelled, refusal
from tests.cloud.ec2.patches import Patches

# Source: EC2 User Guide, "Tag your Amazon EC2 resources", tag restrictions; aws-facts 1.3.
MAX_TAGS = 50
MAX_KEY = 128
MAX_VALUE = 256

Tags = dict[str, str]


def install(patches: Patches) -> None:
    """moto scans every tag of the Region for every resource it renders."""
    patches.set(TaggedEC2Resource, "get_tags", _moto_tags)


def _moto_tags(resource: Any) -> list[dict[str, str]]:
    kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource.id), "") if resource.id else ""
    return [
        {"resource_id": resource.id, "key": key, "value": value, "resource_type": kind}
        for key, value in tags_of(resource).items()
    ]


def tags_of(resource: Any) -> Tags:
    tags: Tags = resource.ec2_backend.tags.get(resource.id, {})
    return tags


def rendered(resource: Any) -> list[dict[str, str]] | None:
    """None without tags: EC2 then leaves them out of the answer."""
    return [{"Key": key, "Value": value} for key, value in tags_of(resource).items()] or None


def requested(operation: str, params: dict[str, Any], *kinds: str) -> dict[str, Tags]:
    """The tags of a call's ``TagSpecifications``, by resource type.

    Raises:
        InvalidParameterValue: a key or value AWS refuses, or a type the call does not make.
    """
    found: dict[str, Tags] = {}
    for specification in params.get("TagSpecifications") or []:
        kind = specification.get("ResourceType")
        if kind not in kinds:
            raise refusal(
                "InvalidParameterValue",
                f"'{kind}' is not a valid taggable resource type for this operation.",
            )
        if kind in found:
            raise NotModelled(operation, f"two TagSpecifications for '{kind}'")
        found[kind] = _checked(specification.get("Tags") or [])
    return found


def _checked(pairs: list[dict[str, str]]) -> Tags:
    tags: Tags = {}
    for pair in pairs:
        key, value = pair.get("Key") or "", pair.get("Value") or ""
        if problem := _problem(key, value, tags):
            raise refusal("InvalidParameterValue", problem)
        tags[key] = value
    limit(tags)
    return tags


def _problem(key: str, value: str, so_far: Tags) -> str | None:
    if not key:
        return "Tag key cannot be empty."
    if key.lower().startswith("aws:"):
        return "Tag keys starting with 'aws:' are reserved for internal use."
    if key in so_far:
        return f"Duplicate tag key '{key}' specified."
    if len(key) > MAX_KEY:
        return f"Tag key exceeds the maximum length of {MAX_KEY} characters."
    if len(value) > MAX_VALUE:
        return f"Tag value exceeds the maximum length of {MAX_VALUE} characters."
    return None


def limit(tags: Tags) -> None:
    if len(tags) > MAX_TAGS:
        raise refusal("TagLimitExceeded", f"More than {MAX_TAGS} tags on one resource.")
