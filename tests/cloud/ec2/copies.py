"""CopySnapshot, which is called where the copy is to be, and ModifySnapshotAttribute, to share.

Source: EC2 API Reference of the two; EBS User Guide, "Copy an Amazon EBS snapshot", "Time-based
copies", "Share an Amazon EBS snapshot"; aws-facts 1.1 and 1.4. Codes that were not seen on an
account are marked where they are raised.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.utils import random_snapshot_id
from moto.kms.models import kms_backends

from tests.cloud.ec2 import events, master_keys, tags, visibility
from tests.cloud.ec2.conditions import Outcome, World
from tests.cloud.ec2.errors import no_snapshot, refusal
from tests.cloud.ec2.lifecycle import ARCHIVE, GIB, PER_GIB, SHORTEST, remove
from tests.cloud.ec2.request import TAG_SPECIFICATIONS, Operation, Request, check_id
from tests.cloud.ec2.volumes import default_key

MANAGED_KEY = "alias/aws/ebs"
NO_VOLUME = "vol-ffffffff"
"""Source: EC2 API Reference, CopySnapshot: "an arbitrary volume ID"."""
DURATIONS = range(15, 2881, 15)
"""Minutes. Source: botocore, CopySnapshot, CompletionDurationMinutes."""
KEY_NOT_ACCESSIBLE = "Given key ID is not accessible"
KEY_NOTICED = timedelta(seconds=5)
CHANGED_SHARE = 0.1
"""Of a volume, that an incremental copy moves. No AWS figure."""


class EbsCopy(Snapshot):
    """``key`` is an ARN, or None for one that is not encrypted. ``of_volume``: the one that the
    copied snapshot was made of, by way of any number of copies."""

    def __init__(
        self,
        world: World,
        backend: Any,
        source: Snapshot,
        *,
        description: str,
        key: str | None,
        within: timedelta | None,
    ) -> None:
        super().__init__(
            backend,
            random_snapshot_id(),
            source.volume,
            description,
            encrypted=key is not None,
            kms_key_id=key,
        )
        self.status = "pending"
        self.state_message: str | None = None
        self.to_be_deleted = False
        self.completed_at: datetime | None = None
        self.source_arn = events.snapshot_arn(source.ec2_backend.region_name, source.id)
        self.of_volume = origin(source)
        self.size = int(source.volume_size)
        self.within = within
        outcome = world.conditions.outcomes.get(source.id, Outcome())
        self.error = outcome.error
        self.incremental = is_incremental(backend, self.of_volume, key)
        moved = self.size * (CHANGED_SHARE if self.incremental else 1)
        self.takes = outcome.duration or SHORTEST + moved * PER_GIB

    @property
    def volume_id(self) -> str:
        return NO_VOLUME

    @property
    def volume_size(self) -> int:
        return self.size

    @property
    def progress(self) -> str:
        if self.status == "completed":
            return "100%"
        return f"{min(99, int((utcnow() - self.start_time) / self.takes * 100))}%"

    @property
    def full_size(self) -> int | None:
        return self.size * GIB // 2 if self.status == "completed" else None


@dataclass
class Lineage:
    """The copies of one volume in one Region and account; ``newest`` was completed last."""

    newest: EbsCopy | None = None


@dataclass
class CopyRecord:
    """``denied``: sources whose next copy fails, since whoever asks may not use a key."""

    pending: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    lineages: dict[str, Lineage] = field(default_factory=lambda: defaultdict(Lineage))


def record(backend: Any) -> CopyRecord:
    # in the backend, so that it goes with moto's reset
    found: CopyRecord = vars(backend).setdefault("copy_record", CopyRecord())
    return found


def origin(snapshot: Any) -> str:
    return str(snapshot.of_volume if isinstance(snapshot, EbsCopy) else snapshot.volume_id)


def is_incremental(backend: Any, volume: str, key: str | None) -> bool:
    """Source: EBS User Guide, "Incremental snapshot copying"."""
    newest = record(backend).lineages[volume].newest
    return (
        newest is not None
        and newest.id in backend.snapshots
        and newest.storage_tier != ARCHIVE
        and newest.kms_key_id == key
    )


def handle_copy_snapshot(world: World, request: Request) -> dict[str, Any]:
    params, backend = request.params, request.backend
    wanted = tags.requested(request.operation, params, "snapshot").get("snapshot", {})
    within = _within(params)
    source = _source(request)
    key, accessible = _key(request, source)
    request.end_dry_run()
    _check_slots(world, backend)
    made = EbsCopy(
        world,
        backend,
        source,
        description=params.get("Description") or "",
        key=key,
        within=within,
    )
    if not accessible or source.id in record(backend).denied:
        record(backend).denied.discard(source.id)
        made.error, made.takes = KEY_NOT_ACCESSIBLE, KEY_NOTICED
    backend.snapshots[made.id] = made
    backend.tags[made.id] = dict(wanted)
    visibility.delay(world, made)
    record(backend).pending.add(made.id)
    now = world.clock.now()
    world.clock.at(now + made.takes, partial(_end, world, made))
    if within is not None and made.takes > within:
        world.clock.at(now + within, partial(_missed, world, made))
    return {"SnapshotId": made.id, "Tags": tags.rendered(made)}


def _within(params: dict[str, Any]) -> timedelta | None:
    given = params.get("CompletionDurationMinutes")
    if given is None:
        return None
    if int(given) not in DURATIONS:
        raise refusal(
            "InvalidParameterValue",
            f"CompletionDurationMinutes {given} is not in 15 to 2880, in steps of 15",
        )
    return timedelta(minutes=int(given))


def usable(account: str, region: str, snapshot_id: str) -> Any | None:
    """The snapshot, if it is the account's own or shared with it."""
    for owner in list(ec2_backends):
        found = ec2_backends[owner][region].snapshots.get(snapshot_id)
        if found is not None and (
            owner == account or account in found.create_volume_permission_userids
        ):
            return found
    return None


def _source(request: Request) -> Any:
    """The code for one that is not completed, or archived, was not seen on an account."""
    params, account = request.params, request.backend.account_id
    check_id("snap", params.get("SourceSnapshotId"))
    region, id_ = str(params.get("SourceRegion")), str(params["SourceSnapshotId"])
    found = usable(account, region, id_)
    if found is None:
        raise no_snapshot(id_)
    if found.status != "completed":
        raise refusal("IncorrectState", f"Snapshot '{id_}' is {found.status}.")
    if found.storage_tier == ARCHIVE:
        raise refusal("IncorrectState", f"Snapshot '{id_}' is archived.")
    return found


def _key(request: Request, source: Any) -> tuple[str | None, bool]:
    """The ARN of the key of the copy, and whether it, and that of the source, can be used: what
    cannot be is found out later. None: not encrypted."""
    params, backend = request.params, request.backend
    encrypted = str(params.get("Encrypted")).lower() == "true"
    given = params.get("KmsKeyId")
    if given and not encrypted:
        raise refusal("InvalidParameterDependency", "KmsKeyId needs Encrypted")
    if not encrypted and not source.encrypted:
        return None, True
    wanted = given or default_key(backend)
    key, usable = master_keys.found(wanted, backend.account_id, backend.region_name)
    if source.kms_key_id is not None:
        _, readable = master_keys.found(
            source.kms_key_id, source.ec2_backend.account_id, source.ec2_backend.region_name
        )
        usable = usable and readable
    return key, usable


def _check_slots(world: World, backend: Any) -> None:
    """Source: aws-facts 1.1, "Concurrent snapshot copies per destination Region"."""
    conditions = world.conditions
    taken = len(record(backend).pending) + conditions.copies_of_others(
        backend.account_id, backend.region_name
    )
    if taken >= conditions.copy_slots:
        raise refusal(
            "ResourceLimitExceeded",
            "Too many snapshot copies in progress. The limit is "
            f"{conditions.copy_slots} for this destination region.",
        )


def _end(world: World, made: EbsCopy) -> None:
    backend = made.ec2_backend
    if backend.snapshots.get(made.id) is not made or made.status != "pending":
        return
    record(backend).pending.discard(made.id)
    made.completed_at = utcnow()
    made.status, made.state_message = ("error", made.error) if made.error else ("completed", None)
    if made.status == "completed":
        record(backend).lineages[made.of_volume].newest = made
    events.copy_over(world, made)
    if made.to_be_deleted:
        remove(world, made)


def _missed(world: World, made: EbsCopy) -> None:
    if made.status == "pending" and made.ec2_backend.snapshots.get(made.id) is made:
        events.copy_late(world, made)


def handle_modify_snapshot_attribute(_: World, request: Request) -> dict[str, Any]:
    """Source: EBS User Guide, "Share an Amazon EBS snapshot": none that is encrypted under the key
    that AWS manages. The code of that refusal was not seen on an account."""
    snapshot = request.snapshot()
    changed = changed_users(request.params)
    if changed["Add"] and is_managed(request.backend, snapshot.kms_key_id):
        raise refusal(
            "OperationNotPermitted",
            "Encrypted snapshots with EBS default key cannot be shared",
        )
    request.end_dry_run()
    snapshot.create_volume_permission_userids |= changed["Add"]
    snapshot.create_volume_permission_userids -= changed["Remove"]
    return {}


def is_managed(backend: Any, key: str | None) -> bool:
    """By AWS: everybody in the account may use it through EC2."""
    keys = kms_backends[backend.account_id][backend.region_name]
    return bool(
        key and keys.alias_exists(MANAGED_KEY) and key == keys.describe_key(MANAGED_KEY).arn
    )


def changed_users(params: dict[str, Any]) -> dict[str, set[str]]:
    """Both forms that the API has: users with an operation, or lists of what to add or remove."""
    permission = params.get("CreateVolumePermission") or {}
    changed = {
        how: {one["UserId"] for one in permission.get(how) or []} for how in ("Add", "Remove")
    }
    if params.get("OperationType"):
        changed[params["OperationType"].title()] |= set(params.get("UserIds") or [])
    return changed


def handle_describe_snapshot_attribute(_: World, request: Request) -> dict[str, Any]:
    snapshot = request.snapshot()
    request.end_dry_run()
    users = sorted(snapshot.create_volume_permission_userids)
    return {
        "SnapshotId": snapshot.id,
        "CreateVolumePermissions": [{"UserId": one} for one in users],
    }


OPERATIONS = [
    Operation(
        "CopySnapshot",
        handle_copy_snapshot,
        {
            **dict.fromkeys(
                (
                    *("SourceRegion", "SourceSnapshotId", "DestinationRegion", "Description"),
                    *("Encrypted", "KmsKeyId", "PresignedUrl", "CompletionDurationMinutes"),
                    "DryRun",
                )
            ),
            "TagSpecifications": TAG_SPECIFICATIONS,
        },
    ),
    Operation(
        "ModifySnapshotAttribute",
        handle_modify_snapshot_attribute,
        {
            **dict.fromkeys(("SnapshotId", "Attribute", "OperationType", "UserIds", "DryRun")),
            "CreateVolumePermission": {"Add": {"UserId": None}, "Remove": {"UserId": None}},
        },
    ),
    Operation(
        "DescribeSnapshotAttribute",
        handle_describe_snapshot_attribute,
        dict.fromkeys(("SnapshotId", "Attribute", "DryRun")),
    ),
]
