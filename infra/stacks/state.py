"""What outlives deployments: the key, the ledger, and the plans of what to prune."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Acknowledgment, CfnOutput, Duration, RemovalPolicy, Stack, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra import grants
from infra.constructs.key import alias_arn, let_in, retained_key
from lastgood.domain.prune_plan import PLAN_FOR
from lastgood.ledger import keys

TABLE = "lastgood-ledger"

# What the indexes hold of a point is what every point has, without what is large, and without
# what changes while it is taken: each change of a projected attribute is a write of the index too.
IN_FLIGHT = ("claimed_at", "id", "method", "policy", "run", "slot", "source", "status")
"""A point that is not settled; who has it, and until when, is read from the item itself."""

LISTED = (
    *(*IN_FLIGHT, "cause", "hold", "members", "planned", "settled_at", "started_at"),
    *("key", "place", "point", "queued_at", "taken_at", "version"),
)
"""A point of a source, or a copy of it, with how it ended and all that judging it needs; and all of
a run. The members of a point taken one by one change while it is taken: that is worth a read less
for each. These are 20, and an index takes no more (DynamoDB API Reference, Projection)."""


class StateStack(Stack):
    """A deletion of the stack leaves all in place: ledger and key are all that leads from snapshots
    to the points that they make up.

    ``replicas``: the further Regions in which the ledger is too, under the key that a
    ``DestinationStack`` has made there before. In one update CloudFormation adds or removes one of
    them at most: policies that come to copy to two more Regions are deployed one after the other.
    One is removed only once its own deletion protection is off.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, replicas: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Lastgood: the ledger, its key, and prune plans. Removing it keeps all.",
            **kwargs,
        )
        self.key = self._key()
        self.table = self._table(replicas)
        self.plans = self._plans()
        CfnOutput(self, "LedgerTable", value=self.table.ref)
        CfnOutput(self, "PlansBucket", value=self.plans.bucket_name)

    def _key(self) -> kms.Key:
        key = retained_key(
            self, "Key", description="Lastgood: the ledger, queues, notices and logs"
        )
        let_in(
            key,
            (grants.EVENTS_USE_KEY, grants.ALARMS_USE_KEY, grants.logs_use_key(self.region)),
        )
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

    def _table(self, replicas: Sequence[str]) -> dynamodb.CfnGlobalTable:
        # Not TableV2, which takes no key of ours where the Region is not known yet.
        kms_keys = {self.region: self.key.key_arn}
        kms_keys |= {one: alias_arn(self.partition, self.account, one) for one in replicas}
        table = dynamodb.CfnGlobalTable(
            self,
            "Ledger",
            table_name=TABLE,
            attribute_definitions=[
                dynamodb.CfnGlobalTable.AttributeDefinitionProperty(
                    attribute_name=name, attribute_type="S"
                )
                for name in ("pk", "sk", "listed", "at", "anchor", "flight")
            ],
            key_schema=_keys("pk", "sk"),
            global_secondary_indexes=[
                _index(keys.LISTING, ("listed", "at"), LISTED),
                _index(keys.BY_SNAPSHOT, ("anchor",)),
                _index(keys.IN_FLIGHT, ("flight", "at"), IN_FLIGHT),
            ],
            billing_mode="PAY_PER_REQUEST",
            sse_specification=dynamodb.CfnGlobalTable.SSESpecificationProperty(
                sse_enabled=True, sse_type="KMS"
            ),
            time_to_live_specification=dynamodb.CfnGlobalTable.TimeToLiveSpecificationProperty(
                attribute_name="ttl", enabled=True
            ),
            # Replication reads it. It can be changed only while there is no replica but home, so
            # it is on from the start.
            stream_specification=dynamodb.CfnGlobalTable.StreamSpecificationProperty(
                stream_view_type="NEW_AND_OLD_IMAGES"
            ),
            replicas=[_replica(region, kms_key) for region, kms_key in kms_keys.items()],
        )
        table.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
        return table


def plans_bucket(stack: Stack) -> str:
    """Its name, which all of AWS shares."""
    return f"lastgood-plans-{stack.account}-{stack.region}"


def _keys(*names: str) -> list[dynamodb.CfnGlobalTable.KeySchemaProperty]:
    return [
        dynamodb.CfnGlobalTable.KeySchemaProperty(attribute_name=name, key_type=kind)
        for name, kind in zip(names, ("HASH", "RANGE"), strict=False)
    ]


def _index(
    name: str, key: Sequence[str], projected: Sequence[str] = ()
) -> dynamodb.CfnGlobalTable.GlobalSecondaryIndexProperty:
    return dynamodb.CfnGlobalTable.GlobalSecondaryIndexProperty(
        index_name=name,
        key_schema=_keys(*key),
        projection=dynamodb.CfnGlobalTable.ProjectionProperty(
            projection_type="INCLUDE" if projected else "KEYS_ONLY",
            non_key_attributes=list(projected) or None,
        ),
    )


def _replica(region: str, kms_key: str) -> dynamodb.CfnGlobalTable.ReplicaSpecificationProperty:
    return dynamodb.CfnGlobalTable.ReplicaSpecificationProperty(
        region=region,
        sse_specification=dynamodb.CfnGlobalTable.ReplicaSSESpecificationProperty(
            kms_master_key_id=kms_key
        ),
        point_in_time_recovery_specification=(
            dynamodb.CfnGlobalTable.PointInTimeRecoverySpecificationProperty(
                point_in_time_recovery_enabled=True
            )
        ),
        deletion_protection_enabled=True,
    )
