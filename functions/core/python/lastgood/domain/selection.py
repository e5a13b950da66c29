"""Which sources a policy takes, how, and why the others are left out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lastgood.domain.manifest import Instance, Tags, Volume
from lastgood.domain.model import LeftOut, Method, Source
from lastgood.domain.policy import Select
from lastgood.domain.tags import RESTORED_FROM, TEMPORARY

MOST_EXCLUDED = 40
"""Data volumes that one CreateSnapshots call can leave out (EC2 API, InstanceSpecification)."""

USABLE = ("available", "in-use")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A source that is taken. ``volumes`` are taken; ``excluded`` are data volumes that are not.

    ``shared`` maps a Multi-Attach volume to the instance whose set has it, so that a volume
    attached to several selected instances is snapshotted once.
    """

    source: Source
    method: Method
    volumes: tuple[Volume, ...]
    instance: Instance | None = None
    excluded: tuple[str, ...] = ()
    exclude_boot: bool = False
    shared: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def judge_instance(
    select: Select,
    source: Source,
    instance: Instance,
    volumes: Mapping[str, Volume],
    owners: Mapping[str, str],
) -> Selected | LeftOut:
    """Take the instance, or say why not.

    ``volumes`` holds the attached volumes by id; one that is missing went away meanwhile.
    ``owners`` maps each shared volume to the instance that takes it (see ``owners_of_shared``).
    """
    if reason := refusal(select, instance):
        kind = "gone" if instance.gone else _kind(select, instance.tags)
        return LeftOut(source=source, reason=reason, kind=kind)
    attached = [volumes[id_] for id_ in instance.volumes.values() if id_ in volumes]
    if not attached:
        return LeftOut(source=source, reason="it has no EBS volume", kind="no-volume")
    shared = {
        volume.id: owners[volume.id]
        for volume in attached
        if owners.get(volume.id, instance.id) != instance.id
    }
    unwanted = {
        volume.id: reason
        for volume in attached
        if (reason := _unwanted(select, instance, volume, shared))
    }
    taken = tuple(volume for volume in attached if volume.id not in unwanted)
    if not taken:
        why = "; ".join(f"{id_} {reason}" for id_, reason in sorted(unwanted.items()))
        reason = f"every volume is excluded: {why}"
        return LeftOut(source=source, reason=reason, kind="excluded")
    excluded = tuple(sorted(id_ for id_ in unwanted if id_ != instance.root_volume))
    method, method_notes = _method(instance, excluded)
    return Selected(
        source=source,
        method=method,
        instance=instance,
        volumes=taken,
        excluded=excluded,
        exclude_boot=instance.root_volume in unwanted,
        shared=shared,
        notes=(
            *method_notes,
            *(f"{id_} left out: it {text}" for id_, text in sorted(unwanted.items())),
        ),
    )


def judge_volume(select: Select, source: Source, volume: Volume) -> Selected | LeftOut:
    """Take the lone volume, or say why not."""
    if reason := refused_tags(select, volume.tags) or temporary(volume.tags):
        return LeftOut(source=source, reason=reason, kind=_kind(select, volume.tags))
    if volume.state not in USABLE:
        return LeftOut(source=source, reason=f"it is {volume.state}", kind="state")
    return Selected(source=source, method=Method.VOLUME, volumes=(volume,))


def refusal(select: Select, instance: Instance) -> str | None:
    """Why the policy does not take this instance at all; None if it does."""
    if instance.gone:
        return f"it is {instance.state}"
    return refused_tags(select, instance.tags) or temporary(instance.tags)


def refused_tags(select: Select, tags: Tags) -> str | None:
    """Why these tags do not match: every key must, with any of its values; None if they do."""
    for key, wanted in select.tags.items():
        if tags.get(key) not in wanted:
            has = f"is {tags[key]!r}" if key in tags else "is not there"
            return f"its tag {key} {has}; the policy wants {_any(wanted)}"
    return _excluded(select.exclude_tags, tags)


def temporary(tags: Tags) -> str | None:
    """Why nothing with these tags is taken that a restore will remove; None if none will."""
    if TEMPORARY not in tags:
        return None
    of = f"a clone of {tags[RESTORED_FROM]}" if RESTORED_FROM in tags else "what was restored over"
    return f"it is {of}, which restore {tags[TEMPORARY]} will remove: keep it to have it protected"


def others_to_ask(instances: Iterable[Instance], volumes: Iterable[Volume]) -> set[str]:
    """Instances not among ``instances`` that share one of ``volumes``."""
    known = {instance.id for instance in instances}
    return {
        attachment.instance
        for volume in volumes
        if volume.multi_attach
        for attachment in volume.attachments
    } - known


def owners_of_shared(
    select: Select, instances: Mapping[str, Instance], volumes: Iterable[Volume]
) -> dict[str, str]:
    """The instance that takes each Multi-Attach volume: the first by id that the policy takes.

    By id and not by order of arrival, so that a second planning of the same slot agrees.
    DLM takes such a volume once for every instance it is attached to.
    """
    owners = {}
    for volume in volumes:
        candidates = sorted(
            attachment.instance
            for attachment in volume.attachments
            if attachment.instance in instances
            and refusal(select, instances[attachment.instance]) is None
        )
        if volume.multi_attach and candidates:
            owners[volume.id] = candidates[0]
    return owners


def _kind(select: Select, tags: Tags) -> str:
    return "tags" if refused_tags(select, tags) else "temporary"


def _unwanted(
    select: Select, instance: Instance, volume: Volume, shared: Mapping[str, str]
) -> str | None:
    if volume.id in shared:
        return f"is shared, and taken with {shared[volume.id]}"
    if select.exclude_boot_volume and volume.id == instance.root_volume:
        return "is the boot volume, which the policy excludes"
    return _excluded(select.exclude_volume_tags, volume.tags, "has tag")


def _excluded(
    exclude: Mapping[str, tuple[str, ...]], tags: Tags, verb: str = "it has tag"
) -> str | None:
    for key, unwanted in exclude.items():
        if tags.get(key) in unwanted:
            return f"{verb} {key}={tags[key]}, which the policy excludes"
    return None


def _method(instance: Instance, excluded: tuple[str, ...]) -> tuple[Method, tuple[str, ...]]:
    """CreateSnapshots, unless EC2 would refuse it (EC2 API, CreateSnapshots)."""
    if instance.hibernation:
        return Method.ONE_BY_ONE, (
            "taken volume by volume, not as one instant: hibernation is enabled, "
            "and EC2 takes no set of such an instance",
        )
    if len(excluded) > MOST_EXCLUDED:
        return Method.ONE_BY_ONE, (
            f"taken volume by volume, not as one instant: {len(excluded)} volumes are left out, "
            f"and EC2 can leave out {MOST_EXCLUDED} of a set",
        )
    return Method.SET, ()


def _any(values: tuple[str, ...]) -> str:
    return " or ".join(repr(value) for value in values)
