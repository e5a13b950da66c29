"""What clone_instance answers: restores are asked for, told of, extended, kept, ended, approved."""

from datetime import timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ConnectTimeoutError

from lastgood.domain import slash
from lastgood.domain.names import instant, restore_id
from lastgood.domain.policy import Mode, Restores
from lastgood.domain.tags import RESTORE, TEMPORARY
from tests.cloud.ec2.seed import seed_network
from tests.support.world import ACCOUNT, HOME, MACHINE, a_policy

HOUR = timedelta(hours=1)
ABROAD = "eu-central-1"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def protected(world):
    """A world with an instance web-1 that has a point."""
    net = seed_network(HOME)
    world.ec2.run_instances(
        ImageId="ami-0123456789abcdef0",
        InstanceType="m6i.large",
        MinCount=1,
        MaxCount=1,
        NetworkInterfaces=[
            {"DeviceIndex": 0, "SubnetId": net.subnets[0], "Groups": [net.groups[0]]}
        ],
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [{"Key": "Name", "Value": "web-1"}, {"Key": "backup", "Value": "daily"}],
            }
        ],
    )
    world.run()
    return world


@pytest.fixture
def approving(protected):
    """In place needs a second person, and so does a clone."""
    rules = Restores(approval=(Mode.CLONE, Mode.IN_PLACE), longest=timedelta(days=2))
    protected.deploy(a_policy(restores=rules))
    return protected


def ask(world, **asked):
    return world.invoke("clone_instance", {"by": "anna", **asked})


def a_clone(world, **asked):
    """One that is done."""
    begun = ask(world, source="web-1", **asked)
    world.advance(timedelta(minutes=20))
    done = ask(world, action="status", restore=begun["restore"])
    assert done["status"] == "done", done["text"]
    return done


def clones(world):
    pages = world.ec2.describe_instances(
        Filters=[
            {"Name": "tag-key", "Values": [RESTORE]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]},
        ]
    )
    return [one for page in pages["Reservations"] for one in page["Instances"]]


def executions(world):
    reply = world.client("stepfunctions").list_executions(stateMachineArn=MACHINE)
    return [one["name"] for one in reply["executions"]]


def endings(world):
    return [one["Name"] for one in world.client("scheduler").list_schedules()["Schedules"]]


# -- asking -----------------------------------------------------------------------------------


def test_the_line_for_another_region_that_chat_documents_ends_in_a_plan(protected):
    rows = (ROOT / "docs/chat.md").read_text().splitlines()
    (line,) = [row.split("`")[1] for row in rows if row.startswith("| `/lastgood clone web-1 in ")]
    there = seed_network(ABROAD, name="there")
    there_is = {
        "eu-north-1": ABROAD,
        "subnet-0123456789abcdef0": there.subnets[0],
        "sg-0123456789abcdef0": there.groups[0],
    }
    for documented, real in there_is.items():
        line = line.replace(documented, real)

    command = slash.read(line.removeprefix("/lastgood "))
    answer = ask(protected, **command.payload, dry_run="true")

    assert answer["status"] == "planned", answer["text"]
    assert answer["place"] == f"{ABROAD} of {ACCOUNT}"


def test_where_iam_is_dark_a_clone_is_made_all_the_same(protected):
    dark = ConnectTimeoutError(endpoint_url="https://iam.amazonaws.com/")
    protected.cloud.faults.spoil("iam.*", dark, times=99)

    answer = ask(protected, source="web-1", instance_profile="app")

    assert answer["status"] == "running", answer["text"]
    assert any("app could not be looked up" in one for one in answer["notes"])


def test_an_answer_says_which_point_why_and_what_will_be_made(protected):
    (point,) = protected.points()

    answer = ask(protected, source="web-1", request_id="one")

    assert answer["restore"] == restore_id("one")
    assert answer["execution"].endswith(f":lastgood-restore:{restore_id('one')}")
    assert (answer["status"], answer["mode"], answer["approval"]) == ("running", "clone", False)
    assert (answer["source"], answer["point"]) == (point.source.id, point.id)
    assert answer["why"].endswith("the newest of 1 that are available")
    assert "named web-1-clone in eu-west-1a" in answer["makes"][0]
    assert answer["problems"] == []
    for line in (*answer["makes"], *answer["notes"], answer["point"]):
        assert line in answer["text"]
    assert protected.bugs == []


def test_an_answer_as_text_is_one_plain_text(protected):
    answer = ask(protected, source="web-1", answer="text", request_id="one")
    refused = ask(protected, source="web-1", mode="clon", answer=" Text ")

    assert answer.startswith(f"{restore_id('one')}: clone of i-")
    assert refused == (
        "Nothing was made or changed:\n- mode: is 'clon'; it may be clone, volumes, in_place, drill"
    )


@pytest.mark.parametrize("event", [["web-1"], "web-1", 7, None])
def test_what_is_no_object_is_refused_and_no_error(world, event):
    answer = world.invoke("clone_instance", event)

    assert answer["status"] == "refused"
    assert answer["problems"][0].startswith("the request must be a JSON object")


def test_a_dry_run_looks_at_everything_and_makes_nothing(protected):
    called = len(protected.cloud.calls)

    answer = ask(protected, source="web-1", dry_run="true", request_id="one")

    calls = protected.cloud.calls[called:]
    assert (answer["status"], answer["restore"], answer["execution"]) == ("planned", "", "")
    assert answer["makes"]
    assert "nothing was made" in answer["text"]
    launches = [one.params for one in calls if one.operation == "RunInstances"]
    assert [one["DryRun"] for one in launches] == [True]
    assert protected.ledger.restore(restore_id("one")) is None
    assert executions(protected) == []


def test_a_request_that_is_repeated_changes_nothing(protected):
    first = ask(protected, source="web-1", request_id="one")
    early = ask(protected, source="web-1", request_id="one", by="bert")
    protected.advance(timedelta(minutes=20))
    late = ask(protected, source="web-1", request_id="one")

    assert early["restore"] == late["restore"] == first["restore"]
    assert late["status"] == "done"
    assert late["notes"] == ["it was asked for before; nothing was changed"]
    assert executions(protected) == [first["restore"]]
    assert len(clones(protected)) == 1


def test_a_dry_run_of_a_request_that_was_made_is_a_plan_again(protected):
    ask(protected, source="web-1", request_id="one")

    assert ask(protected, source="web-1", request_id="one", dry_run=True)["status"] == "planned"


def test_without_a_request_id_each_request_is_another(protected):
    first, second = ask(protected, source="web-1"), ask(protected, source="web-1")
    protected.advance(timedelta(minutes=20))

    assert first["restore"] != second["restore"]
    assert len(clones(protected)) == 2


def test_whoever_died_before_the_start_is_made_good_by_the_repeated_request(protected):
    protected.cloud.faults.spoil("stepfunctions.StartExecution", ConnectionError("lost"), times=9)
    with pytest.raises(Exception, match="lost"):
        ask(protected, source="web-1", request_id="one")
    protected.cloud.faults.clear()
    assert executions(protected) == []

    again = ask(protected, source="web-1", request_id="one")

    assert again["status"] == "running"
    assert executions(protected) == [again["restore"]]


def test_of_two_restores_in_place_at_once_the_second_is_refused(protected):
    first = ask(protected, source="web-1", mode="in_place", stop="true", request_id="one")
    for dry_run in (False, True):
        second = ask(protected, source="web-1", mode="in_place", stop=True, dry_run=dry_run)

        assert second["status"] == "refused"
        assert second["problems"] == [
            f"source: {first['restore']} works at {first['source']}; wait until it is over, or "
            "cancel it"
        ]


# -- telling ----------------------------------------------------------------------------------


def test_points_are_listed_newest_first_with_where_they_are(protected):
    protected.cloud.clock.advance(timedelta(days=1))
    protected.run(slot="2026-03-02T02:00:00+00:00")
    old, new = (one.id for one in protected.points())

    answer = ask(protected, action="points", source="web-1")

    assert answer["status"] == "listed"
    lines = answer["text"].split("\n")
    assert lines[0].endswith("has 2 recovery points:")
    assert new in lines[1]
    assert old in lines[2]
    assert lines[2].endswith(": eu-west-1")


def test_the_status_is_that_of_a_restore_or_of_all_of_a_source(protected):
    done = a_clone(protected, request_id="one")
    running = ask(protected, source="web-1", request_id="two")

    one = ask(protected, action="status", restore=done["restore"])
    every = ask(protected, action="status", source="web-1")

    assert one["status"] == "done"
    assert "is done after" in one["text"]
    assert any(line.startswith("instance i-") for line in one["made"])
    assert every["restore"] == running["restore"]
    assert done["restore"] in every["text"]


def test_of_a_restore_that_is_not_on_record_nothing_is_told(protected):
    unknown = "rs-00000000000000000000"

    for verb in ("status", "keep", "cancel", "remove", "approve", "decline"):
        assert ask(protected, action=verb, restore=unknown)["problems"] == [
            f"restore: there is no {unknown}"
        ]
    assert ask(protected, action="status", source="web-1")["problems"][0].startswith(
        "source: nothing was restored from i-"
    )


# -- how long it lives ------------------------------------------------------------------------


def test_a_clone_that_is_extended_lives_from_now_on_and_no_longer(protected):
    done = a_clone(protected, time_to_live="1h")
    protected.advance(timedelta(minutes=30))

    first = ask(protected, action="extend", restore=done["restore"], time_to_live="4h")
    second = ask(protected, action="extend", restore=done["restore"], time_to_live="2h")
    now = protected.cloud.clock.now()

    assert first["expires_at"] == instant(now + 4 * HOUR)
    assert second["expires_at"] == instant(now + 2 * HOUR)
    protected.advance(2 * HOUR - timedelta(minutes=1))
    assert len(clones(protected)) == 1
    protected.advance(timedelta(minutes=30))
    assert clones(protected) == []
    assert ask(protected, action="status", restore=done["restore"])["status"] == "ended"
    assert endings(protected) == []


def test_a_clone_is_not_extended_beyond_what_the_policy_allows(protected):
    done = a_clone(protected)

    answer = ask(protected, action="extend", restore=done["restore"], time_to_live="31d")

    assert answer["problems"] == ["time_to_live: its policy allows 30d from now at most"]
    assert ask(protected, action="status", restore=done["restore"]) == done


def test_what_is_kept_is_nobodys_to_remove_any_more(protected):
    done = a_clone(protected)

    kept = ask(protected, action="keep", restore=done["restore"])

    assert kept["expires_at"] is None
    (clone,) = clones(protected)
    assert TEMPORARY not in {tag["Key"] for tag in clone["Tags"]}
    assert endings(protected) == []
    assert ask(protected, action="keep", restore=done["restore"]) == kept
    extended = ask(protected, action="extend", restore=done["restore"], time_to_live="8h")
    assert extended["problems"] == [f"restore: {done['restore']} has no end already"]
    removed = ask(protected, action="remove", restore=done["restore"])
    assert removed["problems"] == [
        f"restore: {done['restore']} is to be kept, and not Lastgood's to remove any more"
    ]
    protected.advance(timedelta(days=3))
    assert len(clones(protected)) == 1


def test_the_volumes_that_a_restore_in_place_took_out_can_be_kept_too(protected):
    begun = ask(protected, source="web-1", mode="in_place", stop="true", request_id="one")
    protected.advance(timedelta(minutes=30))
    (old,) = (one.old for one in protected.ledger.restore(begun["restore"]).in_place.swaps)

    ask(protected, action="keep", restore=begun["restore"])
    removed = ask(protected, action="remove", restore=begun["restore"])
    protected.advance(timedelta(days=9))

    assert removed["problems"] == [
        f"restore: {begun['restore']} is to be kept, and not Lastgood's to remove any more"
    ]
    (volume,) = protected.ec2.describe_volumes(VolumeIds=[old])["Volumes"]
    assert TEMPORARY not in {tag["Key"] for tag in volume["Tags"]}


def test_what_is_under_way_has_no_end_yet(protected):
    begun = ask(protected, source="web-1")

    for verb in ("keep", "extend"):
        more = {"time_to_live": "8h"} if verb == "extend" else {}
        answer = ask(protected, action=verb, restore=begun["restore"], **more)
        assert answer["problems"] == [f"restore: {begun['restore']} is running, not done"]


def test_a_clone_is_removed_when_somebody_says_so_and_saying_so_twice_does_no_harm(protected):
    done = a_clone(protected)

    first = ask(protected, action="remove", restore=done["restore"])
    second = ask(protected, action="remove", restore=done["restore"])
    protected.advance(timedelta(minutes=20))
    third = ask(protected, action="remove", restore=done["restore"])

    assert first["notes"] == ["it is being removed"]
    assert second["status"] in ("done", "ending")
    assert third["status"] == "ended"
    assert clones(protected) == []
    assert protected.bugs == []


def test_what_is_under_way_is_not_removed_but_cancelled(protected):
    begun = ask(protected, source="web-1")

    removed = ask(protected, action="remove", restore=begun["restore"])
    cancelled = ask(protected, action="cancel", restore=begun["restore"], by="bert")
    again = ask(protected, action="cancel", restore=begun["restore"], by="carl")
    protected.advance(HOUR)
    late = ask(protected, action="cancel", restore=begun["restore"])
    after = protected.ledger.restore(begun["restore"])

    assert removed["problems"] == [f"restore: {begun['restore']} is under way; cancel it"]
    assert cancelled["notes"] == ["what it made so far is being removed"]
    assert again["status"] == "running"
    assert late["status"] == "undone"
    assert (after.status, after.cancelled_by) == ("undone", "bert")
    assert after.cause == "Cancelled: bert cancelled it"
    assert clones(protected) == []


def test_what_is_done_is_not_cancelled(protected):
    done = a_clone(protected)

    assert ask(protected, action="cancel", restore=done["restore"])["problems"] == [
        f"restore: {done['restore']} is done; what is done is ended by remove"
    ]


# -- approval ---------------------------------------------------------------------------------


@pytest.fixture
def waiting(approving):
    """The answer to a request that waits, and whose machine waits too."""
    answer = ask(approving, source="web-1", request_id="one")
    approving.settle()
    return answer


def test_what_needs_a_second_person_waits_for_one(approving, waiting):
    approving.advance(2 * HOUR)

    assert (waiting["status"], waiting["approval"]) == ("approving", True)
    assert "waits for a second person to approve it (asked for by anna)" in waiting["text"]
    assert clones(approving) == []


@pytest.mark.parametrize("by", ["anna", " Anna ", "", None])
def test_who_asked_or_gives_no_name_cannot_approve(approving, waiting, by):
    answer = ask(approving, action="approve", restore=waiting["restore"], by=by)
    approving.advance(HOUR)

    assert answer["problems"] == [
        f"by: {waiting['restore']} was asked for by anna: a second person, by name, must approve it"
    ]
    assert clones(approving) == []


def test_another_person_approves_and_the_machine_goes_on(approving, waiting):
    answer = ask(approving, action="approve", restore=waiting["restore"], by="bert")
    again = ask(approving, action="approve", restore=waiting["restore"], by="carl")
    approving.advance(HOUR)

    assert answer["status"] == "approving"
    assert again["status"] == "approving"
    assert approving.ledger.restore(waiting["restore"]).approved_by == "bert"
    assert len(clones(approving)) == 1
    late = ask(approving, action="approve", restore=waiting["restore"], by="carl")
    assert late["problems"] == [f"restore: {waiting['restore']} does not wait for approval"]


def test_an_approval_that_comes_before_the_machine_waits_counts(approving):
    asked = ask(approving, source="web-1")

    ask(approving, action="approve", restore=asked["restore"], by="bert")
    approving.advance(HOUR)

    assert len(clones(approving)) == 1


def test_who_declines_ends_it_and_says_why(approving, waiting):
    answer = ask(
        approving, action="decline", restore=waiting["restore"], by="bert", reason="not today"
    )
    approving.advance(HOUR)
    after = approving.ledger.restore(waiting["restore"])

    assert "waits for a second person" not in answer["text"]
    assert (after.status, after.cancelled_by) == ("undone", "bert")
    assert after.cause.endswith("bert declined it: not today")
    assert clones(approving) == []
    for verb in ("approve", "decline"):
        assert ask(approving, action=verb, restore=waiting["restore"], by="carl")["problems"] == [
            f"restore: {waiting['restore']} does not wait for approval"
        ]


def test_who_asked_may_cancel_what_waits(approving, waiting):
    ask(approving, action="cancel", restore=waiting["restore"])
    approving.advance(HOUR)

    assert approving.ledger.restore(waiting["restore"]).status == "undone"


def test_what_nobody_approves_within_a_day_is_undone(approving, waiting):
    approving.advance(timedelta(hours=25))

    after = ask(approving, action="status", restore=waiting["restore"])
    assert after["status"] == "undone"
    assert clones(approving) == []


# -- permissions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"action": "status"},
        {"action": "keep"},
        {"action": "extend", "time_to_live": "8h"},
        {"action": "cancel"},
        {"action": "remove"},
        {"action": "approve"},
        {"action": "decline"},
    ],
)
def test_a_verb_is_for_sources_that_one_may_restore_also_when_their_points_are_gone(
    protected, asked
):
    done = a_clone(protected, request_id="one")
    mine, others = [{"backup": ["daily"]}], [{"team": ["db"]}]
    given = {**asked, "restore": done["restore"]}

    refused = ask(protected, **given, allowed_sources=others)
    allowed = ask(protected, **given, allowed_sources=mine)

    told = f"source: you may not do that with {done['source']}: your permissions are for sources "
    assert refused["problems"] == [f"{told}tagged team=db"]
    assert allowed["problems"] != refused["problems"]


def test_what_is_asked_again_is_told_to_whom_it_is_permitted_only(protected):
    ask(protected, source="web-1", request_id="one")
    others = [{"team": ["db"]}]

    for asked in (
        {"source": "web-1", "request_id": "one"},
        {"action": "points", "source": "web-1"},
        {"action": "status", "source": "web-1"},
    ):
        answer = ask(protected, **asked, allowed_sources=others)
        assert answer["status"] == "refused"
        assert "your permissions are for sources tagged team=db" in answer["text"]
