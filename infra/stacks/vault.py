"""What Lastgood needs in another account that copies go to, in one Region."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import grants
from infra.catalog import CATALOG
from infra.constructs.forwarder import Forwarder
from infra.constructs.key import retained_key
from infra.grants import Places
from infra.reviewed import acknowledge_wide
from lastgood.domain.names import vault_role


class VaultStack(Stack):
    """A role that only those functions enter that work there, with the external id, and that can
    touch only copies; a key for the copies; and EBS's events, sent home.

    The key stays when the stack goes: copies could not be read without it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        home: str,
        home_account: str,
        copied: Sequence[str],
        external_id: str,
        **kwargs: Any,
    ) -> None:
        """``home``: the Region where Lastgood is; ``copied``: the Regions of the sources."""
        super().__init__(
            scope,
            construct_id,
            description=f"Lastgood: copies of what is in account {home_account}.",
            **kwargs,
        )
        places = Places(
            partition=self.partition,
            account=self.account,
            region=self.region,
            copied=tuple(copied),
            destinations=(self.region,),
            home=home_account,
        )
        enter = iam.AccountPrincipal(home_account).with_conditions(
            {
                "StringEquals": {"sts:ExternalId": external_id},
                "ArnEquals": {
                    "aws:PrincipalArn": [
                        f"arn:{self.partition}:iam::{home_account}:role/{row.role_name(home)}"
                        for row in CATALOG
                        if row.enters_vaults
                    ]
                },
            }
        )
        role = iam.Role(
            self,
            "Role",
            role_name=vault_role(self.region),
            description=f"Lastgood of account {home_account}: its copies here",
            assumed_by=enter,
            inline_policies={"Granted": grants.document(grants.OF_A_VAULT, places)},
        )
        acknowledge_wide(role, grants.OF_A_VAULT, places)
        Forwarder(self, "Forwarder", home=home, home_account=home_account)
        retained_key(self, "Key", description="Lastgood: copies")
