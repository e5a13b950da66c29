"""What would a policy do to the snapshots I have? ``python -m infra.judge``, or ``make judge``.

It needs no AWS: it reads points, or the output of ``aws ec2 describe-snapshots``, and judges them
as a prune does.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    # Under pytest and in app.py this is done before.
    sys.path.insert(0, str(ROOT / "functions/core/python"))

from infra.policies import load_policy  # noqa: E402
from lastgood import codec  # noqa: E402
from lastgood.domain.mending import OF_A_COPY  # noqa: E402
from lastgood.domain.model import PointStatus  # noqa: E402
from lastgood.domain.names import instant  # noqa: E402
from lastgood.domain.policy import Retention  # noqa: E402
from lastgood.domain.retention import PointFacts, Verdict, judge, newest_first  # noqa: E402
from lastgood.domain.tags import SOURCE  # noqa: E402
from lastgood.errors import LastgoodError, MalformedMessage  # noqa: E402

STATES = {
    "completed": PointStatus.AVAILABLE,
    "pending": PointStatus.PENDING,
    "error": PointStatus.FAILED,
    # In the Recycle Bin, or on its way back from it.
    "recoverable": PointStatus.DELETED,
    "recovering": PointStatus.PENDING,
}

HELP = """\
POINTS is a file, or - for standard input: a JSON list of
  {"id": "...", "taken_at": "2026-11-22T03:00:00Z", "tags": {"key": "value"},
   "status": "available", "held": "why"}       tags, status and held may be left out
which are judged as points of one source; or the output of
  aws ec2 describe-snapshots --owner-ids self
which is judged volume by volume.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPoint:
    """A point as people write it. ``held``: true, or why."""

    id: str
    taken_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    status: PointStatus = PointStatus.AVAILABLE
    held: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.judge",
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
        now = codec.structure(given.now, datetime) if given.now else datetime.now(UTC)
        groups = _groups(_read(given.points))
        judged = {name: judge(points, retention, now) for name, points in groups.items()}
    except (LastgoodError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print(_json(judged) if given.format == "json" else _table(judged), end="")
    return 0


def _retention(given: argparse.Namespace) -> Retention:
    if given.retention is not None:
        return codec.structure(_parsed(given.retention, "RETENTION"), Retention)
    return load_policy(given.policies, given.policy).retention


def _read(place: str) -> Any:
    text = sys.stdin.read() if place == "-" else Path(place).read_text(encoding="utf-8")
    return _parsed(text, "POINTS")


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise MalformedMessage(f"{name} is not JSON: {error}") from error


def _groups(given: Any) -> dict[str, list[PointFacts]]:
    """Points by what they are of; one group without a name for a plain list."""
    if isinstance(given, Mapping) and "Snapshots" in given:
        snapshots = given["Snapshots"]
        if not isinstance(snapshots, list):
            raise MalformedMessage("POINTS.Snapshots must be a list")
        groups: dict[str, list[PointFacts]] = {}
        for number, one in enumerate(snapshots):
            name, point = _snapshot(number, one)
            groups.setdefault(name, []).append(point)
    elif isinstance(given, list):
        groups = {"": [_point(number, one) for number, one in enumerate(given)]}
    else:
        raise MalformedMessage(
            "POINTS must be a list of points, or what aws ec2 describe-snapshots prints"
        )
    _check_ids(one.id for points in groups.values() for one in points)
    return groups


def _check_ids(ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise MalformedMessage(f"POINTS has the id {one!r} twice")
        seen.add(one)


def _point(number: int, given: Any) -> PointFacts:
    if isinstance(given, Mapping) and isinstance(given.get("held"), bool):
        given = {**given, "held": "held" if given["held"] else None}
    found, problems = codec.structure_or_problems(given, GivenPoint)
    if problems:
        raise MalformedMessage(
            "\n".join(
                f"{codec.show_path(('POINTS', number, *path))} {text}" for path, text in problems
            )
        )
    return PointFacts(
        id=found.id,
        taken_at=found.taken_at,
        status=found.status,
        tags=found.tags,
        protections=(found.held,) if found.held else (),
    )


def _snapshot(number: int, given: Any) -> tuple[str, PointFacts]:
    """What it is a snapshot of, and the point that it is."""
    try:
        tags = {tag["Key"]: tag["Value"] for tag in given.get("Tags") or []}
        state, volume = STATES[given["State"]], str(given["VolumeId"])
        taken_at = codec.structure(given["StartTime"], datetime)
        id_ = str(given["SnapshotId"])
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedMessage(
            f"POINTS.Snapshots[{number}] is not as DescribeSnapshots has it: {error!r}"
        ) from error
    of = tags.get(SOURCE, volume) if volume.startswith(OF_A_COPY) else volume
    return of, PointFacts(id=id_, taken_at=taken_at, status=state, tags=tags)


def _json(judged: Mapping[str, Sequence[Verdict]]) -> str:
    verdicts = {one.point.id: one for group in judged.values() for one in group}
    ordered = newest_first(one.point for one in verdicts.values())
    plain = [
        {"id": one.id, "keep": verdicts[one.id].keep, "reasons": list(verdicts[one.id].reasons)}
        for one in ordered
    ]
    return json.dumps(plain, indent=1) + "\n"


def _table(judged: Mapping[str, Sequence[Verdict]]) -> str:
    lines = []
    for name, verdicts in judged.items():
        width = max((len(one.point.id) for one in verdicts), default=0)
        lines += [name] if name else []
        lines += [
            f"{one.point.id:<{width}}  {instant(one.point.taken_at)}  "
            f"{'keep  ' if one.keep else 'DELETE'}  {'; '.join(one.reasons)}"
            for one in verdicts
        ]
        kept = sum(one.keep for one in verdicts)
        lines += [f"{len(verdicts)} points: {kept} kept, {len(verdicts) - kept} deleted", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
