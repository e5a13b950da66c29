"""How bad a day is."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Shares of 1. ``troubled``: of invocations, that something goes wrong with them.

    ``dropped``, ``doubled``, ``delayed``: of messages and events on their way. ``skipped``: of the
    invocations that Scheduler is to make. ``broken``: of snapshots, that end in error.
    ``lag``: seconds at most until a describe shows what was made; the product reckons with 120.
    """

    name: str
    troubled: float
    dropped: float
    doubled: float
    delayed: float
    skipped: float
    broken: float
    lag: float


CALM = Weather(
    name="calm",
    troubled=0.002,
    dropped=0.001,
    doubled=0.01,
    delayed=0.002,
    skipped=0,
    broken=0.0003,
    lag=5,
)
ROUGH = Weather(
    name="rough",
    troubled=0.03,
    dropped=0.03,
    doubled=0.05,
    delayed=0.03,
    skipped=0.1,
    broken=0.003,
    lag=30,
)
STORM = Weather(
    name="storm",
    troubled=0.2,
    dropped=0.25,
    doubled=0.2,
    delayed=0.1,
    skipped=0.25,
    broken=0.01,
    lag=115,
)
FOG = replace(STORM, name="fog", lag=1500)
"""Describes lag far longer than the product reckons with: then it makes snapshots twice, and has
to find that out."""
