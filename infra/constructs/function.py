"""One row of the catalog, made into a function with all that belongs to it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

from aws_cdk import Acknowledgment, Duration, RemovalPolicy, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.assets import TASK, staged
from infra.catalog import FunctionUrl, QueueTrigger, Row, Scheduled
from infra.constructs.core_layer import ARCHITECTURE, PYTHON
from infra.constructs.inbox import Inbox
from infra.grants import Places
from infra.packages import ROOT
from infra.roles import granted_role
from lastgood.settings import PREFIX, Settings

FUNCTIONS = ROOT / "functions"

FOR_ALL = ("account", "region", "table", "bus", "policies", "home")
"""What every function is told, of ``Settings``."""


class CatalogFunction(Construct):
    """The function with its role, log group, trigger and environment."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        row: Row,
        layers: Sequence[lambda_.ILayerVersion],
        key: kms.IKey,
        places: Places,
        settings: Settings,
        inbox: Inbox | None = None,
    ) -> None:
        """``inbox``: of a row that has dead letters."""
        super().__init__(scope, construct_id)
        log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/lambda/{row.physical_name}",
            encryption_key=key,
            retention=logs.RetentionDays.THREE_MONTHS,
            removal_policy=RemovalPolicy.DESTROY,
        )
        places = replace(
            places,
            queue=inbox.queue.queue_arn if inbox and inbox.queue else "",
            dead_letters=inbox.dead_letters.queue_arn if inbox else "",
            # Not the group's own ARN, which ends in :* already.
            log_group=f"arn:{places.partition}:logs:{places.region}:{places.account}"
            f":log-group:/aws/lambda/{row.physical_name}",
        )
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=row.physical_name,
            description=row.description,
            code=self._code(row),
            handler=f"{row.name}.handler.handler",
            runtime=PYTHON,
            architecture=ARCHITECTURE,
            layers=list(layers),
            role=self._role(row, places),
            timeout=Duration.seconds(row.timeout),
            memory_size=row.memory,
            environment=_environment(row, inbox, settings),
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            reserved_concurrent_executions=row.trigger.concurrency
            if isinstance(row.trigger, FunctionUrl)
            else None,
        )
        Validations.of(self.function).acknowledge(
            Acknowledgment(
                id="AwsSolutions-L1",
                reason="The layer is locked for Python 3.13, which AWS supports until 2029; a "
                "newer one is a change of its own, with the lock",
            )
        )
        if inbox is not None:
            self._trigger(row, inbox)

    def _code(self, row: Row) -> lambda_.Code:
        """Its folder and nothing else, under its own name: it is imported here as in tests."""
        code = staged(FUNCTIONS / row.name, inside=row.name, unpacked=TASK)
        return lambda_.Code.from_asset(str(code.folder), asset_hash=code.digest)

    def _role(self, row: Row, places: Places) -> iam.IRole:
        return granted_role(
            self,
            "Role",
            granted=row.all_grants,
            places=places,
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"{row.physical_name}: {row.description}",
            name=row.role_name(places.region),
        )

    def _trigger(self, row: Row, inbox: Inbox) -> None:
        if isinstance(row.trigger, QueueTrigger) and inbox.queue is not None:
            lambda_.EventSourceMapping(
                self,
                "Messages",
                target=self.function,
                event_source_arn=inbox.queue.queue_arn,
                batch_size=row.trigger.batch,
                max_concurrency=row.trigger.concurrency,
                report_batch_item_failures=True,
            )
        if isinstance(row.trigger, Scheduled):
            lambda_.CfnEventInvokeConfig(
                self,
                "Invocations",
                function_name=self.function.function_name,
                qualifier="$LATEST",
                maximum_event_age_in_seconds=int(row.trigger.late.total_seconds()),
                maximum_retry_attempts=row.trigger.retries,
                destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
                    on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(
                        destination=inbox.dead_letters.queue_arn
                    )
                ),
            )


def _environment(row: Row, inbox: Inbox | None, settings: Settings) -> Mapping[str, str]:
    """The variables that ``Settings.from_env`` reads, without those that the row has no use for."""
    own = Settings(
        **{field: getattr(settings, field) for field in (*FOR_ALL, *_named_by_grants(row))},
        timeout=str(row.timeout),
        function=row.physical_name if settings.external_id and row.works_abroad else "",
        dead_letters=inbox.dead_letters.queue_url if inbox else "",
    )
    if isinstance(row.trigger, QueueTrigger) and inbox is not None and inbox.queue is not None:
        own = replace(
            own,
            queue=inbox.queue.queue_url,
            receives=str(row.trigger.receives),
            workers=str(row.trigger.concurrency or own.workers),
        )
    return {
        # By which Powertools tells the functions apart in logs and metrics.
        "POWERTOOLS_SERVICE_NAME": row.physical_name,
        **{
            PREFIX + field.name.upper(): getattr(own, field.name)
            for field in fields(own)
            if getattr(own, field.name)
        },
    }


def _named_by_grants(row: Row) -> list[str]:
    return [name for grant in row.all_grants for name in grant.settings]
