"""Values for tests: complete and plain, with what a test is about given by name."""

from datetime import UTC, datetime, timedelta
from typing import Any

from lastgood.domain.manifest import Attachment, Instance, Manifest, Volume
from lastgood.domain.model import Claim, Member, Method, Point, PointStatus, Source
from lastgood.domain.names import point_id, restore_id, run_id
from lastgood.domain.restoring import Asker, InPlace, Restore, RestoreRequest, RestoreStatus, Swap
from lastgood.domain.tags import of_point

T0 = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
POLICY = "web-daily"
SOURCE = Source(id="i-0a", region="eu-west-1", account="123456789012")


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def a_volume(id_: str = "vol-1", **given: Any) -> Volume:
    facts: dict[str, Any] = {
        "type": "gp3",
        "size_gib": 8,
        "state": "in-use",
        "zone": "eu-west-1a",
        "encrypted": True,
    }
    return Volume(id=id_, **facts | given)


def attached_to(*instances: str) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(instance=one, device="/dev/sdf", delete_on_termination=False)
        for one in instances
    )


def an_instance(id_: str = "i-0a", **given: Any) -> Instance:
    facts: dict[str, Any] = {
        "state": "running",
        "type": "m6i.large",
        "image": "ami-1",
        "architecture": "x86_64",
        "launched_at": T0 - timedelta(days=30),
        "zone": "eu-west-1a",
        "root_device": "/dev/sda1",
        "hibernation": False,
        "volumes": {"/dev/sda1": "vol-1", "/dev/sdf": "vol-2"},
        "tags": {"backup": "daily"},
    }
    return Instance(id=id_, **facts | given)


def a_member(snapshot: str = "snap-1", volume: str = "vol-1", **given: Any) -> Member:
    facts: dict[str, Any] = {
        "device": "/dev/sda1",
        "size_gib": 8,
        "encrypted": True,
        "started_at": T0,
    }
    return Member(snapshot=snapshot, volume=volume, **facts | given)


def a_claim(owner: str = "worker-a", at: datetime = T0, **given: Any) -> Claim:
    source = given.pop("source", SOURCE)
    slot = given.pop("slot", T0)
    facts: dict[str, Any] = {
        "id": point_id(POLICY, slot, source.id),
        "policy": POLICY,
        "run": run_id(POLICY, slot),
        "slot": slot,
        "source": source,
        "method": Method.SET,
        "lease": minutes(2),
    }
    return Claim(owner=owner, at=at, **facts | given)


def a_manifest() -> Manifest:
    return Manifest(captured_at=T0, volumes=(a_volume(),), instance=an_instance())


def a_point(**given: Any) -> Point:
    claim = a_claim()
    facts: dict[str, Any] = {
        "id": claim.id,
        "policy": POLICY,
        "run": claim.run,
        "slot": T0,
        "source": SOURCE,
        "method": Method.SET,
        "status": PointStatus.PENDING,
        "claimed_at": T0,
        "members": (a_member(),),
    }
    return Point(**facts | given)


def a_restore(request: str = "first", **given: Any) -> Restore:
    facts: dict[str, Any] = {
        "request": RestoreRequest(source=SOURCE.id, request=request, asker=Asker(by="anna")),
        "source": SOURCE,
        "policy": POLICY,
        "point": a_claim().id,
        "origin": SOURCE.place,
        "place": SOURCE.place,
        "region": SOURCE.region,
        "why": "the latest",
        "status": RestoreStatus.RUNNING,
        "asked_at": T0,
    }
    return Restore(id=restore_id(request), **facts | given)


def in_place(instance: str = SOURCE.id) -> InPlace:
    swap = Swap(device="/dev/sdf", piece="vol-2", old="vol-2", delete_on_termination=False)
    return InPlace(instance=instance, was_running=True, swaps=(swap,))


def tags_of(point: Point, members: int | None = None) -> dict[str, str]:
    """Those that its snapshots bear; ``members``: of how many they tell, if not of all."""
    return of_point(
        point=point.id,
        policy=point.policy,
        run=point.run,
        slot=point.slot,
        source=point.source.id,
        method=point.method.value,
        members=len(point.members) if members is None else members,
    )
