"""An instance from pending to terminated, on the clock: start, stop, terminate and its status.

Source: EC2 User Guide, "Amazon EC2 instance state changes"; EC2 API Reference of each call. Where
several instances are named, one refusal is for all. Codes that were not seen on an account are
marked where they are raised.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.models.instances import InstanceState, StateReason

from tests.cloud.ec2 import filters, instances, master_keys, paging, visibility
from tests.cloud.ec2.conditions import World, is_among
from tests.cloud.ec2.errors import refusal
from tests.cloud.ec2.request import FILTERS, Operation, Request, check_id

CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
GONE = {"shutting-down", "terminated"}


def _enter(instance: Any, state: str) -> None:
    instance._state = InstanceState(state, CODES[state])


def _fail(instance: Any, reason: tuple[str, str]) -> None:
    code, text = reason
    instance.state_reason = StateReason(text, code)
    instance._reason = text


def launched(world: World, instance: Any) -> None:
    """It runs after a while, or ends if a volume cannot be made.

    Source: EC2 User Guide, "Troubleshoot EC2 instance launch issues", "Instance terminates
    immediately": from pending to terminated, with the state reason.
    """
    _enter(instance, "pending")
    reason = _obstacle(instance)
    if reason is None:
        act: Callable[[], None] = partial(_run, instance)
    else:
        act = partial(_terminate, instance, "pending", reason)
    world.after(world.conditions.pace.pending, act)


def _obstacle(instance: Any) -> tuple[str, str] | None:
    backend = instance.ec2_backend
    volumes = [backend.volumes[b.volume_id] for b in instance.block_device_mapping.values()]
    found = (master_keys.obstacle(volume) for volume in volumes)
    return next((reason for reason in found if reason is not None), None)


def _run(instance: Any) -> None:
    if instance.state == "pending":
        _enter(instance, "running")
        booted(instance)


def booted(instance: Any) -> None:
    """Its status checks begin."""
    instance.running_since = utcnow()


def _terminate(instance: Any, expected: str, reason: tuple[str, str] | None = None) -> None:
    if instance.state == expected:
        instance.terminate()
        if reason is not None:
            _fail(instance, reason)


def _named(request: Request) -> list[Any]:
    ids = list(dict.fromkeys(request.params.get("InstanceIds") or []))
    if not ids:
        raise refusal("MissingParameter", "The request must contain the parameter InstanceId")
    for instance_id in ids:
        check_id("i", instance_id)
    return [request.backend.get_instance(instance_id) for instance_id in ids]


def _changed(instance: Any, before: dict[str, Any], state: str) -> dict[str, Any]:
    return {
        "InstanceId": instance.id,
        "PreviousState": before,
        "CurrentState": {"Code": CODES[state], "Name": state},
    }


def _state(instance: Any) -> dict[str, Any]:
    return {"Code": instance.state_code, "Name": instance.state}


def handle_terminate_instances(world: World, request: Request) -> dict[str, Any]:
    """Source: EC2 API Reference, TerminateInstances: protected ones are refused, and with them all
    of their zone; here all that are named."""
    named = _named(request)
    for instance in named:
        if instance.disable_api_termination:
            raise refusal(
                "OperationNotPermitted",
                f"The instance '{instance.id}' may not be terminated. Modify its "
                "'disableApiTermination' instance attribute and try again.",
            )
    request.end_dry_run()
    answer = []
    for instance in named:
        before = _state(instance)
        if instance.state not in GONE:
            _enter(instance, "shutting-down")
            world.after(
                world.conditions.pace.shutting_down, partial(_terminate, instance, "shutting-down")
            )
        now = "terminated" if before["Name"] == "terminated" else "shutting-down"
        answer.append(_changed(instance, before, now))
    return {"TerminatingInstances": answer}


def handle_stop_instances(world: World, request: Request) -> dict[str, Any]:
    """Force is for a guest that holds on, which none does here."""
    named = _named(request)
    for instance in named:
        if instance.state not in {"running", "stopping", "stopped"}:
            raise refusal(
                "IncorrectInstanceState",
                f"This instance '{instance.id}' is not in a state from which it can be stopped.",
            )
        if instance.disable_api_stop:
            raise refusal(
                "OperationNotPermitted",
                f"The instance '{instance.id}' may not be stopped. Modify its 'disableApiStop' "
                "instance attribute and try again.",
            )
    request.end_dry_run()
    answer = []
    for instance in named:
        before = _state(instance)
        if instance.state == "running":
            instance.stop()
            _enter(instance, "stopping")
            world.after(world.conditions.pace.stopping, partial(_stopped, instance))
        now = "stopped" if before["Name"] == "stopped" else "stopping"
        answer.append(_changed(instance, before, now))
    return {"StoppingInstances": answer}


def _stopped(instance: Any) -> None:
    if instance.state == "stopping":
        _enter(instance, "stopped")


def handle_start_instances(world: World, request: Request) -> dict[str, Any]:
    named = _named(request)
    for instance in named:
        _check_startable(instance)
    request.end_dry_run()
    for instance in named:
        if instance.state == "stopped":
            check_capacity(world, instance.instance_type, instance.availability_zone)
    answer = []
    for instance in named:
        before = _state(instance)
        if instance.state == "stopped":
            instance.start()
            _enter(instance, "pending")
            reason = _obstacle(instance)
            act = partial(_run, instance) if reason is None else partial(_sink, instance, reason)
            world.after(world.conditions.pace.pending, act)
        now = "running" if before["Name"] == "running" else "pending"
        answer.append(_changed(instance, before, now))
    return {"StartingInstances": answer}


def _sink(instance: Any, reason: tuple[str, str]) -> None:
    """Back to where it was. Source: EC2 User Guide, "Troubleshoot EC2 instance launch issues"."""
    if instance.state == "pending":
        _enter(instance, "stopped")
        _fail(instance, reason)


def _check_startable(instance: Any) -> None:
    """The refusal of one without a root volume is the text that callers report; its code was not
    seen on an account."""
    if instance.state not in {"stopped", "pending", "running"}:
        raise refusal(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in a state from which it can be started.",
        )
    if instance.root_device_name not in instance.block_device_mapping:
        raise refusal(
            "InvalidParameterValue",
            f"Invalid value '{instance.id}' for instanceId. Instance does not have a volume "
            f"attached at root ({instance.root_device_name})",
        )


def check_capacity(world: World, instance_type: str, zone: str) -> None:
    if is_among(world.conditions.no_capacity, instance_type, zone):
        raise refusal(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {instance_type} capacity in the Availability "
            f"Zone you requested ({zone}).",
        )


# -- status -----------------------------------------------------------------------------------


def handle_describe_instance_status(world: World, request: Request) -> dict[str, Any]:
    """Source: EC2 API Reference, DescribeInstanceStatus: only running ones, unless all are asked
    for."""
    params, backend = request.params, request.backend
    ids = set(params.get("InstanceIds") or [])
    for instance_id in ids:
        check_id("i", instance_id)
        instances.seen(backend, instance_id)
    matches = filters.matcher(params.get("Filters") or [], _STATUS_FIELDS)
    request.end_dry_run()
    request.note_if_broad(world)
    found = []
    for reservation in backend.reservations.values():
        for instance in reservation.instances:
            if (
                (not ids or instance.id in ids)
                and instances.is_shown(instance)
                and visibility.is_seen(instance)
                and (params.get("IncludeAllInstances") or instance.state == "running")
            ):
                status = _Status(world, instance)
                if matches(status):
                    found.append(status)
    page, token = paging.page(params, found, lambda one: str(one.id), "InstanceIds")
    return {"InstanceStatuses": [one.rendered() for one in page], "NextToken": token}


class _Status:
    def __init__(self, world: World, instance: Any) -> None:
        self.id = instance.id
        self.ec2_backend = instance.ec2_backend
        self.instance = instance
        since = vars(instance).get("running_since", instance.launch_time)
        self.over_at = since + world.conditions.pace.checking
        if instance.state != "running":
            self.system = self.own = "not-applicable"
        elif utcnow() < self.over_at:
            self.system = self.own = "initializing"
        else:
            self.system = "ok"
            self.own = "impaired" if _is_impaired(world, instance) else "ok"

    def rendered(self) -> dict[str, Any]:
        return {
            "InstanceId": self.id,
            "AvailabilityZone": self.instance.availability_zone,
            "InstanceState": _state(self.instance),
            "SystemStatus": self._summary(self.system),
            "InstanceStatus": self._summary(self.own),
        }

    def _summary(self, status: str) -> dict[str, Any]:
        results = {"ok": "passed", "impaired": "failed", "initializing": "initializing"}
        if status not in results:
            return {"Status": status}
        detail: dict[str, Any] = {"Name": "reachability", "Status": results[status]}
        if status == "impaired":
            detail["ImpairedSince"] = self.over_at
        return {"Status": status, "Details": [detail]}


def _is_impaired(world: World, instance: Any) -> bool:
    volumes = instance.ec2_backend.volumes
    made_of = {volumes[b.volume_id].snapshot_id for b in instance.block_device_mapping.values()}
    conditions = world.conditions
    return instance.id in conditions.impaired or not made_of.isdisjoint(conditions.bad_snapshots)


# Source: EC2 API Reference, DescribeInstanceStatus, Filters: those that Lastgood has use for.
_STATUS_FIELDS: filters.Fields = {
    "availability-zone": lambda one: [one.instance.availability_zone],
    "instance-state-code": lambda one: [one.instance.state_code],
    "instance-state-name": lambda one: [one.instance.state],
    "instance-status.status": lambda one: [one.own],
    "system-status.status": lambda one: [one.system],
}

_NAMED = {"InstanceIds": None, "DryRun": None}

OPERATIONS = [
    Operation("TerminateInstances", handle_terminate_instances, _NAMED),
    Operation("StopInstances", handle_stop_instances, {**_NAMED, "Force": None}),
    Operation("StartInstances", handle_start_instances, _NAMED),
    Operation(
        "DescribeInstanceStatus",
        handle_describe_instance_status,
        {
            **_NAMED,
            "IncludeAllInstances": None,
            "MaxResults": None,
            "NextToken": None,
            "Filters": FILTERS,
        },
    ),
]
