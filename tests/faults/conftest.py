"""Runs the cases on every core."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.conftest import FAULT, spare_the_imported
from tests.faults.cases import Case
from tests.faults.restore_cases import RestoreCase


def _judge(case: Case | RestoreCase) -> list[str]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        return case.broken()


@pytest.fixture(scope="session")
def judged(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[list[str]]]]:
    """By id, the promises that each case breaks. All cases that were asked for are under way."""
    params = (getattr(item, "callspec", None) for item in request.session.items)
    given = [one.params.get("case") for one in params if one]
    cases = [one for one in given if isinstance(one, Case | RestoreCase)]
    # Not forked: the threads of other tests would be copied half.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn, spare_the_imported) as pool:
        yield {case.id: pool.submit(_judge, case) for case in cases}
        pool.shutdown(cancel_futures=True)


@pytest.fixture(autouse=True)
def _counted(case: Case | RestoreCase, record_property: Callable[[str, object], None]) -> None:
    record_property(FAULT, case.kind)
