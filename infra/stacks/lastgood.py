"""All that a deployment may replace: functions, queues, schedules, policies and the bus."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.catalog import CATALOG, TAKER, PolicySchedules, Row
from infra.constructs import policies as deployed
from infra.constructs.bus import AnnouncementBus
from infra.constructs.core_layer import CoreLayer
from infra.constructs.function import CatalogFunction
from infra.constructs.inbox import Inbox
from infra.constructs.policies import DeployedPolicies
from infra.constructs.schedules import PolicySchedulesGroup
from infra.grants import Places
from infra.stacks.state import StateStack
from lastgood.domain.policy import Policy
from lastgood.settings import Settings


class LastgoodStack(Stack):
    """Names are fixed, since people type them: one deployment for an account and Region."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        policies: Mapping[str, Policy],
        state: StateStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Lastgood: takes recovery points of EC2 fleets by policy.",
            **kwargs,
        )
        self._state = state
        # As a foreign key, whose policy CDK leaves alone: it would name what is in this stack,
        # which depends on the key's.
        self._key = kms.Key.from_key_arn(self, "Key", state.key.key_arn)
        self._layer = CoreLayer(self, "Layer")
        self._bus = AnnouncementBus(self, "Bus").bus
        inboxes = self._inboxes()
        take_queue = inboxes[TAKER].queue
        if take_queue is None:
            raise ValueError(f"the catalog gives {TAKER} no queue")
        places = self._places(policies, take_queue)
        settings = self._settings(take_queue)
        functions = {
            row.name: self._function(row, inboxes[row.name], places, settings) for row in CATALOG
        }
        DeployedPolicies(self, "Policies", policies.values())
        # Exactly one: schedules start the planner, and nothing else.
        (planner,) = (row.name for row in CATALOG if isinstance(row.trigger, PolicySchedules))
        schedules = PolicySchedulesGroup(
            self,
            "Schedules",
            policies=policies.values(),
            planner=functions[planner].function,
            dead_letters=inboxes[planner].dead_letters,
            places=places,
        )
        for row in CATALOG:
            self._tell(f"{row.construct_id}Function", functions[row.name].function.function_name)
            self._tell(f"{row.construct_id}DeadLetters", inboxes[row.name].dead_letters.queue_url)
        self._tell("TakeQueue", take_queue.queue_url)
        self._tell("AnnouncementBus", self._bus.event_bus_name)
        self._tell("ScheduleGroup", schedules.group.ref)

    def _inboxes(self) -> dict[str, Inbox]:
        """Before the functions, since one of them sends to the queue of another."""
        here = Places(partition=self.partition, account=self.account, region=self.region)
        return {
            row.name: Inbox(self, f"{row.construct_id}Inbox", row=row, key=self._key, places=here)
            for row in CATALOG
        }

    def _places(self, policies: Mapping[str, Policy], take_queue: sqs.Queue) -> Places:
        return Places(
            partition=self.partition,
            account=self.account,
            region=self.region,
            regions=source_regions(policies, self.region),
            key=self._key.key_arn,
            table=self._state.table.table_arn,
            bus=self._bus.event_bus_arn,
            policies=deployed.PATH,
            take_queue=take_queue.queue_arn,
        )

    def _settings(self, take_queue: sqs.Queue) -> Settings:
        """What all functions are told; their own rows say the rest."""
        return Settings(
            account=self.account,
            region=self.region,
            table=self._state.table.table_name,
            bus=self._bus.event_bus_name,
            policies=deployed.PATH,
            timeout="",
            take_queue=take_queue.queue_url,
        )

    def _function(
        self, row: Row, inbox: Inbox, places: Places, settings: Settings
    ) -> CatalogFunction:
        return CatalogFunction(
            self,
            row.construct_id,
            row=row,
            inbox=inbox,
            layers=self._layer.versions,
            key=self._key,
            places=places,
            settings=settings,
        )

    def _tell(self, name: str, value: str) -> None:
        CfnOutput(self, f"{name}Output", value=value).override_logical_id(name)


def source_regions(policies: Mapping[str, Policy], home: str) -> tuple[str, ...]:
    """Every Region in which a policy has sources, each once, in the order of the alphabet."""
    named = {region for policy in policies.values() for region in policy.select.regions or (home,)}
    return tuple(sorted(named))
