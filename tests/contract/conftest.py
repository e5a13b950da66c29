"""A fresh in-process cloud for each test."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.cloud.in_process import InProcessCloud, in_process_cloud

START = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


@pytest.fixture
def cloud() -> Iterator[InProcessCloud]:
    with in_process_cloud(START) as running:
        yield running
