"""What chat needs beside its functions: secret, permissions, and the URL that Slack calls."""

import json

from aws_cdk import Acknowledgment, CfnOutput, RemovalPolicy, Validations
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

PARAMETER = "/lastgood/chat"
SECRET = "lastgood/slack"  # noqa: S105 - its name
SIGNING = "signing_secret"


class ChatSettings(Construct):
    """``permissions``: the text of the parameter. The secret is made with a value that nobody
    knows, so that nothing is let in until a person has put Slack's there. It stays when the stack
    goes."""

    def __init__(
        self, scope: Construct, construct_id: str, *, permissions: str, key: kms.IKey
    ) -> None:
        super().__init__(scope, construct_id)
        self.secret = secretsmanager.Secret(
            self,
            "Slack",
            secret_name=SECRET,
            description="Lastgood: what Slack signs its requests with, put here by a person",
            encryption_key=key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template=json.dumps({}), generate_string_key=SIGNING
            ),
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        Validations.of(self.secret).acknowledge(
            Acknowledgment(
                id="AwsSolutions-SMG4",
                reason="Slack makes it: it is changed there by a person, who puts it here",
            )
        )
        ssm.CfnParameter(
            self,
            "Permissions",
            name=PARAMETER,
            type="String",
            description="Lastgood: who may ask for what by chat, from the chat file",
            # As policies: SSM takes no advanced parameter back to standard.
            tier="Intelligent-Tiering",
            value=permissions,
        )


class ChatUrl(Construct):
    """Everybody may call it: the function itself refuses what Slack has not signed."""

    def __init__(self, scope: Construct, construct_id: str, *, function: lambda_.IFunction) -> None:
        super().__init__(scope, construct_id)
        url = lambda_.CfnUrl(
            self, "Url", auth_type="NONE", target_function_arn=function.function_arn
        )
        # Both are needed since October 2025 (Lambda Developer Guide, "Control access to Lambda
        # function URLs"); nobody can invoke the function in another way by the second.
        lambda_.CfnPermission(
            self,
            "MayCall",
            action="lambda:InvokeFunctionUrl",
            function_name=function.function_name,
            principal="*",
            function_url_auth_type="NONE",
        )
        lambda_.CfnPermission(
            self,
            "MayInvoke",
            action="lambda:InvokeFunction",
            function_name=function.function_name,
            principal="*",
            invoked_via_function_url=True,
        )
        output = CfnOutput(
            self,
            "Output",
            value=url.attr_function_url,
            description="For Slack, with slack/commands or slack/interactions behind it",
        )
        output.override_logical_id("ChatUrl")
