"""Which sources a policy takes, and what it says of those that it leaves out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain import selection
from lastgood.domain.model import LeftOut, Method
from lastgood.domain.policy import ResourceKind, Select
from lastgood.domain.selection import Selected
from tests.support.builders import SOURCE, a_volume, an_instance, attached_to


def a_select(**given):
    facts = {"resource": ResourceKind.INSTANCE, "tags": {"backup": ("daily", "gold")}}
    return Select(**facts | given)


def judged(instance=None, volumes=None, select=None, owners=None):
    volumes = [a_volume("vol-1"), a_volume("vol-2")] if volumes is None else volumes
    return selection.judge_instance(
        select or a_select(),
        SOURCE,
        instance or an_instance(),
        {one.id: one for one in volumes},
        owners or {},
    )


def test_an_instance_whose_tags_match_is_taken_as_a_set_of_all_its_volumes():
    chosen = judged()

    assert isinstance(chosen, Selected)
    assert chosen.method is Method.SET
    assert [one.id for one in chosen.volumes] == ["vol-1", "vol-2"]
    assert not chosen.excluded
    assert not chosen.exclude_boot


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({}, "its tag backup is not there; the policy wants 'daily' or 'gold'"),
        ({"backup": "Daily"}, "its tag backup is 'Daily'; the policy wants 'daily' or 'gold'"),
        ({"backup": "gold", "skip": "1"}, "it has tag skip=1, which the policy excludes"),
    ],
)
def test_an_instance_whose_tags_do_not_match_is_left_out_with_the_reason(tags, reason):
    select = a_select(exclude_tags={"skip": ("1",)})

    left = judged(an_instance(tags=tags), select=select)

    assert left == LeftOut(source=SOURCE, reason=reason, kind="tags")


CLONE = {
    "backup": "daily",
    "lastgood:restore": "rs-1",
    "lastgood:restored-from": "pt-1",
    "lastgood:temporary": "rs-1",
}


def test_a_clone_that_will_be_removed_is_left_out_though_it_bears_the_tags_of_its_source():
    left = judged(an_instance(tags=CLONE))

    assert left == LeftOut(
        source=SOURCE,
        reason="it is a clone of pt-1, which restore rs-1 will remove: "
        "keep it to have it protected",
        kind="temporary",
    )


def test_a_clone_that_is_kept_is_taken_as_any_other():
    kept = {key: value for key, value in CLONE.items() if key != "lastgood:temporary"}

    assert isinstance(judged(an_instance(tags=kept)), Selected)


def test_a_clone_whose_tags_do_not_match_is_left_out_for_that():
    assert judged(an_instance(tags=CLONE | {"backup": "no"})).kind == "tags"


def test_a_volume_that_was_swapped_out_is_left_out_and_so_is_a_new_one_that_will_go():
    select = a_select(resource=ResourceKind.VOLUME)
    swapped = {"backup": "daily", "lastgood:temporary": "rs-1"}

    left = [
        selection.judge_volume(select, SOURCE, a_volume("vol-1", tags=tags))
        for tags in (swapped, CLONE)
    ]

    assert [one.kind for one in left] == ["temporary", "temporary"]
    assert left[0].reason == (
        "it is what was restored over, which restore rs-1 will remove: keep it to have it protected"
    )


def test_a_clone_that_will_be_removed_takes_no_shared_volume_from_its_source():
    shared = a_volume("vol-2", multi_attach=True, attachments=attached_to("i-0a", "i-00"))
    both = {"i-00": an_instance("i-00", tags=CLONE), "i-0a": an_instance("i-0a")}

    assert selection.owners_of_shared(a_select(), both, [shared]) == {"vol-2": "i-0a"}


def test_every_key_must_match():
    select = a_select(tags={"backup": ("daily",), "stage": ("prod",)})

    assert isinstance(judged(select=select), LeftOut)
    assert isinstance(
        judged(an_instance(tags={"backup": "daily", "stage": "prod"}), select=select), Selected
    )


@pytest.mark.parametrize("state", ["terminated", "shutting-down"])
def test_an_instance_that_is_going_is_left_out(state):
    assert judged(an_instance(state=state)).reason == f"it is {state}"


@pytest.mark.parametrize("state", ["running", "stopped", "stopping", "pending"])
def test_an_instance_that_has_its_volumes_is_taken_in_any_state(state):
    assert isinstance(judged(an_instance(state=state)), Selected)


def test_an_instance_without_ebs_volumes_is_left_out():
    assert judged(an_instance(volumes={}), []).reason == "it has no EBS volume"


def test_a_volume_that_went_away_is_passed_over():
    chosen = judged(volumes=[a_volume("vol-1")])

    assert [one.id for one in chosen.volumes] == ["vol-1"]


def test_a_data_volume_with_an_excluded_tag_is_left_out_of_the_set():
    select = a_select(exclude_volume_tags={"scratch": ("true",)})
    volumes = [a_volume("vol-1"), a_volume("vol-2", tags={"scratch": "true"})]

    chosen = judged(volumes=volumes, select=select)

    assert [one.id for one in chosen.volumes] == ["vol-1"]
    assert chosen.excluded == ("vol-2",)
    assert not chosen.exclude_boot
    assert chosen.notes == ("vol-2 left out: it has tag scratch=true, which the policy excludes",)


def test_a_boot_volume_with_an_excluded_tag_is_not_named_among_the_data_volumes():
    select = a_select(exclude_volume_tags={"scratch": ("true",)})
    volumes = [a_volume("vol-1", tags={"scratch": "true"}), a_volume("vol-2")]

    chosen = judged(volumes=volumes, select=select)

    assert chosen.exclude_boot
    assert chosen.excluded == ()


def test_an_instance_of_which_nothing_is_left_is_left_out_with_every_reason():
    select = a_select(exclude_boot_volume=True, exclude_volume_tags={"scratch": ("true",)})
    volumes = [a_volume("vol-1"), a_volume("vol-2", tags={"scratch": "true"})]

    assert judged(volumes=volumes, select=select).reason == (
        "every volume is excluded: vol-1 is the boot volume, which the policy excludes; "
        "vol-2 has tag scratch=true, which the policy excludes"
    )


def test_a_hibernation_enabled_instance_is_taken_volume_by_volume():
    chosen = judged(an_instance(hibernation=True))

    assert chosen.method is Method.ONE_BY_ONE
    assert "hibernation is enabled" in chosen.notes[0]


@pytest.mark.parametrize(("count", "method"), [(40, Method.SET), (41, Method.ONE_BY_ONE)])
def test_more_exclusions_than_one_call_takes_mean_volume_by_volume(count, method):
    select = a_select(exclude_volume_tags={"scratch": ("true",)})
    scratch = [a_volume(f"vol-x{n}", tags={"scratch": "true"}) for n in range(count)]
    mapping = {"/dev/sda1": "vol-1"} | {f"/dev/x{n}": one.id for n, one in enumerate(scratch)}

    chosen = judged(an_instance(volumes=mapping), [a_volume("vol-1"), *scratch], select)

    assert chosen.method is method
    assert len(chosen.excluded) == count


def test_a_shared_volume_goes_with_its_owner_and_the_others_say_where():
    volumes = [a_volume("vol-1"), a_volume("vol-2", multi_attach=True)]

    chosen = judged(volumes=volumes, owners={"vol-2": "i-00"})

    assert chosen.shared == {"vol-2": "i-00"}
    assert chosen.excluded == ("vol-2",)
    assert chosen.notes == ("vol-2 left out: it is shared, and taken with i-00",)


def test_the_owner_of_a_shared_volume_is_the_first_instance_by_id_that_is_taken():
    instances = {
        "i-1": an_instance("i-1", tags={"backup": "never"}),
        "i-2": an_instance("i-2", state="terminated"),
        "i-3": an_instance("i-3"),
        "i-4": an_instance("i-4"),
    }
    shared = a_volume(
        "vol-9", multi_attach=True, attachments=attached_to("i-4", "i-3", "i-2", "i-1", "i-0")
    )

    assert selection.owners_of_shared(a_select(), instances, [shared]) == {"vol-9": "i-3"}


def test_only_shared_volumes_make_it_necessary_to_ask_for_other_instances():
    volumes = [
        a_volume("vol-1", attachments=attached_to("i-7")),
        a_volume("vol-2", multi_attach=True, attachments=attached_to("i-0a", "i-8")),
    ]

    assert selection.others_to_ask([an_instance("i-0a")], volumes) == {"i-8"}


@pytest.mark.parametrize("state", ["available", "in-use"])
def test_a_lone_volume_is_taken_whether_attached_or_not(state):
    select = a_select(resource=ResourceKind.VOLUME)
    volume = a_volume(state=state, tags={"backup": "gold"})

    chosen = selection.judge_volume(select, SOURCE, volume)

    assert (chosen.method, chosen.volumes) == (Method.VOLUME, (volume,))


def test_a_volume_in_error_is_left_out():
    select = a_select(resource=ResourceKind.VOLUME)
    volume = a_volume(state="error", tags={"backup": "gold"})

    assert selection.judge_volume(select, SOURCE, volume).reason == "it is error"


FLEETS = st.lists(
    st.tuples(st.sampled_from(["daily", "never"]), st.sampled_from(["running", "terminated"])),
    min_size=1,
    max_size=6,
)


@given(FLEETS, st.randoms())
def test_every_shared_volume_is_taken_once_in_whatever_order_instances_come(fleet, random):
    instances = [
        an_instance(f"i-{n}", tags={"backup": tag}, state=state, volumes={"/dev/sdf": "vol-s"})
        for n, (tag, state) in enumerate(fleet)
    ]
    random.shuffle(instances)
    shared = a_volume(
        "vol-s", multi_attach=True, attachments=attached_to(*(one.id for one in instances))
    )
    known = {one.id: one for one in instances}
    owners = selection.owners_of_shared(a_select(), known, [shared])

    verdicts = [judged(one, [shared], owners=owners) for one in instances]

    wanted = [one for one in instances if selection.refusal(a_select(), one) is None]
    # Every source has the same id here, so the owner is told apart by what it takes.
    takers = [one for one in verdicts if isinstance(one, Selected)]
    assert len(takers) == bool(wanted)
