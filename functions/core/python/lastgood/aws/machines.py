"""EC2 in one Region, as restores need it: what is launched, attached, stopped and removed."""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from lastgood.aws.describing import (
    MOST_FILTER_VALUES,
    MOST_IDS,
    Describing,
    Dict,
    chunks,
    exactly,
    filter_of,
    instances_in,
    tag_filters,
    tag_list,
    tag_specifications,
    tags_of,
    volume_of,
)
from lastgood.aws.faults import code_of, translated
from lastgood.domain import tags as tag_keys
from lastgood.domain.launching import Card, Disk, Launch
from lastgood.domain.manifest import Instance, Options
from lastgood.domain.preflight import Group, Image, InstanceType, Subnet
from lastgood.errors import (
    AlreadyDone,
    CallRefused,
    CannotRestore,
    LimitReached,
    NotSettledYet,
    Refused,
    RegionNotEnabled,
    SourceGone,
    UnknownTarget,
)
from lastgood.ports import Health, RootTask, Things

CHANGING = timedelta(seconds=15)
"""An instance or a volume is on its way from one state to another."""
MOST_STATUS_IDS = 100
"""Named in one DescribeInstanceStatus (EC2 API)."""
NOT_OURS = {
    "Marketplace": "Subscribe to the product in AWS Marketplace.",
    "for images": "Have the owner of the image share it with the account.",
}
"""What EC2 says of an image, under codes that it has for a Region too, and what to do."""
CARDS_BY_NAME = ("efa", "efa-only")
"""Types of an interface that are asked for: any other is what an instance gets by itself."""


class Ec2Machines(Describing):
    """``Machines`` on a client that tries again by itself.

    It may: what makes something has a client token, or, as RegisterImage, a name that is taken
    afterwards; what is said twice to an instance or a volume is refused the second time, and then
    looked up. ``iam`` and ``keys`` make the clients of IAM and of KMS.
    """

    def __init__(
        self, client: Any, iam: Callable[[], Any], keys: Callable[[], Any] | None = None
    ) -> None:
        super().__init__(client, keys)
        self._iam = iam

    # -- what there is ------------------------------------------------------------------------

    def instances_named(self, name: str) -> tuple[Instance, ...]:
        return self._instances(*tag_filters({"Name": (name,)}))

    def things_of(self, restore: str) -> Things:
        of_restore = tag_filters({tag_keys.RESTORE: (restore,)})
        return Things(
            instances=self._instances(*of_restore),
            volumes=tuple(
                volume_of(one)
                for page in self._pages("describe_volumes", of_restore)
                for one in page["Volumes"]
            ),
            images=tuple(self._images(of_restore, Owners=["self"], IncludeDisabled=True)),
            # EC2, and what takes snapshots beside us, gives a snapshot the tags of its volume, of
            # the restore that made it too. Only the restore's own copies say what of.
            snapshots=tuple(
                one
                for page in self._snapshots(*of_restore)
                for one in page.items
                if tag_keys.COPY_OF in one.tags and tag_keys.POINT not in one.tags
            ),
        )

    def images(self, ids: Iterable[str]) -> dict[str, Image]:
        found: list[Image] = []
        for some in chunks(ids, MOST_FILTER_VALUES):
            try:
                found += self._images_by_id(some)
            except AlreadyDone:
                # One is gone, and EC2 has refused them all. Not by filter: it would go through
                # every image that is public, and leave out those that are deprecated.
                for one in some:
                    with suppress(AlreadyDone):
                        found += self._images_by_id([one])
        return {one.id: one for one in found}

    def _images_by_id(self, ids: list[str]) -> list[Image]:
        with translated("ec2", f"describe images in {self.region}"):
            reply = self._reads.describe_images(ImageIds=ids)
        return [_image(one) for one in reply["Images"]]

    def subnets(self, ids: Iterable[str]) -> dict[str, Subnet]:
        return {
            one.id: one
            for some in chunks(ids, MOST_FILTER_VALUES)
            for one in self._subnets(filter_of("subnet-id", some))
        }

    def subnets_in(self, vpc: str, zone: str | None = None) -> tuple[Subnet, ...]:
        in_zone = [filter_of("availability-zone", [zone])] if zone else []
        return tuple(self._subnets(filter_of("vpc-id", [vpc]), *in_zone))

    def groups(self, ids: Iterable[str]) -> dict[str, Group]:
        return {
            one.id: one
            for some in chunks(ids, MOST_FILTER_VALUES)
            for one in self._groups(filter_of("group-id", some))
        }

    def groups_named(self, name: str) -> tuple[Group, ...]:
        return tuple(self._groups(exactly("group-name", [name])))

    def zones_offering(self, type_: str) -> frozenset[str]:
        pages = self._pages(
            "describe_instance_type_offerings",
            [exactly("instance-type", [type_])],
            LocationType="availability-zone",
        )
        return frozenset(one["Location"] for page in pages for one in page["InstanceTypeOfferings"])

    def instance_type(self, type_: str) -> InstanceType | None:
        # By filter: a type that there is not is refused if it is named as such.
        of_type = [exactly("instance-type", [type_])]
        for page in self._pages("describe_instance_types", of_type, size=None):
            for one in page["InstanceTypes"]:
                processors = one.get("VCpuInfo", {})
                return InstanceType(
                    architectures=frozenset(one["ProcessorInfo"]["SupportedArchitectures"]),
                    cores=processors.get("DefaultCores"),
                    threads=processors.get("DefaultThreadsPerCore"),
                )
        return None

    def has_key_pair(self, name: str) -> bool:
        with translated("ec2", f"look for the key pair {name}"):
            reply = self._reads.describe_key_pairs(Filters=[exactly("key-name", [name])])
        return bool(reply["KeyPairs"])

    def has_profile(self, arn_or_name: str) -> bool:
        name = arn_or_name.rsplit("/", 1)[-1]
        try:
            with translated("iam", f"look for the instance profile {name}"):
                self._iam().get_instance_profile(InstanceProfileName=name)
        except UnknownTarget:
            return False
        return True

    def address_taken(self, subnet: str, address: str) -> str | None:
        filters = [
            filter_of("subnet-id", [subnet]),
            filter_of("addresses.private-ip-address", [address]),
        ]
        pages = self._pages("describe_network_interfaces", filters)
        return next((_taker(one) for page in pages for one in page["NetworkInterfaces"]), None)

    def snapshot_volumes(self, snapshots: Iterable[str]) -> dict[str, str]:
        return {
            one.member.snapshot: one.member.volume
            for some in chunks(snapshots, MOST_FILTER_VALUES)
            for page in self._snapshots(filter_of("snapshot-id", some))
            for one in page.items
        }

    def root_tasks(self, instance: str, restore: str) -> tuple[RootTask, ...]:
        pages = self._pages(
            "describe_replace_root_volume_tasks", [filter_of("instance-id", [instance])]
        )
        found = [one for page in pages for one in page["ReplaceRootVolumeTasks"]]
        return tuple(
            RootTask(
                id=one["ReplaceRootVolumeTaskId"],
                instance=one["InstanceId"],
                state=one["TaskState"],
                tags=tags_of(one),
            )
            for one in sorted(found, key=lambda one: str(one.get("StartTime", "")))
            if tags_of(one).get(tag_keys.RESTORE) == restore
        )

    def health(self, instances: Iterable[str]) -> dict[str, Health]:
        found: dict[str, Health] = {}
        for some in chunks(instances, MOST_STATUS_IDS):
            try:
                found |= self._health(some)
            except SourceGone:
                # One is gone, and EC2 has no filter by id here.
                for one in some:
                    with suppress(SourceGone):
                        found |= self._health([one])
        return found

    def _health(self, instances: list[str]) -> dict[str, Health]:
        with translated("ec2", f"read the status of {', '.join(instances)}"):
            pages = self._reads.get_paginator("describe_instance_status").paginate(
                InstanceIds=instances
            )
            return {
                one["InstanceId"]: Health(
                    instance=one["InstanceStatus"]["Status"], system=one["SystemStatus"]["Status"]
                )
                for page in pages
                for one in page["InstanceStatuses"]
            }

    def _instances(self, *filters: Dict) -> tuple[Instance, ...]:
        pages = self._pages("describe_instances", list(filters))
        return tuple(one for page in pages for one in instances_in(page))

    def _images(self, filters: list[Dict], **request: Any) -> Iterator[Image]:
        for page in self._pages("describe_images", filters, **request):
            yield from (_image(one) for one in page["Images"])

    def _subnets(self, *filters: Dict) -> Iterator[Subnet]:
        for page in self._pages("describe_subnets", list(filters)):
            for one in page["Subnets"]:
                yield Subnet(
                    id=one["SubnetId"],
                    vpc=one["VpcId"],
                    zone=one["AvailabilityZone"],
                    free=one["AvailableIpAddressCount"],
                    public=one.get("MapPublicIpOnLaunch", False),
                )

    def _groups(self, *filters: Dict) -> Iterator[Group]:
        for page in self._pages("describe_security_groups", list(filters), size=None):
            for one in page["SecurityGroups"]:
                rules = one.get("IpPermissions", []) + one.get("IpPermissionsEgress", [])
                yield Group(
                    id=one["GroupId"],
                    name=one["GroupName"],
                    vpc=one.get("VpcId", ""),
                    isolated=not rules,
                )

    # -- what is made -------------------------------------------------------------------------

    def try_launch(self, launch: Launch, snapshots: Mapping[str, str], image: str | None) -> None:
        image = image or launch.image
        if image is None:
            return
        # What is not here yet is left out: only what is known can be tried.
        here = tuple(one for one in launch.disks if one.root or one.piece in snapshots)
        # Tagged all the same: a role may be allowed to launch only what is.
        tags = {tag_keys.RESTORE: "none"}
        request = self._run_instances(replace(launch, disks=here), snapshots, image, tags)
        try:
            with _launching(), translated("ec2", f"try to launch from {image} in {self.region}"):
                self._reads.run_instances(DryRun=True, **request)
        except Refused as error:
            if code_of(error) == "DryRunOperation":
                return
            raise CannotRestore([str(error)]) from error

    def register_image(
        self, launch: Launch, snapshots: Mapping[str, str], *, name: str, tags: Mapping[str, str]
    ) -> str:
        new = launch.new_image
        assert new is not None, "it is launched from the image of the source"
        optional = {
            "BootMode": new.boot_mode,
            "SriovNetSupport": new.sriov,
            "TpmSupport": new.tpm,
        }
        try:
            with _of_snapshots(), translated("ec2", f"register the image {name}"):
                reply = self._reads.register_image(
                    Name=name,
                    Description="Lastgood: for a restore, which removes it",
                    Architecture=new.architecture,
                    RootDeviceName=new.root_device,
                    VirtualizationType=new.virtualization,
                    EnaSupport=new.ena,
                    BlockDeviceMappings=[
                        # Whether it is encrypted is for its snapshot to say: EC2 takes no word
                        # on it here.
                        _mapping(one, {"SnapshotId": snapshots[one.piece], **_kind_of(one)})
                        for one in launch.disks
                        if one.device
                    ],
                    TagSpecifications=tag_specifications(tags, "image"),
                    **{key: value for key, value in optional.items() if value},
                )
        except CallRefused as error:
            if code_of(error) != "InvalidAMIName.Duplicate":
                raise
            return self._image_named(name)
        return str(reply["ImageId"])

    def _image_named(self, name: str) -> str:
        for one in self._images([exactly("name", [name])], Owners=["self"], IncludeDisabled=True):
            return one.id
        raise NotSettledYet(f"EC2 does not show the image {name} yet, which there is", CHANGING)

    def deregister_image(self, image: str) -> None:
        with suppress(AlreadyDone), translated("ec2", f"deregister {image}"):
            self._reads.deregister_image(ImageId=image)

    def launch(
        self,
        launch: Launch,
        snapshots: Mapping[str, str],
        *,
        image: str,
        token: str,
        tags: Mapping[str, str],
    ) -> tuple[str, ...]:
        request = self._run_instances(launch, snapshots, image, tags)
        with _launching(), translated("ec2", f"launch from {image} in {self.region}"):
            reply = self._reads.run_instances(ClientToken=token, **request)
        return tuple(one["InstanceId"] for one in reply["Instances"])

    def _run_instances(
        self, launch: Launch, snapshots: Mapping[str, str], image: str, tags: Mapping[str, str]
    ) -> dict[str, Any]:
        """What RunInstances is told, but for the token. What is as EC2 has it without a word is
        not told: some types refuse even the word."""
        flags = {
            "DisableApiTermination": launch.termination_protection,
            "DisableApiStop": launch.stop_protection and not launch.protected_last,
            "EbsOptimized": launch.ebs_optimized,
        }
        switches = {
            "Monitoring": {"Enabled": launch.monitoring},
            "HibernationOptions": {"Configured": launch.hibernation},
            "EnclaveOptions": {"Enabled": launch.enclave},
        }
        more: dict[str, Any] = {
            "KeyName": launch.key_name,
            "IamInstanceProfile": _profile(launch.instance_profile),
            "InstanceInitiatedShutdownBehavior": launch.shutdown_behavior,
            # botocore encodes it, and takes bytes as well as text.
            "UserData": base64.b64decode(launch.user_data or "") if not launch.swaps_root else None,
            "CreditSpecification": {"CpuCredits": launch.credit_mode} if launch.credit_mode else {},
            "LicenseSpecifications": [{"LicenseConfigurationArn": one} for one in launch.licenses],
            "Placement": _placement(launch.placement),
            "CpuOptions": _cpu_options(launch.cpu_options),
            "MetadataOptions": launch.metadata_options,
            "PrivateDnsNameOptions": launch.private_dns_options,
            "MaintenanceOptions": launch.maintenance_options,
            **{key: on for key, on in flags.items() if on},
            **{key: value for key, value in switches.items() if any(value.values())},
        }
        return {
            "ImageId": image,
            "InstanceType": launch.type,
            "MinCount": launch.count,
            "MaxCount": launch.count,
            "BlockDeviceMappings": _mappings(launch, snapshots),
            # In this form always: only here can an interface be described. Whether it has a
            # public address is for its subnet to say.
            "NetworkInterfaces": [_card(one) for one in launch.cards],
            "TagSpecifications": [
                *tag_specifications({**launch.tags, **tags}, "instance"),
                *tag_specifications(tags, "volume", "network-interface"),
            ],
            **{key: self._taken(key, value) for key, value in more.items() if value},
        }

    def _taken(self, key: str, value: Any) -> Any:
        """Without the settings that EC2 describes, and does not take here."""
        if not isinstance(value, Mapping):
            return value
        model = self._reads.meta.service_model.operation_model("RunInstances").input_shape
        return {name: one for name, one in value.items() if name in model.members[key].members}

    def create_volume(
        self, disk: Disk, snapshot: str, zone: str, *, token: str, tags: Mapping[str, str]
    ) -> str:
        kind = _kind_of(disk)
        kind["Size"] = kind.pop("VolumeSize")
        del kind["DeleteOnTermination"]
        if disk.multi_attach:
            kind["MultiAttachEnabled"] = True
        with _of_snapshots(), translated("ec2", f"create a volume of {snapshot} in {zone}"):
            reply = self._reads.create_volume(
                SnapshotId=snapshot,
                AvailabilityZone=zone,
                ClientToken=token,
                TagSpecifications=tag_specifications({**disk.tags, **tags}, "volume"),
                **kind,
                **_encryption(disk),
            )
        return str(reply["VolumeId"])

    def replace_root(
        self, instance: str, snapshot: str, *, token: str, tags: Mapping[str, str]
    ) -> str:
        with _of_snapshots(), translated("ec2", f"replace the root volume of {instance}"):
            reply = self._reads.create_replace_root_volume_task(
                InstanceId=instance,
                SnapshotId=snapshot,
                DeleteReplacedRootVolume=False,
                ClientToken=token,
                TagSpecifications=tag_specifications(tags, "replace-root-volume-task"),
            )
        return str(reply["ReplaceRootVolumeTask"]["ReplaceRootVolumeTaskId"])

    # -- what is changed ----------------------------------------------------------------------

    def attach(self, volume: str, instance: str, device: str) -> None:
        try:
            with translated("ec2", f"attach {volume} to {instance} as {device}"):
                self._reads.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
        except (Refused, LimitReached) as error:
            attachments = self._attachments(volume)
            here = {"InstanceId": instance, "Device": device}
            if any(here.items() <= one.items() for one in attachments if not _leaving(one)):
                return
            # It leaves, or where it is in use is not shown yet.
            unseen = not attachments and code_of(error) == "VolumeInUse"
            if unseen or any(_leaving(one) for one in attachments):
                raise LimitReached(str(error), CHANGING) from error
            raise

    def detach(self, volume: str, instance: str) -> None:
        try:
            with suppress(AlreadyDone), translated("ec2", f"detach {volume} from {instance}"):
                self._reads.detach_volume(VolumeId=volume, InstanceId=instance)
        except (Refused, LimitReached):
            there = [one for one in self._attachments(volume) if one["InstanceId"] == instance]
            if any(not _leaving(one) for one in there):
                raise

    def _attachments(self, volume: str) -> list[Dict]:
        return [
            one
            for page in self._pages("describe_volumes", [filter_of("volume-id", [volume])])
            for found in page["Volumes"]
            for one in found.get("Attachments", [])
        ]

    def delete_on_termination(self, instance: str, devices: Mapping[str, bool]) -> None:
        if devices:
            self._modify(
                instance,
                BlockDeviceMappings=[
                    {"DeviceName": device, "Ebs": {"DeleteOnTermination": on}}
                    for device, on in devices.items()
                ],
            )

    def unprotect(self, instance: str) -> None:
        with suppress(SourceGone), self._towards(instance, "shutting-down", "terminated"):
            # EC2 changes one attribute in a call.
            self._modify(instance, DisableApiTermination={"Value": False})
            self._modify(instance, DisableApiStop={"Value": False})

    def protect_from_stop(self, instance: str) -> None:
        self._modify(instance, DisableApiStop={"Value": True})

    def set_user_data(self, instance: str, user_data: str) -> None:
        # botocore encodes it.
        self._modify(instance, UserData={"Value": base64.b64decode(user_data)})

    def _modify(self, instance: str, **attribute: Any) -> None:
        with translated("ec2", f"set {', '.join(attribute)} of {instance}"):
            self._reads.modify_instance_attribute(InstanceId=instance, **attribute)

    def set_source_dest_check(self, interface: str, *, on: bool) -> None:
        with translated("ec2", f"set the source and destination check of {interface}"):
            self._reads.modify_network_interface_attribute(
                NetworkInterfaceId=interface, SourceDestCheck={"Value": on}
            )

    def tag(self, ids: Iterable[str], tags: Mapping[str, str]) -> None:
        for some in chunks(ids, MOST_IDS):
            if tags:
                with translated("ec2", f"tag {', '.join(some)}"):
                    self._reads.create_tags(Resources=some, Tags=tag_list(tags))

    def untag(self, ids: Iterable[str], keys: Iterable[str]) -> None:
        # Without a value: whatever it is.
        tags = [{"Key": key} for key in keys]
        for some in chunks(ids, MOST_IDS):
            if tags:
                with translated("ec2", f"take tags from {', '.join(some)}"):
                    self._reads.delete_tags(Resources=some, Tags=tags)

    def start(self, instance: str) -> None:
        with self._towards(instance, "pending", "running"), translated("ec2", f"start {instance}"):
            self._reads.start_instances(InstanceIds=[instance])

    def stop(self, instance: str) -> None:
        with self._towards(instance, "stopping", "stopped"), translated("ec2", f"stop {instance}"):
            self._reads.stop_instances(InstanceIds=[instance])

    @contextmanager
    def _towards(self, instance: str, *wanted: str) -> Iterator[None]:
        """A refusal because of the instance's state is none if that is as wanted, and passes if it
        is not gone."""
        try:
            yield
        except CallRefused as error:
            if code_of(error) not in ("IncorrectInstanceState", "UnsupportedOperation"):
                raise
            found = self.instances_by_id([instance]).get(instance)
            if found and found.state in wanted:
                return
            if found is None or found.gone:
                raise SourceGone(str(error)) from error
            if code_of(error) == "IncorrectInstanceState":
                raise LimitReached(str(error), CHANGING) from error
            raise

    # -- what is removed ----------------------------------------------------------------------

    def terminate(self, instances: Iterable[str]) -> None:
        refused: list[Refused] = []
        for some in chunks(instances, MOST_IDS):
            try:
                self._terminate(some)
            except Refused:
                # One is gone or protected, and EC2 has refused them all.
                for one in some:
                    try:
                        with suppress(SourceGone):
                            self._terminate([one])
                    except Refused as error:
                        refused.append(error)
        if refused:
            raise refused[0]

    def _terminate(self, instances: list[str]) -> None:
        with translated("ec2", f"terminate {', '.join(instances)}"):
            self._reads.terminate_instances(InstanceIds=instances)

    def delete_volume(self, volume: str) -> None:
        with suppress(SourceGone), translated("ec2", f"delete {volume}"):
            self._reads.delete_volume(VolumeId=volume)


# -- what EC2 is told -------------------------------------------------------------------------


def _mappings(launch: Launch, snapshots: Mapping[str, str]) -> list[Dict]:
    """The root's snapshot is for the image to say; that of another disk is told, whether or not the
    image has it too."""
    mapped = [
        _mapping(
            one,
            {
                **({} if one.root else {"SnapshotId": snapshots[one.piece]}),
                **_kind_of(one),
                **_encryption(one),
            },
        )
        for one in launch.disks
        if one.device
    ]
    return [*mapped, *({"DeviceName": one, "NoDevice": ""} for one in launch.unmapped)]


def _mapping(disk: Disk, ebs: Dict) -> Dict:
    return {"DeviceName": disk.device, "Ebs": ebs}


def _kind_of(disk: Disk) -> dict[str, Any]:
    # EC2 gives the IOPS of gp2 and refuses to be told them.
    iops = disk.iops if disk.type in ("io1", "io2", "gp3") else None
    throughput = disk.throughput if disk.type == "gp3" else None
    return {
        "VolumeType": disk.type,
        "VolumeSize": disk.size_gib,
        "DeleteOnTermination": disk.delete_on_termination,
        **({"Iops": iops} if iops else {}),
        **({"Throughput": throughput} if throughput else {}),
    }


def _encryption(disk: Disk) -> Dict:
    """Nothing without a key: what is made of a snapshot is encrypted as that is, and EC2 takes
    neither a "no" for one that is, nor a key without a "yes"."""
    return {"Encrypted": True, "KmsKeyId": disk.kms_key} if disk.kms_key else {}


def _card(card: Card) -> Dict:
    optional = {
        "PrivateIpAddress": card.private_ip,
        "SecondaryPrivateIpAddressCount": card.more_ips,
        "Ipv6AddressCount": card.ipv6,
        "Description": card.description,
        "NetworkCardIndex": card.network_card,
        "InterfaceType": card.type if card.type in CARDS_BY_NAME else None,
    }
    return {
        "DeviceIndex": card.device_index,
        "SubnetId": card.subnet,
        "Groups": list(card.groups),
        "DeleteOnTermination": card.delete_on_termination,
        **{key: value for key, value in optional.items() if value},
    }


def _profile(arn_or_name: str | None) -> Dict:
    if not arn_or_name:
        return {}
    return {"Arn" if arn_or_name.startswith("arn:") else "Name": arn_or_name}


def _placement(options: Options) -> Options:
    """The zone is the subnet's; a group and a host are named in one way only."""
    without = {"AvailabilityZone", "AvailabilityZoneId", "SpreadDomain"}
    if options.get("GroupName"):
        without.add("GroupId")
    if options.get("HostResourceGroupArn"):
        without.add("HostId")
    if options.get("Tenancy") != "host":
        without.add("Affinity")
    return {key: one for key, one in options.items() if key not in without and one != ""}


def _cpu_options(options: Options) -> Options:
    """Types without a feature refuse even to have it disabled."""
    return {key: one for key, one in options.items() if one != "disabled"}


# -- what EC2 says ----------------------------------------------------------------------------


def _image(image: Dict) -> Image:
    return Image(
        id=image["ImageId"],
        name=image.get("Name", ""),
        state=image["State"],
        root_device=image.get("RootDeviceName", ""),
        devices=tuple(
            one["DeviceName"] for one in image.get("BlockDeviceMappings", []) if "Ebs" in one
        ),
        usage_operation=image.get("UsageOperation", "RunInstances"),
        product_codes=tuple(
            one["ProductCodeId"]
            for one in image.get("ProductCodes", [])
            if one["ProductCodeType"] == "marketplace"
        ),
    )


def _taker(interface: Dict) -> str:
    by = interface.get("Attachment", {}).get("InstanceId") or interface.get("Description")
    return f"{interface['NetworkInterfaceId']}{f' of {by}' if by else ''}"


def _leaving(attachment: Dict) -> bool:
    return attachment["State"] in ("detaching", "detached")


@contextmanager
def _of_snapshots() -> Iterator[None]:
    """That the snapshot, or image, is gone ends what is to be made of it."""
    try:
        yield
    except AlreadyDone as error:
        raise CallRefused(str(error)) from error.__cause__


@contextmanager
def _launching() -> Iterator[None]:
    """As ``_of_snapshots``; and an image that is not for us is no matter of the Region."""
    try:
        with _of_snapshots():
            yield
    except RegionNotEnabled as error:
        cause = error.__cause__
        text = cause.response["Error"]["Message"] if isinstance(cause, ClientError) else ""
        for words, advice in NOT_OURS.items():
            if words in text:
                raise CallRefused(f"launch it: {text.rstrip('. ')}. {advice}") from cause
        raise
