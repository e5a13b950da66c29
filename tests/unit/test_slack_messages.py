"""Messages for Slack: nothing that they show is markup, and they fit."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.slack_messages import (
    APPROVE,
    BUTTONS,
    CUT,
    EXTEND,
    MOST_BLOCKS,
    MOST_CHARACTERS,
    REMOVE,
    buttons_for,
    message,
)
from tests.support.slack import actions_of, text_of

RESTORE = "rs-0123456789abcdef0123"
NAMES = {
    "<!channel>": "&lt;!channel&gt;",
    "<!here> <@U01AAAAAAA>": "&lt;!here&gt; &lt;@U01AAAAAAA&gt;",
    "<https://evil.example|web-1>": "&lt;https://evil.example|web-1&gt;",
    "a & b": "a &amp; b",
    "&lt;!channel&gt;": "&amp;lt;!channel&amp;gt;",
    "*_~`web`~_*": "*_~`web`~_*",
    ":tada:": ":tada:",
    "web\u202egnp.1": "web gnp.1",
    "web\u200b-1\x07": "web -1 ",
    "\u00fcb\u20ac\U0001f600": "\u00fcb\u20ac\U0001f600",
    '"}], "blocks": [': '"}], "blocks": [',
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_and_is_no_markup(name):
    shown = message(f"the source {name} is there")

    assert text_of(shown) == f"the source {NAMES[name]} is there"
    assert shown["text"] == text_of(shown)
    assert (shown["mrkdwn"], shown["parse"], shown["link_names"]) == (False, "none", False)
    assert {one["text"]["type"] for one in shown["blocks"]} == {"plain_text"}
    assert not any(one["text"]["emoji"] for one in shown["blocks"])


@given(st.text(max_size=20_000), st.booleans())
def test_whatever_is_to_be_said_fits_into_a_message_and_has_no_control_character_of_slack(
    text, with_buttons
):
    shown = message(text, restore=RESTORE, buttons=(APPROVE,) if with_buttons else ())

    sections = [one["text"]["text"] for one in shown["blocks"] if one["type"] == "section"]
    assert 1 <= len(shown["blocks"]) <= MOST_BLOCKS
    assert all(1 <= len(one) <= MOST_CHARACTERS for one in (*sections, shown["text"]))
    assert not any(one in "".join((*sections, shown["text"])) for one in "<>")
    json.dumps(shown).encode()


@pytest.mark.parametrize("unit", ["x" * 100, "&" * 900, "a line\n" * 200])
def test_a_long_text_is_cut_between_lines_and_characters_and_the_end_says_so(unit):
    shown = message(unit * 2_000, restore=RESTORE, buttons=(APPROVE,))

    assert len(shown["blocks"]) == MOST_BLOCKS
    assert text_of(shown).endswith(CUT)
    assert "&amp;" not in unit or "&a\n" not in text_of(shown)


def test_every_line_is_there_if_they_fit():
    lines = [f"line {number} of many" for number in range(1_000)]

    assert text_of(message("\n".join(lines))).splitlines() == lines


def test_a_message_without_a_text_is_one_that_slack_takes():
    assert text_of(message(" \n ")) == "(nothing to say)"


def test_buttons_bear_the_restore_and_what_cannot_be_undone_asks_first():
    shown = message("It is there.", restore=RESTORE, buttons=buttons_for("done", "clone"))

    assert actions_of(shown) == [("extend", RESTORE), ("remove", RESTORE)]
    extend, remove = shown["blocks"][-1]["elements"]
    assert "confirm" not in extend
    assert remove["confirm"]["confirm"]["text"] == REMOVE.label


@pytest.mark.parametrize(
    ("status", "mode", "actions"),
    [
        ("approving", "in_place", ["approve", "decline"]),
        ("done", "clone", ["extend", "remove"]),
        ("done", "in_place", []),
        ("running", "clone", []),
        ("ended", "clone", []),
        ("refused", "clone", []),
        ("", "", []),
    ],
)
def test_a_button_is_there_when_it_can_do_something(status, mode, actions):
    assert [one.action for one in buttons_for(status, mode)] == actions


def test_a_button_is_found_by_its_action():
    assert BUTTONS["extend"] is EXTEND
    assert all(len(one.label) <= 75 for one in BUTTONS.values())


def test_who_sees_it_and_whether_it_replaces_another_is_said():
    assert message("a")["response_type"] == "ephemeral"
    assert message("a", for_all=True)["response_type"] == "in_channel"
    assert message("a", replace=True)["replace_original"] is True
