"""What Lastgood needs in a further Region that copies go to, for a restore without home."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra import grants
from infra.catalog import BY_NAME, RESTORING
from infra.constructs import policies as deployed
from infra.constructs.alarms import Alarms, watches_of_restores
from infra.constructs.bus import AnnouncementBus
from infra.constructs.core_layer import CoreLayer
from infra.constructs.forwarder import Forwarder
from infra.constructs.key import let_in, retained_key
from infra.constructs.notices import NoticesTopic
from infra.constructs.policies import DeployedPolicies
from infra.constructs.restore_machine import machine_arn
from infra.constructs.restoring import Restoring
from infra.duties import with_duties
from infra.grants import Places
from infra.stacks.state import TABLE
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy
from lastgood.settings import Settings


class DestinationStack(Stack):
    """EBS's events there come home, as a ``ForwarderStack``'s do; its key encrypts the ledger's
    replica, which the state stack makes, and the copies of policies that ask for it.

    Restores are there as they are at home, under the same names, on the replica and with what is
    in that Region: nothing of them reads, calls or names anything at home.

    The key stays when the stack goes: replica and copies could not be read without it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        home: str,
        policies: Mapping[str, Policy],
        email: str | None = None,
        clone_roles: tuple[str, ...] = ("*",),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"Lastgood: restores from what is copied here; events sent to {home}.",
            **kwargs,
        )
        Forwarder(self, "Forwarder", home=home)
        made = retained_key(
            self, "Key", description="Lastgood: the ledger's replica, copies, and restores"
        )
        let_in(made, (grants.ALARMS_USE_KEY, grants.logs_use_key(self.region)))
        # As at home: CDK is not to add to its policy.
        key = kms.Key.from_key_arn(self, "OurKey", made.key_arn)
        bus = AnnouncementBus(self, "Bus").bus
        here = Places(partition=self.partition, account=self.account, region=self.region)
        topic = NoticesTopic(self, "Notices", key=key, places=here, email=email).topic
        places = with_duties(
            replace(
                here,
                key=made.key_arn,
                table=f"arn:{self.partition}:dynamodb:{self.region}:{self.account}:table/{TABLE}",
                bus=bus.event_bus_arn,
                policies=deployed.PATH,
                topic=topic.topic_arn,
                machine=machine_arn(self),
                clone_roles=clone_roles,
            ),
            policies.values(),
            Place(region=home, account=self.account),
            only_here=True,
        )
        restoring = Restoring(
            self,
            "Restoring",
            layers=CoreLayer(self, "Layer").versions,
            key=key,
            places=places,
            settings=Settings(
                account=self.account,
                region=self.region,
                table=TABLE,
                bus=bus.event_bus_name,
                policies=deployed.PATH,
                timeout="",
                machine=machine_arn(self),
                home=home,
            ),
        )
        DeployedPolicies(self, "Policies", policies.values())
        Alarms(self, "Alarms", topic=topic, watches=watches_of_restores(restoring))
        for name in RESTORING:
            output = f"{BY_NAME[name].construct_id}Function"
            CfnOutput(
                self,
                f"{output}Output",
                value=restoring.functions[name].function.function_name,
            ).override_logical_id(output)
