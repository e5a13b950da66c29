"""A fresh world for each story."""

from collections.abc import Iterator

import pytest

from tests.support.world import World, a_world


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as running:
        yield running
