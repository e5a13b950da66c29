"""EventBridge: what Lastgood tells, and what EBS tells it."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lastgood.aws.faults import SOON, translated
from lastgood.codec import unstructure
from lastgood.domain.conversing import REFUSED, Progress
from lastgood.domain.copying import CopyEnded, CopyLate
from lastgood.domain.ended import Ended, SnapshotsEnded
from lastgood.domain.model import MemberState, Point, PointStatus
from lastgood.domain.names import instant
from lastgood.domain.restoring import Restore, RestoreRequest
from lastgood.errors import MalformedMessage, Unavailable

SOURCE = "lastgood"
DETAIL_TYPES = {
    PointStatus.AVAILABLE: "Recovery Point Available",
    PointStatus.FAILED: "Recovery Point Failed",
}
RESTORE_PROGRESS = "Restore Progress"


class EventBus:
    """What ``runtime`` makes a ``Bus`` of: one EventBridge bus."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def announce(self, point: Point) -> None:
        snapshots = [
            f"arn:{self._client.meta.partition}:ec2:{point.source.region}::snapshot/{member.snapshot}"
            for member in point.members
        ]
        self.put(DETAIL_TYPES[point.status], detail(point), snapshots, f"announce {point.id}")

    def put(
        self, detail_type: str, detail: Mapping[str, Any], resources: list[str], what: str
    ) -> None:
        """Send one event. ``what`` begins the message of an error."""
        entry = {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": detail_type,
            "Resources": resources,
            "Detail": json.dumps(detail),
        }
        with translated("events", what):
            reply = self._client.put_events(Entries=[entry])
        if reply["FailedEntryCount"]:
            raise Unavailable(f"{what}: {reply['Entries'][0]['ErrorCode']}", SOON)


class RestoreNews:
    """``News`` on the bus."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def announce(self, restore: Restore, what: str) -> None:
        self._bus.put(RESTORE_PROGRESS, progress(restore, what), [], f"tell how {restore.id} goes")

    def refuse(self, restore: str, request: RestoreRequest, what: str) -> None:
        told = {
            "restore": restore,
            "status": REFUSED,
            "what": what,
            "mode": request.mode.value,
            "name": request.source,
            "by": request.asker.by,
            "via": request.asker.via,
            "step": None,
        }
        self._bus.put(RESTORE_PROGRESS, told, [], f"tell that {restore} is refused")


def progress(restore: Restore, what: str) -> dict[str, Any]:
    """What subscribers are told of a restore. ``name``: by which the
    source was asked for. ``step``: the latest that began; null before the first."""
    request = restore.request
    return {
        "restore": restore.id,
        "status": restore.status.value,
        "what": what,
        "mode": request.mode.value,
        "source": restore.source.id,
        "name": request.source,
        "point": restore.point,
        "place": unstructure(restore.place),
        "by": request.asker.by,
        "via": request.asker.via,
        "step": restore.steps[-1].name if restore.steps else None,
    }


def detail(point: Point) -> dict[str, Any]:
    """All that a subscriber needs to copy, report or restore the point, and to drop a repeat.

    ``point`` and ``status`` together tell a repeat. Times are ISO 8601, UTC. ``seconds`` is from
    the slot to the end. ``cause`` is null unless it failed.
    """
    settled = point.settled_at or point.slot
    return {
        "point": point.id,
        "status": point.status.value,
        "policy": point.policy,
        "run": point.run,
        "slot": instant(point.slot),
        "source": unstructure(point.source) | {"kind": point.source.kind.value},
        "method": point.method.value,
        "members": [unstructure(member) for member in point.members],
        "taken_at": instant(point.taken_at) if point.taken_at else None,
        "settled_at": instant(settled),
        "seconds": int((settled - point.slot).total_seconds()),
        "cause": point.cause,
        "notes": list(point.notes),
    }


def ebs_event(envelope: Mapping[str, Any]) -> SnapshotsEnded:
    """Read "EBS Snapshot Notification" or "EBS Multi-Volume Snapshots Completion Status".

    Source: EBS User Guide, "EventBridge events for Amazon EBS", whose editions differ in the form
    of ARNs: only what follows the slash is read. Keys that AWS adds are passed over.

    Raises:
        MalformedMessage: it is not such an event.
    """
    try:
        detail = envelope["detail"]
        cause = detail.get("cause", "")
        kind = envelope["detail-type"]
        if kind == "EBS Multi-Volume Snapshots Completion Status":
            snapshots = tuple(
                _ended(one["snapshot_id"], one["status"], cause) for one in detail["snapshots"]
            )
        elif kind == "EBS Snapshot Notification":
            snapshots = (_ended(detail["snapshot_id"], detail["result"], cause),)
        else:
            raise MalformedMessage(f"not an event of EBS about snapshots: {kind}")
        if not snapshots:
            raise MalformedMessage("an event of EBS about no snapshot")
        return SnapshotsEnded(
            account=envelope["account"],
            region=envelope["region"],
            at=_time(detail.get("endTime") or envelope["time"]),
            started_at=_time(detail.get("startTime") or envelope["time"]),
            snapshots=snapshots,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MalformedMessage(
            f"not an event of EBS about snapshots: {type(error).__name__} {error}"
        ) from error


def copy_event(envelope: Mapping[str, Any]) -> CopyEnded:
    """Read an "EBS Snapshot Notification" of copySnapshot. Source: as ``ebs_event``.

    Raises:
        MalformedMessage: it is not such an event.
    """
    try:
        detail = envelope["detail"]
        if detail["event"] != "copySnapshot" or "result" not in detail:
            raise MalformedMessage(f"not an event of EBS about a copy: {envelope['detail-type']}")
        incremental = detail.get("incremental")
        return CopyEnded(
            account=envelope["account"],
            region=envelope["region"],
            snapshot=detail["snapshot_id"].rsplit("/", 1)[-1],
            at=_time(detail.get("endTime") or envelope["time"]),
            incremental=None if incremental is None else str(incremental).lower() == "true",
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MalformedMessage(
            f"not an event of EBS about a copy: {type(error).__name__} {error}"
        ) from error


def late_event(envelope: Mapping[str, Any]) -> CopyLate:
    """Read an "EBS Copy Snapshot Missed Completion Duration". Source: as ``ebs_event``.

    Raises:
        MalformedMessage: it is not such an event.
    """
    try:
        return CopyLate(
            account=envelope["account"],
            region=envelope["region"],
            snapshot=envelope["detail"]["snapshot_id"].rsplit("/", 1)[-1],
            at=_time(envelope["time"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MalformedMessage(
            f"not an event of EBS about a late copy: {type(error).__name__} {error}"
        ) from error


def progress_event(envelope: Mapping[str, Any]) -> Progress:
    """Read a "Restore Progress" of ours. Keys that are not needed are passed over.

    Raises:
        MalformedMessage: it is not such an event.
    """
    match envelope:
        case {
            "id": str(id_),
            "time": str(time),
            "detail-type": str(kind),
            "detail": {"restore": str(restore), "status": str(status), "what": str(what)} as detail,
        } if kind == RESTORE_PROGRESS:
            try:
                at = _time(time)
            except ValueError as error:
                raise MalformedMessage(f"not a Restore Progress: {error}") from error
            return Progress(
                id=id_,
                at=at,
                restore=restore,
                status=status,
                what=what,
                mode=str(detail.get("mode") or ""),
                name=str(detail.get("name") or ""),
                step=str(detail.get("step") or ""),
            )
        case _:
            raise MalformedMessage(f"not a Restore Progress: {sorted(envelope)}")


def _ended(arn: str, result: str, cause: str) -> Ended:
    good = result in ("succeeded", "completed")
    return Ended(
        snapshot=arn.rsplit("/", 1)[-1],
        state=MemberState.COMPLETED if good else MemberState.ERROR,
        cause=None if good else cause or "EBS gave no cause",
    )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"a time without a zone: {text}")
    return time
