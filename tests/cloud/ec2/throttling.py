"""Request throttling: a bucket of tokens for each API of each account and Region.

Source: EC2 Developer Guide, "Request throttling for the Amazon EC2 API": the buckets' sizes and
refills, their scope, and RequestLimitExceeded (503). There the resource-intensive actions have the
figures of all other mutating ones. Left out are the resource buckets (1,000 instances, refilled at
2 a second for RunInstances): one that launches one instance at a call is refused by the request
bucket first.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Rate:
    """How many tokens a bucket holds, and how many come back each second."""

    size: int
    per_second: float

    @property
    def interval(self) -> timedelta:
        return SECOND / self.per_second


NON_MUTATING: Final = Rate(100, 20)
BROAD: Final = Rate(50, 10)
MUTATING: Final = Rate(50, 5)
NAMED: Final = {
    **dict.fromkeys(
        (
            "CreateSnapshot",
            "CreateSnapshots",
            "CreateVolume",
            "DeleteSnapshot",
            "DeleteVolume",
            "DeregisterImage",
            "ModifySnapshotAttribute",
            "TerminateInstances",
        ),
        Rate(100, 5),
    ),
    **dict.fromkeys(("CreateTags", "DeleteTags"), Rate(100, 10)),
    **dict.fromkeys(("RunInstances", "StartInstances"), Rate(5, 2)),
    **dict.fromkeys(
        ("EnableSnapshotBlockPublicAccess", "DisableSnapshotBlockPublicAccess"), Rate(1, 0.1)
    ),
    "CopyImage": Rate(100, 1),
}
# Those that have a smaller bucket for calls "without specifying either pagination or a filter",
# and the parameter that names ids: taken for a filter here, on which the guide says nothing.
_IDS: Final = {
    "DescribeInstanceStatus": "InstanceIds",
    "DescribeInstances": "InstanceIds",
    "DescribeNetworkInterfaces": "NetworkInterfaceIds",
    "DescribeSecurityGroups": "GroupIds",
    "DescribeSnapshots": "SnapshotIds",
    "DescribeSpotInstanceRequests": "SpotInstanceRequestIds",
    "DescribeVolumes": "VolumeIds",
}


def is_broad(operation: str, params: dict[str, Any]) -> bool:
    """Whether the call has neither ids, filters nor pages where those make a difference."""
    ids = _IDS.get(operation)
    return ids is not None and not any(params.get(name) for name in (ids, "Filters", "MaxResults"))


def _rate(operation: str, broad: bool) -> Rate:
    if broad:
        return BROAD
    if operation.startswith(("Describe", "List", "Search", "Get")):
        return NON_MUTATING
    return NAMED.get(operation, MUTATING)


@dataclass(frozen=True)
class Api:
    """What has a bucket of its own."""

    account: str
    region: str
    operation: str
    broad: bool = False


@dataclass
class Bucket:
    """Full at first. Time is kept, not a sum of fractions, so that exact pacing is exact.

    ``lowest``: the fewest tokens there ever were. ``refused``: how many requests found none.
    """

    rate: Rate
    full_at: datetime
    lowest: float = field(init=False)
    taken: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self.lowest = self.rate.size

    def tokens(self, now: datetime) -> float:
        missing = max(timedelta(0), self.full_at - now) / self.rate.interval
        return self.rate.size - missing

    def take(self, now: datetime) -> bool:
        """Take a token, or none if there is not a whole one."""
        full_at = max(self.full_at, now) + self.rate.interval
        if full_at - now > self.rate.size * self.rate.interval:
            self.refused += 1
            return False
        self.full_at = full_at
        self.taken += 1
        self.lowest = min(self.lowest, self.tokens(now))
        return True


class Buckets(dict[Api, Bucket]):
    """Every bucket that was asked so far."""

    def take(self, api: Api, now: datetime) -> bool:
        if api not in self:
            self[api] = Bucket(_rate(api.operation, api.broad), full_at=now)
        return self[api].take(now)

    def described(self, now: datetime) -> list[dict[str, Any]]:
        """All buckets as plain JSON, with the tokens in each at ``now``."""
        return [
            {
                **vars(api),
                "size": bucket.rate.size,
                "per_second": bucket.rate.per_second,
                "tokens": bucket.tokens(now),
                "lowest": bucket.lowest,
                "taken": bucket.taken,
                "refused": bucket.refused,
            }
            for api, bucket in self.items()
        ]
