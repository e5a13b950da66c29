"""Which instance types there are, and in which zone.

Source: EC2 API Reference, DescribeInstanceTypes and DescribeInstanceTypeOfferings. What a type is,
moto knows.
"""

from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from tests.cloud.ec2 import filters, paging
from tests.cloud.ec2.conditions import World, is_among
from tests.cloud.ec2.errors import NotModelled, refusal
from tests.cloud.ec2.request import FILTERS, Operation, Request

BY_ZONE = "availability-zone"
# Source: EC2 API Reference, DescribeInstanceTypes, MaxResults and InstanceTypes.
MOST_TYPES = 100


def is_offered(world: World, kind: str, region: str, zone: str) -> bool:
    """Of a Region that moto knows nothing of, all is offered that a test did not take away."""
    known = INSTANCE_TYPE_OFFERINGS[BY_ZONE].get(region)
    if is_among(world.conditions.not_offered, kind, zone):
        return False
    return not known or any(
        one["InstanceType"] == kind and one["Location"] == zone for one in known
    )


def handle_describe_instance_type_offerings(world: World, request: Request) -> dict[str, Any]:
    params, region = request.params, request.backend.region_name
    location = params.get("LocationType", "region")
    if location not in ("region", BY_ZONE):
        raise NotModelled(request.operation, f"the location type {location}")
    matches = filters.matcher(params.get("Filters") or [], _FIELDS)
    request.end_dry_run()
    zones = INSTANCE_TYPE_OFFERINGS[BY_ZONE].get(region, [])
    offered = {
        (one["InstanceType"], one["Location"] if location == BY_ZONE else region)
        for one in zones
        if not is_among(world.conditions.not_offered, one["InstanceType"], one["Location"])
    }
    found = [
        {"InstanceType": kind, "LocationType": location, "Location": where}
        for kind, where in offered
    ]
    page, token = paging.page(
        params,
        filter(matches, found),
        lambda one: f"{one['InstanceType']} {one['Location']}",
        "InstanceTypes",
    )
    return {"InstanceTypeOfferings": page, "NextToken": token}


def handle_describe_instance_types(_: World, request: Request) -> dict[str, Any]:
    params = request.params
    ids = list(dict.fromkeys(params.get("InstanceTypes") or []))
    unknown = [one for one in ids if one not in INSTANCE_TYPES]
    if unknown:
        raise refusal(
            "InvalidInstanceType",
            f"The following supplied instance types do not exist: [{', '.join(unknown)}]",
        )
    if (params.get("MaxResults") or 0) > MOST_TYPES or len(ids) > MOST_TYPES:
        raise refusal("InvalidParameterValue", f"More than {MOST_TYPES} instance types")
    matches = filters.matcher(params.get("Filters") or [], _TYPE_FIELDS)
    request.end_dry_run()
    found = [INSTANCE_TYPES[one] for one in ids or INSTANCE_TYPES]
    page, token = paging.page(
        params, filter(matches, found), lambda one: str(one["InstanceType"]), "InstanceTypes"
    )
    return {"InstanceTypes": page, "NextToken": token}


_TYPE_FIELDS: filters.Fields = {
    "instance-type": lambda one: [one["InstanceType"]],
    "processor-info.supported-architecture": lambda one: one["ProcessorInfo"][
        "SupportedArchitectures"
    ],
}

_FIELDS: filters.Fields = {
    "instance-type": lambda one: [one["InstanceType"]],
    "location": lambda one: [one["Location"]],
}

OPERATIONS = [
    Operation(
        "DescribeInstanceTypes",
        handle_describe_instance_types,
        {
            "InstanceTypes": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
    Operation(
        "DescribeInstanceTypeOfferings",
        handle_describe_instance_type_offerings,
        {
            "LocationType": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
]
