"""How points and runs are named: by what they are for, so that a second attempt finds the first."""

from datetime import UTC, datetime
from hashlib import sha256

DIGITS = 20
"""Hexadecimal digits kept of a hash. 80 bits: a billion points collide once in two million."""


def instant(moment: datetime) -> str:
    """ISO 8601 in UTC to the second, which sorts as text: ``2026-03-01T02:00:00Z``.

    Raises:
        ValueError: ``moment`` has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def point_id(policy: str, slot: datetime, source: str) -> str:
    """The one point of a policy, slot and source. It is also the operation id of its snapshots."""
    return f"pt-{_digest(policy, instant(slot), source)}"


def run_id(policy: str, slot: datetime, source: str | None = None) -> str:
    """The one run of a policy for a slot, or of one source of it."""
    return f"run-{_digest(policy, instant(slot), source or '')}"


def copy_id(point: str, region: str, account: str) -> str:
    """The one copy of a point in a place."""
    return f"cp-{_digest(point, region, account)}"


def plan_id(policy: str, slot: datetime) -> str:
    """The one plan of what to prune of a policy for a slot."""
    return f"plan-{_digest(policy, instant(slot))}"


RESTORE_PATTERN = r"rs-[0-9a-f]{20}"


def restore_id(request: str) -> str:
    """The one restore of a request, by the name that who asked gave it."""
    return f"rs-{_digest(request)}"


def chat_request_id(team: str, trigger: str) -> str:
    """The one request of one act of a person in chat, however often it is delivered."""
    return f"chat-{_digest(team, trigger)}"


def role_abroad(function: str, region: str) -> str:
    """The role in another account under which a function does its work in a Region of it."""
    return f"{function}-abroad-{region}"


def shard(name: str, shards: int) -> int:
    """A stable number below ``shards``, to spread what belongs together over partitions."""
    return int(_digest(name), 16) % shards


def _digest(*parts: str) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]
