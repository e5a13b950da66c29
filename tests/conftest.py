"""Says at the end how many cases of faults ran, in whichever process."""

import gc
from collections import Counter

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("lastgood", deadline=None)
settings.load_profile("lastgood")

FAULT = "fault"
"""The property of a test that is such a case; its value is the kind."""


def pytest_collection_finish() -> None:
    spare_the_imported()


def spare_the_imported() -> None:
    """What is there now stays: to look through it at each collection takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ran = Counter(
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == FAULT
    )
    if ran:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(ran.items()))
        terminalreporter.write_line(f"faults: {ran.total():,} cases: {kinds}")
