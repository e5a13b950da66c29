"""The pages have no gaps: nothing left to fill in, and no link to what is not there."""

import re
from pathlib import Path

import pytest

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
