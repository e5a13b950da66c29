"""What a restore will make, judged from facts. What it refuses is in tests/scenarios too."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain import preflight
from lastgood.domain.asking import OF_RESTORES
from lastgood.domain.manifest import Attachment, Interface, Manifest
from lastgood.domain.policy import Mode
from lastgood.domain.preflight import (
    Group,
    Image,
    InPlaceFacts,
    InstanceType,
    LaunchFacts,
    Subnet,
    VolumeFacts,
)
from lastgood.domain.restoring import Asker, Overrides, RestoreRequest
from tests.support.builders import SOURCE, T0, a_volume, an_instance

HOME = SOURCE.place
MANY = {f"k{number:02}": "v" for number in range(50)}


def a_card(index=0, **facts):
    defaults = {
        "id": f"eni-{index}",
        "network_card": 0,
        "subnet": "subnet-a",
        "groups": ("sg-web",),
        "private_ips": (f"10.0.0.{index + 4}",),
    }
    return Interface(device_index=index, **defaults | facts)


ORIGINAL = an_instance(
    vpc="vpc-1", subnet="subnet-a", groups=("sg-web",), interfaces=(a_card(),), tags={"Name": "web"}
)
VOLUMES = tuple(
    a_volume(
        id_,
        encrypted=False,
        attachments=(Attachment(instance="i-0a", device=device, delete_on_termination=True),),
    )
    for device, id_ in ORIGINAL.volumes.items()
)
MANIFEST = Manifest(captured_at=T0, volumes=VOLUMES, instance=ORIGINAL)
SUBNETS = {
    "subnet-a": Subnet(id="subnet-a", vpc="vpc-1", zone="eu-west-1a", free=20),
    "subnet-b": Subnet(id="subnet-b", vpc="vpc-1", zone="eu-west-1b", free=20),
    "subnet-x": Subnet(id="subnet-x", vpc="vpc-2", zone="eu-west-1a", free=20),
}
SELECTS = ({"backup": ("daily",)}, {"Name": ("web", "db")})
GROUPS = (
    Group(id="sg-web", name="web", vpc="vpc-1"),
    Group(id="sg-x", name="x", vpc="vpc-2"),
    Group(id="sg-iso", name=preflight.ISOLATED, vpc="vpc-1", isolated=True),
)


def asked(mode=Mode.CLONE, overrides=None, **facts):
    request = RestoreRequest(source="web", mode=mode, asker=Asker(by="anna"), **facts)
    return replace(request, overrides=Overrides(**overrides or {}))


def taken(manifest=MANIFEST, *, here=True, encrypted=False):
    found = preflight.pieces(
        manifest, {one.id: (f"snap-{one.id}", encrypted) for one in manifest.volumes}
    )
    return tuple(replace(one, snapshot=one.taken_from if here else None) for one in found)


def launched(request=None, manifest=MANIFEST, **facts):
    defaults = {"subnets": SUBNETS, "groups": GROUPS, "zones": frozenset({"eu-west-1a"})}
    known = LaunchFacts(place=HOME, **{"home": True} | defaults | facts)
    return preflight.launch(request or asked(), manifest, taken(manifest), known)


def with_cards(*cards):
    return replace(MANIFEST, instance=replace(ORIGINAL, interfaces=cards))


# -- new instances ----------------------------------------------------------------------------


def test_further_interfaces_keep_their_subnets_and_groups_where_the_first_one_moves():
    manifest = with_cards(
        a_card(), a_card(1, groups=("sg-db",), ipv6=("2001:db8::1",), private_ips=("a", "b"))
    )
    subnets = {**SUBNETS, "subnet-c": replace(SUBNETS["subnet-a"], id="subnet-c")}

    launch, _ = launched(asked(overrides={"subnet": "subnet-c"}), manifest, subnets=subnets)

    first, second = launch.cards
    assert (first.subnet, first.groups) == ("subnet-c", ("sg-web",))
    assert (second.subnet, second.groups) == ("subnet-a", ("sg-db",))
    assert (second.ipv6, second.more_ips) == (1, 1)


@pytest.mark.parametrize(("subnet", "groups"), [("subnet-b", ("sg-web",)), ("subnet-x", ("sg-x",))])
def test_an_interface_whose_subnet_is_in_another_zone_or_vpc_is_left_out(subnet, groups):
    launch, findings = launched(
        asked(overrides={"subnet": subnet, "groups": groups}),
        with_cards(a_card(), a_card(1)),
        zones=frozenset({"eu-west-1a", "eu-west-1b"}),
    )

    assert [one.device_index for one in launch.cards] == [0]
    assert findings.notes[0].startswith(
        "left out: network interface 1 (eni-1), whose subnet is not"
    )


def test_addresses_are_counted_over_all_clones_and_interfaces_of_a_subnet():
    manifest = with_cards(a_card(private_ips=("a", "b", "c")), a_card(1))

    _, enough = launched(asked(count=10), manifest)
    _, short = launched(asked(count=11), manifest)
    few = {**SUBNETS, "subnet-a": replace(SUBNETS["subnet-a"], free=3)}
    _, alone = launched(asked(), manifest, subnets=few)

    told = "subnet: subnet-a has {} free addresses, and {} are needed; name another subnet, or "
    assert enough.problems == []
    assert short.problems == [told.format(20, 22) + "free some"]
    assert alone.problems == [told.format(3, 4) + "free some"]


@pytest.mark.parametrize(
    ("type_", "options"),
    [
        (InstanceType(architectures=frozenset({"x86_64"}), cores=1, threads=2), {}),
        (InstanceType(architectures=frozenset({"x86_64"}), cores=2, threads=2), "kept"),
        (None, "kept"),
    ],
)
def test_cores_that_a_type_has_anyway_are_not_said_again(type_, options):
    own = {"CoreCount": 1, "ThreadsPerCore": 2}
    manifest = replace(MANIFEST, instance=replace(ORIGINAL, cpu_options=own))

    launch, _ = launched(manifest=manifest, type=type_)

    assert launch.cpu_options == (own if options == "kept" else options)


def test_of_a_type_and_an_original_whose_cores_are_not_known_nothing_is_said():
    unknown = InstanceType(architectures=frozenset({"x86_64"}))

    launch, findings = launched(type=unknown)

    assert (launch.cpu_options, findings.problems) == ({}, [])


def test_in_a_zone_the_subnet_with_the_most_free_addresses_is_taken():
    more = replace(SUBNETS["subnet-b"], id="subnet-b2", free=200)

    launch, _ = launched(
        asked(overrides={"zone": "eu-west-1b"}),
        in_zone=(SUBNETS["subnet-b"], more),
        zones=frozenset({"eu-west-1b"}),
    )

    assert (launch.zone, launch.cards[0].subnet) == ("eu-west-1b", "subnet-b2")


@pytest.mark.parametrize("public", [False, True])
def test_in_a_zone_only_a_subnet_is_taken_that_is_as_open_as_the_originals(public):
    was = replace(SUBNETS["subnet-a"], public=public)
    alike = replace(SUBNETS["subnet-b"], public=public, free=5)
    other = replace(SUBNETS["subnet-b"], id="subnet-b2", public=not public, free=200)
    facts = {"subnets": {"subnet-a": was}, "zones": frozenset({"eu-west-1b"})}
    request = asked(overrides={"zone": "eu-west-1b"})

    launch, _ = launched(request, in_zone=(alike, other), **facts)
    _, findings = launched(request, in_zone=(other,), **facts)

    assert launch.cards[0].subnet == "subnet-b"
    gives = "a public address" if public else "no public address"
    assert findings.problems == [
        f"zone: vpc-1 has no subnet in eu-west-1b that gives {gives}, as the original's; name a "
        "subnet, or leave out zone"
    ]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [({}, "web-clone"), ({"name": "a"}, "a"), ({"tags": {"Name": "b"}}, "b")],
)
def test_a_clone_has_a_name_that_tells_it_from_the_original(overrides, name):
    launch, _ = launched(asked(overrides=overrides))

    assert launch.tags["Name"] == name


def test_an_original_with_as_many_tags_as_ec2_takes_can_be_cloned():
    original = replace(ORIGINAL, tags=MANY)
    manifest = replace(MANIFEST, instance=original, volumes=(replace(VOLUMES[0], tags=MANY),))

    launch, findings = launched(asked(overrides={"tags": {"new": "1"}}), manifest)

    assert len(launch.tags) == 47
    assert launch.tags["new"] == "1"
    assert len(launch.root.tags) == 47
    assert findings.notes[:2] == [
        "left out, since EC2 takes 50 tags: k47, k48, k49 of vol-1",
        "not in the point, so not in the clone: vol-2 (its policy leaves them out)",
    ]
    assert findings.notes[2] == (
        "left out, since EC2 takes 50 tags: k45, k46, k47, k48, k49 of i-0a"
    )


def test_a_root_that_the_point_has_not_starts_nothing():
    _, findings = launched(manifest=replace(MANIFEST, volumes=VOLUMES[1:]))

    assert findings.problems == [
        "mode: the point has no snapshot of the boot volume, so nothing can start from it; "
        "use mode volumes"
    ]


def test_a_licence_is_billed_through_the_image_and_its_other_devices_are_left_out():
    original = replace(ORIGINAL, usage_operation="RunInstances:0010")
    image = Image(
        id="ami-1",
        name="rhel",
        state="available",
        root_device="/dev/sda1",
        devices=("/dev/sda1", "/dev/sdb", "/dev/sdf"),
        usage_operation="RunInstances:0010",
    )
    assert "/dev/sdf" in ORIGINAL.volumes, "the point has a volume of its own there"

    launch, findings = launched(
        manifest=replace(MANIFEST, instance=original), images={"ami-1": image}
    )

    assert findings.problems == []
    assert (launch.image, launch.unmapped, launch.new_image) == ("ami-1", ("/dev/sdb",), None)
    assert launch.swaps_root


def test_a_product_of_the_marketplace_needs_its_image_too():
    image = Image(
        id="ami-1", name="fw", state="available", root_device="/dev/sda1", product_codes=("abc",)
    )

    launch, _ = launched(images={"ami-1": image})

    assert launch.image == "ami-1"


PLACED = {
    "Tenancy": "host",
    "GroupName": "rack",
    "GroupId": "pg-1",
    "HostId": "h-1",
    "HostResourceGroupArn": "arn:aws:resource-groups:eu-west-1:1:group/g",
    "Affinity": "host",
    "AvailabilityZoneId": "euw1-az1",
}


def placed(subnet, *, home=True, **placement):
    original = replace(ORIGINAL, placement=placement, licenses=("lic-1",))
    overrides = {"subnet": subnet, "groups": ("sg-web",)}
    launch, findings = launched(
        asked(overrides=overrides),
        replace(MANIFEST, instance=original),
        home=home,
        zones=frozenset({"eu-west-1a", "eu-west-1b"}),
    )
    assert findings.problems == []
    return launch, [one for one in findings.notes if "no meaning" in one]


def test_in_its_zone_a_clone_is_placed_as_the_original_is():
    launch, notes = placed("subnet-a", **PLACED)

    assert (launch.placement, launch.licenses, notes) == (PLACED, ("lic-1",), [])


def test_in_another_zone_hosts_and_groups_stay_behind_and_a_note_says_so():
    launch, notes = placed("subnet-b", **PLACED)

    assert launch.placement.keys() == {"Tenancy", "HostResourceGroupArn", "AvailabilityZoneId"}
    assert launch.licenses == ("lic-1",)
    assert notes[-1] == ("left out, since it has no meaning in eu-west-1b: HostId h-1 of i-0a")
    assert len(notes) == 4


def test_a_group_with_partitions_spans_the_zones():
    launch, notes = placed("subnet-b", GroupName="rack", PartitionNumber=2)

    assert (launch.placement, notes) == ({"GroupName": "rack", "PartitionNumber": 2}, [])


@pytest.mark.parametrize(("tenancy", "kept"), [("host", {}), ("dedicated", {"Tenancy"})])
def test_in_another_region_only_a_tenancy_that_needs_no_host_is_kept(tenancy, kept):
    launch, notes = placed("subnet-a", home=False, **PLACED | {"Tenancy": tenancy})

    assert launch.placement.keys() - {"AvailabilityZoneId"} == set(kept)
    assert launch.licenses == ()
    assert notes[-1].startswith("left out, since they have no meaning in eu-west-1 of ")
    assert len(notes) == 7 - len(kept)


def test_a_profile_that_could_not_be_looked_up_is_taken_to_be_there():
    asked_for = asked(overrides={"instance_profile": "app"})

    launch, findings = launched(asked_for, unseen=frozenset({"app"}))

    assert launch.instance_profile == "app"
    assert findings.notes == [
        "the instance profile app could not be looked up, since IAM does not answer; it is taken "
        "to be there"
    ]


OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "subnet": st.sampled_from([*SUBNETS, "subnet-gone"]),
        "zone": st.sampled_from(["eu-west-1a", "eu-west-1b"]),
        "type": st.sampled_from(["m7g.large", "t3.nano"]),
        "groups": st.sampled_from([("web",), ("sg-x",), ("nothing",)]),
        "key_name": st.sampled_from(["", "app"]),
        "instance_profile": st.sampled_from(["", "app"]),
        "private_ip": st.just("10.0.0.9"),
        "kms_key": st.just("alias/k"),
        "image": st.just("ami-2"),
        "tags": st.sampled_from([{}, {"a": "b"}, MANY]),
    },
)


@given(
    OVERRIDES,
    st.sampled_from([Mode.CLONE, Mode.DRILL]),
    st.integers(1, 20),
    st.booleans(),
    st.sets(st.sampled_from(["eu-west-1a", "eu-west-1b"])),
    st.sampled_from([{}, {"alias/k": "it is disabled"}]),
)
def test_a_launch_is_planned_whole_or_every_reason_begins_with_what_to_change(
    overrides, mode, count, home, zones, bad_keys
):
    facts = LaunchFacts(
        place=HOME,
        home=home,
        subnets=SUBNETS,
        groups=GROUPS,
        zones=frozenset(zones),
        bad_keys=bad_keys,
    )

    launch, findings = preflight.launch(
        asked(mode, overrides, count=count), MANIFEST, taken(), facts
    )

    assert (launch is None) == bool(findings.problems)
    assert all(one.partition(":")[0] in OF_RESTORES for one in findings.problems)
    assert len(findings.problems) == len(set(findings.problems))
    if launch:
        assert launch.cards[0].groups
        assert len(launch.disks) == 2


# -- volumes ----------------------------------------------------------------------------------


def volumes(request, manifest=MANIFEST, pieces=None, **facts):
    known = VolumeFacts(**{"place": HOME, "home": True, "selects": SELECTS, **facts})
    return preflight.volumes(request, manifest, pieces or taken(manifest), known)


def test_volumes_are_made_where_the_original_was_and_bear_what_was_asked_for():
    made, zone, attach, findings = volumes(
        asked(Mode.VOLUMES, {"name": "copy", "tags": {"a": "b"}}, volumes=("vol-2",))
    )

    assert (zone, attach, findings.problems) == ("eu-west-1a", None, [])
    assert [(one.piece, one.device, one.tags) for one in made] == [
        ("vol-2", "/dev/sdf", {"a": "b", "Name": "copy"})
    ]


def test_a_volume_with_as_many_tags_as_ec2_takes_can_be_restored():
    manifest = replace(MANIFEST, volumes=(replace(VOLUMES[0], tags=MANY), VOLUMES[1]))

    made, _, _, findings = volumes(asked(Mode.VOLUMES, {"name": "copy"}), manifest)
    _, _, _, too_many = volumes(asked(Mode.VOLUMES, {"tags": MANY}))

    assert len(made[0].tags) == 47
    assert made[0].tags["Name"] == "copy"
    assert findings.problems == []
    assert too_many.problems == ["tags: are 50 in all; EC2 takes 50, of which Lastgood needs 3"]


def test_volumes_go_to_the_zone_of_the_instance_that_they_are_attached_to():
    other = an_instance("i-0b", zone="eu-west-1c", volumes={"/dev/sda1": "vol-9"})

    made, zone, attach, findings = volumes(
        asked(Mode.VOLUMES, volumes=("/dev/sdf",), instance="i-0b", device="/dev/sdg"),
        instance=other,
    )

    assert (zone, findings.problems) == ("eu-west-1c", [])
    assert attach.devices == {made[0].piece: "/dev/sdg"}


# -- in place ---------------------------------------------------------------------------------


def in_place(request, **facts):
    known = InPlaceFacts(
        **{
            "current": ORIGINAL,
            "volumes": {one.id: one for one in VOLUMES},
            "snapshot_of": {f"snap-{one.id}": one.id for one in VOLUMES},
            "selects": SELECTS,
            **facts,
        }
    )
    return preflight.in_place(request, MANIFEST, taken(), known)


ROOT_ONLY = asked(Mode.IN_PLACE, volumes=("/dev/sda1",))


def test_a_root_alone_is_replaced_by_ec2_while_the_instance_runs():
    _, plan, findings = in_place(ROOT_ONLY)

    (swap,) = plan.swaps
    assert (swap.by_task, plan.must_stop, findings.problems) == (True, False, [])


@pytest.mark.parametrize(
    ("request_", "facts"),
    [
        (asked(Mode.IN_PLACE), {}),
        (replace(ROOT_ONLY, overrides=Overrides(kms_key="alias/k")), {}),
        (ROOT_ONLY, {"snapshot_of": {"snap-vol-1": "vol-elsewhere"}}),
        (ROOT_ONLY, {"current": replace(ORIGINAL, state="stopped")}),
    ],
    ids=["with data", "under another key", "of another volume", "stopped"],
)
def test_a_root_that_ec2_cannot_replace_so_is_swapped(request_, facts):
    _, plan, findings = in_place(replace(request_, stop=True), **facts)

    assert plan.must_stop
    assert not any(one.by_task for one in plan.swaps)
    assert findings.problems == []


def test_a_device_that_has_nothing_now_is_filled_again():
    emptied = replace(ORIGINAL, volumes={"/dev/sda1": "vol-1"})

    _, plan, _ = in_place(asked(Mode.IN_PLACE, stop=True), current=emptied)

    assert {one.device: one.old for one in plan.swaps} == {"/dev/sda1": "vol-1", "/dev/sdf": None}


@pytest.mark.parametrize("state", ["pending", "stopping"])
def test_an_instance_on_its_way_is_waited_for(state):
    _, _, findings = in_place(
        asked(Mode.IN_PLACE, stop=True), current=replace(ORIGINAL, state=state)
    )

    assert findings.problems == [f"source: i-0a is {state}; wait until it is running or stopped"]


def test_all_reasons_are_told_at_once():
    spot = replace(ORIGINAL, lifecycle="spot", tags={preflight.AUTO_SCALING: "fleet"})

    _, _, findings = in_place(
        asked(Mode.IN_PLACE), current=spot, protected=True, restored_by="rs-1"
    )

    assert [one.partition(":")[0] for one in findings.problems] == [
        "source",
        "source",
        "source",
        "stop",
        "source",
        "stop",
        "source",
    ]


TOLD = (
    "i-0a has none of the tags that policies select by (backup=daily or Name=web|db), so it is not "
    "Lastgood's to change; give it those of one"
)


@pytest.mark.parametrize(
    ("tags", "problems"), [({"Name": "app"}, [TOLD]), ({"lastgood:restore": "rs-1"}, [])]
)
def test_only_an_instance_that_iam_lets_us_change_is_changed(tags, problems):
    other = replace(ORIGINAL, tags=tags, volumes={})

    *_, attached = volumes(asked(Mode.VOLUMES, instance="i-0a"), instance=other)
    by_id = replace(asked(Mode.IN_PLACE, stop=True), source="i-0a")
    *_, swapped = in_place(by_id, current=other)

    assert attached.problems == [f"instance: {one}" for one in problems]
    assert swapped.problems == [f"source: {one}" for one in problems]


# -- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "told"),
    [
        (
            True,
            [
                "kms_key: key-1 cannot be used, and the point's snapshots open with no other: "
                "enable it, or allow its use"
            ],
        ),
        (False, []),
    ],
)
def test_the_key_of_a_snapshot_that_is_here_must_work_whatever_the_new_key_is(here, told):
    manifest = replace(
        MANIFEST, volumes=tuple(replace(one, encrypted=True, kms_key="key-1") for one in VOLUMES)
    )

    _, _, _, findings = volumes(
        asked(Mode.VOLUMES, {"kms_key": "alias/k"}),
        manifest,
        taken(manifest, here=here, encrypted=True),
        bad_keys={"key-1": "key-1 is Disabled"},
    )

    assert findings.problems == told
