"""Whatever fails: a restore ends as it was asked for, or nothing is left of it."""

from concurrent.futures import Future
from functools import cache

import pytest

from tests.faults.restore_cases import RestoreCase, every_restore_case


@cache
def cases() -> list[RestoreCase]:
    return list(every_restore_case())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("case", cases(), ids=lambda case: case.id)


def test_a_restore_is_as_asked_or_leaves_nothing(
    case: RestoreCase, judged_restores: dict[str, Future[dict[str, list[str]]]]
) -> None:
    broken = judged_restores[case.id].result()[case.id]

    assert not broken, "\n".join(broken)
