"""What travels on the queue: a request to take one point, complete enough to need no describe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lastgood.domain import names
from lastgood.domain.manifest import Instance, Volume
from lastgood.domain.model import Method, Source
from lastgood.domain.selection import Selected


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeRequest:
    """Take the point of one source for one slot.

    ``instance`` and ``volumes`` are the facts of the manifest as planning saw them at
    ``planned_at``. ``bare``
    says that they were left out, being too large for a message: describe the source instead.
    ``elsewhere`` maps a shared volume to the point that has it.
    """

    point: str
    policy: str
    run: str
    slot: datetime
    source: Source
    method: Method
    planned_at: datetime
    volumes: tuple[Volume, ...] = ()
    instance: Instance | None = None
    excluded: tuple[str, ...] = ()
    exclude_boot: bool = False
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    bare: bool = False


def request_for(
    selected: Selected,
    *,
    policy: str,
    tags: Mapping[str, str],
    run: str,
    slot: datetime,
    at: datetime,
) -> TakeRequest:
    return TakeRequest(
        point=names.point_id(policy, slot, selected.source.id),
        policy=policy,
        run=run,
        slot=slot,
        source=selected.source,
        method=selected.method,
        planned_at=at,
        volumes=selected.volumes,
        instance=selected.instance,
        excluded=selected.excluded,
        exclude_boot=selected.exclude_boot,
        elsewhere={
            volume: names.point_id(policy, slot, owner) for volume, owner in selected.shared.items()
        },
        tags=tags,
        notes=(*_lateness(at - slot), *selected.notes),
    )


LATE = timedelta(hours=12)
"""Longer than a schedule is retried: then a point is not what its slot promises, and says so."""


def _lateness(late: timedelta) -> tuple[str, ...]:
    if late < LATE:
        return ()
    hours = late // timedelta(hours=1)
    return (f"asked for {hours} hours after its slot: the data is of that time",)
