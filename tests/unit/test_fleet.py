"""A policy's sources as they are now, all of them or one."""

import pytest

from lastgood.domain.model import LeftOut, Method
from lastgood.domain.policy import Policy, ResourceKind, Retention, Select
from lastgood.fleet import Fleet
from tests.support.builders import POLICY, SOURCE, a_volume, an_instance, attached_to
from tests.support.fakes import FakeClock, FakeCompute

DAILY = {"backup": "daily"}


@pytest.fixture
def ec2():
    return FakeCompute(FakeClock())


def a_fleet(ec2, resource=ResourceKind.INSTANCE, **select):
    facts = {"resource": resource, "tags": {"backup": ("daily",)}}
    policy = Policy(name=POLICY, select=Select(**facts | select), retention=Retention(keep_daily=7))
    return Fleet(policy=policy, compute=ec2, account=SOURCE.account)


def sources(pages):
    return [[one.source.id for one in page.items] for page in pages]


def test_every_source_comes_once_page_by_page(ec2):
    ec2.put_fleet("abcde")

    assert sources(a_fleet(ec2).judged()) == [["i-a", "i-b"], ["i-c", "i-d"], ["i-e"]]


@pytest.mark.parametrize("resource", ResourceKind)
def test_from_the_next_of_a_page_on_come_exactly_those_after_it(ec2, resource):
    ec2.put_fleet("abcde")
    ec2.put(*(a_volume(f"vol-{n}", tags=DAILY) for n in range(5)))
    fleet = a_fleet(ec2, resource)
    pages = list(fleet.judged())

    for number, page in enumerate(pages[:-1]):
        assert sources(fleet.judged(page.next)) == sources(pages[number + 1 :])
    assert pages[-1].next is None


def test_a_source_is_in_the_region_and_account_that_were_asked(ec2):
    ec2.put_fleet("a")

    judgement = a_fleet(ec2).judge("i-a", alone=False)

    assert (judgement.source.region, judgement.source.account) == (ec2.region, SOURCE.account)


@pytest.mark.parametrize(
    ("resource", "source"), [(ResourceKind.INSTANCE, "i-x"), (ResourceKind.VOLUME, "vol-x")]
)
def test_a_source_that_is_not_there_has_no_judgement(ec2, resource, source):
    ec2.put_fleet("a")

    assert a_fleet(ec2, resource).judge(source, alone=False) is None


def test_one_source_is_judged_by_its_tags_although_it_was_asked_for_by_id(ec2):
    ec2.put_fleet("a", tags={"backup": "weekly"})
    ec2.put(a_volume("vol-1", tags={"backup": "weekly"}))

    instance = a_fleet(ec2).judge("i-a", alone=False)
    volume = a_fleet(ec2, ResourceKind.VOLUME).judge("vol-1", alone=False)

    assert isinstance(instance, LeftOut)
    assert isinstance(volume, LeftOut)
    assert instance.kind == volume.kind == "tags"


def test_one_source_is_judged_as_it_is_among_all(ec2):
    ec2.put_fleet("a", hibernation=True)
    ec2.put_fleet("b", state="terminated")
    fleet = a_fleet(ec2)

    (page,) = fleet.judged()

    assert [fleet.judge(one, alone=False) for one in ("i-a", "i-b")] == list(page.items)
    assert page.items[0].method is Method.ONE_BY_ONE


@pytest.mark.parametrize(("alone", "taken"), [(False, ["vol-b"]), (True, ["vol-b", "vol-s"])])
def test_a_shared_volume_goes_with_the_first_of_its_instances_or_with_one_that_is_alone(
    ec2, alone, taken
):
    ec2.put(
        a_volume("vol-s", multi_attach=True, attachments=attached_to("i-a", "i-b")),
        a_volume("vol-a"),
        a_volume("vol-b"),
        an_instance("i-a", volumes={"/dev/sda1": "vol-a", "/dev/sdf": "vol-s"}),
        an_instance("i-b", volumes={"/dev/sda1": "vol-b", "/dev/sdf": "vol-s"}),
    )

    judgement = a_fleet(ec2).judge("i-b", alone=alone)

    assert [one.id for one in judgement.volumes] == taken
    assert judgement.shared == ({} if alone else {"vol-s": "i-a"})
