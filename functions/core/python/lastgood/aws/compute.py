"""EC2 in one Region: its dictionaries become the domain's values here, and nowhere else."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from lastgood.aws.faults import translated
from lastgood.aws.kms import key_problem
from lastgood.aws.pacing import Pace
from lastgood.aws.quotas import copy_slots
from lastgood.domain import tags as tag_keys
from lastgood.domain.manifest import (
    Attachment,
    Instance,
    Interface,
    LaunchAttributes,
    Volume,
)
from lastgood.domain.model import Member, MemberState, Tagged
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

PAGE = 1000
"""The most that a describe gives at once (EC2 API, "Pagination")."""
MOST_IDS = 1000
"""Ids named in one describe: as many as a page would hold."""
MOST_FILTER_VALUES = 200
"""Of one filter (EC2 User Guide, "Filter your resources")."""
ARCHIVE = "archive"
LOCKED = ("compliance", "compliance-cooloff", "governance")
"""Lock states in which EC2 deletes no snapshot (EC2 API, LockSnapshot); the other is expired."""

Dict = Mapping[str, Any]


class Ec2Compute:
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
        self._reads = reads
        self._once = once
        self._paces = paces or {}
        self._quotas = quotas
        self._keys = keys
        self.region: str = reads.meta.region_name

    def instances(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Instance]]:
        for page in self._pages("describe_instances", _tag_filters(tags), start):
            yield Page(_instances(page), page.get("NextToken"))

    def instances_by_id(self, ids: Iterable[str]) -> dict[str, Instance]:
        found = [
            one
            for some in _chunks(ids, MOST_FILTER_VALUES)
            for page in self._pages("describe_instances", [_filter("instance-id", some)])
            for one in _instances(page)
        ]
        return {one.id: one for one in found}

    def volumes(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Volume]]:
        for page in self._pages("describe_volumes", _tag_filters(tags), start):
            yield Page([_volume(one) for one in page["Volumes"]], page.get("NextToken"))

    def volumes_by_id(self, ids: Iterable[str]) -> dict[str, Volume]:
        found = [
            _volume(one) for some in _chunks(ids, MOST_IDS) for one in self._volumes_of_some(some)
        ]
        return {one.id: one for one in found}

    def _volumes_of_some(self, ids: list[str]) -> Iterator[Dict]:
        """By id, in one call; by filter if one of them is gone, for then EC2 refuses them all."""
        if len(ids) > MOST_FILTER_VALUES:
            # EC2 takes no page size beside ids; if it pages all the same, this goes on.
            pages = self._reads.get_paginator("describe_volumes").paginate(VolumeIds=ids)
            with translated("ec2", f"describe volumes in {self.region}"):
                try:
                    yield from [one for page in pages for one in page["Volumes"]]
                except ClientError as error:
                    if error.response["Error"]["Code"] != "InvalidVolume.NotFound":
                        raise
                else:
                    return
        for some in _chunks(ids, MOST_FILTER_VALUES):
            for page in self._pages("describe_volumes", [_filter("volume-id", some)]):
                yield from page["Volumes"]

    def launch_attributes(self, instance: Instance, at: datetime) -> LaunchAttributes:
        with translated("ec2", f"read launch attributes of {instance.id}"):
            reply = self._reads.get_launch_template_data(InstanceId=instance.id)
        data = reply["LaunchTemplateData"]
        return LaunchAttributes(
            read_at=at,
            launched_at=instance.launched_at,
            user_data=data.get("UserData"),
            shutdown_behavior=data.get("InstanceInitiatedShutdownBehavior"),
            credit_mode=data.get("CreditSpecification", {}).get("CpuCredits"),
            termination_protection=data.get("DisableApiTermination", False),
            stop_protection=data.get("DisableApiStop", False),
        )

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
                TagSpecifications=_tag_specifications(tags),
                **copied,
            )
        return tuple(_member(one) for one in reply["Snapshots"])

    def snapshot_volume(
        self, volume: Volume, request: TakeRequest, tags: Mapping[str, str]
    ) -> Member:
        with self._paced("create_snapshot", f"create the snapshot of {volume.id}"):
            reply = self._once.create_snapshot(
                VolumeId=volume.id,
                Description=_description(request),
                TagSpecifications=_tag_specifications(tags),
            )
        return _member(reply)

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
                TagSpecifications=_tag_specifications(tags),
                **more,
            )
        return str(reply["SnapshotId"])

    def copy_slots(self) -> int | None:
        return copy_slots(self._quotas()) if self._quotas else None

    def key_problem(self, key: str) -> str | None:
        return key_problem(self._keys(), key) if self._keys else None

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
        for some in _chunks(values, MOST_FILTER_VALUES):
            for page in self._snapshots(_filter(f"tag:{key}", some)):
                for one in page.items:
                    found.setdefault(one.tags[key], []).append(one)
        return {value: tuple(sorted(every, key=_age)) for value, every in found.items()}

    def own_snapshots(self, run: str | None = None) -> Iterator[Page[Tagged]]:
        of_run = _filter(f"tag:{tag_keys.RUN}", [run]) if run else None
        return self._snapshots(of_run or _filter("tag-key", [tag_keys.POINT]))

    def snapshots_tagged(self, policy: str, tags: TagMatch) -> Iterator[Page[Tagged]]:
        of_policy = _filter(f"tag:{tag_keys.POLICY}", [policy])
        any_value = [key for key, values in tags.items() if not values]
        some_values = {key: values for key, values in tags.items() if values}
        # Each key in a filter of its own: the values of one are OR'ed.
        keys = [_filter("tag-key", [key]) for key in any_value]
        return self._snapshots(of_policy, *keys, *_tag_filters(some_values))

    def snapshot(self, snapshot: str) -> Tagged | None:
        pages = self._snapshots(_filter("snapshot-id", [snapshot]))
        return next((one for page in pages for one in page.items), None)

    def delete_snapshot(self, snapshot: str) -> None:
        with suppress(AlreadyDone), self._paced("delete_snapshot", f"delete {snapshot}"):
            self._reads.delete_snapshot(SnapshotId=snapshot)

    def locked(self) -> dict[str, str]:
        # Not by id: a call that names a snapshot that is gone may be refused as a whole.
        request: dict[str, Any] = {"Filters": [_filter("lock-state", LOCKED)], "MaxResults": PAGE}
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
        for some in _chunks(snapshots, MOST_FILTER_VALUES):
            of_some = _filter("block-device-mapping.snapshot-id", some)
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
            for some in _chunks(snapshots, MOST_FILTER_VALUES)
            for page in self._pages("describe_snapshot_tier_status", [_filter("snapshot-id", some)])
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
        for some in _chunks(snapshots, MOST_FILTER_VALUES):
            pages = self._snapshots(_filter("snapshot-id", some))
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

    def _snapshots(self, *filters: Dict) -> Iterator[Page[Tagged]]:
        for page in self._pages("describe_snapshots", list(filters), OwnerIds=["self"]):
            found = [
                Tagged(_member(one), _tags(one), archived=one.get("StorageTier") == ARCHIVE)
                for one in page["Snapshots"]
            ]
            yield Page(found, page.get("NextToken"))

    def _pages(
        self, operation: str, filters: list[Dict], start: str | None = None, **request: Any
    ) -> Iterator[Dict]:
        if start:
            # Not as a StartingToken: botocore would take it apart, as one of its own.
            request["NextToken"] = start
        pages = self._reads.get_paginator(operation).paginate(
            Filters=filters, PaginationConfig={"PageSize": PAGE}, **request
        )
        with translated("ec2", f"{operation.replace('_', ' ')} in {self.region}"):
            yield from pages


@contextmanager
def _of_one_snapshot() -> Iterator[None]:
    """What is wrong with the snapshot that is copied is no limit of the Region's."""
    try:
        yield
    except LimitReached as error:
        cause = error.__cause__
        code = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else ""
        if code in ("IncorrectState", "InvalidState", "ConcurrentTagAccess"):
            raise CallRefused(str(error)) from cause
        raise


def _age(one: Tagged) -> tuple[datetime, str]:
    return one.member.started_at, one.member.snapshot


def _chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    every = sorted(set(ids))
    for start in range(0, len(every), size):
        yield every[start : start + size]


def _filter(name: str, values: Sequence[str]) -> Dict:
    return {"Name": name, "Values": list(values)}


def _tag_filters(tags: Mapping[str, tuple[str, ...]]) -> list[Dict]:
    """EC2 reads ``*`` and ``?`` in a value as wildcards, unless a backslash goes before."""
    return [
        _filter(f"tag:{key}", [re.sub(r"([*?\\])", r"\\\1", value) for value in values])
        for key, values in tags.items()
    ]


def _tag_specifications(tags: Mapping[str, str]) -> list[Dict]:
    return [
        {
            "ResourceType": "snapshot",
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }
    ]


def _lock(snapshot: Dict) -> str:
    until = snapshot.get("LockExpiresOn")
    mode = snapshot["LockState"].partition("-")[0]
    return f"locked ({mode}){f' until {instant(until)}' if until else ''}"


def _description(request: TakeRequest) -> str:
    return f"Lastgood {request.policy}: {request.source.id} for {instant(request.slot)}"


def _member(snapshot: Dict) -> Member:
    return Member(
        snapshot=snapshot["SnapshotId"],
        volume=snapshot["VolumeId"],
        size_gib=snapshot["VolumeSize"],
        encrypted=snapshot["Encrypted"],
        started_at=snapshot["StartTime"],
        state=_MEMBER_STATES.get(snapshot["State"], MemberState.PENDING),
        cause=snapshot.get("StateMessage") or None,
    )


_MEMBER_STATES = {"completed": MemberState.COMPLETED, "error": MemberState.ERROR}


def _tags(resource: Dict) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def _volume(volume: Dict) -> Volume:
    return Volume(
        id=volume["VolumeId"],
        type=volume["VolumeType"],
        size_gib=volume["Size"],
        state=volume["State"],
        zone=volume["AvailabilityZone"],
        encrypted=volume["Encrypted"],
        iops=volume.get("Iops"),
        throughput=volume.get("Throughput"),
        kms_key=volume.get("KmsKeyId"),
        multi_attach=volume.get("MultiAttachEnabled", False),
        attachments=tuple(
            Attachment(
                instance=one["InstanceId"],
                device=one["Device"],
                delete_on_termination=one.get("DeleteOnTermination", False),
            )
            for one in volume.get("Attachments", [])
            if "InstanceId" in one
        ),
        tags=_tags(volume),
    )


def _instances(page: Dict) -> list[Instance]:
    return [
        _instance(one) for reservation in page["Reservations"] for one in reservation["Instances"]
    ]


def _instance(instance: Dict) -> Instance:
    return Instance(
        id=instance["InstanceId"],
        state=instance["State"]["Name"],
        type=instance["InstanceType"],
        image=instance["ImageId"],
        architecture=instance.get("Architecture", ""),
        launched_at=instance["LaunchTime"],
        zone=instance["Placement"]["AvailabilityZone"],
        root_device=instance.get("RootDeviceName"),
        hibernation=instance.get("HibernationOptions", {}).get("Configured", False),
        volumes={
            one["DeviceName"]: one["Ebs"]["VolumeId"]
            for one in instance.get("BlockDeviceMappings", [])
            if "Ebs" in one
        },
        tags=_tags(instance),
        vpc=instance.get("VpcId"),
        subnet=instance.get("SubnetId"),
        groups=_groups(instance.get("SecurityGroups", [])),
        interfaces=tuple(_interface(one) for one in instance.get("NetworkInterfaces", [])),
        instance_profile=instance.get("IamInstanceProfile", {}).get("Arn"),
        key_name=instance.get("KeyName"),
        boot_mode=instance.get("BootMode"),
        virtualization=instance.get("VirtualizationType"),
        ena=instance.get("EnaSupport"),
        sriov=instance.get("SriovNetSupport"),
        platform=instance.get("PlatformDetails"),
        usage_operation=instance.get("UsageOperation"),
        lifecycle=instance.get("InstanceLifecycle"),
        tpm=instance.get("TpmSupport"),
        monitoring=instance.get("Monitoring", {}).get("State"),
        ebs_optimized=instance.get("EbsOptimized", False),
        placement=_options(instance["Placement"], without=("AvailabilityZone",)),
        cpu_options=_options(instance.get("CpuOptions", {})),
        metadata_options=_options(instance.get("MetadataOptions", {}), without=("State",)),
        private_dns_options=_options(instance.get("PrivateDnsNameOptions", {})),
        maintenance_options=_options(instance.get("MaintenanceOptions", {})),
        enclave=instance.get("EnclaveOptions", {}).get("Enabled", False),
        licenses=tuple(one["LicenseConfigurationArn"] for one in instance.get("Licenses", [])),
        capacity_reservation=instance.get("CapacityReservationId"),
    )


def _options(options: Dict, without: Sequence[str] = ()) -> dict[str, str | int | bool]:
    return {
        key: value
        for key, value in options.items()
        if key not in without and isinstance(value, str | int | bool)
    }


def _groups(groups: Iterable[Dict]) -> tuple[str, ...]:
    return tuple(group["GroupId"] for group in groups)


def _interface(interface: Dict) -> Interface:
    attachment = interface.get("Attachment", {})
    addresses = sorted(
        interface.get("PrivateIpAddresses", []), key=lambda one: not one.get("Primary", False)
    )
    return Interface(
        id=interface["NetworkInterfaceId"],
        device_index=attachment.get("DeviceIndex", 0),
        network_card=attachment.get("NetworkCardIndex", 0),
        subnet=interface.get("SubnetId", ""),
        groups=_groups(interface.get("Groups", [])),
        private_ips=tuple(one["PrivateIpAddress"] for one in addresses),
        ipv6=tuple(one["Ipv6Address"] for one in interface.get("Ipv6Addresses", [])),
        description=interface.get("Description", ""),
        type=interface.get("InterfaceType", "interface"),
        source_dest_check=interface.get("SourceDestCheck", True),
        delete_on_termination=attachment.get("DeleteOnTermination", True),
        public_ip=interface.get("Association", {}).get("PublicIp"),
    )
