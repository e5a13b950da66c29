"""Other accounts, which Lastgood enters by the roles that its stacks made there."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lastgood.aws.faults import translated
from lastgood.domain.names import role_abroad

SESSION = "lastgood"
RENEWED = timedelta(minutes=15)
"""Before its end no function that began with a session is still at work: none runs for longer."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of one session of a role; ``until`` when AWS takes them."""

    access_key: str
    secret_key: str
    token: str
    until: datetime


class Accounts:
    """Sessions of ``function``, one at a time for each of its roles, kept while they are good."""

    def __init__(self, sts: Any, function: str, external_id: str) -> None:
        self._sts = sts
        self._function = function
        self._external_id = external_id
        self._known: dict[str, Credentials] = {}

    def enter(self, account: str, region: str, now: datetime) -> Credentials:
        """Raises AccessDenied: there is no such role, or it does not trust us; and what any call
        may."""
        partition = self._sts.meta.partition
        role = f"arn:{partition}:iam::{account}:role/{role_abroad(self._function, region)}"
        known = self._known.get(role)
        if known is None or now > known.until - RENEWED:
            with translated("sts", f"enter account {account} as {role}"):
                reply = self._sts.assume_role(
                    RoleArn=role, RoleSessionName=SESSION, ExternalId=self._external_id
                )
            given = reply["Credentials"]
            known = self._known[role] = Credentials(
                access_key=given["AccessKeyId"],
                secret_key=given["SecretAccessKey"],
                token=given["SessionToken"],
                until=given["Expiration"],
            )
        return known
