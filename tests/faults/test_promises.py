"""Whatever dies, gets lost or is refused: afterwards the promises hold."""

from concurrent.futures import Future
from functools import cache

import pytest

from tests.faults.cases import Case, every_case


@cache
def cases() -> list[Case]:
    return list(every_case())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("case", cases(), ids=lambda case: case.id)


def test_the_promises_hold(case: Case, judged: dict[str, Future[list[str]]]) -> None:
    broken = judged[case.id].result()

    assert not broken, "\n".join(broken)
