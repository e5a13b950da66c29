"""A clone beside its original: every field is the same, or has a reason."""

import json
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastgood.domain import preflight
from lastgood.domain.fidelity import TOO_MANY, UNEXPLAINED, compare, for_record
from lastgood.domain.launching import Disk
from lastgood.domain.manifest import (
    Attachment,
    Instance,
    Interface,
    LaunchAttributes,
    Manifest,
    Volume,
)
from lastgood.domain.place import Place
from lastgood.domain.policy import Mode
from lastgood.domain.preflight import Group, LaunchFacts, Subnet
from lastgood.domain.restoring import Asker, Compared, Overrides, RestoreRequest
from lastgood.ledger import items
from tests.support.builders import SOURCE, T0, a_restore, a_volume, an_instance

HOME = SOURCE.place
ABROAD = Place(region="eu-central-1", account=SOURCE.account)
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1"

CARDS = (
    Interface(
        id="eni-1",
        device_index=0,
        network_card=0,
        subnet="subnet-a",
        groups=("sg-web", "sg-ssh"),
        private_ips=("10.0.0.4", "10.0.0.5"),
        ipv6=("2001:db8::4",),
        description="front",
        source_dest_check=False,
        public_ip="198.51.100.4",
    ),
    Interface(
        id="eni-2",
        device_index=1,
        network_card=0,
        subnet="subnet-a2",
        groups=("sg-db",),
        private_ips=("10.0.2.4",),
        delete_on_termination=False,
    ),
    Interface(
        id="eni-3",
        device_index=1,
        network_card=1,
        subnet="subnet-a2",
        groups=("sg-db",),
        private_ips=("10.0.2.5",),
        type="efa",
    ),
)
ORIGINAL = an_instance(
    "i-0a",
    image="ami-win",
    vpc="vpc-1",
    subnet="subnet-a",
    groups=("sg-web", "sg-ssh"),
    interfaces=CARDS,
    instance_profile="arn:aws:iam::123456789012:instance-profile/app",
    key_name="app",
    boot_mode="uefi",
    virtualization="hvm",
    ena=True,
    sriov="simple",
    tpm="v2.0",
    monitoring="enabled",
    ebs_optimized=True,
    hibernation=True,
    placement={"Tenancy": "default", "GroupName": "pg", "AvailabilityZone": "eu-west-1a"},
    cpu_options={"CoreCount": 2, "ThreadsPerCore": 1},
    metadata_options={"State": "applied", "HttpTokens": "required"},
    private_dns_options={"HostnameType": "ip-name"},
    maintenance_options={"AutoRecovery": "default"},
    enclave=True,
    licenses=("arn:aws:license-manager:eu-west-1:123456789012:license-configuration:lic-1",),
    capacity_reservation="cr-1",
    lifecycle="spot",
    tags={"Name": "web-1", "team": "web", "aws:autoscaling:groupName": "fleet"},
)
ATTRIBUTES = LaunchAttributes(
    read_at=T0,
    launched_at=ORIGINAL.launched_at,
    user_data="IyEvYmluL3No",
    shutdown_behavior="terminate",
    credit_mode="unlimited",
    termination_protection=True,
    stop_protection=True,
)


def unexplained(compared):
    return tuple(one for one in compared if one.why == UNEXPLAINED)


def attached(device, **facts):
    return (Attachment(instance="i-0a", device=device, **{"delete_on_termination": True} | facts),)


VOLUMES = (
    a_volume("vol-1", iops=3000, throughput=125, kms_key=KEY, attachments=attached("/dev/sda1")),
    a_volume(
        "vol-2",
        type="io2",
        size_gib=100,
        iops=5000,
        kms_key=KEY,
        multi_attach=True,
        tags={"team": "web", "fs": "xfs"},
        attachments=attached("/dev/sdf", delete_on_termination=False),
    ),
)
MANIFEST = Manifest(captured_at=T0, volumes=VOLUMES, instance=ORIGINAL, launch=ATTRIBUTES)


def asked(mode=Mode.CLONE, **overrides):
    return RestoreRequest(
        source="web-1", mode=mode, overrides=Overrides(**overrides), asker=Asker(by="anna")
    )


def the_facts(place=HOME, **facts):
    subnets = {
        "subnet-a": Subnet(id="subnet-a", vpc="vpc-1", zone="eu-west-1a", free=99),
        "subnet-a2": Subnet(id="subnet-a2", vpc="vpc-1", zone="eu-west-1a", free=99),
        "subnet-b": Subnet(id="subnet-b", vpc="vpc-1", zone="eu-west-1b", free=99),
        "subnet-far": Subnet(id="subnet-far", vpc="vpc-9", zone="eu-central-1a", free=99),
    }
    groups = [Group(id=one, name=one, vpc="vpc-1") for one in ("sg-web", "sg-ssh", "sg-new")]
    groups.append(Group(id="sg-iso", name=preflight.ISOLATED, vpc="vpc-1", isolated=True))
    groups.append(Group(id="sg-far", name="far", vpc="vpc-9"))
    defaults = {
        "subnets": subnets,
        "groups": tuple(groups),
        "zones": frozenset(one.zone for one in subnets.values()),
        "key_pairs": frozenset({"app"}),
        "profiles": frozenset({ORIGINAL.instance_profile}),
    }
    return LaunchFacts(place=place, home=place == HOME, **defaults | facts)


def launched(request, manifest=MANIFEST, facts=None):
    """The launch, and the clone that EC2 makes of it if it does as it is told."""
    taken = preflight.pieces(
        manifest, {one.id: (f"snap-{one.id}", True) for one in manifest.volumes}
    )
    launch, findings = preflight.launch(request, manifest, taken, facts or the_facts())
    assert findings.problems == []
    original = manifest.instance
    cards = tuple(
        Interface(
            id=f"eni-new{number}",
            device_index=one.device_index,
            network_card=one.network_card,
            subnet=one.subnet,
            groups=one.groups,
            private_ips=(
                one.private_ip or f"10.0.9.{number}",
                *(f"10.0.10.{n}" for n in range(one.more_ips)),
            ),
            ipv6=tuple(f"2001:db8::9{n}" for n in range(one.ipv6)),
            description=one.description,
            type=one.type,
            source_dest_check=one.source_dest_check,
            delete_on_termination=one.delete_on_termination,
        )
        for number, one in enumerate(launch.cards)
    )
    new = launch.new_image
    clone = replace(
        original,
        id="i-new",
        type=launch.type,
        image=launch.image or "ami-registered",
        zone=launch.zone,
        vpc=launch.vpc,
        subnet=launch.cards[0].subnet,
        groups=launch.cards[0].groups,
        interfaces=cards,
        volumes={one.device: f"vol-new-{one.piece}" for one in launch.disks},
        tags={**launch.tags, "lastgood:restore": "rs-1"},
        instance_profile=launch.instance_profile,
        key_name=launch.key_name,
        lifecycle=None,
        capacity_reservation=None,
        cpu_options=launch.cpu_options,
        placement={"Tenancy": "default", **launch.placement},
        licenses=launch.licenses,
        boot_mode=new.boot_mode if new else original.boot_mode,
        monitoring="pending" if launch.monitoring else "disabled",
        ebs_optimized=launch.ebs_optimized,
    )
    attributes = LaunchAttributes(
        read_at=T0,
        launched_at=T0,
        user_data=launch.user_data,
        shutdown_behavior=launch.shutdown_behavior,
        credit_mode=launch.credit_mode,
        termination_protection=launch.termination_protection,
        stop_protection=launch.stop_protection,
    )
    volumes = tuple(
        a_volume(
            f"vol-new-{one.piece}",
            type=one.type,
            size_gib=one.size_gib,
            iops=one.iops,
            throughput=one.throughput,
            encrypted=one.encrypted,
            kms_key=one.kms_key or f"arn:aws:kms:{facts.place.region if facts else 'x'}:1:key/9",
            tags={**one.tags, "lastgood:restore": "rs-1"},
            attachments=(
                Attachment(
                    instance="i-new",
                    device=one.device,
                    delete_on_termination=one.delete_on_termination,
                ),
            ),
        )
        for one in launch.disks
    )
    return launch, clone, attributes, volumes


def compared(request, manifest=MANIFEST, facts=None):
    launch, clone, attributes, volumes = launched(request, manifest, facts)
    found = compare(request, launch, manifest, clone, attributes, volumes)
    return {one.field: one for one in found}


def differing(found):
    return {name: one.why for name, one in found.items() if one.why}


def test_a_clone_equals_its_manifest_but_for_what_no_two_instances_share():
    found = compared(asked())

    assert differing(found) == {
        "instance": "no two instances have the same",
        "image": "it was started from an image of the point's snapshots",
        "lifecycle": "a clone is on demand",
        "capacity reservation": "a clone takes no place in it",
        "interface 0 address": "the original has it",
        "interface 0 public address": "EC2 gives each its own; no Elastic IP moves",
        "interface 1 address": "the original has it",
        "interface 1 deleted on termination": "what a restore makes goes with its clone",
        "interface 1 of network card 1 address": "the original has it",
        "/dev/sda1 volume": "it is made of the snapshot",
        "/dev/sdf volume": "it is made of the snapshot",
        "/dev/sdf multi-attach": "EC2 makes none such with an instance",
        "tag Name": "it tells the clone from the original",
    }
    assert found["/dev/sdf key"].clone == KEY
    assert found["interface 1 groups"].clone == "sg-db"
    assert found["interface 0 IPv6 addresses"].clone == "1"
    assert found["user data"].clone == "12 characters, SHA-256 " + found["user data"].clone[-12:]


@pytest.mark.parametrize(
    ("overrides", "field", "why"),
    [
        ({"type": "m7i.large"}, "type", "it was asked for"),
        ({"type": "m7i.large"}, "credits", "another type was asked for"),
        ({"type": "m7i.large"}, "CPU CoreCount", "another type was asked for"),
        ({"instance_profile": ""}, "instance profile", "it was asked for"),
        ({"key_name": ""}, "key pair", "it was asked for"),
        ({"user_data": False}, "user data", "it was asked for"),
        ({"groups": ("sg-new",)}, "security groups", "it was asked for"),
        ({"groups": ("sg-new",)}, "interface 0 groups", "it was asked for"),
        ({"private_ip": "10.0.0.9"}, "interface 0 address", "it was asked for"),
        ({"private_ip": "10.0.0.9"}, "interface 1 address", "the original has it"),
        ({"name": "other"}, "tag Name", "it was asked for"),
        ({"tags": {"team": "db"}}, "tag team", "it was asked for"),
        ({"tags": {"new": "1"}}, "tag new", "it was asked for"),
        ({"kms_key": "alias/other"}, "/dev/sdf key", "it was asked for"),
        ({"subnet": "subnet-b"}, "zone", "another subnet, zone or Region was asked for"),
        (
            {"subnet": "subnet-b"},
            "interface 0 subnet",
            "another subnet, zone or Region was asked for",
        ),
        (
            {"subnet": "subnet-b"},
            "interface 1 subnet",
            "it was left out: its subnet is in another zone or VPC",
        ),
        (
            {"subnet": "subnet-b"},
            "interface 0 IPv6 addresses",
            "those belong to the original's subnet",
        ),
    ],
)
def test_what_was_asked_for_is_the_reason_and_nothing_else_differs_without_one(
    overrides, field, why
):
    found = compared(asked(**overrides))

    assert found[field].why == why
    assert unexplained(found.values()) == ()


def test_a_drill_differs_in_its_groups_and_says_so():
    found = compared(asked(Mode.DRILL))

    assert found["security groups"].clone == "sg-iso"
    assert found["interface 1 groups"].why == "a drill reaches nothing and nobody"
    assert unexplained(found.values()) == ()


def test_in_another_region_keys_subnets_and_groups_differ_and_say_why():
    request = asked(subnet="subnet-far", groups=("sg-far",), key_name="", instance_profile="")

    found = compared(request, facts=the_facts(ABROAD))

    assert found["/dev/sdf key"].why == "a key belongs to its Region: that of the copy"
    assert found["VPC"].clone == "vpc-9"
    assert found["placement GroupName"].why == "it belongs to the zone or Region of the original"
    assert found["licences"].why == "it belongs to the zone or Region of the original"
    assert unexplained(found.values()) == ()


@pytest.mark.parametrize(("place", "subnet"), [(ABROAD, "subnet-far"), (HOME, "subnet-b")])
def test_a_host_is_left_behind_with_its_reason(place, subnet):
    own = {"Tenancy": "host", "HostId": "h-1", "Affinity": "host"}
    manifest = replace(MANIFEST, instance=replace(ORIGINAL, placement=own))
    overrides = {"key_name": "", "instance_profile": "", "groups": ("sg-far",)}
    request = asked(subnet=subnet, **overrides if place == ABROAD else {})

    found = compared(request, manifest, the_facts(place))

    assert found["placement HostId"].why == "it belongs to the zone or Region of the original"
    assert unexplained(found.values()) == ()


def test_a_clone_in_another_subnet_of_the_zone_keeps_its_further_interfaces_as_they_are():
    found = compared(asked(subnet="subnet-a2"))

    assert found["interface 0 groups"].why == ""
    assert found["interface 1 subnet"].why == ""
    assert found["interface 1 groups"].why == ""
    assert unexplained(found.values()) == ()


def test_a_volume_that_its_policy_encrypts_says_so():
    plain = replace(VOLUMES[1], encrypted=False, kms_key=None)

    found = compared(asked(), replace(MANIFEST, volumes=(VOLUMES[0], plain)))

    assert found["/dev/sdf encrypted"].why == "its policy encrypts what it takes or copies"
    assert found["/dev/sdf key"].why == "its policy encrypts what it takes or copies"


def test_tags_that_do_not_fit_beside_ours_are_left_out_with_their_reason():
    many = {f"k{number:02}": "v" for number in range(49)}
    original = replace(ORIGINAL, tags={"Name": "web-1", **many})
    manifest = replace(
        MANIFEST, instance=original, volumes=(replace(VOLUMES[0], tags=many), VOLUMES[1])
    )

    found = compared(asked(), manifest)

    assert [name for name, why in differing(found).items() if why.startswith("EC2 takes")] == [
        "/dev/sda1 tag k47",
        "/dev/sda1 tag k48",
        "tag k46",
        "tag k47",
        "tag k48",
    ]
    assert unexplained(found.values()) == ()


def test_what_was_never_read_of_the_original_is_not_compared():
    found = compared(asked(), replace(MANIFEST, launch=None))

    assert "user data" not in found
    assert unexplained(found.values()) == ()


def test_a_volume_has_no_manifest_of_an_instance_to_compare_with():
    launch, clone, attributes, volumes = launched(asked())

    alone = Manifest(captured_at=T0, volumes=VOLUMES)

    assert compare(asked(), launch, alone, clone, attributes, volumes) == ()


# -- nothing is forgotten ---------------------------------------------------------------------

NOT_COMPARED = {
    (Instance, "state"): "whether it runs is asked for, not kept",
    (Instance, "launched_at"): "no two are launched at the same time",
    (LaunchAttributes, "read_at"): "when it was read",
    (LaunchAttributes, "launched_at"): "no two are launched at the same time",
    (Volume, "state"): "what it is doing now",
    (Volume, "zone"): "the zone of the instance is compared",
    (Volume, "attachments"): "each is compared by the fields of Attachment",
    (Interface, "id"): "no two interfaces have the same",
    (Attachment, "instance"): "that is what is compared",
    (Attachment, "device"): "volumes are compared by the device of the instance",
}
CHANGED = {
    "volumes": {"/dev/sda1": "vol-1"},
    "tags": {"other": "tag"},
    "interfaces": (),
    "groups": ("sg-other",),
    "private_ips": ("10.0.77.1", "10.0.77.2", "10.0.77.3"),
    "ipv6": (),
    "licenses": (),
    "ena": False,
    "size_gib": 999,
    "iops": 999,
    "throughput": 999,
    "network_card": 7,
    "device_index": 7,
    "placement": {"Another": "option"},
    "cpu_options": {"Another": "option"},
    "metadata_options": {"Another": "option"},
    "private_dns_options": {"Another": "option"},
    "maintenance_options": {"Another": "option"},
}


def changed(thing, name):
    value = getattr(thing, name)
    new = not value if isinstance(value, bool) else "other"
    return replace(thing, **{name: CHANGED.get(name, new)})


COMPARED = [
    (type_, one.name)
    for type_ in (Instance, LaunchAttributes, Volume, Interface, Attachment)
    for one in fields(type_)
    if (type_, one.name) not in NOT_COMPARED
]


@pytest.mark.parametrize(
    ("type_", "name"), COMPARED, ids=[f"{type_.__name__}.{name}" for type_, name in COMPARED]
)
def test_a_field_of_the_manifest_that_changes_is_seen(type_, name):
    launch, _, _, _ = launched(asked())
    clone, attributes, volumes = ORIGINAL, ATTRIBUTES, VOLUMES
    if type_ is Instance:
        clone = changed(clone, name)
    elif type_ is LaunchAttributes:
        attributes = changed(attributes, name)
    elif type_ is Interface:
        first, *rest = clone.interfaces
        clone = replace(clone, interfaces=(changed(first, name), *rest))
    else:
        root, data = volumes
        if type_ is Volume:
            data = changed(data, name)
        else:
            data = replace(data, attachments=(changed(data.attachments[0], name),))
        volumes = (root, data)

    before = compare(asked(), launch, MANIFEST, ORIGINAL, ATTRIBUTES, VOLUMES)
    after = compare(asked(), launch, MANIFEST, clone, attributes, volumes)

    assert not any(one.why for one in before)
    assert any(one.original != one.clone for one in after)


def test_every_exception_is_a_field_that_there_is():
    assert all(name in {one.name for one in fields(type_)} for type_, name in NOT_COMPARED)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("instance profile", {"instance_profile": "arn:other"}),
        ("type", {"type": "t3.nano"}),
        ("metadata HttpTokens", {"metadata_options": {"HttpTokens": "optional"}}),
        ("CPU CoreCount", {"cpu_options": {"CoreCount": 1, "ThreadsPerCore": 1}}),
        ("tag team", {"tags": {"Name": "web-1-clone"}}),
        ("security groups", {"groups": ()}),
        ("zone", {"zone": "eu-west-1b"}),
    ],
)
def test_a_difference_that_nothing_explains_is_said_to_be_so(field, wrong):
    launch, clone, attributes, volumes = launched(asked())

    found = compare(asked(), launch, MANIFEST, replace(clone, **wrong), attributes, volumes)

    assert [(one.field, one.why) for one in unexplained(found)] == [(field, UNEXPLAINED)]


def test_what_is_in_user_data_is_not_told():
    found = compared(asked())

    assert ATTRIBUTES.user_data not in repr(found)


# -- whatever an instance has -----------------------------------------------------------------

WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
OPTIONS = st.dictionaries(WORDS, st.one_of(WORDS, st.booleans(), st.integers(0, 9)), max_size=3)
INSTANCES = st.builds(
    Instance,
    id=st.just("i-0a"),
    state=st.just("running"),
    type=WORDS,
    image=WORDS,
    architecture=WORDS,
    launched_at=st.just(T0 - timedelta(days=1)),
    zone=WORDS,
    root_device=st.just("/dev/sda1"),
    hibernation=st.booleans(),
    volumes=st.just({"/dev/sda1": "vol-1", "/dev/sdf": "vol-2"}),
    tags=st.dictionaries(WORDS, WORDS, max_size=4),
    vpc=st.none() | WORDS,
    subnet=st.none() | WORDS,
    groups=st.lists(WORDS, unique=True, max_size=3).map(tuple),
    interfaces=st.just(CARDS),
    instance_profile=st.none() | WORDS,
    key_name=st.none() | WORDS,
    boot_mode=st.none() | WORDS,
    virtualization=st.none() | WORDS,
    ena=st.none() | st.booleans(),
    sriov=st.none() | WORDS,
    platform=st.none() | WORDS,
    usage_operation=st.none() | WORDS,
    lifecycle=st.none() | WORDS,
    tpm=st.none() | WORDS,
    monitoring=st.sampled_from([None, "enabled", "pending", "disabled"]),
    ebs_optimized=st.booleans(),
    placement=OPTIONS,
    cpu_options=OPTIONS,
    metadata_options=OPTIONS,
    private_dns_options=OPTIONS,
    maintenance_options=OPTIONS,
    enclave=st.booleans(),
    licenses=st.lists(WORDS, max_size=2).map(tuple),
    capacity_reservation=st.none() | WORDS,
)


@given(INSTANCES)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_nothing_differs_from_itself(instance):
    launch, _, _, _ = launched(asked())
    manifest = replace(MANIFEST, instance=instance)

    found = compare(asked(), launch, manifest, instance, ATTRIBUTES, VOLUMES)

    assert not any(one.why for one in found)
    assert all(one.original == one.clone for one in found)
    assert {one.field for one in found} >= {"type", "user data", "/dev/sdf size"}
    assert all(one.original for one in found)


def test_a_record_names_what_is_the_same_and_keeps_what_differs_in_short():
    found = (
        Compared(field="type", original="m6i.large", clone="m6i.large"),
        Compared(field="tag " + "k" * 128, original="v" * 256, clone="none", why=TOO_MANY),
    )

    (other,), same = for_record(found)

    assert same == ("type",)
    assert (len(other.field), len(other.original), other.clone) == (60, 200, "none")


def test_a_record_of_the_largest_instance_fits_into_an_item():
    tags = {f"{'key':x<40}{n:02}": "v" * 60 for n in range(40)}
    volumes = tuple(
        replace(VOLUMES[0], id=f"vol-{n:017}", tags=tags, attachments=()) for n in range(28)
    )
    original = replace(
        MANIFEST.instance, volumes={f"/dev/sd{n:02}": one.id for n, one in enumerate(volumes)}
    )
    disks = tuple(
        Disk(
            piece=one, device=device, type="gp3", size_gib=8, tags=tags, root=device == "/dev/sd00"
        )
        for device, one in original.volumes.items()
    )
    launch, _, attributes, _ = launched(asked())
    launch = replace(launch, disks=disks)
    made = tuple(replace(one, id=f"vol-new{one.id[7:]}") for one in volumes)
    new = {device: f"vol-new{one[7:]}" for device, one in original.volumes.items()}
    clone = replace(original, volumes=new)
    manifest = replace(MANIFEST, instance=original, volumes=volumes)

    compared, same = for_record(compare(asked(), launch, manifest, clone, attributes, made))

    record = replace(a_restore(), launch=launch, compared=compared, same=same)
    assert len(same) > 28 * 40
    assert len(json.dumps(items.restore(record))) < 0.85 * 400 * 1024
