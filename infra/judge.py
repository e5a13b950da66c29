"""What would a policy do to the snapshots I have? ``python -m infra.judge``, or ``make judge``.

It needs no AWS: it reads points, or the output of ``aws ec2 describe-snapshots``, and judges them
as a prune does.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    # Under pytest and in app.py this is done before.
    sys.path.insert(0, str(ROOT / "functions/core/python"))

from infra import given as points  # noqa: E402
from infra.policies import WAITS_FOR_COPIES, load_policy  # noqa: E402
from lastgood import codec  # noqa: E402
from lastgood.domain.names import instant  # noqa: E402
from lastgood.domain.policy import Retention  # noqa: E402
from lastgood.domain.retention import Verdict, judge, newest_first  # noqa: E402
from lastgood.errors import LastgoodError  # noqa: E402

USAGE = """\
make -s judge POINTS=FILE|- POLICY=NAME|RETENTION=JSON [NOW=INSTANT] [FORMAT=table|json]
   or: python -m infra.judge POINTS (--policy NAME | --retention JSON)
                             [--now INSTANT] [--format table|json] [--policies FILE]"""
HELP = """\
POINTS is a file, or - for standard input: a JSON list of
  {"id": "...", "taken_at": "2026-11-22T03:00:00Z", "tags": {"key": "value"},
   "status": "available", "held": "why"}       tags, status and held may be left out
which are judged as points of one source; or the output of
  aws ec2 describe-snapshots --owner-ids self
which is judged volume by volume. Snapshots that Lastgood made are judged by
source and policy, those of a set together.

It judges, and knows nothing of AMIs, locks and the archive tier, which may be in
the way of a delete as well.
"""

Judged = Mapping[str, Sequence[tuple[Verdict, tuple[str, ...]]]]
"""By what they are of: each verdict, and the ids that it is about."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        usage=USAGE,
        description=__doc__,
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("points", metavar="POINTS", help="a file, or - for standard input")
    rules = parser.add_mutually_exclusive_group(required=True)
    rules.add_argument("--policy", help="the name of a policy in --policies")
    rules.add_argument("--retention", help='such as {"keep_daily": 7, "timezone": "UTC"}')
    parser.add_argument("--policies", type=Path, default=ROOT / "policies.yaml")
    parser.add_argument("--now", help="an ISO 8601 instant with its zone; default: the present")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    given = parser.parse_args(arguments)
    if not given.points:
        parser.error("POINTS is empty: name a file, or - for standard input")
    try:
        retention = _retention(given)
        now = points.moment(given.now, "NOW") if given.now else datetime.now(UTC)
        judged = {
            name: _judged(group, retention, now)
            for name, group in points.read(given.points).items()
        }
    except (LastgoodError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print(_json(judged) if given.format == "json" else _table(judged), end="")
    return 0


def _retention(given: argparse.Namespace) -> Retention:
    if given.retention is not None:
        return codec.structure(points.parsed(given.retention, "RETENTION"), Retention)
    policy = load_policy(given.policies, given.policy)
    if policy.copies:
        print(WAITS_FOR_COPIES, file=sys.stderr)
    return policy.retention


def _judged(
    group: Sequence[points.Given], retention: Retention, now: datetime
) -> list[tuple[Verdict, tuple[str, ...]]]:
    ids = {one.point.id: one.ids for one in group}
    return [(one, ids[one.point.id]) for one in judge((one.point for one in group), retention, now)]


def _json(judged: Judged) -> str:
    found = {one.point.id: (one, ids) for group in judged.values() for one, ids in group}
    plain = [
        {"id": id_, "keep": found[point.id][0].keep, "reasons": list(found[point.id][0].reasons)}
        for point in newest_first(one.point for one, _ in found.values())
        for id_ in found[point.id][1]
    ]
    return json.dumps(plain, indent=1) + "\n"


def _table(judged: Judged) -> str:
    lines = []
    for name, verdicts in judged.items():
        width = max((len(id_) for _, ids in verdicts for id_ in ids), default=0)
        lines += [name] if name else []
        lines += [
            f"{id_:<{width}}  {instant(one.point.taken_at)}  "
            f"{'keep  ' if one.keep else 'DELETE'}  {'; '.join(one.reasons)}"
            for one, ids in verdicts
            for id_ in ids
        ]
        kept = sum(one.keep for one, _ in verdicts)
        lines += [f"{len(verdicts)} points: {kept} kept, {len(verdicts) - kept} deleted", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
