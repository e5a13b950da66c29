"""EC2 in one Region, as policies need it: snapshots, and what they are taken of."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from lastgood.aws.describing import (
    ARCHIVE,
    MOST_FILTER_VALUES,
    PAGE,
    Describing,
    Dict,
    chunks,
    filter_of,
    instances_in,
    member_of,
    tag_filters,
    tag_specifications,
    volume_of,
)
from lastgood.aws.faults import code_of, translated
from lastgood.aws.pacing import Pace
from lastgood.aws.quotas import copy_slots
from lastgood.domain import tags as tag_keys
from lastgood.domain.manifest import Instance, Volume
from lastgood.domain.model import Member, Tagged
from lastgood.domain.names import instant
from lastgood.domain.policy import TagMatch
from lastgood.domain.requests import TakeRequest
from lastgood.errors import (
    AlreadyDone,
    CallRefused,
    InUse,
    KeyDenied,
    LimitReached,
    Throttled,
)
from lastgood.ports import Page

LOCKED = ("compliance", "compliance-cooloff", "governance")
"""Lock states in which EC2 deletes no snapshot (EC2 API, LockSnapshot); the other is expired."""


class Ec2Compute(Describing):
    """``Compute`` on two clients: ``reads`` tries again by itself, ``once`` never does.

    ``paces``: of the operations that create or delete, by name; those that are not named go at
    once. ``quotas`` and ``keys`` make the clients of Service Quotas and of KMS, which few need.
    """

    def __init__(
        self,
        reads: Any,
        once: Any,
        paces: Mapping[str, Pace] | None = None,
        quotas: Callable[[], Any] | None = None,
        keys: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(reads, keys)
        self._once = once
        self._paces = paces or {}
        self._quotas = quotas

    def instances(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Instance]]:
        for page in self._pages("describe_instances", tag_filters(tags), start):
            yield Page(instances_in(page), page.get("NextToken"))

    def volumes(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Volume]]:
        for page in self._pages("describe_volumes", tag_filters(tags), start):
            yield Page([volume_of(one) for one in page["Volumes"]], page.get("NextToken"))

    def snapshot_set(
        self, request: TakeRequest, tags: Mapping[str, str], *, copy_tags: bool
    ) -> tuple[Member, ...]:
        instance: dict[str, Any] = {"InstanceId": request.source.id}
        if request.exclude_boot:
            instance["ExcludeBootVolume"] = True
        if request.excluded:
            instance["ExcludeDataVolumeIds"] = list(request.excluded)
        copied = {"CopyTagsFromSource": "volume"} if copy_tags else {}
        with self._paced("create_snapshots", f"create the snapshots of {request.source.id}"):
            reply = self._once.create_snapshots(
                InstanceSpecification=instance,
                Description=_description(request),
                TagSpecifications=tag_specifications(tags, "snapshot"),
                **copied,
            )
        return tuple(member_of(one) for one in reply["Snapshots"])

    def snapshot_volume(
        self, volume: Volume, request: TakeRequest, tags: Mapping[str, str]
    ) -> Member:
        with self._paced("create_snapshot", f"create the snapshot of {volume.id}"):
            reply = self._once.create_snapshot(
                VolumeId=volume.id,
                Description=_description(request),
                TagSpecifications=tag_specifications(tags, "snapshot"),
            )
        return member_of(reply)

    def copy_snapshot(
        self,
        snapshot: str,
        source_region: str,
        tags: Mapping[str, str],
        *,
        key: str | None,
        encrypted: bool,
        minutes: int | None,
    ) -> str:
        more: dict[str, Any] = {"CompletionDurationMinutes": minutes} if minutes else {}
        if encrypted:
            more |= {"Encrypted": True, **({"KmsKeyId": key} if key else {})}
        with _of_one_snapshot(), self._paced("copy_snapshot", f"copy {snapshot} to {self.region}"):
            reply = self._once.copy_snapshot(
                SourceSnapshotId=snapshot,
                SourceRegion=source_region,
                Description=f"Lastgood: copy of {snapshot} in {source_region}",
                TagSpecifications=tag_specifications(tags, "snapshot"),
                **more,
            )
        return str(reply["SnapshotId"])

    def copy_slots(self) -> int | None:
        return copy_slots(self._quotas()) if self._quotas else None

    def share_snapshot(self, snapshot: str, account: str) -> None:
        try:
            with translated("ec2", f"share {snapshot} with {account}"):
                self._permit(snapshot, "Add", account)
        except InUse as error:
            # EBS User Guide, "Share an Amazon EBS snapshot": what else is not permitted.
            raise KeyDenied(
                f"share {snapshot} with {account}: it is encrypted under the key that AWS manages, "
                "which no other account may use. Encrypt its volume under a key of your own"
            ) from error

    def unshare_snapshot(self, snapshot: str, account: str) -> None:
        with suppress(AlreadyDone), translated("ec2", f"share {snapshot} no more with {account}"):
            self._permit(snapshot, "Remove", account)

    def _permit(self, snapshot: str, operation: str, account: str) -> None:
        self._reads.modify_snapshot_attribute(
            SnapshotId=snapshot,
            Attribute="createVolumePermission",
            # In this form, by which the conditions are named that limit whom it is shared with.
            CreateVolumePermission={operation: [{"UserId": account}]},
        )

    def copies_made(self, operations: Iterable[str]) -> dict[str, tuple[Tagged, ...]]:
        return self._by_tag(tag_keys.COPY, operations)

    @contextmanager
    def _paced(self, operation: str, what: str) -> Iterator[None]:
        """Wait for the turn of the call; go slower if EC2 throttles it all the same."""
        pace = self._paces.get(operation)
        if pace:
            pace.wait()
        try:
            with translated("ec2", what):
                yield
        except Throttled:
            if pace:
                pace.slow_down()
            raise

    def snapshots_of(self, point: str) -> tuple[Member, ...]:
        return tuple(one.member for one in self.snapshots_of_points([point]).get(point, ()))

    def snapshots_of_points(self, points: Iterable[str]) -> dict[str, tuple[Tagged, ...]]:
        return self._by_tag(tag_keys.POINT, points)

    def _by_tag(self, key: str, values: Iterable[str]) -> dict[str, tuple[Tagged, ...]]:
        """By value, oldest first."""
        found: dict[str, list[Tagged]] = {}
        for some in chunks(values, MOST_FILTER_VALUES):
            for page in self._snapshots(filter_of(f"tag:{key}", some)):
                for one in page.items:
                    found.setdefault(one.tags[key], []).append(one)
        return {value: tuple(sorted(every, key=_age)) for value, every in found.items()}

    def own_snapshots(self, run: str | None = None) -> Iterator[Page[Tagged]]:
        of_run = filter_of(f"tag:{tag_keys.RUN}", [run]) if run else None
        return self._snapshots(of_run or filter_of("tag-key", [tag_keys.POINT]))

    def snapshots_tagged(self, policy: str, tags: TagMatch) -> Iterator[Page[Tagged]]:
        of_policy = filter_of(f"tag:{tag_keys.POLICY}", [policy])
        any_value = [key for key, values in tags.items() if not values]
        some_values = {key: values for key, values in tags.items() if values}
        # Each key in a filter of its own: the values of one are OR'ed.
        keys = [filter_of("tag-key", [key]) for key in any_value]
        return self._snapshots(of_policy, *keys, *tag_filters(some_values))

    def snapshot(self, snapshot: str) -> Tagged | None:
        pages = self._snapshots(filter_of("snapshot-id", [snapshot]))
        return next((one for page in pages for one in page.items), None)

    def delete_snapshot(self, snapshot: str) -> None:
        with suppress(AlreadyDone), self._paced("delete_snapshot", f"delete {snapshot}"):
            self._reads.delete_snapshot(SnapshotId=snapshot)

    def locked(self) -> dict[str, str]:
        # Not by id: a call that names a snapshot that is gone may be refused as a whole.
        request: dict[str, Any] = {"Filters": [filter_of("lock-state", LOCKED)], "MaxResults": PAGE}
        found: dict[str, str] = {}
        with translated("ec2", f"look for locked snapshots in {self.region}"):
            # botocore has no paginator for it.
            while True:
                reply = self._reads.describe_locked_snapshots(**request)
                found |= {one["SnapshotId"]: _lock(one) for one in reply["Snapshots"]}
                if not reply.get("NextToken"):
                    return found
                request["NextToken"] = reply["NextToken"]

    def images_of(self, snapshots: Iterable[str]) -> dict[str, str]:
        found = {}
        for some in chunks(snapshots, MOST_FILTER_VALUES):
            of_some = filter_of("block-device-mapping.snapshot-id", some)
            for page in self._pages(
                "describe_images", [of_some], Owners=["self"], IncludeDisabled=True
            ):
                for image in page["Images"]:
                    disabled = ", which is disabled" if image.get("State") == "disabled" else ""
                    for device in image.get("BlockDeviceMappings", []):
                        snapshot = device.get("Ebs", {}).get("SnapshotId")
                        if snapshot in some:
                            found[snapshot] = f"used by {image['ImageId']}{disabled}"
        return found

    def archived_at(self, snapshots: Iterable[str]) -> dict[str, datetime]:
        return {
            one["SnapshotId"]: one["ArchivalCompleteTime"]
            for some in chunks(snapshots, MOST_FILTER_VALUES)
            for page in self._pages(
                "describe_snapshot_tier_status", [filter_of("snapshot-id", some)]
            )
            for one in page["SnapshotTierStatuses"]
            if one.get("StorageTier") == ARCHIVE and "ArchivalCompleteTime" in one
        }

    def tag_snapshots(self, snapshots: Iterable[str], key: str, value: str) -> None:
        tag = {"Key": key, "Value": value}
        self._for_each(
            snapshots,
            lambda tags: key not in tags,
            lambda ids: self._reads.create_tags(Resources=ids, Tags=[tag]),
            f"tag snapshots with {key}",
        )

    def untag_snapshots(self, snapshots: Iterable[str], key: str, value: str) -> None:
        tag = {"Key": key, "Value": value}
        self._for_each(
            snapshots,
            lambda tags: tags.get(key) == value,
            # With its value: EC2 leaves a tag that somebody has written over meanwhile.
            lambda ids: self._reads.delete_tags(Resources=ids, Tags=[tag]),
            f"take the tag {key} from snapshots",
        )

    def _for_each(
        self,
        snapshots: Iterable[str],
        wanted: Callable[[Mapping[str, str]], bool],
        act: Callable[[list[str]], object],
        what: str,
    ) -> None:
        """On those that are there and whose tags are ``wanted``: EC2 refuses the whole call for
        one that is gone."""
        for some in chunks(snapshots, MOST_FILTER_VALUES):
            pages = self._snapshots(filter_of("snapshot-id", some))
            ids = [one.member.snapshot for page in pages for one in page.items if wanted(one.tags)]
            try:
                if ids:
                    with translated("ec2", what):
                        act(ids)
            except AlreadyDone:
                # One went since it was described.
                for one in ids:
                    with suppress(AlreadyDone), translated("ec2", what):
                        act([one])


@contextmanager
def _of_one_snapshot() -> Iterator[None]:
    """What is wrong with the snapshot that is copied is no limit of the Region's."""
    try:
        yield
    except LimitReached as error:
        if code_of(error) in ("IncorrectState", "InvalidState", "ConcurrentTagAccess"):
            raise CallRefused(str(error)) from error.__cause__
        raise


def _age(one: Tagged) -> tuple[datetime, str]:
    return one.member.started_at, one.member.snapshot


def _lock(snapshot: Dict) -> str:
    until = snapshot.get("LockExpiresOn")
    mode = snapshot["LockState"].partition("-")[0]
    return f"locked ({mode}){f' until {instant(until)}' if until else ''}"


def _description(request: TakeRequest) -> str:
    return f"Lastgood {request.policy}: {request.source.id} for {instant(request.slot)}"
