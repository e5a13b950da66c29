"""A fresh in-process cloud for each test."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cloud.in_process import InProcessCloud, in_process_cloud

START = datetime(2025, 3, 1, 3, 0, tzinfo=UTC)
REGION = "eu-west-1"


@pytest.fixture
def cloud() -> Iterator[InProcessCloud]:
    with in_process_cloud(START) as running:
        yield running


@pytest.fixture
def ec2(cloud: InProcessCloud) -> Any:
    return cloud.client("ec2", REGION)
