"""One simulation by hand: ``python -m tests.simulation --seed 7 --days 730``."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Where pytest finds the bundle's modules (pyproject.toml, pythonpath).
sys.path[:0] = [str(ROOT / "functions"), str(ROOT / "functions/core/python")]

from tests.simulation.world import Simulation  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--days", type=int, default=730)
given = parser.parse_args()
world = Simulation(given.seed, given.days)
try:
    world.run()
finally:
    print(world.summary())
