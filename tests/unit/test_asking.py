"""Requests for restores as people, pipelines and chat write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain import asking
from lastgood.domain.policy import Mode
from lastgood.domain.restoring import Asker, CommandCheck, Overrides, RestoreRequest
from lastgood.errors import MalformedMessage

RESTORE = "rs-0123456789abcdef0123"


def read(**asked):
    return asking.read({"source": "web-1", **asked}, "req-1").restoring


def problems_of(asked):
    with pytest.raises(MalformedMessage) as refused:
        asking.read(asked, "req-1")
    return str(refused.value).split("\n")


def problems(**asked):
    return problems_of({"source": "web-1", **asked})


def test_a_source_is_all_that_a_request_needs():
    asked = asking.read({"source": "web-1"}, "req-1")

    assert asked.verb == "restore"
    assert asked.restoring == RestoreRequest(
        source="web-1", request="req-1", asker=Asker(by=asking.NOBODY)
    )
    assert asked.allowed is None


EVERYTHING = {
    "source": " web-1 ",
    "mode": "Clone",
    "point": "before 2026-11-20T09:00+01:00",
    "region": "eu-central-1",
    "zone": "eu-central-1a",
    "subnet": "subnet-0123456789abcdef0",
    "type": "m7g.large",
    "security_groups": "sg-1, web",
    "instance_profile": "app",
    "key_name": "",
    "name": "web-1-test",
    "tags": "stage=test, team=a=b",
    "private_ip": "10.0.0.12",
    "kms_key": "alias/other",
    "image": "ami-0123456789abcdef0",
    "user_data": "drop",
    "time_to_live": "3d",
    "start": "no",
    "count": "1",
    "check": "systemctl is-active web\ncurl -f localhost",
    "check_document": "AWS-RunShellScript",
    "reason": "to look at the data",
    "request_id": "deploy-17",
    "dry_run": "true",
    "by": "anna",
    "via": "pipeline",
    "channel": "C01OPS",
    "answer": "text",
}


def test_every_key_of_a_clone_is_read_though_all_are_texts():
    assert asking.read(EVERYTHING, "req-1").restoring == RestoreRequest(
        source="web-1",
        mode=Mode.CLONE,
        point="before 2026-11-20T09:00+01:00",
        region="eu-central-1",
        overrides=Overrides(
            name="web-1-test",
            zone="eu-central-1a",
            subnet="subnet-0123456789abcdef0",
            type="m7g.large",
            groups=("sg-1", "web"),
            instance_profile="app",
            key_name="",
            private_ip="10.0.0.12",
            kms_key="alias/other",
            image="ami-0123456789abcdef0",
            user_data=False,
            tags={"stage": "test", "team": "a=b"},
        ),
        started=False,
        time_to_live=timedelta(days=3),
        check=CommandCheck(commands=("systemctl is-active web", "curl -f localhost")),
        reason="to look at the data",
        request="deploy-17",
        dry_run=True,
        asker=Asker(
            by="anna",
            via="pipeline",
            channel="C01OPS",
        ),
    )


def test_every_key_of_volumes_and_of_in_place_is_read():
    volumes = read(
        mode="volumes",
        volumes="/dev/sdf",
        instance="i-0123456789abcdef0",
        device="/dev/sdg",
    )
    in_place = read(mode="in_place", stop="yes", volumes=["/dev/sdf", "/dev/sdg"])

    assert volumes.mode is Mode.VOLUMES
    assert volumes.volumes == ("/dev/sdf",)
    assert (volumes.instance, volumes.device) == ("i-0123456789abcdef0", "/dev/sdg")
    assert in_place.stop
    assert in_place.volumes == ("/dev/sdf", "/dev/sdg")


def test_every_key_of_a_restore_is_in_one_of_these():
    elsewhere = {"volumes", "instance", "device", "stop", "allowed_sources", "action"}

    assert set(asking.OF_RESTORES) | set(asking.OF_ALL) == set(EVERYTHING) | elsewhere


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ({"count": "3"}, {"count": 3}),
        ({"start": "false"}, {"start": False}),
        ({"start": "OFF"}, {"start": "0"}),
        ({"dry_run": "1"}, {"dry_run": True}),
        ({"security_groups": "sg-1,sg-2"}, {"security_groups": ["sg-1", " sg-2 ", ""]}),
        ({"mode": "volumes", "volumes": "/dev/sdf"}, {"mode": "volumes", "volumes": ["/dev/sdf"]}),
        ({"tags": "team=web,stage=test"}, {"tags": {"team": "web", "stage": "test"}}),
        ({"tags": ["team=web"]}, {"tags": {"team": "web"}}),
        ({"time_to_live": "keep"}, {"time_to_live": " Forever "}),
        ({"name": "17"}, {"name": 17}),
        ({"zone": "", "type": "", "tags": "", "count": ""}, {"zone": None, "count": None}),
    ],
)
def test_texts_and_typed_values_are_read_alike(text, typed):
    assert read(**text) == read(**typed)


def test_no_profile_and_no_key_pair_are_something_else_than_those_of_the_original():
    assert read().overrides.instance_profile is None
    assert read(instance_profile="", key_name="").overrides == Overrides(
        instance_profile="", key_name=""
    )


def test_a_clone_may_be_kept_for_ever():
    asked = read(time_to_live="keep")

    assert asked.for_ever
    assert asked.time_to_live is None


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"soruce": "web-2"}, "soruce: is not known; did you mean 'source'?"),
        ({"restore": RESTORE}, "restore: is not known; restore does not take it, but status, "),
        ({"xyzzy": "1"}, "xyzzy: is not known; known: action, by, "),
        ({"bad\nkey": "1"}, r"'bad\nkey': is not known; "),
        ({"action": "reboot"}, "action: is 'reboot'; it may be restore, points, status, extend, "),
        ({"mode": "clon"}, "mode: is 'clon'; it may be clone, volumes, in_place, drill"),
        ({"mode": ["clone"]}, "mode: must be a text, not a list"),
        ({"source": ""}, "source: is missing; give an instance id, a volume id or a Name"),
        ({"source": None}, "source: is missing; give an instance id, a volume id or a Name"),
        ({"source": {"id": "i-1"}}, "source: must be a text, not an object"),
        ({"source": "w" * 257}, "source: has 257 characters; at most 256 are taken"),
        ({"reason": "r" * 1025}, "reason: has 1025 characters; at most 1024 are taken"),
        ({"check": "c" * 4001}, "check: has 4001 characters; at most 4000 are taken"),
        ({"name": "web\x00"}, "name: has control characters"),
        ({"request_id": "\ud800"}, "request_id: has control characters"),
        ({"tags": {"team": "w\x07"}}, "tags: has control characters"),
        ({"security_groups": ["web\x1b[2J"]}, "security_groups: has control characters"),
        ({"count": 0}, "count: is '0'; it may be a whole number from 1 to 20"),
        ({"count": "21"}, "count: is '21'; it may be a whole number from 1 to 20"),
        ({"count": "3.5"}, "count: is '3.5'; it may be a whole number from 1 to 20"),
        ({"count": 3.5}, "count: is '3.5'; it may be a whole number from 1 to 20"),
        ({"count": "-1"}, "count: is '-1'; it may be a whole number from 1 to 20"),
        ({"count": True}, "count: is 'true'; it may be a whole number from 1 to 20"),
        ({"time_to_live": "2w"}, "time_to_live: is '2w'; write it as 90m, 8h or 3d"),
        ({"time_to_live": "0h"}, "time_to_live: must be longer than nothing"),
        ({"time_to_live": "9" * 30 + "d"}, "time_to_live: is '9999"),
        ({"start": "maybe"}, "start: is 'maybe'; it may be true or false"),
        ({"user_data": "no"}, "user_data: is 'no'; it may be keep, drop"),
        ({"answer": "xml"}, "answer: is 'xml'; it may be json, text"),
        ({"tags": "team"}, "tags: 'team' is not KEY=VALUE"),
        ({"tags": "=web"}, "tags: '=web' is not KEY=VALUE"),
        ({"tags": {"": "web"}}, "tags: '=web' is not KEY=VALUE"),
        ({"tags": {"team": 3}}, "tags: must have texts as values"),
        ({"tags": {"k" * 129: "v"}}, "tags: has 129 characters; at most 128 are taken"),
        ({"tags": {"k": "v" * 257}}, "tags: has 257 characters; at most 256 are taken"),
        (
            {"tags": "aws:a=1,lastgood:point=2"},
            "tags: 'aws:a', 'lastgood:point': keys that begin so are reserved",
        ),
        ({"tags": "Name=a", "name": "b"}, "name: is given twice, in tags too"),
        (
            {"security_groups": ["sg-1", 2]},
            "security_groups: must be a list of texts, or a text with commas",
        ),
        ({"region": "Ireland"}, "region: is 'Ireland'; it must be like eu-west-1"),
        ({"zone": "a"}, "zone: is 'a'; it must be like eu-west-1a"),
        ({"subnet": "web"}, "subnet: is 'web'; it must be like subnet-0123456789abcdef0"),
        ({"type": "large"}, "type: is 'large'; it must be like m7g.large"),
        ({"image": "ubuntu"}, "image: is 'ubuntu'; it must be like ami-0123456789abcdef0"),
        ({"private_ip": "10.0.0.256"}, "private_ip: is '10.0.0.256'; it must be like 10.0.0.12"),
        (
            {"private_ip": "10.0.0.12", "count": "2"},
            "private_ip: one address cannot be that of several instances",
        ),
        (
            {"mode": "volumes", "device": "/dev/sdf"},
            "device: needs the instance that the volume is to be attached to",
        ),
        (
            {"mode": "volumes", "instance": "web-2"},
            "instance: is 'web-2'; it must be like i-0123456789abcdef0",
        ),
        (
            {"check_document": "AWS-RunShellScript"},
            "check: is missing; check_document alone says nothing to run",
        ),
        ({"check": "true", "check_document": "a b"}, "check_document: is 'a b'; it must be like "),
        (
            {"allowed_sources": "team=web"},
            "allowed_sources: must be a list of mappings of a key to its values",
        ),
        (
            {"allowed_sources": [{"team": "web"}]},
            "allowed_sources: must be a list of mappings of a key to its values",
        ),
        (
            {"mode": "drill", "time_to_live": "8h"},
            "time_to_live: has no meaning for a drill, which is removed once checked",
        ),
        (
            {"mode": "in_place", "time_to_live": "keep"},
            "time_to_live: keep has no meaning in place: what was restored stays; it "
            "says how long the volumes that it replaced are kept",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_to_write_instead(asked, problem):
    (told,) = problems(**asked)

    assert told.startswith(problem)


ONLY = {
    "type": ("m7g.large", "clone and drill"),
    "subnet": ("subnet-0123456789abcdef0", "clone and drill"),
    "security_groups": ("web", "clone and drill"),
    "instance_profile": ("", "clone and drill"),
    "key_name": ("", "clone and drill"),
    "private_ip": ("10.0.0.12", "clone and drill"),
    "image": ("ami-0123456789abcdef0", "clone and drill"),
    "user_data": ("drop", "clone and drill"),
    "count": ("2", "clone"),
    "start": ("false", "clone"),
    "name": ("web-2", "clone and drill and volumes"),
    "tags": ("a=b", "clone and drill and volumes"),
    "zone": ("eu-west-1a", "clone and drill and volumes"),
    "region": ("eu-west-1", "clone and drill and volumes"),
    "instance": ("i-0123456789abcdef0", "volumes"),
    "volumes": ("/dev/sdf", "volumes and in_place"),
    "stop": ("true", "in_place"),
    "check": ("true", "clone and drill and in_place"),
}


@pytest.mark.parametrize("key", ONLY)
@pytest.mark.parametrize("mode", list(Mode))
def test_a_key_that_would_be_passed_over_in_silence_is_a_mistake(key, mode):
    value, modes = ONLY[key]

    if mode.value in modes.split(" and "):
        assert read(mode=mode.value, **{key: value})
    else:
        assert problems(mode=mode.value, **{key: value}) == [
            f"{key}: has no meaning for mode {mode.value}; only for {modes}"
        ]


def test_all_mistakes_are_told_at_once_each_in_a_line():
    assert problems_of({"mode": "clon", "count": "x", "tgas": "a=b", "name": "a\x00"}) == [
        "tgas: is not known; did you mean 'tags'?",
        "source: is missing; give an instance id, a volume id or a Name",
        "mode: is 'clon'; it may be clone, volumes, in_place, drill",
        "name: has control characters",
        "count: is 'x'; it may be a whole number from 1 to 20",
    ]


def test_of_many_keys_that_are_not_known_ten_are_named():
    told = problems(**{f"key{number:02}": "1" for number in range(30)})

    assert len(told) == 11
    assert told[-1] == "and: 20 more keys that are not known"


@pytest.mark.parametrize(
    ("event", "kind"),
    [(["web-1"], "a list"), ("web-1", "a text"), (3, "a number"), (None, "null")],
)
def test_what_is_no_object_is_refused_with_an_example(event, kind):
    assert problems_of(event) == [
        f'the request must be a JSON object, such as {{"source": "web-1"}}; it is {kind}'
    ]
    assert not asking.wants_text(event)


# -- other verbs ------------------------------------------------------------------------------


def test_a_verb_has_its_own_keys():
    extended = asking.read(
        {"action": "Extend", "restore": RESTORE, "time_to_live": "8h", "by": "anna"}, "req-1"
    )
    declined = asking.read(
        {"action": "decline", "restore": RESTORE, "reason": "not now", "by": "bert"}, "req-1"
    )
    pointed = asking.read(
        {"action": "points", "source": "web-1", "allowed_sources": [{"team": ["a", "b"]}]}, "req-1"
    )

    assert (extended.verb, extended.restore) == ("extend", RESTORE)
    assert extended.time_to_live == timedelta(hours=8)
    assert (declined.reason, declined.asker.by) == ("not now", "bert")
    assert pointed.source == "web-1"
    assert pointed.allowed == ({"team": ("a", "b")},)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"action": "points"}, ["source: is missing; points needs it"]),
        ({"action": "status"}, ["restore or source: is missing; status needs it"]),
        (
            {"action": "status", "restore": RESTORE, "source": "web-1"},
            ["source: is given beside restore; give one of them"],
        ),
        ({"action": "cancel"}, ["restore: is missing; cancel needs it"]),
        (
            {"action": "cancel", "restore": "rs-1"},
            ["restore: is 'rs-1'; it must be like rs-0123456789abcdef0123"],
        ),
        (
            {"action": "cancel", "source": "web-1"},
            [
                "source: is not known; cancel does not take it, but restore, points, status",
                "restore: is missing; cancel needs it",
            ],
        ),
        (
            {"action": "extend", "restore": RESTORE},
            ["time_to_live: is missing; say how long it is to stay from now on, as 8h"],
        ),
        (
            {"action": "extend", "restore": RESTORE, "time_to_live": "2w"},
            ["time_to_live: is '2w'; write it as 90m, 8h or 3d"],
        ),
        (
            {"action": "keep", "restore": RESTORE, "time_to_live": "8h"},
            ["time_to_live: is not known; keep does not take it, but restore, extend"],
        ),
    ],
)
def test_a_verb_says_what_it_needs(asked, told):
    assert problems_of(asked) == told


@pytest.mark.parametrize(
    ("answer", "wanted"), [("text", True), (" TEXT ", True), ("json", False), (["text"], False)]
)
def test_an_answer_is_a_text_however_that_is_written(answer, wanted):
    assert asking.wants_text({"answer": answer}) is wanted


# -- anything at all --------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)
"""Halves of pairs too, which JSON can have."""
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KNOWN = (*asking.OF_RESTORES, *asking.OF_ALL, "restore")
LIKELY = st.sampled_from(
    [*asking.VERBS, *(one.value for one in Mode), RESTORE, "web-1", "8h", "keep", "true", "2", ""]
)


@given(st.dictionaries(st.sampled_from(KNOWN) | TEXTS, LIKELY | ANYTHING, max_size=8) | ANYTHING)
def test_whatever_is_asked_is_read_or_refused_line_by_line(event):
    try:
        asked = asking.read(event, "req-1")
    except MalformedMessage as error:
        lines = str(error).split("\n")
        assert all(": " in line or line.startswith("the request") for line in lines)
        str(error).encode()
    else:
        assert (asked.restoring is not None) == (asked.verb == "restore")
        repr(asked).encode()


PLAIN = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)


@given(
    count=st.integers(1, 20),
    start=st.booleans(),
    groups=st.lists(PLAIN, min_size=1, max_size=4),
    tags=st.dictionaries(PLAIN.filter(lambda key: key != "Name"), PLAIN, max_size=4),
)
def test_numbers_lists_and_mappings_say_the_same_as_texts(count, start, groups, tags):
    typed = read(count=count, start=start, security_groups=groups, tags=tags)
    text = read(
        count=str(count),
        start=str(start),
        security_groups=",".join(groups),
        tags=",".join(f"{key}={value}" for key, value in tags.items()),
    )

    assert typed == text
