"""Snapshot locks: LockSnapshot, UnlockSnapshot and DescribeLockedSnapshots.

Source: EC2 API Reference of the three; EBS User Guide, "Considerations for Amazon EBS snapshot
lock". The codes of the refusals were not seen on an account, nor what AWS says to unlocking what is
not locked.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from moto.core.utils import utcnow

from tests.cloud.ec2 import filters, paging, visibility
from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.errors import NotModelled, no_snapshot, refusal
from tests.cloud.ec2.request import FILTERS, Operation, Request, check_id

LONGEST = 36_500  # days
LONGEST_COOL_OFF = 72  # hours


@dataclass(frozen=True)
class Lock:
    mode: str
    days: int
    made_at: datetime
    cool_off: int | None = None

    @property
    def cooled_off_at(self) -> datetime:
        return self.made_at + timedelta(hours=self.cool_off or 0)


def _lock_of(snapshot: Any) -> Lock | None:
    """A lock that was put on a pending snapshot goes if that fails."""
    lock: Lock | None = vars(snapshot).get("lock")
    return None if snapshot.status == "error" else lock


def _started_at(snapshot: Any, lock: Lock) -> datetime | None:
    """The time of a lock runs only from the completion of its snapshot on."""
    if snapshot.status == "pending":
        return None
    return max(lock.made_at, vars(snapshot).get("completed_at") or lock.made_at)


def state_of(snapshot: Any) -> str | None:
    """As DescribeLockedSnapshots has it; None if the snapshot was never locked, or is unlocked."""
    lock = _lock_of(snapshot)
    if lock is None:
        return None
    started_at = _started_at(snapshot, lock)
    if started_at is not None and started_at + timedelta(days=lock.days) <= utcnow():
        return "expired"
    if lock.mode == "compliance" and utcnow() < lock.cooled_off_at:
        return "compliance-cooloff"
    return lock.mode


def is_locked(snapshot: Any) -> bool:
    return state_of(snapshot) not in (None, "expired")


def handle_lock_snapshot(world: World, request: Request) -> dict[str, Any]:
    snapshot, params = request.snapshot(), request.params
    if snapshot.status not in ("pending", "completed"):
        raise refusal("IncorrectState", f"The snapshot '{snapshot.id}' is {snapshot.status}.")
    cool_off = params.get("CoolOffPeriod")
    lock = Lock(params.get("LockMode"), int(params.get("LockDuration") or 0), utcnow(), cool_off)
    _check(lock)
    if state_of(snapshot) == "compliance":
        _check_longer(snapshot.lock, lock)
    request.end_dry_run()
    snapshot.lock = lock
    return _rendered(snapshot)


def _check(lock: Lock) -> None:
    if lock.mode not in ("governance", "compliance"):
        raise refusal("InvalidParameterValue", "LockMode must be governance or compliance")
    if not 1 <= lock.days <= LONGEST:
        raise refusal("InvalidParameterValue", f"LockDuration must be 1 to {LONGEST} days")
    if lock.cool_off is not None and not 1 <= int(lock.cool_off) <= LONGEST_COOL_OFF:
        raise refusal("InvalidParameterValue", f"CoolOffPeriod: 1 to {LONGEST_COOL_OFF} hours")
    if lock.cool_off is not None and lock.mode != "compliance":
        raise refusal("InvalidParameterCombination", "CoolOffPeriod is for compliance mode only")


def _check_longer(before: Lock, after: Lock) -> None:
    if (after.mode, after.cool_off) != ("compliance", None) or after.days < before.days:
        raise refusal("OperationNotPermitted", "A lock in compliance mode can only be extended.")


def handle_unlock_snapshot(world: World, request: Request) -> dict[str, Any]:
    snapshot = request.snapshot()
    if not is_locked(snapshot):
        raise NotModelled(request.operation, "a snapshot that is not locked")
    if state_of(snapshot) == "compliance":
        raise refusal("OperationNotPermitted", "A lock in compliance mode cannot be taken away.")
    request.end_dry_run()
    snapshot.lock = None
    return {"SnapshotId": snapshot.id}


def handle_describe_locked_snapshots(world: World, request: Request) -> dict[str, Any]:
    """Those that are or were locked. That an id of none is refused, as by DescribeSnapshots, is the
    stricter of two cases; it was not seen on an account."""
    params, snapshots = request.params, request.backend.snapshots
    matches = filters.matcher(params.get("Filters") or [], {"lock-state": lambda s: [state_of(s)]})
    request.end_dry_run()
    ids = params.get("SnapshotIds") or []
    for snapshot_id in ids:
        check_id("snap", snapshot_id)
        if snapshot_id not in snapshots:
            raise no_snapshot(snapshot_id)
    found = [
        one
        for one in snapshots.values()
        if _lock_of(one) and (not ids or one.id in ids) and visibility.is_seen(one) and matches(one)
    ]
    page, token = paging.page(params, found, lambda one: str(one.id), "SnapshotIds")
    return {
        "Snapshots": [{**_rendered(one), "OwnerId": one.owner_id} for one in page],
        "NextToken": token,
    }


def _rendered(snapshot: Any) -> dict[str, Any]:
    lock = snapshot.lock
    started_at = _started_at(snapshot, lock)
    return {
        "SnapshotId": snapshot.id,
        "LockState": state_of(snapshot),
        "LockDuration": lock.days,
        "CoolOffPeriod": lock.cool_off,
        "CoolOffPeriodExpiresOn": lock.cooled_off_at if lock.cool_off else None,
        "LockCreatedOn": lock.made_at,
        "LockDurationStartTime": started_at,
        "LockExpiresOn": started_at and started_at + timedelta(days=lock.days),
    }


OPERATIONS = [
    Operation(
        "LockSnapshot",
        handle_lock_snapshot,
        {
            "SnapshotId": None,
            "LockMode": None,
            "LockDuration": None,
            "CoolOffPeriod": None,
            "DryRun": None,
        },
    ),
    Operation("UnlockSnapshot", handle_unlock_snapshot, {"SnapshotId": None, "DryRun": None}),
    Operation(
        "DescribeLockedSnapshots",
        handle_describe_locked_snapshots,
        {
            "SnapshotIds": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
]
