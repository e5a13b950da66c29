"""The EventBridge events that EBS sends when snapshots and sets of snapshots are over.

Source: EBS User Guide, "Amazon EventBridge events for Amazon EBS" (ebs-cloud-watch-events), EBS
snapshot events, createSnapshot, createSnapshots and copySnapshot. The ARNs there have no account
and the Region in the fifth place (``arn:aws:ec2::us-east-1:snapshot/...``); one edition of the page
writes those of createSnapshot with the Region in the fourth, so readers should rely on what follows
the slash.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from moto.moto_api._internal import mock_random

from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.times import event_time


def snapshot_arn(region: str, snapshot_id: str) -> str:
    return f"arn:aws:ec2::{region}:snapshot/{snapshot_id}"


def volume_arn(region: str, volume_id: str) -> str:
    return f"arn:aws:ec2::{region}:volume/{volume_id}"


def snapshot_over(world: World, snapshot: Any) -> None:
    region = snapshot.ec2_backend.region_name
    failed = snapshot.status == "error"
    detail = {
        "event": "createSnapshot",
        "result": "failed" if failed else "succeeded",
        "cause": (snapshot.state_message or "") if failed else "",
        "request-id": "",
        "snapshot_id": snapshot_arn(region, snapshot.id),
        "source": volume_arn(region, snapshot.volume_id),
        "startTime": event_time(snapshot.start_time),
        "endTime": event_time(world.clock.now()),
    }
    arns = [snapshot_arn(region, snapshot.id)]
    _emit(world, snapshot.ec2_backend, "EBS Snapshot Notification", arns, detail)


def set_over(world: World, started_at: datetime, members: Sequence[Any]) -> None:
    backend = members[0].ec2_backend
    region = backend.region_name
    failed = next((member for member in members if member.failed_by_itself), None)
    detail = {
        "event": "createSnapshots",
        "result": "failed" if failed else "succeeded",
        "cause": f"Snapshot {failed.id} is in status error" if failed else "",
        "request-id": "",
        "startTime": event_time(started_at),
        "endTime": event_time(world.clock.now()),
        "snapshots": [
            {
                "snapshot_id": snapshot_arn(region, member.id),
                "source": volume_arn(region, member.volume_id),
                "status": member.status,
            }
            for member in members
        ],
    }
    arns = [snapshot_arn(region, member.id) for member in members]
    _emit(world, backend, "EBS Multi-Volume Snapshots Completion Status", arns, detail)


def copy_over(world: World, made: Any) -> None:
    """In the Region of the copy."""
    failed = made.status == "error"
    detail = {
        "event": "copySnapshot",
        "result": "failed" if failed else "succeeded",
        "cause": (made.state_message or "") if failed else "",
        "request-id": "",
        "startTime": event_time(made.start_time),
        "endTime": event_time(world.clock.now()),
        "snapshot_id": snapshot_arn(made.ec2_backend.region_name, made.id),
        "source": made.source_arn,
        "incremental": str(made.incremental).lower(),
        "transferType": "time-based" if made.within else "standard",
    }
    _emit(world, made.ec2_backend, "EBS Snapshot Notification", [detail["snapshot_id"]], detail)


def copy_late(world: World, made: Any) -> None:
    """As soon as the time is over that was asked for; the copy goes on."""
    detail = {
        "event": "copySnapshot",
        "missedCompletionDurationCause": "Snapshot copy was not able to meet the specified "
        "completion duration because your snapshot copy operation throughput quota was exceeded.",
        "snapshot_id": snapshot_arn(made.ec2_backend.region_name, made.id),
        "source": made.source_arn,
        "startTime": f"{made.start_time:%a %b %d %H:%M:%S UTC %Y}",
        "transferType": "time-based",
    }
    _emit(
        world,
        made.ec2_backend,
        "EBS Copy Snapshot Missed Completion Duration",
        [detail["snapshot_id"]],
        detail,
    )


def _emit(
    world: World, backend: Any, detail_type: str, arns: list[str], detail: dict[str, Any]
) -> None:
    event = {
        "version": "0",
        "id": str(mock_random.uuid4()),
        "detail-type": detail_type,
        "source": "aws.ec2",
        "account": backend.account_id,
        "time": event_time(world.clock.now()),
        "region": backend.region_name,
        "resources": arns,
        "detail": detail,
    }
    world.emit(backend.account_id, backend.region_name, event)
