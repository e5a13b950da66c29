"""Runs the cases on every core."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import redirect_stdout
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import pytest

from tests.conftest import FAULT, spare_the_imported
from tests.faults import restore_cases
from tests.faults.cases import Case
from tests.faults.restore_cases import RestoreCase

T = TypeVar("T")
TOLD_AT_ONCE = 40
"""Cases of one story of a restore that one process tells."""


def _judge(case: Case) -> list[str]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        return case.broken()


def _judge_restores(cases: Sequence[RestoreCase]) -> dict[str, list[str]]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        return restore_cases.judged(cases)


def _asked_for(request: pytest.FixtureRequest, kind: type[T]) -> list[T]:
    params = (getattr(item, "callspec", None) for item in request.session.items)
    given = [one.params.get("case") for one in params if one]
    return [one for one in given if isinstance(one, kind)]


@pytest.fixture(scope="session")
def pool() -> Iterator[ProcessPoolExecutor]:
    # Not forked: the threads of other tests would be copied half.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn, spare_the_imported) as pool:
        yield pool
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def judged(
    request: pytest.FixtureRequest, pool: ProcessPoolExecutor
) -> dict[str, Future[list[str]]]:
    """By id, the promises that each case breaks. All cases that were asked for are under way."""
    return {case.id: pool.submit(_judge, case) for case in _asked_for(request, Case)}


@pytest.fixture(scope="session")
def judged_restores(
    request: pytest.FixtureRequest, pool: ProcessPoolExecutor
) -> dict[str, Future[dict[str, list[str]]]]:
    """As ``judged``: by id, the promises that it and those that are told with it break."""
    found: dict[str, Future[dict[str, list[str]]]] = {}
    for _, of_story in groupby(_asked_for(request, RestoreCase), lambda case: case.story.name):
        cases = list(of_story)
        for start in range(0, len(cases), TOLD_AT_ONCE):
            some = cases[start : start + TOLD_AT_ONCE]
            told = pool.submit(_judge_restores, some)
            found |= {case.id: told for case in some}
    return found


@pytest.fixture(autouse=True)
def _counted(case: Case | RestoreCase, record_property: Callable[[str, object], None]) -> None:
    record_property(FAULT, case.kind)
