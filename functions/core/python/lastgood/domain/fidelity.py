"""A clone beside its original, field by field: what is the same, what is not, and why."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256

from lastgood.domain import tags as tag_keys
from lastgood.domain.launching import Card, Launch
from lastgood.domain.manifest import (
    Instance,
    Interface,
    LaunchAttributes,
    Manifest,
    Options,
    Volume,
)
from lastgood.domain.policy import Mode
from lastgood.domain.restoring import Compared, Overrides, RestoreRequest

ASKED = "it was asked for"
NEVER = "no two instances have the same"
UNEXPLAINED = "EC2 gave another than it was told"
MOVED = "another subnet, zone or Region was asked for"
ELSEWHERE = "it belongs to the zone or Region of the original"
TOO_MANY = "EC2 takes no more tags beside Lastgood's"
DRILLED = "a drill reaches nothing and nobody"
NONE = "none"
MOST_TEXT, MOST_NAME = 200, 60
"""Characters of a value, and of a name, that a record has: it is one item of at most 400 KB, and an
instance may have 28 volumes of 50 tags each."""
OPTIONS = ("CPU",)
"""Of which all settings differ for one reason."""


def compare(
    request: RestoreRequest,
    launch: Launch,
    manifest: Manifest,
    clone: Instance,
    attributes: LaunchAttributes,
    volumes: Iterable[Volume],
) -> tuple[Compared, ...]:
    """In a fixed order; ``volumes`` are those of the clone."""
    original = manifest.instance
    if original is None:
        return ()
    taken = {one.piece for one in launch.disks}
    ours = tuple(one for one in manifest.volumes if one.id in taken)
    before = _settings(original, manifest.launch, ours)
    # What is not known of the original cannot be compared.
    after = _settings(clone, attributes if manifest.launch else None, tuple(volumes))
    reasons = _reasons(request, launch, original, ours)
    return tuple(
        Compared(
            field=name,
            original=before.get(name, NONE),
            clone=after.get(name, NONE),
            why=_why(name, before.get(name, NONE), after.get(name, NONE), reasons),
        )
        for name in dict.fromkeys((*before, *after))
    )


def _why(name: str, original: str, clone: str, reasons: Mapping[str, str]) -> str:
    if original == clone:
        return ""
    of_all = next((start for start in OPTIONS if name.startswith(f"{start} ")), "")
    return reasons.get(name) or reasons.get(of_all) or UNEXPLAINED


def _settings(
    instance: Instance, attributes: LaunchAttributes | None, volumes: tuple[Volume, ...]
) -> dict[str, str]:
    found = {
        "instance": instance.id,
        "type": instance.type,
        "architecture": instance.architecture,
        "boot mode": _text(instance.boot_mode),
        "virtualization": _text(instance.virtualization),
        "ENA": _text(instance.ena is not False),
        "SR-IOV": _text(instance.sriov),
        "TPM": _text(instance.tpm),
        "platform": _text(instance.platform),
        "licence": instance.usage_operation or "RunInstances",
        "image": instance.image,
        "lifecycle": instance.lifecycle or "on-demand",
        "zone": instance.zone,
        "VPC": _text(instance.vpc),
        "subnet": _text(instance.subnet),
        "security groups": _list(sorted(instance.groups)),
        "instance profile": _text(instance.instance_profile),
        "key pair": _text(instance.key_name),
        "monitoring": "enabled" if instance.monitoring in ("enabled", "pending") else "disabled",
        "EBS-optimized": _text(instance.ebs_optimized),
        "hibernation": _text(instance.hibernation),
        "enclave": _text(instance.enclave),
        "licences": _list(instance.licenses),
        "capacity reservation": _text(instance.capacity_reservation),
        **_options("placement", instance.placement, ("AvailabilityZone", "AvailabilityZoneId")),
        **_options("CPU", instance.cpu_options, ()),
        **_options("metadata", instance.metadata_options, ("State",)),
        **_options("private DNS", instance.private_dns_options, ()),
        **_options("maintenance", instance.maintenance_options, ()),
    }
    if attributes:
        found |= {
            "user data": f"{len(attributes.user_data)} characters, {_mark(attributes.user_data)}"
            if attributes.user_data
            else NONE,
            "shutdown": attributes.shutdown_behavior or "stop",
            "credits": _text(attributes.credit_mode),
            "termination protection": _text(attributes.termination_protection),
            "stop protection": _text(attributes.stop_protection),
        }
    for card in sorted(instance.interfaces, key=lambda one: (one.network_card, one.device_index)):
        name = _name_of(card)
        found |= {
            f"{name} type": card.type,
            f"{name} subnet": card.subnet,
            f"{name} groups": _list(sorted(card.groups)),
            f"{name} address": _list(card.private_ips[:1]),
            f"{name} further addresses": str(max(len(card.private_ips) - 1, 0)),
            f"{name} IPv6 addresses": str(len(card.ipv6)),
            f"{name} public address": _text(card.public_ip),
            f"{name} source/destination check": _text(card.source_dest_check),
            f"{name} description": _text(card.description),
            f"{name} deleted on termination": _text(card.delete_on_termination),
        }
    found |= _volumes(instance, volumes)
    own = tag_keys.copyable(instance.tags)
    found |= {f"tag {key}": value for key, value in sorted(own.items())}
    return found


def _volumes(instance: Instance, volumes: tuple[Volume, ...]) -> dict[str, str]:
    by_id = {one.id: one for one in volumes}
    found = {"root device": _text(instance.root_device)}
    for device, id_ in sorted(instance.volumes.items()):
        one = by_id.get(id_)
        if one is None:
            continue
        attachment = next((a for a in one.attachments if a.instance == instance.id), None)
        found |= {
            f"{device} volume": id_,
            f"{device} type": one.type,
            f"{device} size": f"{one.size_gib} GiB",
            f"{device} IOPS": _text(one.iops),
            f"{device} throughput": _text(one.throughput),
            f"{device} multi-attach": _text(one.multi_attach),
            f"{device} encrypted": _text(one.encrypted),
            f"{device} key": _text(one.kms_key),
            f"{device} deleted on termination": _text(
                attachment.delete_on_termination if attachment else None
            ),
        }
        for key, value in sorted(tag_keys.copyable(one.tags).items()):
            found[f"{device} tag {key}"] = value
    return found


def _reasons(
    request: RestoreRequest, launch: Launch, original: Instance, volumes: tuple[Volume, ...]
) -> dict[str, str]:
    """By field, or for all of some options, why it may differ."""
    found = {"instance": NEVER, "tag Name": "it tells the clone from the original"}
    if launch.image is None:
        found["image"] = "it was started from an image of the point's snapshots"
    if original.lifecycle:
        found["lifecycle"] = "a clone is on demand"
    if original.capacity_reservation:
        found["capacity reservation"] = "a clone takes no place in it"
    if launch.cards and launch.cards[0].subnet != original.subnet:
        found |= dict.fromkeys(("zone", "VPC", "subnet"), MOVED)
    moved = (key for key in original.placement if key not in launch.placement)
    found |= {f"placement {key}": ELSEWHERE for key in moved}
    if launch.licenses != original.licenses:
        found["licences"] = ELSEWHERE
    if request.mode is Mode.DRILL:
        found["security groups"] = DRILLED
    return (
        found
        | _asked_for(request.overrides)
        | _of_cards(request, launch, original)
        | _of_disks(request, launch, volumes)
        | _of_tags(launch, original, volumes)
    )


def _of_tags(launch: Launch, original: Instance, volumes: tuple[Volume, ...]) -> dict[str, str]:
    found = {f"tag {key}": TOO_MANY for key in original.tags if key not in launch.tags}
    by_id = {one.id: one for one in volumes}
    for disk in launch.disks:
        left = by_id[disk.piece].tags.keys() - disk.tags.keys()
        found |= {f"{disk.device} tag {key}": TOO_MANY for key in left}
    return found


def _asked_for(overrides: Overrides) -> dict[str, str]:
    given = {
        "type": overrides.type is not None,
        "architecture": overrides.type is not None,
        "instance profile": overrides.instance_profile is not None,
        "key pair": overrides.key_name is not None,
        "image": overrides.image is not None,
        "user data": not overrides.user_data,
        "security groups": overrides.groups is not None,
        "tag Name": overrides.name is not None,
        **{f"tag {key}": True for key in overrides.tags},
    }
    found = {name: ASKED for name, is_given in given.items() if is_given}
    if overrides.type:
        another = "another type was asked for"
        found |= dict.fromkeys(("credits", "CPU", "EBS-optimized", "ENA"), another)
    return found


def _name_of(card: Interface | Card) -> str:
    """A device index is one of its network card."""
    on_card = f" of network card {card.network_card}" if card.network_card else ""
    return f"interface {card.device_index}{on_card}"


def _of_cards(request: RestoreRequest, launch: Launch, original: Instance) -> dict[str, str]:
    found = {}
    made = {_name_of(one): one for one in launch.cards}
    for card in original.interfaces:
        name = _name_of(card)
        found[f"{name} public address"] = "EC2 gives each its own; no Elastic IP moves"
        if name not in made:
            gone = "it was left out: its subnet is in another zone or VPC"
            parts = (
                "type",
                "subnet",
                "groups",
                "address",
                "further addresses",
                "IPv6 addresses",
                "source/destination check",
                "description",
                "deleted on termination",
            )
            found |= {f"{name} {part}": gone for part in parts}
            continue
        new = made[name]
        found[f"{name} address"] = ASKED if new.private_ip else "the original has it"
        found[f"{name} deleted on termination"] = "what a restore makes goes with its clone"
        if new.type != card.type:
            found[f"{name} type"] = "EC2 makes none of that type with an instance"
        if request.count > 1:
            found[f"{name} further addresses"] = "several clones get one address each"
        if new.subnet != card.subnet:
            found[f"{name} subnet"] = MOVED
            found[f"{name} IPv6 addresses"] = "those belong to the original's subnet"
        if set(new.groups) != set(card.groups):
            found[f"{name} groups"] = ASKED if request.overrides.groups else DRILLED
    return found


def _of_disks(
    request: RestoreRequest, launch: Launch, volumes: tuple[Volume, ...]
) -> dict[str, str]:
    found = {}
    plain = {one.id for one in volumes if not one.encrypted}
    for disk in launch.disks:
        key, encrypted = f"{disk.device} key", f"{disk.device} encrypted"
        found[f"{disk.device} volume"] = "it is made of the snapshot"
        if disk.multi_attach:
            found[f"{disk.device} multi-attach"] = "EC2 makes none such with an instance"
        if request.overrides.kms_key:
            found |= dict.fromkeys((key, encrypted), ASKED)
        elif disk.encrypted and disk.piece in plain:
            found |= dict.fromkeys((key, encrypted), "its policy encrypts what it takes or copies")
        elif disk.encrypted and not disk.kms_key:
            found[key] = "a key belongs to its Region: that of the copy"
    return found


def _options(name: str, options: Options, less: tuple[str, ...]) -> dict[str, str]:
    return {
        f"{name} {key}": _text(value)
        for key, value in sorted(options.items())
        if key not in less and value not in (None, "")
    }


def _mark(text: str) -> str:
    """Enough to see whether two are the same, and nothing of what is in it."""

    return f"SHA-256 {sha256(text.encode()).hexdigest()[:12]}"


def _text(value: object) -> str:
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _list(values: Iterable[str]) -> str:
    return ", ".join(values) or NONE


def for_record(found: Iterable[Compared]) -> tuple[tuple[Compared, ...], tuple[str, ...]]:
    """What differs, and the names of what is the same; long texts are cut."""
    other, same = [], []
    for one in found:
        name = _cut(one.field, MOST_NAME)
        if one.why:
            original, clone = _cut(one.original, MOST_TEXT), _cut(one.clone, MOST_TEXT)
            other.append(replace(one, field=name, original=original, clone=clone))
        else:
            same.append(name)
    return tuple(other), tuple(same)


def not_compared(why: str) -> tuple[Compared, ...]:
    """In place of a comparison that could not be made."""
    unknown = "not read"
    why = f"they could not be compared: {_cut(why, MOST_TEXT)}"
    return (Compared(field="all settings", original=unknown, clone=unknown, why=why),)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
