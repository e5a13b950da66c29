"""A fresh in-process cloud for each test, and one behind HTTP for all that need it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cloud.driver import CloudProcess
from tests.cloud.in_process import InProcessCloud, in_process_cloud
from tests.contract.workbench import Bench

START = datetime(2025, 3, 1, 3, 0, tzinfo=UTC)
REGION = "eu-west-1"


@pytest.fixture
def cloud() -> Iterator[InProcessCloud]:
    with in_process_cloud(START) as running:
        yield running


@pytest.fixture
def ec2(cloud: InProcessCloud) -> Any:
    return cloud.client("ec2", REGION)


@pytest.fixture(scope="session")
def served() -> Iterator[CloudProcess]:
    with CloudProcess(datetime(2026, 3, 1, tzinfo=UTC)) as cloud:
        yield cloud


@pytest.fixture
def bench(served: CloudProcess) -> Bench:
    return Bench(served)
