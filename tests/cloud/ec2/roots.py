"""CreateReplaceRootVolumeTask: another root volume for an instance that runs.

Source: EC2 User Guide, "Replace the root volume for an EC2 instance without stopping it", and EC2
API Reference, CreateReplaceRootVolumeTask and ReplaceRootVolumeTask; aws-facts 1.6. The codes of
the refusals were not seen on an account.
"""

from datetime import datetime
from functools import partial
from typing import Any

from moto.core.utils import utcnow
from moto.moto_api._internal import mock_random

from tests.cloud.ec2 import (
    filters,
    machines,
    master_keys,
    paging,
    tags,
    tokens,
    visibility,
    volumes,
)
from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.copies import EbsCopy
from tests.cloud.ec2.errors import refusal
from tests.cloud.ec2.request import FILTERS, TAG_SPECIFICATIONS, Operation, Request, check_id
from tests.cloud.ec2.times import event_time


class Task:
    def __init__(
        self, backend: Any, instance: Any, snapshot_id: str | None, *, deletes: bool
    ) -> None:
        self.ec2_backend = backend
        self.id = f"replacevol-{mock_random.get_random_hex(17)}"
        self.instance = instance
        self.snapshot_id = snapshot_id
        self.deletes = deletes
        self.refused_keys = frozenset(master_keys.denied(backend))
        self.state = "pending"
        self.started_at: datetime = utcnow()
        self.ended_at: datetime | None = None


def _tasks(backend: Any) -> dict[str, Task]:
    # in the backend, so that it goes with moto's reset
    found: dict[str, Task] = vars(backend).setdefault("root_tasks", {})
    return found


def handle_create_replace_root_volume_task(world: World, request: Request) -> dict[str, Any]:
    params, backend = request.params, request.backend
    wanted = tags.requested(request.operation, params, "replace-root-volume-task")

    def create() -> dict[str, Any]:
        check_id("i", params.get("InstanceId"))
        instance = backend.get_instance(params["InstanceId"])
        _check(backend, instance, params.get("SnapshotId"))
        request.end_dry_run()
        task = Task(
            backend,
            instance,
            params.get("SnapshotId"),
            deletes=bool(params.get("DeleteReplacedRootVolume")),
        )
        _tasks(backend)[task.id] = task
        backend.tags[task.id] = dict(wanted.get("replace-root-volume-task", {}))
        visibility.delay(world, task)
        answer = {"ReplaceRootVolumeTask": _rendered(task)}
        task.state = "in-progress"
        world.after(world.conditions.pace.replacing, partial(_replace, world, task))
        return answer

    return tokens.once(backend, request.operation, params, create)


def _check(backend: Any, instance: Any, snapshot_id: str | None) -> None:
    if instance.state != "running":
        raise refusal(
            "IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'running' state."
        )
    if any(
        task.instance is instance and task.state in ("pending", "in-progress")
        for task in _tasks(backend).values()
    ):
        raise refusal(
            "IncorrectInstanceState", f"A root volume of '{instance.id}' is being replaced already."
        )
    if snapshot_id is None:
        return
    check_id("snap", snapshot_id)
    snapshot = volumes.usable_snapshot(backend, snapshot_id)
    own = not isinstance(snapshot, EbsCopy)
    if not own or snapshot.volume_id not in volumes.root_volumes(instance):
        raise refusal(
            "InvalidParameterValue",
            f"The snapshot '{snapshot_id}' was not taken from a root volume of '{instance.id}'.",
        )


def _replace(world: World, task: Task) -> None:
    """The replaced volume is detached, or deleted; the new one has its type and its end, and the
    instance has rebooted. Whose tags the new one gets, no source says: none here."""
    instance, backend = task.instance, task.ec2_backend
    root = instance.root_device_name
    block = instance.block_device_mapping.get(root)
    if instance.state != "running" or block is None:
        return _end(task, "failed")
    outcome = world.conditions.failing_roots.get(instance.id)
    if outcome == "failed":
        return _end(task, "failed")
    replaced = backend.volumes[block.volume_id]
    first = backend.volumes.get(volumes.root_volumes(instance)[0], replaced)
    snapshot_id = task.snapshot_id or first.snapshot_id or None
    made = volumes.create_volume(
        backend,
        size=max(replaced.size, backend.snapshots[snapshot_id].volume_size)
        if snapshot_id in backend.snapshots
        else replaced.size,
        zone_name=instance.availability_zone,
        snapshot_id=snapshot_id if snapshot_id in backend.snapshots else None,
        encrypted=replaced.encrypted,
        kms_key_id=replaced.kms_key_id if replaced.encrypted else None,
        volume_type=replaced.volume_type,
        iops=replaced.iops,
        throughput=replaced.throughput,
    )
    if master_keys.obstacle(made, task.refused_keys) is not None:
        backend.delete_volume(made.id)
        return _end(task, "failed")
    visibility.delay(world, made)
    backend.detach_volume(replaced.id, instance.id, root)
    if outcome == "failed-detached":
        backend.delete_volume(made.id)
        return _end(task, "failed-detached")
    backend.attach_volume(made.id, instance.id, root, bool(block.delete_on_termination))
    if task.deletes:
        backend.delete_volume(replaced.id)
    machines.booted(instance)
    return _end(task, "succeeded")


def _end(task: Task, state: str) -> None:
    task.state, task.ended_at = state, utcnow()


def handle_describe_replace_root_volume_tasks(_: World, request: Request) -> dict[str, Any]:
    """The code for an unknown one was not seen on an account."""
    params, tasks = request.params, _tasks(request.backend)
    ids = list(dict.fromkeys(params.get("ReplaceRootVolumeTaskIds") or []))
    for task_id in ids:
        if task_id not in tasks or not visibility.is_seen(tasks[task_id]):
            raise refusal(
                "InvalidReplaceRootVolumeTaskId.NotFound", f"The task '{task_id}' does not exist."
            )
    matches = filters.matcher(params.get("Filters") or [], _FIELDS)
    request.end_dry_run()
    chosen = [tasks[task_id] for task_id in ids] or tasks.values()
    found = [task for task in chosen if visibility.is_seen(task) and matches(task)]
    page, token = paging.page(params, found, lambda task: task.id, "ReplaceRootVolumeTaskIds")
    return {"ReplaceRootVolumeTasks": [_rendered(task) for task in page], "NextToken": token}


def _rendered(task: Task) -> dict[str, Any]:
    return {
        "ReplaceRootVolumeTaskId": task.id,
        "InstanceId": task.instance.id,
        "TaskState": task.state,
        "StartTime": event_time(task.started_at),
        "CompleteTime": event_time(task.ended_at) if task.ended_at else None,
        "SnapshotId": task.snapshot_id,
        "DeleteReplacedRootVolume": task.deletes,
        "Tags": tags.rendered(task),
    }


# Source: EC2 API Reference, DescribeReplaceRootVolumeTasks, Filters.
_FIELDS: filters.Fields = {"instance-id": lambda task: [task.instance.id]}

OPERATIONS = [
    Operation(
        "CreateReplaceRootVolumeTask",
        handle_create_replace_root_volume_task,
        {
            **dict.fromkeys(
                ("InstanceId", "SnapshotId", "ClientToken", "DeleteReplacedRootVolume", "DryRun")
            ),
            "TagSpecifications": TAG_SPECIFICATIONS,
        },
    ),
    Operation(
        "DescribeReplaceRootVolumeTasks",
        handle_describe_replace_root_volume_tasks,
        {
            "ReplaceRootVolumeTaskIds": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
]
