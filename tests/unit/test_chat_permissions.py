"""Who may do what in chat: the file, its mistakes, and the one question."""

from pathlib import Path

import pytest

from infra.chat import ChatInvalid, chat_document, load_chat
from lastgood import codec
from lastgood.domain.chat_permissions import Permissions, Verb, may, touches

FILE = """
slack:
  team: T0123456789
groups:
  oncall: [U01AAAAAAA, U01BBBBBBB]
allow:
  - who: {groups: [oncall], users: [U01CCCCCCC], channels: [C01OPS]}
    verbs: [list, explain, status, clone, extend, cancel, approve]
    sources: {team: [web, shop]}
  - who: {users: [U01CCCCCCC]}
    verbs: [list]
  - who: {channels: [C01ALL]}
    verbs: [status]
  - who: {groups: [oncall]}
    verbs: [restore]
    sources: {team: [web]}
  - who: {groups: [oncall], channels: [C01OPS]}
    verbs: [restore]
    sources: {tier: ["1"], team: [db]}
"""


@pytest.fixture
def permissions(tmp_path: Path) -> Permissions:
    return load(tmp_path, FILE)


def load(tmp_path, text):
    path = tmp_path / "chat.yaml"
    path.write_text(text)
    return load_chat(path)


@pytest.mark.parametrize(
    ("person", "channel", "verb"),
    [
        ("U01AAAAAAA", "C01OPS", Verb.CLONE),
        ("U01CCCCCCC", "C01OPS", Verb.CLONE),
        ("U01CCCCCCC", "D0123", Verb.LIST),
        ("U01AAAAAAA", "C01OPS", Verb.DECLINE),
        ("U09STRANGE", "C01ALL", Verb.STATUS),
        ("U09STRANGE", "C09ELSE", Verb.HELP),
    ],
)
def test_what_is_written_is_allowed(permissions, person, channel, verb):
    assert may(permissions, person=person, channel=channel, verb=verb).allowed


@pytest.mark.parametrize(
    ("person", "channel", "verb"),
    [
        ("U09STRANGE", "C01OPS", Verb.LIST),
        ("U01AAAAAAA", "C09ELSE", Verb.CLONE),
        ("U01AAAAAAA", "C01OPS", Verb.REMOVE),
        ("U01AAAAAAA", "C01OPS", Verb.KEEP),
        ("u01aaaaaaa", "C01OPS", Verb.CLONE),
        ("oncall", "C01OPS", Verb.CLONE),
        ("", "C01OPS", Verb.CLONE),
        ("U01CCCCCCC", "C09ELSE", Verb.DECLINE),
    ],
)
def test_what_is_not_written_is_not_allowed_and_the_verdict_says_so(
    permissions, person, channel, verb
):
    verdict = may(permissions, person=person, channel=channel, verb=verb)

    assert not verdict.allowed
    assert verdict.why.startswith(f"nothing in chat.yaml lets you {verb}")


def test_rules_that_fit_are_added_up_and_one_without_sources_means_every_source(permissions):
    def sources(person, channel, verb):
        return may(permissions, person=person, channel=channel, verb=verb).sources

    web, db = {"team": ("web",)}, {"tier": ("1",), "team": ("db",)}
    assert sources("U01AAAAAAA", "C09ELSE", Verb.RESTORE) == (web,)
    assert sources("U01AAAAAAA", "C01OPS", Verb.RESTORE) == (web, db)
    assert sources("U01AAAAAAA", "C01OPS", Verb.LIST) == ({"team": ("web", "shop")},)
    assert sources("U01CCCCCCC", "C01OPS", Verb.LIST) is None


@pytest.mark.parametrize(
    ("tags", "touched"),
    [
        ({"team": "web"}, True),
        ({"team": "db", "tier": "1", "Name": "db-1"}, True),
        ({"team": "db"}, False),
        ({"team": "db", "tier": "2"}, False),
        ({"team": "web "}, False),
        ({"Team": "web"}, False),
        ({}, False),
    ],
)
def test_a_source_needs_all_the_tags_of_one_rule(tags, touched):
    sources = ({"team": ("web",)}, {"tier": ("1",), "team": ("db",)})

    assert touches(sources, tags) is touched
    assert touches(None, tags)
    assert not touches((), tags)


def test_the_parameter_is_read_back_as_it_was(permissions):
    import json

    text = chat_document(permissions)

    assert codec.structure(json.loads(text), Permissions) == permissions


def test_every_mistake_is_told_at_once_with_its_path(tmp_path):
    with pytest.raises(ChatInvalid) as invalid:
        load(
            tmp_path,
            """
slack: {team: example}
groups:
  oncall: [anna, U01AAAAAAA, U01AAAAAAA]
  nobody: []
allow:
  - who: {}
    verbs: []
  - who: {groups: [oncal], users: ["@anna"], channels: ["#ops"]}
    verbs: [clone, clone, decline]
    sources: {}
  - who: {groups: [oncall]}
    verbs: [list]
    sources: {team: [], tier: ["*"]}
""",
        )

    assert invalid.value.problems == [
        "chat.yaml: slack.team: is the text 'example', but must be the id of a workspace, "
        "such as T01ABCDE",
        "chat.yaml: groups.oncall[0]: is the text 'anna', but must be the id of a person in "
        "Slack, such as U01AAAAAAA",
        "chat.yaml: groups.oncall[2]: is 'U01AAAAAAA', which is in the list already",
        "chat.yaml: groups.nobody: is an empty list, but must name at least one person",
        "chat.yaml: allow[0].who: names nobody, so it means everybody: name users, groups or "
        "channels",
        "chat.yaml: allow[0].verbs: is an empty list, but must name at least one verb",
        "chat.yaml: allow[1].who.groups[0]: is 'oncal', which is not one of groups; did you mean "
        "'oncall'?",
        "chat.yaml: allow[1].who.users[0]: is the text '@anna', but must be the id of a person "
        "in Slack, such as U01AAAAAAA",
        "chat.yaml: allow[1].who.channels[0]: is the text '#ops', but must be the id of a channel "
        "in Slack, such as C01OPS0000 (a name is not enough)",
        "chat.yaml: allow[1].verbs[1]: is 'clone', which is in the list already",
        "chat.yaml: allow[1].verbs[2]: comes with approve: write that",
        "chat.yaml: allow[1].sources: is an empty mapping, so it selects everything; it must name "
        "at least one tag",
        "chat.yaml: allow[2].sources.team: is an empty list, but must name at least one value",
        "chat.yaml: allow[2].sources.tier[0]: is the text '*', but values are compared exactly: * "
        "and ? are not allowed",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty, but must have the key 'slack'"),
        ("allow: [", "line 1: is not YAML"),
        ("- a", "is a list, but must be a mapping"),
        ("slack: {team: T012}\nallow: []", "allow: is an empty list, so nobody may ask"),
        ("slack: {team: T012}", "allow: is missing"),
        (
            "slack: {team: T012}\nallow: [{who: {users: [U012]}, verbs: [clnoe]}]",
            "allow[0].verbs[0]: is the text 'clnoe', but must be one of",
        ),
        (
            "slack: {team: T012}\nallow: [{who: {user: [U012]}, verbs: [list]}]",
            "allow[0].who.user: unknown key 'user'; did you mean 'users'?",
        ),
        (
            "slack: {team: T012}\nallow: [{who: {users: [U012]}, verbs: [list], verbs: [keep]}]",
            "line 2: has the key 'verbs' again",
        ),
        (
            "slack: {team: T012}\ngroups: {a: ["
            + ", ".join(f"U{n:010}" for n in range(700))
            + "]}\nallow: [{who: {groups: [a]}, verbs: [list]}]",
            "chat.yaml: takes 9",
        ),
    ],
)
def test_a_file_that_cannot_be_deployed_is_refused(tmp_path, text, problem):
    with pytest.raises(ChatInvalid) as invalid:
        load(tmp_path, text)

    assert problem in str(invalid.value)
