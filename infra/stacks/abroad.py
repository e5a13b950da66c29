"""What Lastgood needs in another account that sources are in, or copies, in one Region."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import grants
from infra.catalog import CATALOG, Row
from infra.constructs.forwarder import Forwarder
from infra.constructs.key import retained_key
from infra.duties import grants_abroad, there
from infra.grants import Places
from infra.reviewed import acknowledge_wide
from lastgood.domain.names import role_abroad
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy


class AbroadStack(Stack):
    """A role for each function that works there, which only that function enters, with the external
    id, and which may do what its role at home may do with EC2; a key, if copies are there; and
    EBS's events, sent home.

    The key stays when the stack goes: copies could not be read without it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        home: Place,
        policies: Sequence[Policy],
        external_id: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"Lastgood of account {home.account}: what it does here.",
            **kwargs,
        )
        place = Place(region=self.region, account=self.account)
        places = there(place, policies, home, self.partition)
        for row in CATALOG:
            if granted := grants_abroad(row, places):
                self._role(row, granted, places, home, external_id)
        Forwarder(
            self,
            "Forwarder",
            home=home.region,
            home_account=home.account,
            only_copies=not places.regions,
        )
        if places.destinations:
            retained_key(self, "Key", description="Lastgood: copies")

    def _role(
        self,
        row: Row,
        granted: Sequence[grants.Grant],
        places: Places,
        home: Place,
        external_id: str,
    ) -> None:
        at_home = f"arn:{self.partition}:iam::{home.account}:role/{row.role_name(home.region)}"
        enter = iam.AccountPrincipal(home.account).with_conditions(
            {
                "StringEquals": {"sts:ExternalId": external_id},
                "ArnEquals": {"aws:PrincipalArn": at_home},
            }
        )
        role = iam.Role(
            self,
            f"{row.construct_id}Role",
            role_name=role_abroad(row.physical_name, self.region),
            description=f"{row.physical_name} of account {home.account}: its work here",
            assumed_by=enter,
            inline_policies={"Granted": grants.document(granted, places)},
        )
        acknowledge_wide(role, granted, places)
