"""All that a deployment may replace: functions, queues, schedules, policies, the bus, alarms."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import grants
from infra.catalog import (
    BY_NAME,
    CHAT,
    CLONER,
    COPIER,
    DELETER,
    PLANNER,
    PRUNER,
    RESTORING,
    TAKER,
    PolicySchedules,
    Row,
    Timed,
    deployed_rows,
)
from infra.chat import chat_document
from infra.constructs import chat
from infra.constructs import policies as deployed
from infra.constructs.alarms import Alarms, watches
from infra.constructs.bus import AnnouncementBus
from infra.constructs.core_layer import CoreLayer
from infra.constructs.dashboard import Dashboard
from infra.constructs.function import CatalogFunction
from infra.constructs.inbox import Inbox
from infra.constructs.notices import NoticesTopic
from infra.constructs.policies import DeployedPolicies
from infra.constructs.restore_machine import machine_arn
from infra.constructs.restoring import Restoring
from infra.constructs.schedules import Schedules
from infra.duties import others, roles_of, with_duties
from infra.grants import Places
from infra.stacks.state import StateStack, plans_bucket
from lastgood.domain.chat_permissions import Permissions
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy, copy_places, encrypting_places, source_places
from lastgood.settings import Settings


class LastgoodStack(Stack):
    """Names are fixed, since people type them: one deployment for an account and Region.

    ``permissions``: who may ask by chat; without them there is no chat.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        policies: Mapping[str, Policy],
        state: StateStack,
        external_id: str,
        email: str | None = None,
        clone_roles: tuple[str, ...] = ("*",),
        permissions: Permissions | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Lastgood: takes recovery points of EC2 fleets by policy, and restores.",
            **kwargs,
        )
        self._state = state
        self._home = Place(region=self.region, account=self.account)
        # As a foreign key, whose policy CDK leaves alone: it would name what is in this stack,
        # which depends on the key's.
        self._key = kms.Key.from_key_arn(self, "Key", state.key.key_arn)
        self._layer = CoreLayer(self, "Layer")
        self._bus = AnnouncementBus(self, "Bus").bus
        here = Places(partition=self.partition, account=self.account, region=self.region)
        topic = NoticesTopic(self, "Notices", key=self._key, places=here, email=email).topic
        self._rows = deployed_rows(chat=permissions is not None)
        # Before the functions, since one of them sends to the queue of another.
        inboxes = {
            row.name: Inbox(self, f"{row.construct_id}Inbox", row=row, key=self._key, places=here)
            for row in self._rows
            if row.buries
        }
        queues = {name: _queue_of(inboxes[name], name) for name in (TAKER, DELETER, COPIER)}
        places = replace(self._places(policies, queues, topic), clone_roles=clone_roles)
        if permissions is not None:
            places = self._with_chat(places, permissions)
        abroad = {one.account for one in others(policies.values(), self._home)}
        settings = replace(
            self._settings(queues, topic),
            accounts=self._accounts(
                {
                    *copy_places(policies.values(), self._home),
                    *encrypting_places(policies.values(), self._home),
                }
            ),
            members=self._accounts(source_places(policies.values(), self._home)),
            external_id=external_id if abroad else "",
        )
        restoring = Restoring(
            self,
            "Restoring",
            layers=self._layer.versions,
            key=self._key,
            places=places,
            settings=settings,
        )
        functions = {
            row.name: self._function(
                row,
                inboxes.get(row.name),
                replace(
                    places,
                    roles=roles_of(row, policies.values(), self._home, self.partition),
                ),
                settings,
            )
            for row in self._rows
            if row.name not in RESTORING
        } | restoring.functions
        if permissions is not None:
            chat.ChatUrl(self, "ChatUrl", function=functions[CHAT].function)
        DeployedPolicies(self, "Policies", policies.values())
        if abroad:
            self._hear(sorted(abroad))
        schedules = Schedules(self, "Schedules", places=places)
        own = self._schedule(schedules, policies, functions, inboxes)
        alarms = Alarms(
            self,
            "Alarms",
            topic=topic,
            watches=watches(self._rows, inboxes, policies, restoring),
            after=own,
        ).all
        Dashboard(self, "Dashboard", alarms=alarms, rows=self._rows)
        for row in self._rows:
            self._tell(f"{row.construct_id}Function", functions[row.name].function.function_name)
        for name, inbox in inboxes.items():
            self._tell(f"{BY_NAME[name].construct_id}DeadLetters", inbox.dead_letters.queue_url)
        self._tell("TakeQueue", queues[TAKER].queue_url)
        self._tell("AnnouncementBus", self._bus.event_bus_name)
        self._tell("ScheduleGroup", schedules.group.ref)
        self._tell("NoticesTopic", topic.topic_arn)
        self._tell("RestoreMachine", restoring.machine.state_machine_arn)

    def _with_chat(self, places: Places, permissions: Permissions) -> Places:
        settings = chat.ChatSettings(
            self, "ChatSettings", permissions=chat_document(permissions), key=self._key
        )
        parameter = f"arn:{self.partition}:ssm:{self.region}:{self.account}:parameter"
        return replace(
            places, chat=f"{parameter}{chat.PARAMETER}", secret=settings.secret.secret_arn
        )

    def _schedule(
        self,
        schedules: Schedules,
        policies: Mapping[str, Policy],
        functions: Mapping[str, CatalogFunction],
        inboxes: Mapping[str, Inbox],
    ) -> list[scheduler.CfnSchedule]:
        """All schedules; those of our own are returned."""
        own: list[scheduler.CfnSchedule] = []
        for name, inbox in inboxes.items():
            row, function, dead_letters = (
                BY_NAME[name],
                functions[name].function,
                inbox.dead_letters,
            )
            if isinstance(row.trigger, PolicySchedules):
                schedules.of_policies(
                    policies.values(),
                    trigger=row.trigger,
                    planner=function,
                    dead_letters=dead_letters,
                )
            if isinstance(row.trigger, Timed):
                own += schedules.of_row(
                    row, row.trigger, function=function, dead_letters=dead_letters
                )
        return own

    def _places(
        self,
        policies: Mapping[str, Policy],
        queues: Mapping[str, sqs.Queue],
        topic: sns.Topic,
    ) -> Places:
        here = Places(
            partition=self.partition,
            account=self.account,
            region=self.region,
            key=self._key.key_arn,
            table=self._state.table.attr_arn,
            bus=self._bus.event_bus_arn,
            policies=deployed.PATH,
            take_queue=queues[TAKER].queue_arn,
            prune_queue=queues[DELETER].queue_arn,
            copy_queue=queues[COPIER].queue_arn,
            planner=self._by_name(PLANNER),
            pruner=self._by_name(PRUNER),
            cloner=self._by_name(CLONER),
            machine=machine_arn(self),
            plans=f"arn:{self.partition}:s3:::{plans_bucket(self)}",
            topic=topic.topic_arn,
        )
        places = with_duties(here, policies.values(), self._home)
        # Never empty: a condition on no Region at all would be none that IAM knows.
        return replace(
            places,
            regions=places.regions or (self.region,),
            destinations=places.destinations or (self.region,),
        )

    def _accounts(self, places: Iterable[Place]) -> str:
        """With this one."""
        return ",".join(sorted({self.account, *(one.account for one in places)}))

    def _hear(self, accounts: Sequence[str]) -> None:
        """Let their forwarders put EBS's events on the bus that our rules listen to."""
        bus = f"arn:{self.partition}:events:{self.region}:{self.account}:event-bus/default"
        places = Places(partition=self.partition, account=self.account, region=self.region, bus=bus)
        (statement,) = grants.FORWARDED_EVENTS.statements(places)
        for account in accounts:
            statement.add_aws_account_principal(account)
        # Its id is that of the policy: with another, CloudFormation could not remove it.
        document = {key: one for key, one in statement.to_statement_json().items() if key != "Sid"}
        events.CfnEventBusPolicy(
            self,
            "Hear",
            event_bus_name="default",
            statement_id="lastgood",
            statement=document,
        )

    def _by_name(self, function: str) -> str:
        """Not by reference: a role of the function itself names it."""
        name = BY_NAME[function].physical_name
        return f"arn:{self.partition}:lambda:{self.region}:{self.account}:function:{name}"

    def _settings(self, queues: Mapping[str, sqs.Queue], topic: sns.Topic) -> Settings:
        """What functions may be told; their own rows say what of it, and the rest."""
        return Settings(
            account=self.account,
            region=self.region,
            table=self._state.table.ref,
            bus=self._bus.event_bus_name,
            policies=deployed.PATH,
            timeout="",
            take_queue=queues[TAKER].queue_url,
            prune_queue=queues[DELETER].queue_url,
            copy_queue=queues[COPIER].queue_url,
            planner=BY_NAME[PLANNER].physical_name,
            pruner=BY_NAME[PRUNER].physical_name,
            cloner=BY_NAME[CLONER].physical_name,
            machine=machine_arn(self),
            chat=chat.PARAMETER,
            secret=chat.SECRET,
            plans=plans_bucket(self),
            topic=topic.topic_arn,
        )

    def _function(
        self, row: Row, inbox: Inbox | None, places: Places, settings: Settings
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


def _queue_of(inbox: Inbox, name: str) -> sqs.Queue:
    if inbox.queue is None:
        raise ValueError(f"the catalog gives {name} no queue")
    return inbox.queue
