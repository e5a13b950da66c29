"""Tags of EC2 resources: CreateTags and DeleteTags, the checks AWS makes in a create call, and
reading them in O(1)."""

from typing import Any

from moto.ec2.models import validate_resource_ids
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.errors import NotModelled, refusal
from tests.cloud.ec2.patches import Patches
from tests.cloud.ec2.request import Operation, Request

# Source: EC2 User Guide, "Tag your Amazon EC2 resources", tag restrictions; aws-facts 1.3.
MAX_TAGS = 50
MAX_KEY = 128
MAX_VALUE = 256
# Source: EC2 API Reference, CreateTags and DeleteTags, Resources.
MAX_RESOURCES = 1000

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


def handle_create_tags(world: World, request: Request) -> dict[str, Any]:
    """All or nothing; that it is so for several resources was not seen on an account."""
    resources, tags = _resources(request), request.backend.tags
    wanted = _checked(request.params.get("Tags") or [])
    for resource_id in resources:
        limit({**tags.get(resource_id, {}), **wanted})
    request.end_dry_run()
    for resource_id in resources:
        tags[resource_id].update(wanted)
    return {}


def handle_delete_tags(world: World, request: Request) -> dict[str, Any]:
    """Source: EC2 API Reference, DeleteTags: "If you omit this parameter, we delete all
    user-defined tags"; a tag with a value goes only if it has that value."""
    resources = _resources(request)
    unwanted = {tag["Key"]: tag.get("Value") for tag in request.params.get("Tags") or []}
    request.end_dry_run()

    def goes(key: str, value: str) -> bool:
        return not unwanted or (key in unwanted and unwanted[key] in (None, value))

    tags = request.backend.tags
    for resource_id in resources:
        before: Tags = tags[resource_id]
        tags[resource_id] = {key: value for key, value in before.items() if not goes(key, value)}
    return {}


def _resources(request: Request) -> list[str]:
    resources: list[str] = request.params.get("Resources") or []
    if len(resources) > MAX_RESOURCES:
        raise refusal("InvalidParameterValue", f"More than {MAX_RESOURCES} resources.")
    validate_resource_ids(resources)
    request.backend.do_resources_exist(resources)
    return resources


def tags_of(resource: Any) -> Tags:
    tags: Tags = resource.ec2_backend.tags.get(resource.id, {})
    return tags


def rendered(resource: Any) -> list[dict[str, str]] | None:
    """None without tags: EC2 then leaves them out of the answer."""
    return listed(tags_of(resource))


def listed(tags: Tags) -> list[dict[str, str]] | None:
    return [{"Key": key, "Value": value} for key, value in tags.items()] or None


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


_TAGS = {"Resources": None, "Tags": {"Key": None, "Value": None}, "DryRun": None}

OPERATIONS = [
    Operation("CreateTags", handle_create_tags, _TAGS),
    Operation("DeleteTags", handle_delete_tags, _TAGS),
]
