"""A snapshot from pending to completed or error, on the clock, and the limits per volume."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.utils import random_snapshot_id

from tests.cloud.ec2 import events, tags, visibility
from tests.cloud.ec2.conditions import Outcome, World
from tests.cloud.ec2.errors import refusal

# Source: aws-facts 1.1, EBS User Guide "Quotas for Amazon EBS".
PENDING_PER_VOLUME = 5
PENDING_PER_HDD_VOLUME = 1
HDD = {"st1", "sc1"}
SPACING = timedelta(seconds=15)

# No AWS figure: EBS promises no duration. Small volumes take seconds, large ones minutes.
SHORTEST = timedelta(seconds=20)
PER_GIB = timedelta(seconds=0.2)

GIB = 1024**3
STANDARD, ARCHIVE = "standard", "archive"
"""Storage tiers."""


class EbsSnapshot(Snapshot):
    """moto's snapshot is complete at once, follows its volume's size, and has no key."""

    def __init__(self, backend: Any, volume: Any, description: str, outcome: Outcome) -> None:
        super().__init__(
            backend,
            random_snapshot_id(),
            volume,
            description,
            encrypted=volume.encrypted,
            kms_key_id=volume.kms_key_id,
        )
        self.status = "pending"
        self.state_message: str | None = None
        self.failed_by_itself = False
        self.to_be_deleted = False
        self.completed_at: datetime | None = None
        self.outcome = outcome
        self.size_at_start = int(volume.size)
        self.takes = outcome.duration or SHORTEST + self.size_at_start * PER_GIB

    @property
    def volume_size(self) -> int:
        return self.size_at_start

    @property
    def progress(self) -> str:
        if self.status == "completed":
            return "100%"
        share = (utcnow() - self.start_time) / self.takes
        return f"{min(99, int(share * 100))}%"

    @property
    def full_size(self) -> int | None:
        """Half of the volume is written to: a figure that no test should depend on."""
        return self.size_at_start * GIB // 2 if self.status == "completed" else None


@dataclass
class VolumeRecord:
    pending: set[str] = field(default_factory=set)
    last_start: datetime | None = None


def records(backend: Any) -> dict[str, VolumeRecord]:
    # in the backend, so that it goes with moto's reset
    found: dict[str, VolumeRecord] = vars(backend).setdefault(
        "snapshot_records", defaultdict(VolumeRecord)
    )
    return found


def check_limits(world: World, backend: Any, volumes: Sequence[Any]) -> None:
    """Raises ConcurrentSnapshotLimitExceeded or SnapshotCreationPerVolumeRateExceeded.

    A set is refused as a whole for one of its volumes. Source: aws-facts 1.1 and 1.3.
    """
    if not world.conditions.limits:
        return
    for volume in volumes:
        record = records(backend)[volume.id]
        most = PENDING_PER_HDD_VOLUME if volume.volume_type in HDD else PENDING_PER_VOLUME
        if len(record.pending) >= most:
            raise refusal(
                "ConcurrentSnapshotLimitExceeded",
                f"Maximum allowed in-progress snapshots for a single volume exceeded: {volume.id}.",
            )
        if record.last_start is not None and utcnow() - record.last_start < SPACING:
            raise refusal(
                "SnapshotCreationPerVolumeRateExceeded",
                "The maximum per volume CreateSnapshot request rate has been exceeded.",
            )


class SnapshotSet:
    """The snapshots of one call, which start together and of which one failure fails all.

    Source: EBS User Guide, multi-volume snapshots: "If any one snapshot for the multi-volume
    snapshot set fails, all of the other snapshots display an error status".
    """

    def __init__(
        self, world: World, volumes: Sequence[Any], description: str, *, reports: bool
    ) -> None:
        backend = volumes[0].ec2_backend
        self._world = world
        self._backend = backend
        self._reports = reports
        self._started_at = world.clock.now()
        self.members = [
            EbsSnapshot(
                backend,
                volume,
                description,
                world.conditions.outcomes.get(volume.id, Outcome()),
            )
            for volume in volumes
        ]

    def start(self, tags_of_members: Sequence[tags.Tags]) -> None:
        for member, member_tags in zip(self.members, tags_of_members, strict=True):
            self._backend.snapshots[member.id] = member
            self._backend.tags[member.id] = dict(member_tags)
            visibility.delay(self._world, member)
            record = records(self._backend)[member.volume_id]
            record.pending.add(member.id)
            record.last_start = utcnow()
            self._world.clock.at(self._started_at + member.takes, partial(self._end, member))

    def _end(self, member: EbsSnapshot) -> None:
        # moto may have been reset meanwhile, or a failure of the set may have ended this one
        if self._backend.snapshots.get(member.id) is not member or member.status != "pending":
            return
        if member.outcome.error is None:
            self._settle(member, "completed")
        else:
            member.state_message = member.outcome.error
            member.failed_by_itself = True
            self._settle(member, "error")
            self._fail_the_others()
        if self._reports and all(each.status != "pending" for each in self.members):
            events.set_over(self._world, self._started_at, self.members)

    def _fail_the_others(self) -> None:
        for other in self.members:
            if other.status == "pending":
                self._settle(other, "error")
            else:
                other.status = "error"

    def _settle(self, member: EbsSnapshot, status: str) -> None:
        member.status = status
        member.completed_at = utcnow()
        records(self._backend)[member.volume_id].pending.discard(member.id)
        events.snapshot_over(self._world, member)
        if member.to_be_deleted:
            remove(self._world, member)


def remove(world: World, snapshot: Any) -> None:
    """Calls that name it find it no more; describes still see it, and its tags, for the lag."""
    backend = snapshot.ec2_backend
    del backend.snapshots[snapshot.id]
    visibility.linger(world, snapshot, lambda: backend.tags.pop(snapshot.id, None))
