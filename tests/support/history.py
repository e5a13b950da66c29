"""Points of earlier days, as earlier runs would have left them: in the ledger and in EC2."""

from datetime import datetime
from typing import Any

from lastgood.domain import copying, tags
from lastgood.domain.copying import MemberEnded, PointCopy
from lastgood.domain.model import Member, MemberState, Method, Point, PointStatus, Source
from lastgood.domain.names import point_id, run_id
from lastgood.domain.policy import Copy
from lastgood.ports import Ledger
from tests.cloud.driver import ACCOUNT
from tests.support.builders import tags_of
from tests.support.fleet import tagged, volume, volumes_of


def past_point(
    ec2: Any,
    ledger: Ledger,
    instance: str,
    slot: datetime,
    policy: str = "web-daily",
    account: str = ACCOUNT,
) -> Point:
    """An available point of all volumes of the instance, whose snapshots are made now."""
    volumes = volumes_of(ec2, instance)
    id_, run = point_id(policy, slot, instance), run_id(policy, slot)
    of_point = tags.of_point(
        point=id_,
        policy=policy,
        run=run,
        slot=slot,
        source=instance,
        method=Method.SET.value,
        members=len(volumes),
    )
    made = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": instance},
        TagSpecifications=[tagged("snapshot", of_point)],
    )["Snapshots"]
    point = Point(
        id=id_,
        policy=policy,
        run=run,
        slot=slot,
        source=Source(id=instance, region=ec2.meta.region_name, account=account),
        method=Method.SET,
        status=PointStatus.AVAILABLE,
        claimed_at=slot,
        settled_at=slot,
        members=tuple(
            Member(
                snapshot=one["SnapshotId"],
                volume=one["VolumeId"],
                size_gib=one["VolumeSize"],
                encrypted=one["Encrypted"],
                started_at=slot,
                state=MemberState.COMPLETED,
            )
            for one in made
        ),
    )
    ledger.rebuild(point)
    return point


def past_copy(ec2: Any, ledger: Ledger, point: Point, wanted: Copy) -> PointCopy:
    """Its available copy where ``ec2`` is, of snapshots that are made there now."""
    copy = ended = copying.queued(point, wanted, point.slot)
    for number, one in enumerate(copy.members):
        of_copy = tags.of_copy(
            tags_of(point),
            operation=copy.operation(number),
            copy_of=one.of,
            volume=one.volume,
            region=point.source.region,
            account=point.source.account,
        )
        made = ec2.create_snapshot(
            VolumeId=volume(ec2, f"{ec2.meta.region_name}a", {"Name": "copied"}, Size=one.size_gib),
            TagSpecifications=[tagged("snapshot", of_copy)],
        )
        news = MemberEnded(snapshot=made["SnapshotId"], state=MemberState.COMPLETED)
        ended = copying.ended(ended, number, news, point.slot)
    ledger.open_copy(copy)
    return ledger.change_copy(copy, ended) or ended
