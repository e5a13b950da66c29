"""Whether the next copy will be incremental, and what is said of it."""

from dataclasses import replace

import pytest

from lastgood.domain.copying import CopyStatus
from lastgood.domain.lineage import next_copy
from tests.unit.test_copy_snapshots import GOOD, PLACE, a_copy, copying

VOLUMES = {"vol-0": 8, "vol-1": 100}
NEWEST = copying.ended(copying.ended(a_copy(2, members=2), 0, GOOD, None), 1, GOOD, None)
OLDER = replace(a_copy(1, members=2), status=CopyStatus.AVAILABLE)


def test_the_next_copy_is_incremental_to_the_newest_that_is_available():
    found = next_copy(PLACE, None, VOLUMES, [a_copy(3, members=2), NEWEST, OLDER])

    assert (found.incremental, found.gib) == (True, 108)
    assert found.why == "to the newest copy there, of 2026-03-01"
    assert found.place == "eu-central-1 of 123456789012"


@pytest.mark.parametrize(
    ("given", "why", "gib"),
    [
        ({"copies": []}, "no copy of it is there yet", 108),
        ({"copies": [a_copy(3)]}, "no copy of it is there yet", 108),
        (
            {"key": "alias/new"},
            "the newest copy there, of 2026-03-01, is under the Region's own key, and the next "
            "under alias/new",
            108,
        ),
        ({"volumes": {**VOLUMES, "vol-9": 40}}, "vol-9 was not copied there before", 40),
        (
            {"broken": {NEWEST.id: "a snapshot is archived"}},
            "of the newest copy there, of 2026-03-01, a snapshot is archived",
            108,
        ),
    ],
)
def test_it_is_full_and_says_why(given, why, gib):
    facts = {"key": None, "volumes": VOLUMES, "copies": [NEWEST, OLDER], **given}

    found = next_copy(PLACE, **facts)

    assert (found.incremental, found.why, found.gib) == (False, why, gib)
