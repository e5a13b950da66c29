"""What Lastgood needs in each further Region: EBS's events there, sent on to where it lives."""

from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import grants
from infra.catalog import all_ebs_events, ebs_pattern
from infra.grants import Places


class ForwarderStack(Stack):
    """Without a dead-letter queue in every Region: EventBridge tries for a day, and a point whose
    event was lost all the same is settled by the sweep."""

    def __init__(self, scope: Construct, construct_id: str, *, home: str, **kwargs: Any) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"Lastgood: forwards EBS's events to {home}.",
            **kwargs,
        )
        bus = f"arn:{self.partition}:events:{home}:{self.account}:event-bus/default"
        places = Places(partition=self.partition, account=self.account, region=self.region, bus=bus)
        role = iam.Role(
            self,
            "Role",
            description=f"Lastgood: sends EBS's events to {home}",
            assumed_by=iam.ServicePrincipal("events.amazonaws.com"),
            inline_policies={"Granted": grants.document([grants.FORWARD_EVENTS], places)},
        )
        events.CfnRule(
            self,
            "Rule",
            name="lastgood-forwarder",
            description=f"EBS's events, for Lastgood in {home}",
            event_pattern=ebs_pattern(all_ebs_events()),
            targets=[events.CfnRule.TargetProperty(id="Home", arn=bus, role_arn=role.role_arn)],
        )
