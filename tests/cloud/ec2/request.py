"""One EC2 call as its handler sees it, and the check that every parameter in it is modelled."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moto.ec2.exceptions import DryRunClientError

from tests.cloud.ec2.conditions import BroadDescribe, World
from tests.cloud.ec2.errors import NotModelled, no_snapshot, refusal
from tests.cloud.ec2.throttling import is_broad

# What a call may carry: a name leads to None (any value) or to the names allowed below it.
Modelled = Mapping[str, Any]

FILTERS: Modelled = {"Name": None, "Values": None}
TAG_SPECIFICATIONS: Modelled = {"ResourceType": None, "Tags": {"Key": None, "Value": None}}

# Source: EC2 API Reference "Error codes", Invalid...Malformed; ids have 8 or 17 hex digits.
_IDS = {
    "i": ("InvalidInstanceID.Malformed", "Invalid id"),
    "vol": ("InvalidVolumeID.Malformed", "Invalid id"),
    "snap": ("InvalidSnapshotID.Malformed", "Invalid id"),
}


@dataclass(frozen=True)
class Request:
    operation: str
    params: dict[str, Any]
    backend: Any
    response: Any

    def end_dry_run(self) -> None:
        """Stop here if the caller only asks whether he may: all checks are done, nothing is made.

        That the checks come first is what callers report of RunInstances; not seen on an account.
        """
        if self.params.get("DryRun"):
            raise DryRunClientError

    def snapshot(self) -> Any:
        """The account's own snapshot that the call names, seen by describes or not.

        Raises:
            MissingParameter, InvalidSnapshotID.Malformed, InvalidSnapshot.NotFound.
        """
        snapshot_id = self.params.get("SnapshotId")
        check_id("snap", snapshot_id)
        if snapshot_id not in self.backend.snapshots:
            raise no_snapshot(str(snapshot_id))
        return self.backend.snapshots[snapshot_id]

    def note_if_broad(self, world: World) -> None:
        if is_broad(self.operation, self.params):
            world.conditions.broad_describes.append(
                BroadDescribe(self.operation, self.backend.account_id, self.backend.region_name)
            )


Handler = Callable[[World, Request], dict[str, Any]]


@dataclass(frozen=True)
class Operation:
    name: str
    handler: Handler
    modelled: Modelled


def refuse_unmodelled(operation: str, given: Any, modelled: Modelled, path: str = "") -> None:
    """Raises NotModelled for the first name in ``given``, at any depth, that is not modelled."""
    if isinstance(given, list):
        for item in given:
            refuse_unmodelled(operation, item, modelled, path)
        return
    for name, value in given.items():
        if name not in modelled:
            raise NotModelled(operation, f"the parameter {path}{name}")
        if modelled[name] is not None:
            refuse_unmodelled(operation, value, modelled[name], f"{path}{name}.")


def check_id(prefix: str, value: str | None) -> None:
    code, message = _IDS[prefix]
    if not value:
        raise refusal("MissingParameter", f"The request must contain an id '{prefix}-...'")
    if not re.fullmatch(rf"{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", value):
        raise refusal(code, f'{message}: "{value}"')
