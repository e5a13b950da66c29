"""What people write after /lastgood, and what becomes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.chat_permissions import Verb
from lastgood.domain.slash import FORMS, HELP, Command, NotUnderstood, of_button, read

RESTORE = "rs-0123456789abcdef0123"


def clone(**given):
    return {"source": "web-1", "mode": "clone", **given}


UNDERSTOOD = {
    "": (Verb.HELP, {}),
    "  HELP ": (Verb.HELP, {}),
    "list web-1": (Verb.LIST, {"action": "points", "source": "web-1"}),
    'list "web 1"': (Verb.LIST, {"action": "points", "source": "web 1"}),
    "list \u201cweb 1\u201d": (Verb.LIST, {"action": "points", "source": "web 1"}),
    "list b&amp;b": (Verb.LIST, {"action": "points", "source": "b&b"}),
    "list &lt;!channel&gt;": (Verb.LIST, {"action": "points", "source": "<!channel>"}),
    "list b\u00fccher-1": (Verb.LIST, {"action": "points", "source": "b\u00fccher-1"}),
    "explain pt-1a06e54b74a29cab5d06": (Verb.EXPLAIN, {"explain": "pt-1a06e54b74a29cab5d06"}),
    "status web-1": (Verb.STATUS, {"action": "status", "source": "web-1"}),
    f"status {RESTORE}": (Verb.STATUS, {"action": "status", "restore": RESTORE}),
    "clone web-1": (Verb.CLONE, clone()),
    "clone web-1 as web-1b": (Verb.CLONE, clone(name="web-1b")),
    'Clone web-1 AS "web-1, again"': (Verb.CLONE, clone(name="web-1, again")),
    "clone web-1 at latest": (Verb.CLONE, clone(point="latest")),
    "clone web-1 at pt-1a06e54b74a29cab5d06": (
        Verb.CLONE,
        clone(point="pt-1a06e54b74a29cab5d06"),
    ),
    "clone web-1 at 2026-11-20": (Verb.CLONE, clone(point="2026-11-20")),
    "clone web-1 at 2026-11-20 for 8h": (
        Verb.CLONE,
        clone(point="2026-11-20", time_to_live="8h"),
    ),
    "clone web-1 at 2026-11-20 09:00": (Verb.CLONE, clone(point="before 2026-11-20T09:00:00Z")),
    'clone web-1 at "2026-11-20 09:00"': (
        Verb.CLONE,
        clone(point="before 2026-11-20T09:00:00Z"),
    ),
    "clone web-1 at 2026-11-20T09:00+01:00": (
        Verb.CLONE,
        clone(point="before 2026-11-20T08:00:00Z"),
    ),
    "clone web-1 type t3.large subnet subnet-0123456789abcdef0 in eu-west-1 for 3d": (
        Verb.CLONE,
        clone(
            type="t3.large",
            subnet="subnet-0123456789abcdef0",
            region="eu-west-1",
            time_to_live="3d",
        ),
    ),
    "clone web-1 groups sg-0123456789abcdef0,sg-0123456789abcdef1 key app": (
        Verb.CLONE,
        clone(security_groups="sg-0123456789abcdef0,sg-0123456789abcdef1", key_name="app"),
    ),
    "clone web-1 key none": (Verb.CLONE, clone(key_name="")),
    'clone web-1 key "none"': (Verb.CLONE, clone(key_name="none")),
    'restore web-1 at 2026-11-20 volumes /dev/sdf,/dev/sdg stop because "bad deploy"': (
        Verb.RESTORE,
        {
            "source": "web-1",
            "mode": "in_place",
            "point": "2026-11-20",
            "volumes": "/dev/sdf,/dev/sdg",
            "stop": "true",
            "reason": "bad deploy",
        },
    ),
    f"extend {RESTORE} for 8h": (
        Verb.EXTEND,
        {"action": "extend", "restore": RESTORE, "time_to_live": "8h"},
    ),
    f"extend {RESTORE} 90m": (
        Verb.EXTEND,
        {"action": "extend", "restore": RESTORE, "time_to_live": "90m"},
    ),
    **{
        f"{verb} {RESTORE}": (verb, {"action": verb.value, "restore": RESTORE})
        for verb in (Verb.KEEP, Verb.CANCEL, Verb.REMOVE, Verb.APPROVE, Verb.DECLINE)
    },
}

NOT_UNDERSTOOD = {
    "clnoe web-1": "'clnoe' is nothing that I can do.\nWrite: /lastgood clone SOURCE",
    "xyzzy": "'xyzzy' is nothing that I can do.\nWrite: /lastgood help",
    "list": "a source is missing.\nWrite: /lastgood list SOURCE",
    "list web-1 web-2": "'web-2' is too much",
    'list ""': "a name has 1 to 256 characters",
    "list " + "x" * 257: "a name has 1 to 256 characters",
    'list "web 1': "a quote stands alone",
    'list web"1': "a quote stands alone, or inside of a word",
    "list web-1\nclone web-1": "a line break",
    "list web\x00-1": "a character that cannot be seen",
    "list web\u202e-1": "a character that cannot be seen",
    "list <@U01AAAAAAA>": "mentions, channels and links are not read here",
    "list <!here>": "mentions, channels and links are not read here",
    "list <https://evil.example|web-1>": "mentions, channels and links are not read here",
    "list " + "x " * 600: "longer than 1000 characters",
    "explain web-1": "'web-1' is no point (pt-...) and no snapshot",
    "clone": "a source is missing",
    "clone web-1 as": "a name after 'as' is missing",
    "clone web-1 as a as b": "'as' is there twice",
    'clone web-1 "as" b': "'as' is no option of clone",
    "clone web-1 att 2026-11-20": "'att' is no option of clone; did you mean 'at'?",
    "clone web-1 at yesterday": "'yesterday' is no time that I know: write 2026-11-20",
    "clone web-1 at 2026-02-31": "there is no day '2026-02-31'",
    "clone web-1 at 2026-11-20 25:00": "there is no time '2026-11-20T25:00'",
    "clone web-1 at 0001-01-01T00:00+23:59": "there is no time",
    "clone web-1 at 2026-11-20T09:00+99:00": "there is no time",
    "clone web-1 at \u0662\u0660\u0662\u0666-11-20": "is no time that I know",
    "clone web-1 for ever": "'ever' is no length of time: write 90m, 8h or 3d",
    "clone web-1 for 0h": "'0h' is no length of time",
    "clone web-1 for -8h": "'-8h' is no length of time",
    "clone web-1 for 99999999999999d": "is no length of time",
    "clone web-1 in eu-west-1a": "'eu-west-1a' is not a Region",
    "clone web-1 subnet sub-1": "'sub-1' is not a subnet",
    "clone web-1 groups web": "'web' is not security groups with commas",
    "clone web-1 key": "a key pair, or none, is missing",
    'clone web-1 key ""': "a key pair's name has 1 to 256 characters",
    "clone web-1 key none key app": "'key' is there twice",
    "clone web-1 type large": "'large' is not a type",
    "clone web-1 stop": "'stop' is no option of clone",
    "restore web-1 as b": "'as' is no option of restore",
    "restore web-1 volumes /dev/sdf;rm": "is not devices with commas",
    'clone {"source":"web-1"}': "a quote stands alone, or inside of a word",
    "approve": "a restore (rs-...) is missing",
    "approve rs-1": "'rs-1' is no restore",
    f"approve {RESTORE} web-1": "'web-1' is too much",
    f"extend {RESTORE}": "a length of time, such as 8h, is missing",
}


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_what_has_a_form_is_understood(text):
    verb, payload = UNDERSTOOD[text]

    command = read(text)

    assert isinstance(command, Command), command
    assert (command.verb, command.payload) == (verb, payload)


@pytest.mark.parametrize("text", NOT_UNDERSTOOD)
def test_what_has_none_is_answered_with_what_was_unclear_and_the_nearest_form(text):
    answer = read(text)

    assert isinstance(answer, NotUnderstood), answer
    assert NOT_UNDERSTOOD[text] in answer.text
    assert "\nWrite: /lastgood " in answer.text


def test_every_verb_has_a_form_and_is_in_the_help():
    assert list(FORMS) == list(Verb)
    assert all(form in HELP for form in FORMS.values())


def test_a_button_says_what_a_person_could_have_written():
    assert of_button("extend", RESTORE, "8h") == read(f"extend {RESTORE} for 8h")
    assert of_button("remove", RESTORE, "8h") == read(f"remove {RESTORE}")


@given(st.text(max_size=300))
def test_whatever_is_written_is_answered_and_no_value_has_more_than_one_line(text):
    for one in (text, f"clone {text}", f"clone web-1 {text}", f"restore web-1 at {text}"):
        answer = read(one)

        assert isinstance(answer, Command | NotUnderstood)
        if isinstance(answer, Command):
            assert all(len(value.splitlines()) <= 1 for value in answer.payload.values())
