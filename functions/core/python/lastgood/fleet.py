"""A policy's sources as they are now: asked of EC2 page by page, and judged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lastgood.domain import selection
from lastgood.domain.manifest import Instance, Volume
from lastgood.domain.model import LeftOut, Source
from lastgood.domain.policy import Policy, ResourceKind
from lastgood.domain.selection import Selected
from lastgood.ports import Compute, Page

Judgement = Selected | LeftOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What ``policy`` looks at in one Region of ``account``."""

    policy: Policy
    compute: Compute
    account: str

    def judged(self, start: str | None = None) -> Iterator[Page[Judgement]]:
        """Every source whose tags match, taken or left out; from ``start`` on, the ``next`` of an
        earlier page."""
        select = self.policy.select
        if select.resource is ResourceKind.INSTANCE:
            for some in self.compute.instances(select.tags, start):
                yield Page(self._judge_instances(some.items), some.next)
        else:
            for volumes in self.compute.volumes(select.tags, start):
                yield Page([self._judge_volume(one) for one in volumes.items], volumes.next)

    def judge(self, source: str, *, alone: bool) -> Judgement | None:
        """One source, whatever its tags; None if there is no such.

        ``alone``: no other source is taken with it, so it has its shared volumes to itself.
        """
        if self.policy.select.resource is ResourceKind.INSTANCE:
            instances = list(self.compute.instances_by_id([source]).values())
            return next(iter(self._judge_instances(instances, alone=alone)), None)
        volumes = self.compute.volumes_by_id([source])
        return self._judge_volume(volumes[source]) if source in volumes else None

    def _judge_instances(
        self, instances: Sequence[Instance], *, alone: bool = False
    ) -> list[Judgement]:
        select = self.policy.select
        wanted = [one for one in instances if selection.refusal(select, one) is None]
        volumes = self.compute.volumes_by_id(id_ for one in wanted for id_ in one.volumes.values())
        owners = {} if alone else self._owners(instances, volumes)
        return [
            selection.judge_instance(select, self._source(one.id), one, volumes, owners)
            for one in instances
        ]

    def _judge_volume(self, volume: Volume) -> Judgement:
        return selection.judge_volume(self.policy.select, self._source(volume.id), volume)

    def _owners(
        self, instances: Sequence[Instance], volumes: Mapping[str, Volume]
    ) -> dict[str, str]:
        """Who takes each shared volume; asks only for instances that another page may hold."""
        others = selection.others_to_ask(instances, volumes.values())
        known = {one.id: one for one in instances}
        if others:
            known |= self.compute.instances_by_id(others)
        return selection.owners_of_shared(self.policy.select, known, volumes.values())

    def _source(self, id_: str) -> Source:
        return Source(id=id_, region=self.compute.region, account=self.account)
