"""RunInstances, and GetLaunchTemplateData, which reads back what an instance was launched with."""

from dataclasses import replace
from typing import Any

from moto.ec2.models.instances import Instance
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import filter_iam_instance_profiles, random_private_ip
from moto.iam.exceptions import NotFoundException

from tests.cloud.ec2 import (
    images,
    instances,
    machines,
    network,
    placing,
    tags,
    tokens,
    visibility,
    volumes,
)
from tests.cloud.ec2.conditions import Image, World
from tests.cloud.ec2.errors import NotModelled, refusal
from tests.cloud.ec2.patches import Patches
from tests.cloud.ec2.request import TAG_SPECIFICATIONS, Operation, Request, check_id

Mappings = dict[str, dict[str, Any]]

# Options that moto drops and describe calls answer again.
_KEPT = (
    "CapacityReservationSpecification",
    "CpuOptions",
    "CreditSpecification",
    "EnclaveOptions",
    "LicenseSpecifications",
    "MaintenanceOptions",
    "Placement",
    "PrivateDnsNameOptions",
)


def install(patches: Patches) -> None:
    """moto makes only volumes of default performance; here they are made after its instance."""
    patches.set(InstanceResponse, "_parse_block_device_mapping", lambda _: [])
    patches.set(Instance, "setup_defaults", lambda _: None)


def handle_run_instances(world: World, request: Request) -> dict[str, Any]:
    params, backend = request.params, request.backend
    wanted_tags = tags.requested(
        request.operation, params, "instance", "volume", "network-interface"
    )

    def launch() -> dict[str, Any]:
        source = _image(world, request)
        mappings = _mappings(request.operation, params, source)
        for mapping in mappings.values():
            volumes.check(backend, mapping, mapping.get("VolumeSize"))
        if (params.get("HibernationOptions") or {}).get("Configured"):
            _check_hibernation(backend, mappings.get(source.root_device_name))
        _check_counts(params)
        placing.check(world, request, source, params.get("MaxCount", 1))
        _check_profile(backend, params.get("IamInstanceProfile"))
        request.end_dry_run()
        placing.check_capacity(world, request)
        reservation = _moto_launch(request)
        for instance in reservation.instances:
            _complete(instance, params, source)
            made = _attach(instance, mappings, wanted_tags.get("volume", {}))
            for interface in instance.nics.values():
                interface.add_tags(wanted_tags.get("network-interface", {}))
            visibility.delay(world, instance, *made, *instance.nics.values())
            machines.launched(world, instance)
        answer = instances.rendered_reservation(reservation, reservation.instances)
        for instance in answer["Instances"]:
            instance["State"] = {"Code": 0, "Name": "pending"}
        return answer

    return tokens.once(backend, request.operation, params, launch)


def _image(world: World, request: Request) -> Image:
    image_id = request.params.get("ImageId")
    if not image_id:
        raise refusal("MissingParameter", "The request must contain the parameter ImageId")
    if not image_id.startswith("ami-"):
        raise refusal("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    registered = request.backend.amis.get(image_id)
    if registered is None or image_id in world.conditions.images:
        return images.usable(world, request.backend, image_id)
    return replace(
        Image(),
        architecture=registered.architecture,
        root_device_name=registered.root_device_name,
        platform=registered.platform,
    )


def _check_profile(backend: Any, profile: dict[str, str] | None) -> None:
    """The code and text are those that callers report; not seen on an account."""
    if not profile:
        return
    try:
        filter_iam_instance_profiles(
            backend.account_id,
            partition="aws",
            iam_instance_profile_arn=profile.get("Arn"),
            iam_instance_profile_name=profile.get("Name"),
        )
    except NotFoundException as error:
        how = "arn" if profile.get("Arn") else "name"
        raise refusal(
            "InvalidParameterValue",
            f"Value ({profile.get('Arn') or profile.get('Name')}) for parameter "
            f"iamInstanceProfile.{how} is invalid. Invalid IAM Instance Profile {how}",
        ) from error


def _mappings(operation: str, params: dict[str, Any], source: Image) -> Mappings:
    """The AMI's root device with what the call changes in it, and the call's other devices.

    Source: EC2 User Guide, "Block device mappings for volumes on Amazon EC2 instances".
    """
    mappings: Mappings = {
        one["DeviceName"]: {"DeleteOnTermination": True, **one["Ebs"]}
        for one in source.mappings
        if "Ebs" in one
    } or {
        source.root_device_name: {
            "VolumeSize": source.root_size,
            "VolumeType": source.root_volume_type,
            "DeleteOnTermination": True,
        }
    }
    for given in params.get("BlockDeviceMappings") or []:
        device = given.get("DeviceName")
        if not device:
            raise refusal("MissingParameter", "A block device mapping needs a DeviceName")
        if "NoDevice" in given:
            mappings.pop(device, None)
            continue
        if "Ebs" not in given:
            raise NotModelled(operation, "a block device mapping without Ebs")
        before = mappings.get(device, {})
        if "SnapshotId" in given["Ebs"]:
            # the size comes from that snapshot, no longer from the AMI's
            before = {name: value for name, value in before.items() if name != "VolumeSize"}
        mappings[device] = before | given["Ebs"]
    return mappings


def _check_hibernation(backend: Any, root: dict[str, Any] | None) -> None:
    """Source: EC2 User Guide, "Prerequisites for EC2 instance hibernation": encrypted root."""
    snapshot_id = (root or {}).get("SnapshotId")
    snapshot = volumes.usable_snapshot(backend, snapshot_id) if snapshot_id else None
    wanted = bool((root or {}).get("Encrypted"))
    if not root or not volumes.encryption(backend, wanted, root.get("KmsKeyId"), snapshot)[0]:
        raise refusal(
            "UnsupportedHibernationConfiguration",
            "The root volume must be encrypted to enable hibernation.",
        )


def _check_counts(params: dict[str, Any]) -> None:
    least, most = params.get("MinCount", 1), params.get("MaxCount", 1)
    if least > most:
        raise refusal(
            "InvalidParameterCombination",
            f"The minCount ({least}) cannot be greater than maxCount ({most})",
        )


def _moto_launch(request: Request) -> Any:
    # AWS launches as many as it can, up to MaxCount; moto only reads MinCount
    request.response.params["MinCount"] = request.params.get("MaxCount", 1)
    return InstanceResponse.run_instances(request.response).result


def _complete(instance: Any, params: dict[str, Any], source: Image) -> None:
    instance.launched_from = source
    instance.architecture = source.architecture
    instance.root_device_name = source.root_device_name
    instance.platform = source.platform
    instance.client_token = params.get("ClientToken") or ""
    instance.disable_api_termination = bool(params.get("DisableApiTermination"))
    placement = params.get("Placement") or {}
    instance.placement.tenancy = placement.get("Tenancy", "default")
    instance.placement.group_name = placement.get("GroupName", "")
    instance.placement.host_id = placement.get("HostId")
    instances.options(instance).update(
        {name: params[name] for name in _KEPT if params.get(name) is not None}
    )
    _complete_interfaces(instance, params)
    _associate_profile(instance, params.get("IamInstanceProfile"))


def _complete_interfaces(instance: Any, params: dict[str, Any]) -> None:
    """moto keeps only the first address and no description, and leaves the interface behind.

    Source: EC2 API Reference, InstanceNetworkInterfaceSpecification.DeleteOnTermination: one made
    at launch goes with the instance unless the call says otherwise.
    """
    specifications = {
        given.get("DeviceIndex"): given for given in params.get("NetworkInterfaces") or []
    }
    for index, interface in instance.nics.items():
        given = specifications.get(index, {})
        if "NetworkInterfaceId" not in given:
            interface.delete_on_termination = given.get("DeleteOnTermination", True)
            interface.description = given.get("Description", "")
            interface.interface_type = given.get("InterfaceType", "interface")
        interface.network_card_index = given.get("NetworkCardIndex", 0)
        _more_addresses(interface, given)
        if given.get("PrivateIpAddresses"):
            listed = [{"Primary": False, **address} for address in given["PrivateIpAddresses"]]
            if not any(one["Primary"] for one in listed):
                # named apart, or chosen by AWS
                primary = {"Primary": True, "PrivateIpAddress": interface.private_ip_address}
                listed.insert(0, primary)
            interface.private_ip_addresses = listed
            interface.private_ip_address = next(
                one["PrivateIpAddress"] for one in listed if one["Primary"]
            )


def _more_addresses(interface: Any, given: dict[str, Any]) -> None:
    """Those that AWS chooses, by their number."""
    for _ in range(given.get("SecondaryPrivateIpAddressCount", 0)):
        address = network.lowest_free(interface.subnet)
        interface.private_ip_addresses.append({"Primary": False, "PrivateIpAddress": address})
    if given.get("Ipv6AddressCount"):
        (block, *_) = interface.subnet.ipv6_cidr_block_associations.values()
        interface.ipv6_addresses = [
            random_private_ip(block["ipv6CidrBlock"], ipv6=True)
            for _ in range(given["Ipv6AddressCount"])
        ]


def _associate_profile(instance: Any, profile: dict[str, str] | None) -> None:
    # moto associates the first instance of a call only
    if profile and instances.profile(instance) is None:
        instance.ec2_backend.associate_iam_instance_profile(
            instance_id=instance.id,
            iam_instance_profile_name=profile.get("Name"),
            iam_instance_profile_arn=profile.get("Arn"),
        )


def _attach(instance: Any, mappings: Mappings, volume_tags: tags.Tags) -> list[Any]:
    """The volumes made for the instance."""
    backend, made = instance.ec2_backend, []
    for device, mapping in mappings.items():
        volume = backend.create_volume(
            size=mapping.get("VolumeSize"),
            zone_name=instance.availability_zone,
            snapshot_id=mapping.get("SnapshotId"),
            encrypted=bool(mapping.get("Encrypted")),
            kms_key_id=mapping.get("KmsKeyId"),
            volume_type=mapping.get("VolumeType"),
            iops=mapping.get("Iops"),
            throughput=mapping.get("Throughput"),
        )
        volume.add_tags(volume_tags)
        backend.attach_volume(
            volume.id, instance.id, device, bool(mapping.get("DeleteOnTermination"))
        )
        made.append(volume)
    return made


def handle_get_launch_template_data(world: World, request: Request) -> dict[str, Any]:
    """Source: EC2 API Reference, GetLaunchTemplateData, ResponseLaunchTemplateData."""
    check_id("i", request.params.get("InstanceId"))
    instance = request.backend.get_instance(request.params["InstanceId"])
    request.end_dry_run()
    profile = instances.profile(instance)
    described = instances.rendered(instance)
    same = (
        "EbsOptimized",
        "ImageId",
        "InstanceType",
        "KeyName",
        "CpuOptions",
        "CapacityReservationSpecification",
        "HibernationOptions",
        "MetadataOptions",
        "EnclaveOptions",
        "PrivateDnsNameOptions",
        "MaintenanceOptions",
        "Placement",
    )
    return {
        "LaunchTemplateData": {
            **{name: described[name] for name in same},
            "UserData": str(instance.user_data) if instance.user_data else None,
            "DisableApiTermination": bool(instance.disable_api_termination),
            "DisableApiStop": bool(instance.disable_api_stop),
            "InstanceInitiatedShutdownBehavior": instance.instance_initiated_shutdown_behavior,
            "CreditSpecification": instances.credit_specification(instance),
            "IamInstanceProfile": {"Arn": profile.arn} if profile else None,
            "Monitoring": {"Enabled": instance.monitored},
            "BlockDeviceMappings": [
                _template_device(instance, device) for device in instance.block_device_mapping
            ],
            "NetworkInterfaces": [
                _template_interface(index, interface) for index, interface in instance.nics.items()
            ],
            "TagSpecifications": _template_tags(described["Tags"]),
            "LicenseSpecifications": described["Licenses"],
        }
    }


def _template_tags(instance_tags: list[dict[str, str]] | None) -> list[dict[str, Any]]:
    return [{"ResourceType": "instance", "Tags": instance_tags}] if instance_tags else []


def _template_device(instance: Any, device: str) -> dict[str, Any]:
    block = instance.block_device_mapping[device]
    described = volumes.rendered(instance.ec2_backend.volumes[block.volume_id])
    return {
        "DeviceName": device,
        "Ebs": {
            "DeleteOnTermination": bool(block.delete_on_termination),
            "Encrypted": described["Encrypted"],
            "Iops": described["Iops"],
            "KmsKeyId": described["KmsKeyId"],
            "SnapshotId": described["SnapshotId"],
            "VolumeSize": described["Size"],
            "VolumeType": described["VolumeType"],
            "Throughput": described["Throughput"],
        },
    }


def _template_interface(index: int, interface: Any) -> dict[str, Any]:
    return {
        "DeviceIndex": index,
        "NetworkCardIndex": instances.network_card(interface),
        "SubnetId": interface.subnet.id,
        "Groups": [group.id for group in interface.group_set],
        "AssociatePublicIpAddress": bool(interface.public_ip),
        "DeleteOnTermination": bool(interface.delete_on_termination),
        "Description": interface.description,
        "InterfaceType": interface.interface_type,
        "PrivateIpAddresses": [
            {"Primary": bool(a.get("Primary")), "PrivateIpAddress": a["PrivateIpAddress"]}
            for a in interface.private_ip_addresses
        ],
    }


OPERATIONS = [
    Operation(
        "RunInstances",
        handle_run_instances,
        {
            "ImageId": None,
            "InstanceType": None,
            "MinCount": None,
            "MaxCount": None,
            "KeyName": None,
            "SecurityGroupIds": None,
            "SecurityGroups": None,
            "SubnetId": None,
            "PrivateIpAddress": None,
            "UserData": None,
            "EbsOptimized": None,
            "DisableApiStop": None,
            "DisableApiTermination": None,
            "InstanceInitiatedShutdownBehavior": None,
            "ClientToken": None,
            "DryRun": None,
            "Monitoring": {"Enabled": None},
            "IamInstanceProfile": {"Name": None, "Arn": None},
            "Placement": dict.fromkeys(
                (
                    *("AvailabilityZone", "Tenancy", "GroupName", "HostId", "Affinity"),
                    *("PartitionNumber", "HostResourceGroupArn"),
                )
            ),
            "LicenseSpecifications": {"LicenseConfigurationArn": None},
            "CapacityReservationSpecification": {
                "CapacityReservationPreference": None,
                "CapacityReservationTarget": {
                    "CapacityReservationId": None,
                    "CapacityReservationResourceGroupArn": None,
                },
            },
            "HibernationOptions": {"Configured": None},
            "CpuOptions": {"CoreCount": None, "ThreadsPerCore": None, "AmdSevSnp": None},
            "CreditSpecification": {"CpuCredits": None},
            "EnclaveOptions": {"Enabled": None},
            "MaintenanceOptions": {"AutoRecovery": None},
            "PrivateDnsNameOptions": {
                "HostnameType": None,
                "EnableResourceNameDnsARecord": None,
                "EnableResourceNameDnsAAAARecord": None,
            },
            "MetadataOptions": {
                "HttpTokens": None,
                "HttpPutResponseHopLimit": None,
                "HttpEndpoint": None,
                "HttpProtocolIpv6": None,
                "InstanceMetadataTags": None,
            },
            "BlockDeviceMappings": {
                "DeviceName": None,
                "NoDevice": None,
                "Ebs": {
                    "SnapshotId": None,
                    "VolumeSize": None,
                    "VolumeType": None,
                    "Iops": None,
                    "Throughput": None,
                    "Encrypted": None,
                    "KmsKeyId": None,
                    "DeleteOnTermination": None,
                },
            },
            "NetworkInterfaces": {
                "DeviceIndex": None,
                "SecondaryPrivateIpAddressCount": None,
                "Ipv6AddressCount": None,
                "NetworkCardIndex": None,
                "InterfaceType": None,
                "NetworkInterfaceId": None,
                "SubnetId": None,
                "Groups": None,
                "PrivateIpAddress": None,
                "PrivateIpAddresses": {"PrivateIpAddress": None, "Primary": None},
                "AssociatePublicIpAddress": None,
                "DeleteOnTermination": None,
                "Description": None,
            },
            "TagSpecifications": TAG_SPECIFICATIONS,
        },
    ),
    Operation(
        "GetLaunchTemplateData",
        handle_get_launch_template_data,
        {"InstanceId": None, "DryRun": None},
    ),
]
