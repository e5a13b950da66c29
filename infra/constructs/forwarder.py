"""EBS's events of a further Region, sent on to where Lastgood lives."""

from aws_cdk import Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import grants
from infra.catalog import all_ebs_events, copy_events, ebs_pattern
from infra.grants import Places


class Forwarder(Construct):
    """Without a dead-letter queue in every Region: EventBridge tries for a day, and a point whose
    event was lost all the same is settled by the sweep.

    The rule has a fixed name: in whatever stack of a Region this is, its id has to be the same, so
    that one stack can take the place of another.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        home: str,
        home_account: str | None = None,
        only_copies: bool = False,
    ) -> None:
        """``home_account``: if it is another. ``only_copies``: there are no sources."""
        super().__init__(scope, construct_id)
        stack = Stack.of(self)
        account = home_account or stack.account
        bus = f"arn:{stack.partition}:events:{home}:{account}:event-bus/default"
        places = Places(
            partition=stack.partition, account=stack.account, region=stack.region, bus=bus
        )
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
            event_pattern=ebs_pattern(copy_events() if only_copies else all_ebs_events()),
            targets=[events.CfnRule.TargetProperty(id="Home", arn=bus, role_arn=role.role_arn)],
        )
