"""The sample events are what the handlers take: each is handed to its function as it stands."""

import json
from contextlib import suppress

import pytest

from infra.catalog import CATALOG, Row
from lastgood.errors import UnknownTarget
from tests import ROOT
from tests.support.world import FED, World


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_a_sample_event_is_of_the_shape_that_its_function_takes(world: World, row: Row) -> None:
    event = json.loads((ROOT / "tests/events" / f"{row.name}.json").read_text())

    # The step of a restore is understood, and then the restore is not found.
    with suppress(UnknownTarget):
        world.invoke(row.name, event)

    letters = [letter for function in FED for letter in world.buried(function)]
    assert "MalformedMessage" not in {letter["error"] for letter in letters}
