"""Whether a restore can work, before anything is made; and what exactly it will make.

Each function takes what was asked for and the facts, and gives the plan, or a line for every reason
why not; each line begins with the key of the request that it is about, and says what to change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from lastgood.domain import tags as tag_keys
from lastgood.domain.launching import Card, Disk, Launch, NewImage
from lastgood.domain.manifest import Instance, Manifest, Options, Tags, Volume
from lastgood.domain.place import Place
from lastgood.domain.policy import Mode, TagMatch, match_text
from lastgood.domain.restoring import Attach, InPlace, Overrides, Piece, RestoreRequest, Swap
from lastgood.domain.retention import matches

UNBILLED = (None, "", "RunInstances")
"""Usage operations of which the image bills nothing: Linux (EC2 User Guide, "AMI billing")."""
ISOLATED = "lastgood-isolated"
"""The name of the security group that drills are put into, unless another is named."""
AUTO_SCALING = "aws:autoscaling:groupName"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of EC2. ``devices`` are those that it maps, ``product_codes`` of the Marketplace."""

    id: str
    name: str
    state: str
    root_device: str
    devices: tuple[str, ...] = ()
    usage_operation: str = "RunInstances"
    product_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """``free``: addresses that are not taken. ``public``: it gives each interface a public one."""

    id: str
    vpc: str
    zone: str
    free: int
    public: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A security group. ``isolated``: it lets nothing in and nothing out."""

    id: str
    name: str
    vpc: str
    isolated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """``cores`` and ``threads`` of each are what it has without a word; None: not known."""

    architectures: frozenset[str]
    cores: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFacts:
    """What EC2 has in the place of a launch, of what it may need.

    ``subnets``: by id, those of the manifest's interfaces and the one that was asked for; those
    that are gone are missing. ``in_zone``: those of the original's VPC in the zone that was asked
    for. ``groups``: by id and by name. ``zones``: that offer the type, which is ``type``.
    ``key_pairs``, ``profiles``: which of those in question there are; ``unseen``: profiles that
    could not be looked up. ``images``: by id, the source's and the one that was asked for.
    ``bad_keys``: why keys cannot be used, by key. ``taken_by``: who has the private address that
    was asked for.
    """

    place: Place
    home: bool
    subnets: Mapping[str, Subnet] = field(default_factory=dict)
    in_zone: tuple[Subnet, ...] = ()
    groups: tuple[Group, ...] = ()
    zones: frozenset[str] = frozenset()
    type: InstanceType | None = None
    key_pairs: frozenset[str] = frozenset()
    profiles: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()
    images: Mapping[str, Image] = field(default_factory=dict)
    bad_keys: Mapping[str, str] = field(default_factory=dict)
    taken_by: str | None = None


@dataclass(slots=True)
class Findings:
    """``notes`` are for people; ``problems`` end it."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wrong(self, key: str, text: str) -> None:
        self.problems.append(f"{key}: {text}")


def pieces(manifest: Manifest, snapshots: Mapping[str, tuple[str, bool]]) -> tuple[Piece, ...]:
    """``snapshots``: by volume, the snapshot that there is, and whether it is encrypted."""
    devices = _devices(manifest)
    return tuple(
        Piece(
            device=devices.get(volume.id),
            volume=volume.id,
            taken_from=snapshots[volume.id][0],
            encrypted=snapshots[volume.id][1],
            size_gib=volume.size_gib,
        )
        for volume in manifest.volumes
        if volume.id in snapshots
    )


def disks(
    manifest: Manifest,
    taken: Iterable[Piece],
    overrides: Overrides,
    findings: Findings,
    *,
    same_region: bool,
) -> tuple[Disk, ...]:
    """In another Region a key has no meaning: there the copy's own key stays. A volume bears
    Lastgood's tags beside its own, and of these what fits."""
    by_id = {one.id: one for one in manifest.volumes}
    root = manifest.instance.root_volume if manifest.instance else None
    made = [_disk(by_id[one.volume], one, root, overrides, same_region) for one in taken]
    room = tag_keys.MOST_TAGS - len(tag_keys.OF_RESTORE)
    return tuple(
        replace(one, tags=_fitting(one.tags, {}, room, one.piece, findings)) for one in made
    )


def _disk(
    volume: Volume, piece: Piece, root: str | None, overrides: Overrides, same_region: bool
) -> Disk:
    attachment = next((one for one in volume.attachments if one.device == piece.device), None)
    key = overrides.kms_key or (volume.kms_key if same_region else None)
    return Disk(
        piece=volume.id,
        device=piece.device,
        type=volume.type,
        size_gib=volume.size_gib,
        iops=volume.iops if volume.type in ("gp3", "io1", "io2") else None,
        throughput=volume.throughput if volume.type == "gp3" else None,
        kms_key=key if piece.encrypted or overrides.kms_key else None,
        encrypted=piece.encrypted or bool(overrides.kms_key),
        multi_attach=volume.multi_attach,
        delete_on_termination=attachment.delete_on_termination if attachment else False,
        root=volume.id == root,
        tags=tag_keys.copyable(volume.tags),
    )


def _devices(manifest: Manifest) -> dict[str, str]:
    if manifest.instance is None:
        return {}
    return {volume: device for device, volume in manifest.instance.volumes.items()}


# ---------------------------------------------------------------------------- a new instance


def launch(
    request: RestoreRequest, manifest: Manifest, taken: tuple[Piece, ...], facts: LaunchFacts
) -> tuple[Launch | None, Findings]:
    findings, original = Findings(), manifest.instance
    if original is None:
        findings.wrong("mode", "the source is a volume; use mode volumes")
        return None, findings
    overrides = request.overrides
    made = disks(manifest, taken, overrides, findings, same_region=facts.home)
    _whole(original, taken, findings)
    subnet = _subnet(request, original, facts, findings)
    if subnet is None:
        return None, findings
    groups = _groups(request, original, subnet, facts, findings)
    type_ = overrides.type or original.type
    _type(type_, original, subnet, facts, findings)
    image = _image(request, original, facts, findings)
    cards = _cards(request, original, subnet, groups, facts, findings)
    _addresses(request, cards, subnet, facts, findings)
    _keys(manifest, taken, made, facts.bad_keys, findings)
    placement, licenses = _placement(original, subnet, facts, findings)
    launch = replace(
        _as_was(original, manifest, same_type=type_ == original.type, started=request.started),
        placement=placement,
        licenses=licenses,
        cpu_options=_cpu_options(original, facts.type) if type_ == original.type else {},
        type=type_,
        zone=subnet.zone,
        vpc=subnet.vpc,
        disks=made,
        cards=cards,
        count=request.count,
        image=image.id if image else None,
        unmapped=_unmapped(image, made),
        new_image=None if image else _new_image(original),
        instance_profile=_profile(overrides, original, facts, findings),
        key_name=_key_name(overrides, original, facts, findings),
        tags=_tags(request, original, findings),
    )
    if not overrides.user_data:
        launch = replace(launch, user_data=None)
    _notes(request, original, findings)
    return (None if findings.problems else launch), findings


def _whole(original: Instance, taken: tuple[Piece, ...], findings: Findings) -> None:
    if original.root_volume not in {one.volume for one in taken}:
        findings.wrong(
            "mode",
            "the point has no snapshot of the boot volume, so nothing can start from it; "
            "use mode volumes",
        )
    left = sorted(set(original.volumes.values()) - {one.volume for one in taken})
    if left and original.root_volume not in left:
        findings.notes.append(
            f"not in the point, so not in the clone: {', '.join(left)} (its policy leaves them out)"
        )


def _subnet(
    request: RestoreRequest, original: Instance, facts: LaunchFacts, findings: Findings
) -> Subnet | None:
    overrides = request.overrides
    if overrides.subnet:
        subnet = facts.subnets.get(overrides.subnet)
        if subnet is None:
            findings.wrong(
                "subnet", f"{overrides.subnet} is not in {facts.place}; name one that is"
            )
        elif overrides.zone and subnet.zone != overrides.zone:
            findings.wrong(
                "zone", f"{subnet.id} is in {subnet.zone}; leave out zone, or name another subnet"
            )
            return None
        return subnet
    if not facts.home:
        findings.wrong(
            "subnet",
            f"is needed in another Region: name a subnet and security_groups of {facts.place}",
        )
        return None
    if overrides.zone:
        return _in_zone(overrides.zone, original, facts, findings)
    subnet = facts.subnets.get(original.subnet or "")
    if subnet is None:
        findings.wrong(
            "subnet",
            f"the original's, {original.subnet}, is gone; name another one, and "
            "security_groups if it is in another VPC",
        )
    return subnet


def _in_zone(
    zone: str, original: Instance, facts: LaunchFacts, findings: Findings
) -> Subnet | None:
    """One that is as open to the world as the original's; not open, if that is gone."""
    was = facts.subnets.get(original.subnet or "")
    public = was.public if was else False
    alike = [one for one in facts.in_zone if one.public == public]
    if not alike:
        gives = "a public address" if public else "no public address"
        which = f" that gives {gives}, as the original's" if facts.in_zone else ""
        findings.wrong(
            "zone",
            f"{original.vpc} has no subnet in {zone}{which}; name a subnet, or leave out zone",
        )
        return None
    return max(alike, key=lambda one: one.free)


def _groups(
    request: RestoreRequest,
    original: Instance,
    subnet: Subnet,
    facts: LaunchFacts,
    findings: Findings,
) -> tuple[str, ...]:
    wanted = request.overrides.groups
    if request.mode is Mode.DRILL:
        wanted = wanted or (ISOLATED,)
    if wanted is None:
        wanted = original.groups
        if subnet.vpc != original.vpc:
            findings.wrong(
                "security_groups",
                f"are needed: {subnet.id} is in {subnet.vpc}, and the "
                f"original's are of {original.vpc}; name groups of {subnet.vpc}",
            )
            return ()
    found = tuple(
        group for one in wanted if (group := _group(one, request, subnet, facts, findings))
    )
    for group in found:
        if request.mode is Mode.DRILL and not group.isolated:
            findings.wrong(
                "security_groups",
                f"{group.id} ({group.name}) has rules; a drill may reach nothing and nobody: take "
                "them away, or name another",
            )
    return tuple(group.id for group in found)


def _group(
    wanted: str, request: RestoreRequest, subnet: Subnet, facts: LaunchFacts, findings: Findings
) -> Group | None:
    known = [group for group in facts.groups if wanted in (group.id, group.name)]
    here = [group for group in known if group.vpc == subnet.vpc]
    if here:
        return here[0]
    if known:
        text = (
            f"{wanted} is of {known[0].vpc}, and {subnet.id} is in {subnet.vpc}; name groups of "
            "that VPC"
        )
    elif wanted == ISOLATED and request.mode is Mode.DRILL:
        text = (
            f"a drill needs a group that lets nothing in or out: make one named {ISOLATED} in "
            f"{subnet.vpc} and take its rules away (docs/restore.md has the commands), or name one"
        )
    else:
        text = f"{wanted} is not in {facts.place}; name one that is"
    findings.wrong("security_groups", text)
    return None


def _type(
    type_: str, original: Instance, subnet: Subnet, facts: LaunchFacts, findings: Findings
) -> None:
    if not facts.zones:
        findings.wrong("type", f"{type_} is not offered in {facts.place}; name another")
    elif subnet.zone not in facts.zones:
        findings.wrong(
            "type",
            f"{type_} is not offered in {subnet.zone}, only in "
            f"{', '.join(sorted(facts.zones))}: name another type, or a subnet there",
        )
    known = facts.type.architectures if facts.type else frozenset({original.architecture})
    if original.architecture not in known:
        findings.wrong(
            "type",
            f"{type_} is {' or '.join(sorted(known))}, and the volumes were made for "
            f"{original.architecture}; name a type of that",
        )


def _image(
    request: RestoreRequest, original: Instance, facts: LaunchFacts, findings: Findings
) -> Image | None:
    """That which must be launched, for its licence."""
    named = request.overrides.image
    image = facts.images.get(named or original.image)
    billed = original.usage_operation not in UNBILLED or (image and image.product_codes)
    if not billed and not named:
        return None
    if image is None and named:
        findings.wrong(
            "image", f"{named} is not in {facts.place}, or not ours to launch; name another"
        )
        return None
    if image is None:
        findings.wrong(
            "image",
            f"the licence ({original.usage_operation}) is billed through the image that "
            f"the original was launched from, {original.image}, and that is not in {facts.place}; "
            "name an image with the same licence",
        )
        return None
    if image.usage_operation != (original.usage_operation or "RunInstances"):
        findings.wrong(
            "image",
            f"{image.id} is billed as {image.usage_operation}, the original as "
            f"{original.usage_operation or 'RunInstances'}; name one with the same licence",
        )
    if image.root_device != original.root_device:
        findings.wrong(
            "image",
            f"{image.id} starts from {image.root_device}, the original from "
            f"{original.root_device}; name one with the same root device",
        )
    return image


def _unmapped(image: Image | None, made: Iterable[Disk]) -> tuple[str, ...]:
    """Devices of the image that are left out. EC2 takes each device once, and what is said of one
    takes the place of what the image has there."""
    if image is None:
        return ()
    said = {image.root_device, *(one.device for one in made)}
    return tuple(one for one in image.devices if one not in said)


def _cards(
    request: RestoreRequest,
    original: Instance,
    subnet: Subnet,
    groups: tuple[str, ...],
    facts: LaunchFacts,
    findings: Findings,
) -> tuple[Card, ...]:
    regrouped = request.overrides.groups is not None or request.mode is Mode.DRILL
    found = []
    for one in sorted(original.interfaces, key=lambda one: (one.network_card, one.device_index)):
        first = one.device_index == 0 and one.network_card == 0
        where = subnet if first else facts.subnets.get(one.subnet)
        if where is None or (where.zone, where.vpc) != (subnet.zone, subnet.vpc):
            findings.notes.append(
                f"left out: network interface {one.device_index} ({one.id}), whose subnet is not "
                f"in {subnet.zone} of {subnet.vpc}"
            )
            continue
        found.append(
            Card(
                device_index=one.device_index,
                network_card=one.network_card,
                subnet=where.id,
                groups=groups if first or regrouped else one.groups,
                private_ip=request.overrides.private_ip if first else None,
                # EC2 takes no further addresses in a launch of several.
                more_ips=max(len(one.private_ips) - 1, 0) if request.count == 1 else 0,
                ipv6=len(one.ipv6) if where.id == one.subnet else 0,
                description=one.description,
                type=one.type if one.type in ("interface", "efa", "efa-only") else "interface",
                delete_on_termination=True,
                source_dest_check=one.source_dest_check,
            )
        )
    if found:
        return tuple(found)
    return (
        Card(
            device_index=0,
            network_card=0,
            subnet=subnet.id,
            groups=groups,
            private_ip=request.overrides.private_ip,
        ),
    )


def _addresses(
    request: RestoreRequest,
    cards: tuple[Card, ...],
    subnet: Subnet,
    facts: LaunchFacts,
    findings: Findings,
) -> None:
    needed: dict[str, int] = {}
    for card in cards:
        needed[card.subnet] = needed.get(card.subnet, 0) + (1 + card.more_ips) * request.count
    for id_, count in needed.items():
        one = subnet if id_ == subnet.id else facts.subnets[id_]
        if one.free < count:
            findings.wrong(
                "subnet",
                f"{id_} has {one.free} free addresses, and {count} are needed; name "
                "another subnet, or free some",
            )
    if request.overrides.private_ip and facts.taken_by:
        findings.wrong(
            "private_ip",
            f"{request.overrides.private_ip} is taken by {facts.taken_by}; leave it "
            "out, or name one that is free",
        )


def _profile(
    overrides: Overrides, original: Instance, facts: LaunchFacts, findings: Findings
) -> str | None:
    wanted = overrides.instance_profile
    profile = original.instance_profile if wanted is None else wanted
    if profile in facts.unseen:
        findings.notes.append(
            f"the instance profile {profile} could not be looked up, since IAM does not answer; it "
            "is taken to be there"
        )
    elif profile and profile not in facts.profiles:
        findings.wrong(
            "instance_profile", f"{profile} is not there; name another, or an empty one for none"
        )
    return profile or None


def _key_name(
    overrides: Overrides, original: Instance, facts: LaunchFacts, findings: Findings
) -> str | None:
    wanted = overrides.key_name
    name = original.key_name if wanted is None else wanted
    if name and name not in facts.key_pairs:
        findings.wrong(
            "key_name",
            f"key pair {name} is not in {facts.place}; name another, or an empty one for none",
        )
    return name or None


def _tags(request: RestoreRequest, original: Instance, findings: Findings) -> dict[str, str]:
    """The original's, with what was asked for; its Name says that it is another."""
    asked, room = request.overrides, tag_keys.MOST_TAGS - len(tag_keys.OF_RESTORE)
    suffix = "drill" if request.mode is Mode.DRILL else "clone"
    name = asked.name or f"{original.tags.get(tag_keys.NAME) or original.id}-{suffix}"
    own = {tag_keys.NAME: name, **asked.tags}
    _few_enough(own, room, findings)
    return _fitting(original.tags, own, room, original.id, findings)


def _few_enough(own: Tags, room: int, findings: Findings) -> None:
    if len(own) > room:
        findings.wrong(
            "tags",
            f"are {len(own)} in all; EC2 takes {tag_keys.MOST_TAGS}, of which Lastgood "
            f"needs {tag_keys.MOST_TAGS - room}",
        )


def _fitting(tags: Tags, own: Tags, room: int, of: str, findings: Findings) -> dict[str, str]:
    """``own``, and of ``tags``, which are those ``of`` an original, as many as fit."""
    more = [key for key in tag_keys.copyable(tags) if key not in own]
    fits = max(room - len(own), 0)
    if more[fits:]:
        findings.notes.append(
            f"left out, since EC2 takes {tag_keys.MOST_TAGS} tags: {', '.join(more[fits:])} of {of}"
        )
    return {**{key: tags[key] for key in more[:fits]}, **own}


def _new_image(original: Instance) -> NewImage:
    return NewImage(
        architecture=original.architecture,
        root_device=original.root_device or "",
        virtualization=original.virtualization or "hvm",
        boot_mode=original.boot_mode,
        ena=original.ena is not False,
        sriov=original.sriov,
        tpm=original.tpm,
    )


def _as_was(original: Instance, manifest: Manifest, *, same_type: bool, started: bool) -> Launch:
    attributes = manifest.launch
    return Launch(
        type=original.type,
        zone=original.zone,
        vpc=original.vpc or "",
        root_device=original.root_device or "",
        disks=(),
        cards=(),
        started=started,
        user_data=attributes.user_data if attributes else None,
        monitoring=original.monitoring in ("enabled", "pending"),
        ebs_optimized=original.ebs_optimized,
        hibernation=original.hibernation,
        enclave=original.enclave,
        termination_protection=attributes.termination_protection if attributes else False,
        stop_protection=attributes.stop_protection if attributes else False,
        shutdown_behavior=attributes.shutdown_behavior if attributes else None,
        # Another type may not know these credits.
        credit_mode=attributes.credit_mode if attributes and same_type else None,
        metadata_options=original.metadata_options,
        private_dns_options=original.private_dns_options,
        maintenance_options=original.maintenance_options,
    )


def _placement(
    original: Instance, subnet: Subnet, facts: LaunchFacts, findings: Findings
) -> tuple[Options, tuple[str, ...]]:
    """And the licence configurations. Those, groups and hosts are of a Region; a host is of a zone
    too, and so is a group unless it has partitions: a group that spreads cannot be told from one
    that keeps together."""
    options = {key: one for key, one in original.placement.items() if one not in (None, "")}
    licenses, left = original.licenses, set[str]()
    if not facts.home:
        left = options.keys() - {"Tenancy", "AvailabilityZone", "AvailabilityZoneId"}
        if options.get("Tenancy") == "host":
            left.add("Tenancy")
        licenses = ()
    elif subnet.zone != original.zone:
        left = {"HostId", "Affinity"} & options.keys()
        if "PartitionNumber" not in options:
            left |= {"GroupName", "GroupId"} & options.keys()
    where = subnet.zone if facts.home else facts.place
    findings.notes += [
        f"left out, since it has no meaning in {where}: {key} {options[key]} of {original.id}"
        for key in sorted(left)
    ]
    if licenses != original.licenses:
        findings.notes.append(
            f"left out, since they have no meaning in {where}: the licence configurations "
            f"{', '.join(original.licenses)} of {original.id}"
        )
    return {key: one for key, one in options.items() if key not in left}, licenses


def _cpu_options(original: Instance, type_: InstanceType | None) -> Options:
    """Less what the type has without a word: some refuse even that."""
    options = dict(original.cpu_options)
    own = (options.get("CoreCount"), options.get("ThreadsPerCore"))
    if type_ and own == (type_.cores, type_.threads):
        for key in ("CoreCount", "ThreadsPerCore"):
            options.pop(key, None)
    return options


def _notes(request: RestoreRequest, original: Instance, findings: Findings) -> None:
    if original.lifecycle == "spot":
        findings.notes.append("the original is a Spot instance; the clone is on demand")
    if original.capacity_reservation:
        findings.notes.append(
            f"the clone takes no place in {original.capacity_reservation}, which may be full"
        )
    if any(one.public_ip for one in original.interfaces):
        findings.notes.append(
            "the clone has a public address if its subnet gives one; no Elastic IP moves to it"
        )
    if request.mode is Mode.DRILL and request.check:
        findings.notes.append(
            "in a group that lets nothing out, SSM reaches the drill only by way of endpoints "
            "that need none; else it is checked by its status only"
        )


# ------------------------------------------------------------------------------- volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFacts:
    """``instance``: that the volumes are to be attached to. ``selects``: by which tags policies
    select: Lastgood may touch only what they select, and what it made."""

    place: Place
    home: bool
    instance: Instance | None = None
    selects: tuple[TagMatch, ...] = ()
    bad_keys: Mapping[str, str] = field(default_factory=dict)


def volumes(
    request: RestoreRequest, manifest: Manifest, taken: tuple[Piece, ...], facts: VolumeFacts
) -> tuple[tuple[Disk, ...], str, Attach | None, Findings]:
    """The volumes to be made, their zone, and what they are attached to."""
    findings = Findings()
    meant = _meant(request, taken, findings)
    zone = request.overrides.zone
    if request.instance:
        if facts.instance is None:
            findings.wrong(
                "instance", f"{request.instance} is not in {facts.place}; name one that is"
            )
        elif facts.instance.state not in ("running", "stopped"):
            findings.wrong(
                "instance",
                f"{request.instance} is {facts.instance.state}; volumes are attached "
                "to one that is running or stopped",
            )
        elif zone and zone != facts.instance.zone:
            findings.wrong(
                "zone",
                f"{request.instance} is in {facts.instance.zone}, and takes volumes of "
                "that zone only; leave out zone",
            )
        else:
            zone = facts.instance.zone
        if facts.instance:
            _touchable("instance", facts.instance, facts.selects, findings)
    elif not zone and facts.home:
        zone = next((one.zone for one in manifest.volumes), None)
    if not zone and not findings.problems:
        where = "is not known of the original" if facts.home else "is needed in another Region"
        findings.wrong("zone", f"{where}: name one of {facts.place}, or an instance")
    if zone and not zone.startswith(facts.place.region):
        findings.wrong("zone", f"{zone} is not in {facts.place}; name one that is, or the region")
    room, own = tag_keys.MOST_TAGS - len(tag_keys.OF_RESTORE), dict(request.overrides.tags)
    if request.overrides.name:
        own[tag_keys.NAME] = request.overrides.name
    _few_enough(own, room, findings)
    made = tuple(
        replace(one, tags=_fitting(one.tags, own, room, one.piece, findings))
        for one in disks(manifest, meant, request.overrides, findings, same_region=facts.home)
    )
    _keys(manifest, meant, made, facts.bad_keys, findings)
    attach = _attach(request, made, facts, findings) if facts.instance else None
    return made, zone or "", attach, findings


def _keys(
    manifest: Manifest,
    taken: Iterable[Piece],
    made: Iterable[Disk],
    bad_keys: Mapping[str, str],
    findings: Findings,
) -> None:
    """The new volumes' own, and those without which a snapshot that is here cannot be read."""
    of = {one.id: one.kms_key for one in manifest.volumes}
    needed = dict.fromkeys(one.kms_key for one in made)
    opening = dict.fromkeys(of[one.volume] for one in taken if one.snapshot and one.encrypted)
    for key in {**needed, **opening}:
        why = bad_keys.get(key or "")
        if why and key in opening:
            findings.wrong(
                "kms_key",
                f"{key} cannot be used, and the point's snapshots open with no other: enable it, "
                "or allow its use",
            )
        elif why:
            findings.wrong("kms_key", why)


def _meant(
    request: RestoreRequest, taken: tuple[Piece, ...], findings: Findings
) -> tuple[Piece, ...]:
    """By device, or by the original's volume id."""
    if not request.volumes:
        return taken
    known = {name for one in taken for name in (one.device, one.volume) if name}
    for one in request.volumes:
        if one not in known:
            has = ", ".join(f"{o.device or 'no device'} ({o.volume})" for o in taken)
            findings.wrong("volumes", f"{one} is not in the point; it has {has}")
    return tuple(
        one for one in taken if one.device in request.volumes or one.volume in request.volumes
    )


def _attach(
    request: RestoreRequest, made: tuple[Disk, ...], facts: VolumeFacts, findings: Findings
) -> Attach | None:
    instance = facts.instance
    if instance is None:
        return None
    if request.device and len(made) != 1:
        findings.wrong(
            "device",
            f"is one, and the point has {len(made)} volumes: say by volumes which is "
            "meant, or leave out device",
        )
        return None
    devices: dict[str, str] = {}
    for one in made:
        device = request.device or one.device
        if not device:
            findings.wrong("device", "is needed: the original was attached to nothing")
        elif device in instance.volumes:
            findings.wrong(
                "device",
                f"{device} of {instance.id} has {instance.volumes[device]}; name a free "
                "one, or leave out instance",
            )
        else:
            devices[one.piece] = device
    return Attach(instance=instance.id, devices=devices)


# ------------------------------------------------------------------------------- in place


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlaceFacts:
    """``current``: the instance as it is now. ``volumes``: by id, those that it has now.
    ``snapshot_of``: by snapshot, the volume that EC2 says it is of. ``protected``: it may not be
    stopped. ``restored_by``: another restore that works at it. ``selects``: as of volumes."""

    current: Instance | None
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    snapshot_of: Mapping[str, str] = field(default_factory=dict)
    protected: bool = False
    selects: tuple[TagMatch, ...] = ()
    restored_by: str | None = None
    bad_keys: Mapping[str, str] = field(default_factory=dict)


def in_place(
    request: RestoreRequest, manifest: Manifest, taken: tuple[Piece, ...], facts: InPlaceFacts
) -> tuple[tuple[Disk, ...], InPlace | None, Findings]:
    findings, current = Findings(), facts.current
    if manifest.instance is None:
        findings.wrong("mode", "the source is a volume; use mode volumes")
        return (), None, findings
    if current is None or current.gone:
        findings.wrong("mode", f"{manifest.instance.id} is gone; use mode clone")
        return (), None, findings
    _meant_now(request, current, facts, findings)
    meant = _meant(request, taken, findings)
    made = disks(manifest, meant, request.overrides, findings, same_region=True)
    swaps = tuple(_swap(request, one, current, facts, meant, made) for one in made if one.device)
    if not swaps and not findings.problems:
        findings.wrong("volumes", "the point has none that was attached to the instance")
    plan = InPlace(instance=current.id, was_running=current.state == "running", swaps=swaps)
    if plan.must_stop and plan.was_running:
        _stoppable(request, current, facts, findings)
    for disk in made:
        if disk.multi_attach:
            findings.wrong(
                "volumes",
                f"{disk.piece} is attached to several instances; name the others, and "
                "restore it by mode volumes",
            )
    if AUTO_SCALING in current.tags and plan.must_stop:
        findings.wrong(
            "source",
            f"{current.id} is of Auto Scaling group {current.tags[AUTO_SCALING]}, which "
            "replaces what stops; detach it from the group, or use mode clone",
        )
    _keys(manifest, meant, made, facts.bad_keys, findings)
    return made, plan, findings


def _touchable(
    key: str, instance: Instance, selects: tuple[TagMatch, ...], findings: Findings
) -> None:
    """IAM lets the role of restores stop an instance, or change its volumes, only so."""
    tags = instance.tags
    if tag_keys.RESTORE not in tags and not any(matches(tags, one) for one in selects):
        findings.wrong(
            key,
            f"{instance.id} has none of the tags that policies select by "
            f"({' or '.join(map(match_text, selects)) or 'there are none'}), so it is not "
            "Lastgood's to change; give it those of one",
        )


def _meant_now(
    request: RestoreRequest, current: Instance, facts: InPlaceFacts, findings: Findings
) -> None:
    name = current.tags.get(tag_keys.NAME)
    if request.source not in (current.id, name):
        findings.wrong(
            "source",
            f"{current.id} had the Name {request.source!r} once, and has {name or 'none'} now; "
            "name it by its id",
        )
    if current.state not in ("running", "stopped"):
        findings.wrong(
            "source", f"{current.id} is {current.state}; wait until it is running or stopped"
        )
    _touchable("source", current, facts.selects, findings)
    if facts.restored_by:
        findings.wrong(
            "source",
            f"{facts.restored_by} works at {current.id}; wait until it is over, or cancel it",
        )


def _swap(
    request: RestoreRequest,
    disk: Disk,
    current: Instance,
    facts: InPlaceFacts,
    meant: tuple[Piece, ...],
    made: tuple[Disk, ...],
) -> Swap:
    """EC2 replaces a root by itself if that is all there is to do: with data volumes, it would
    start the restored root beside the present data (docs/decisions/0023)."""
    old = current.volumes.get(disk.device or "")
    known = facts.volumes[old].attachments if old and old in facts.volumes else ()
    attachment = next((one for one in known if one.instance == current.id), None)
    root = disk.device == current.root_device
    # A task gives the new volume no other key than its snapshot has.
    recrypted = request.overrides.kms_key is not None
    snapshot = next(one.taken_from for one in meant if one.volume == disk.piece)
    return Swap(
        device=disk.device or "",
        piece=disk.piece,
        old=old,
        delete_on_termination=attachment.delete_on_termination
        if attachment
        else disk.delete_on_termination,
        root=root,
        by_task=root
        and len(made) == 1
        and not recrypted
        and current.state == "running"
        and facts.snapshot_of.get(snapshot) == old,
    )


def _stoppable(
    request: RestoreRequest, current: Instance, facts: InPlaceFacts, findings: Findings
) -> None:
    if not request.stop:
        findings.wrong(
            "stop",
            f"{current.id} is running and must be stopped for this; add stop=true if it may be",
        )
    if current.lifecycle == "spot":
        findings.wrong(
            "source",
            f"{current.id} is a Spot instance, which EC2 may not start again; use mode clone",
        )
    if facts.protected:
        findings.wrong(
            "stop", f"{current.id} is protected from being stopped; take its stop protection away"
        )
