"""What outlives deployments: the key, the ledger, and the plans of what to prune."""

from typing import Any

from aws_cdk import Acknowledgment, CfnOutput, Duration, RemovalPolicy, Stack, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra import grants
from infra.grants import Places
from lastgood.domain.prune_plan import PLAN_FOR
from lastgood.ledger import keys

TABLE = "lastgood-ledger"

# What the indexes hold of a point is what every point has, without what is large, and without
# what changes while it is taken: each change of a projected attribute is a write of the index too.
IN_FLIGHT = ("claimed_at", "id", "method", "policy", "run", "slot", "source", "status")
"""A point that is not settled; who has it, and until when, is read from the item itself."""

LISTED = (
    *(*IN_FLIGHT, "cause", "hold", "members", "planned", "settled_at", "started_at"),
    *("place", "point", "queued_at", "taken_at", "version"),
)
"""A point of a source, or a copy of it, with how it ended and all that judging it needs; and all of
a run. The members of a point taken one by one change while it is taken: that is worth a read less
for each."""


class StateStack(Stack):
    """A deletion of the stack leaves all in place: ledger and key are all that leads from snapshots
    to the points that they make up."""

    def __init__(self, scope: Construct, construct_id: str, **kwargs: Any) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Lastgood: the ledger, its key, and prune plans. Removing it keeps all.",
            **kwargs,
        )
        self.key = self._key()
        self.table = self._table()
        self.plans = self._plans()
        CfnOutput(self, "LedgerTable", value=self.table.table_name)
        CfnOutput(self, "PlansBucket", value=self.plans.bucket_name)

    def _key(self) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            alias="alias/lastgood",
            description="Lastgood: the ledger, queues, notices and logs",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        # By name, not by reference: what they name is in a stack that depends on this one.
        places = Places(
            partition=self.partition,
            account=self.account,
            region=self.region,
            log_group=f"arn:{self.partition}:logs:{self.region}:{self.account}"
            ":log-group:/aws/lambda/lastgood-*",
        )
        services = (grants.EVENTS_USE_KEY, grants.ALARMS_USE_KEY, grants.logs_use_key(self.region))
        for grant in services:
            for statement in grant.statements(places):
                key.add_to_resource_policy(statement)
        return key

    def _plans(self) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "Plans",
            bucket_name=plans_bucket(self),
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self.key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(PLAN_FOR.days))],
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        Validations.of(bucket).acknowledge(
            Acknowledgment(
                id="AwsSolutions-S1",
                reason="It holds plans, which two functions write and read: the ledger and the "
                "functions' logs say who applied which",
            )
        )
        return bucket

    def _table(self) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            "Ledger",
            table_name=TABLE,
            partition_key=_text("pk"),
            sort_key=_text("sk"),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
            encryption_key=self.key,
            time_to_live_attribute="ttl",
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=True,
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        table.add_global_secondary_index(
            index_name=keys.LISTING,
            partition_key=_text("listed"),
            sort_key=_text("at"),
            projection_type=dynamodb.ProjectionType.INCLUDE,
            non_key_attributes=list(LISTED),
        )
        table.add_global_secondary_index(
            index_name=keys.BY_SNAPSHOT,
            partition_key=_text("anchor"),
            projection_type=dynamodb.ProjectionType.KEYS_ONLY,
        )
        table.add_global_secondary_index(
            index_name=keys.IN_FLIGHT,
            partition_key=_text("flight"),
            sort_key=_text("at"),
            projection_type=dynamodb.ProjectionType.INCLUDE,
            non_key_attributes=list(IN_FLIGHT),
        )
        return table


def plans_bucket(stack: Stack) -> str:
    """Its name, which all of AWS shares."""
    return f"lastgood-plans-{stack.account}-{stack.region}"


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
