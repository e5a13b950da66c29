"""What Lastgood costs and how fast it is: ``python -m tests.bench [calls|pace|...]``.

``calls``: EC2 calls and what is left undone, beside other tools, on the same cloud.
``pace``: how long 10,000 instances take, against the bound that EC2 sets.
``prune``: how long 10,000 deletions take, against theirs.
``copies``: how long 2,000 copies of mixed length take, beside a design that polls.
``judge``: how many points a second are judged, beside another tool's check and a plain sort.
``restores``: what a restore adds to what EC2 takes, and how fast chat and clone_instance answer.
``cold``: the cold start of each function. Without a word: all.
"""

import argparse
import sys

from tests.bench import calls, cold, copies, judging, pace, prune, restores

PARTS = {
    "calls": calls,
    "pace": pace,
    "prune": prune,
    "copies": copies,
    "judge": judging,
    "restores": restores,
    "cold": cold,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part")
    for name, module in PARTS.items():
        part = parts.add_parser(
            name,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(part)
    given = parser.parse_args()
    chosen = [given.part] if given.part else list(PARTS)
    # Each part with its own defaults, if all are run.
    return max(
        PARTS[name].run(given if given.part else parser.parse_args([name])) for name in chosen
    )


if __name__ == "__main__":
    sys.exit(main())
