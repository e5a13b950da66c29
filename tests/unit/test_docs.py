"""The pages have no gaps, no link to what is not there, and tables as the code has them."""

import re
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from clone_instance.telling import Answer
from lastgood.domain import asking
from lastgood.domain.policy import Mode
from lastgood.errors import MalformedMessage
from tests import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_gap_and_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text()

    gaps = re.findall(r"@@[A-Z]+@@|TODO|TBD", text)
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    broken = [link for link in links if not (page.parent / link).exists()]

    assert not gaps
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_test_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", page.read_text())

    missing = [path for path in named if not (ROOT / path).exists()]
    # The page on adding a Lambda speaks of files that its reader makes.
    assert [path for path in missing if "log_copies" not in path] == []


RESTORES = ROOT / "docs" / "restore.md"
GIVEN: dict[str, Any] = {
    "source": "web-1",
    "mode": "clone",
    "point": "latest",
    "region": "eu-north-1",
    "zone": "eu-west-1b",
    "subnet": "subnet-0123456789abcdef0",
    "type": "m7g.large",
    "security_groups": "sg-0123456789abcdef0",
    "private_ip": "10.0.0.12",
    "image": "ami-0123456789abcdef0",
    "tags": "a=b",
    "user_data": "drop",
    "time_to_live": "8h",
    "start": "false",
    "count": "2",
    "instance": "i-0123456789abcdef0",
    "stop": "true",
    "check_document": "AWS-RunShellScript",
    "dry_run": "true",
}
"""A value that says something, of the keys that take not just any text."""
NEEDS = {"device": {"instance": GIVEN["instance"]}, "check_document": {"check": "true"}}


def rows_after(page: Path, header: str) -> list[list[str]]:
    """The cells of the first table that begins with this header."""
    lines = page.read_text().partition(header)[2].splitlines()[2:]
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def keys_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def is_meant_for(key: str, mode: Mode) -> bool:
    request = {"source": "web-1"} | NEEDS.get(key, {}) | {key: GIVEN.get(key, "some")}
    try:
        asking.read(request | {"mode": mode.value}, "request-1")
    except MalformedMessage as error:
        return "has no meaning" not in str(error)
    return True


def test_the_page_on_restores_has_the_keys_of_a_request_and_the_modes_that_take_each() -> None:
    table = {
        key: [mode for mode in Mode if modes == "all" or mode.value in modes.split(", ")]
        for cell, modes, *_ in rows_after(RESTORES, "| key | for |")
        for key in keys_in(cell)
    }

    assert table == {
        key: [mode for mode in Mode if is_meant_for(key, mode)] for key in asking.OF_RESTORES
    }


def test_the_page_on_restores_has_what_can_be_asked_and_with_which_keys() -> None:
    beside = [key for cell, *_ in rows_after(RESTORES, "| key | means |") for key in keys_in(cell)]
    verbs = {
        keys_in(verb)[0]: tuple(keys_in(keys)) or asking.OF_RESTORES
        for verb, keys, *_ in rows_after(RESTORES, "| `action` | keys |")
    }

    assert beside == list(asking.OF_ALL)
    assert verbs == asking.VERBS


def test_the_page_on_restores_names_the_parts_of_an_answer() -> None:
    named = [key for cell, *_ in rows_after(RESTORES, "| key | is |") for key in keys_in(cell)]

    assert sorted(named) == sorted(one.name for one in fields(Answer))
