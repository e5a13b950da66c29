"""What all parts of the cloud share: clock, lock, principals, clients, and the record."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from moto.core.base_backend import BackendDict
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from tests.cloud import accounts, policy
from tests.cloud.clock import Clock

PARTITION = "aws"
Job = Callable[[], None]


@dataclass(frozen=True)
class Operator:
    """Who set the account up: may do everything in it."""

    account: str = accounts.HOME

    @property
    def name(self) -> str:
        return ""

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:user/operator"


@dataclass(frozen=True)
class Role:
    """A session of a deployed role."""

    arn: str

    @property
    def name(self) -> str:
        return self.arn.rsplit("/", 1)[-1]

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]


@dataclass(frozen=True)
class Service:
    """An AWS service that acts for a resource, such as EventBridge for a rule."""

    name: str
    source_arn: str

    @property
    def account(self) -> str:
        return self.source_arn.split(":")[4]


Principal = Operator | Role | Service
OPERATOR = Operator()


class CannotAssume(Exception):
    """The role is gone, or its trust policy does not name who asks."""


@dataclass
class Record:
    """What happened, for tests to read; each entry is plain JSON.

    ``calls``: how many of each ``service.Operation`` came, by the function, role or service that
    made them; by "" those of people and their tools. ``unanswered``: calls to a dark Region.
    """

    invocations: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    dead_letters: list[dict[str, Any]] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)
    calls: dict[str, dict[str, int]] = field(default_factory=dict)
    unanswered: list[dict[str, Any]] = field(default_factory=list)

    def count(self, by: str, call: str) -> None:
        of = self.calls.setdefault(by, {})
        of[call] = of.get(call, 0) + 1


class Backbone:
    """The accounts as their parts see them.

    AWS calls go over HTTP to ``url``; moto's models are read under ``lock``. ``dark``: Regions
    whose endpoints hang up on every call, and in which nothing goes on; they still are.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.record = Record()
        self.url = ""
        self.dark: frozenset[str] = frozenset()
        self._jobs: list[Job] = []
        self._clients: dict[tuple[str, str, Principal], Any] = {}
        self._clients_lock = threading.Lock()
        self._keys: dict[str, Service] = {}

    def set_going(self, job: Job) -> None:
        """Have ``job`` run at the next settling, before the clock moves."""
        with self.lock:
            self._jobs.append(job)

    def take_jobs(self) -> list[Job]:
        with self.lock:
            jobs, self._jobs = self._jobs, []
            return jobs

    def client(self, service: str, region: str, principal: Principal = OPERATOR) -> Any:
        """A client of this cloud; a role must be assumed first."""
        with self._clients_lock:
            known = self._clients.get((service, region, principal))
            if known is None:
                known = self._clients[service, region, principal] = boto3.client(
                    service,
                    region_name=region,
                    endpoint_url=self.url,
                    config=Config(
                        retries={"total_max_attempts": 1},
                        max_pool_connections=32,
                        read_timeout=1000,
                    ),
                    **self.credentials(principal),
                )
            return known

    def credentials(self, principal: Principal) -> dict[str, str]:
        match principal:
            case Role(arn):
                with self.lock:
                    session = sts_backends[principal.account][PARTITION].assume_role(
                        region_name="us-east-1",
                        role_session_name=principal.name[:64],
                        role_arn=arn,
                        policy="",
                        duration=3600,
                        external_id="",
                    )
                return {
                    "aws_access_key_id": session.access_key_id,
                    "aws_secret_access_key": session.secret_access_key,
                    "aws_session_token": session.session_token,
                }
            case Service():
                key = accounts.service_key(len(self._keys), principal.account)
                self._keys[key] = principal
                return {"aws_access_key_id": key, "aws_secret_access_key": "service"}
            case Operator(account):
                return accounts.operator_credentials(account)

    def principal(self, access_key: str) -> Principal:
        if access_key in self._keys:
            return self._keys[access_key]
        with self.lock:
            for account in list(sts_backends):
                session = sts_backends[account][PARTITION].get_assumed_role_from_access_key(
                    access_key
                )
                if session is not None:
                    return Role(session.role_arn)
        return Operator(accounts.operated_by(access_key) or accounts.HOME)

    def trust_of(self, role_arn: str) -> Any | None:
        """The trust policy of a role; None if there is no such role."""
        with self.lock:
            found = iam_backends[Role(role_arn).account][PARTITION].roles.values()
            trust = next((r.assume_role_policy_document for r in found if r.arn == role_arn), None)
        return json.loads(trust) if isinstance(trust, str) else trust

    def assume(self, role_arn: str, service: str, source_arn: str) -> Role:
        """The role as AWS service ``service`` gets it when it acts for ``source_arn``.

        Raises:
            CannotAssume: no such role, one of another account, or one whose trust policy does not
                name the service.
        """
        role = Role(role_arn)
        if role.account != source_arn.split(":")[4]:
            raise CannotAssume(f"{role_arn} is of another account than {source_arn}")
        document = self.trust_of(role_arn)
        if document is None:
            raise CannotAssume(f"{role_arn} does not exist")
        caller = policy.Caller(service=service, account=role.account)
        context = {"aws:SourceArn": source_arn, "aws:SourceAccount": source_arn.split(":")[4]}
        need = policy.Need("sts:AssumeRole", context=context)
        if policy.judge([document], need, caller) != "allowed":
            raise CannotAssume(f"the trust policy of {role_arn} does not let {service} assume it")
        return role


def regions_of(backends: BackendDict[Any]) -> list[Any]:
    """All backends of a service that exist so far, of every account and Region."""
    return [backend for account in list(backends.values()) for backend in list(account.values())]
