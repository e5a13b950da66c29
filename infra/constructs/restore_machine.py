"""The restore state machine, from its file."""

from collections.abc import Mapping
from dataclasses import replace

from aws_cdk import Acknowledgment, RemovalPolicy, Stack, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra import grants
from infra.grants import Places
from infra.packages import ROOT
from infra.roles import granted_role

NAME = "lastgood-restore"
FILE = ROOT / "infra/state_machines/restore.asl.json"
STEPS = {
    "RestoreFunction": "restore_instance",
    "CheckFunction": "check_restore",
    "UndoFunction": "undo_restore",
}
"""What the file calls the functions, and their rows."""


class RestoreMachine(Construct):
    """``functions``: by row. Its log says which states an execution came to; what went in and out,
    the token of an approval too, only its history has."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        functions: Mapping[str, lambda_.IFunction],
        key: kms.IKey,
        places: Places,
    ) -> None:
        super().__init__(scope, construct_id)
        arns = {name: functions[row].function_arn for name, row in STEPS.items()}
        log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=grants.STATES_LOG,
            encryption_key=key,
            retention=logs.RetentionDays.THREE_MONTHS,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=NAME,
            definition_body=sfn.DefinitionBody.from_string(FILE.read_text()),
            definition_substitutions=arns,
            role=self._role(replace(places, steps=tuple(arns.values()))),
            logs=sfn.LogOptions(
                destination=log_group, level=sfn.LogLevel.ALL, include_execution_data=False
            ),
        )
        Validations.of(self.machine).acknowledge(
            Acknowledgment(
                id="AwsSolutions-SF2",
                reason="The ledger has how long each step of each restore took, and the history "
                "of an execution which call failed",
            )
        )

    def _role(self, places: Places) -> iam.IRole:
        return granted_role(
            self,
            "Role",
            granted=(grants.TAKE_STEPS, grants.LOG_EXECUTIONS),
            places=places,
            # As the Step Functions Developer Guide has it, "Cross-service confused deputy".
            assumed_by=iam.ServicePrincipal(
                "states.amazonaws.com",
                conditions={
                    "StringEquals": {
                        "aws:SourceAccount": places.account,
                        "aws:SourceArn": places.machine,
                    }
                },
            ),
            description="Lastgood's restore machine: takes its steps",
        )


def machine_arn(stack: Stack) -> str:
    """By name: the machine invokes functions whose roles name it."""
    return f"arn:{stack.partition}:states:{stack.region}:{stack.account}:stateMachine:{NAME}"
