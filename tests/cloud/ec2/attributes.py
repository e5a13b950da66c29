"""What of an instance is read and changed by name: its attributes and its credits.

Source: EC2 API Reference, DescribeInstanceAttribute, ModifyInstanceAttribute and
DescribeInstanceCreditSpecifications.
"""

import base64
from collections.abc import Callable
from typing import Any

from tests.cloud.ec2 import filters, instances, paging, visibility
from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.errors import refusal
from tests.cloud.ec2.request import FILTERS, Operation, Request, check_id

_STOPPED_ONLY = ("InstanceType", "EbsOptimized", "UserData")
_BY_NAME = {
    "DisableApiTermination": "disable_api_termination",
    "DisableApiStop": "disable_api_stop",
    "InstanceInitiatedShutdownBehavior": "instance_initiated_shutdown_behavior",
    "InstanceType": "instance_type",
    "EbsOptimized": "ebs_optimized",
    "UserData": "user_data",
}


def handle_modify_instance_attribute(_: World, request: Request) -> dict[str, Any]:
    """One attribute at a time. The code of that refusal is what callers report."""
    params, backend = request.params, request.backend
    check_id("i", params.get("InstanceId"))
    instance = backend.get_instance(params["InstanceId"])
    given = [name for name in (*_BY_NAME, "BlockDeviceMappings") if name in params]
    if len(given) != 1:
        raise refusal(
            "InvalidParameterCombination",
            "Fields for multiple attribute types specified"
            if given
            else "No attributes specified.",
        )
    (name,) = given
    if name in _STOPPED_ONLY and instance.state != "stopped":
        raise refusal(
            "IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state."
        )
    if instance.state in {"shutting-down", "terminated"}:
        raise refusal("IncorrectInstanceState", f"The instance '{instance.id}' is gone.")
    blocks = [_block(instance, one) for one in params.get("BlockDeviceMappings") or []]
    request.end_dry_run()
    for block, deletes in blocks:
        block.delete_on_termination = deletes
    if name in _BY_NAME:
        value = params[name]["Value"]
        # As RunInstances is told it, and DescribeInstanceAttribute shows it.
        value = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        setattr(instance, _BY_NAME[name], value)
    return {}


def _block(instance: Any, given: dict[str, Any]) -> tuple[Any, bool]:
    """Source of the refusal: EC2 "Error codes", InvalidInstanceAttributeValue."""
    device = given.get("DeviceName")
    if device not in instance.block_device_mapping:
        raise refusal("InvalidInstanceAttributeValue", f"No device is currently mapped at {device}")
    return instance.block_device_mapping[device], bool(given["Ebs"]["DeleteOnTermination"])


def _value(value: Any) -> dict[str, Any]:
    return {} if value is None else {"Value": value}


def _devices(instance: Any) -> list[dict[str, Any]]:
    return list(instances.rendered(instance).get("BlockDeviceMappings", []))


_READ: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "instanceType": ("InstanceType", lambda i: _value(i.instance_type)),
    "userData": ("UserData", lambda i: _value(str(i.user_data) if i.user_data else None)),
    "disableApiTermination": (
        "DisableApiTermination",
        lambda i: _value(bool(i.disable_api_termination)),
    ),
    "disableApiStop": ("DisableApiStop", lambda i: _value(bool(i.disable_api_stop))),
    "instanceInitiatedShutdownBehavior": (
        "InstanceInitiatedShutdownBehavior",
        lambda i: _value(i.instance_initiated_shutdown_behavior),
    ),
    "rootDeviceName": ("RootDeviceName", lambda i: _value(i.root_device_name)),
    "ebsOptimized": ("EbsOptimized", lambda i: _value(bool(i.ebs_optimized))),
    "sourceDestCheck": ("SourceDestCheck", lambda i: _value(bool(i.source_dest_check))),
    "enclaveOptions": ("EnclaveOptions", lambda i: instances.rendered(i)["EnclaveOptions"]),
    "blockDeviceMapping": ("BlockDeviceMappings", _devices),
    "productCodes": ("ProductCodes", lambda i: instances.rendered(i)["ProductCodes"]),
    "groupSet": ("Groups", instances.security_groups),
}


def handle_describe_instance_attribute(_: World, request: Request) -> dict[str, Any]:
    params, backend = request.params, request.backend
    check_id("i", params.get("InstanceId"))
    instance = backend.get_instance(params["InstanceId"])
    attribute = params.get("Attribute")
    if attribute not in _READ:
        raise refusal(
            "InvalidParameterValue",
            f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.",
        )
    request.end_dry_run()
    name, read = _READ[attribute]
    return {"InstanceId": instance.id, name: read(instance)}


def handle_describe_instance_credit_specifications(_: World, request: Request) -> dict[str, Any]:
    """Without ids: those that were launched as unlimited. The code for one that is no burstable
    instance was not seen on an account."""
    params, backend = request.params, request.backend
    ids = list(dict.fromkeys(params.get("InstanceIds") or []))
    for instance_id in ids:
        check_id("i", instance_id)
        if instances.credit_specification(instances.seen(backend, instance_id)) is None:
            raise refusal("InvalidInstanceID.NotBurstable", f"{instance_id} has no credits")
    matches = filters.matcher(
        params.get("Filters") or [], {"instance-id": lambda instance: [instance.id]}
    )
    request.end_dry_run()
    found = [
        instance
        for reservation in backend.reservations.values()
        for instance in reservation.instances
        if instances.is_shown(instance)
        and visibility.is_seen(instance)
        and (credit := instances.credit_specification(instance))
        and (instance.id in ids if ids else credit["CpuCredits"] == "unlimited")
        and matches(instance)
    ]
    page, token = paging.page(params, found, lambda one: str(one.id), "InstanceIds")
    return {
        "InstanceCreditSpecifications": [
            {"InstanceId": one.id, **(instances.credit_specification(one) or {})} for one in page
        ],
        "NextToken": token,
    }


OPERATIONS = [
    Operation(
        "ModifyInstanceAttribute",
        handle_modify_instance_attribute,
        {
            "InstanceId": None,
            "DryRun": None,
            **{name: {"Value": None} for name in _BY_NAME},
            "BlockDeviceMappings": {"DeviceName": None, "Ebs": {"DeleteOnTermination": None}},
        },
    ),
    Operation(
        "DescribeInstanceAttribute",
        handle_describe_instance_attribute,
        {"InstanceId": None, "Attribute": None, "DryRun": None},
    ),
    Operation(
        "DescribeInstanceCreditSpecifications",
        handle_describe_instance_credit_specifications,
        {
            "InstanceIds": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
]
