"""The policies as the functions read them: one SSM parameter each."""

from collections.abc import Iterable

from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.policies import policy_document
from lastgood.domain.policy import Policy

PATH = "/lastgood/policies"


class DeployedPolicies(Construct):
    """``/lastgood/policies/<name>``, for each of the policies."""

    def __init__(self, scope: Construct, construct_id: str, policies: Iterable[Policy]) -> None:
        super().__init__(scope, construct_id)
        for policy in policies:
            ssm.CfnParameter(
                self,
                policy.name,
                name=f"{PATH}/{policy.name}",
                type="String",
                description=f"Lastgood policy {policy.name}, from the policies file",
                # A policy may outgrow a standard parameter and shrink again, and SSM refuses to
                # take an advanced one back (SSM API, PutParameter).
                tier="Intelligent-Tiering",
                value=policy_document(policy),
            )
