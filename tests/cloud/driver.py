"""The test cloud from outside its process: start it, deploy into it, move its clock, look at it."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
from botocore.config import Config

from tests.cloud import accounts
from tests.cloud.ec2.conditions import CommandOutcome
from tests.cloud.faults import KILL, CallFault, Effect, EventFault, Mishap

REPOSITORY = Path(__file__).parents[2]
CDK = REPOSITORY / "node_modules" / ".bin" / "cdk"
ACCOUNT = accounts.HOME
EXECUTION = "arn:aws:iam::aws:policy/AdministratorAccess"


class CloudFailed(RuntimeError):
    """The cloud answered a control request with an error, or did not start."""


class CdkFailed(RuntimeError):
    """The CDK CLI ended with an error; the message is its output."""


class CloudProcess:
    """A cloud of its own, in a process of its own, for the length of a ``with`` block."""

    def __init__(self, start: datetime | None = None, *, port: int = 0, live: bool = False) -> None:
        arguments = ["--start", start.isoformat()] if start else []
        arguments += ["--port", str(port), *(["--live"] if live else [])]
        self._command = [sys.executable, "-m", "tests.cloud", *arguments]
        self._home = tempfile.TemporaryDirectory(prefix="test-cloud-home-")
        self._errors = Path(self._home.name) / "stderr"
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> "CloudProcess":
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                self._command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self.__exit__(None, None, None)
            raise CloudFailed(self.errors())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self.url:
            self._home.cleanup()

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def errors(self) -> str:
        """What the server wrote to its standard error: calls it lacks, and tracebacks."""
        return self._errors.read_text()

    # ----------------------------------------------------------------------- looking

    def client(
        self,
        service: str,
        region: str = "us-east-1",
        config: Config | None = None,
        *,
        account: str = ACCOUNT,
    ) -> Any:
        """A boto3 client with the rights of an administrator; without ``config`` it never retries.

        It waits for an answer as long as a function may run.
        """
        once = Config(retries={"total_max_attempts": 1}, read_timeout=600)
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            config=config or once,
            **accounts.operator_credentials(account),
        )

    def state(self) -> dict[str, Any]:
        """``now``, ``invocations``, ``deliveries``, ``dead_letters``, ``lost``, ``decisions``,
        ``notices``, which SNS topics took, ``calls``: how many by whom and name, and
        ``transitions`` of each state machine, by ARN, and calls that were ``unanswered``."""
        return self._control("state")

    def now(self) -> datetime:
        return datetime.fromisoformat(self._control("now")["now"])

    def stack_resources(
        self, stack: str, region: str = "us-east-1", *, account: str = ACCOUNT
    ) -> Counter[str]:
        """How many resources of each type the stack has."""
        cloudformation = self.client("cloudformation", region, account=account)
        pages = cloudformation.list_stack_resources(StackName=stack)
        return Counter(r["ResourceType"] for r in pages["StackResourceSummaries"])

    # ------------------------------------------------------------------------ moving

    def advance(self, *, to: datetime | None = None, by: timedelta | None = None) -> datetime:
        """Move the clock, doing all that falls due on the way; the new time."""
        if (to is None) == (by is None):
            raise TypeError("either to or by")
        wanted = {"to": to.isoformat()} if to else {"seconds": by.total_seconds()} if by else {}
        return datetime.fromisoformat(self._control("advance", wanted)["now"])

    def settle(self) -> None:
        """Wait until all that was set going is over; the clock does not move."""
        self._control("settle", {})

    def _control(self, path: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        body = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(f"{self.url}/_cloud/{path}", data=body)
        try:
            with urllib.request.urlopen(request) as answer:
                result: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as failed:
            raise CloudFailed(failed.read().decode()) from failed
        return result

    def seed_fleet(self, region: str, instances: int, **given: Any) -> list[str]:
        """Instances and their volumes without a call; see tests.cloud.ec2.seed. Their ids."""
        ids: list[str] = self._control(
            "fleet", {"region": region, "instances": instances, **given}
        )["ids"]
        return ids

    def network(self, region: str, **given: Any) -> dict[str, Any]:
        """What a launch needs around it, made at once, as ``Network`` of tests.cloud.ec2.seed."""
        return self._control("network", {"region": region, **given})

    # --------------------------------------------------------------------- bad days

    def conditions(
        self,
        *,
        throttling: bool | None = None,
        limits: bool | None = None,
        lag: timedelta | None = None,
        commands: dict[str, CommandOutcome] | None = None,
        paced: bool | None = None,
        dark: Sequence[str] | None = None,
        images: dict[str, dict[str, str]] | None = None,
        **of_machines: Sequence[Any],
    ) -> dict[str, Any]:
        """Change those that are given, from the next call on; those of calls, and the ``buckets``.

        ``commands``: what commands of SSM give, by instance, else by document, else for "*".
        ``paced``: machines take the time that they take on AWS, or none. ``dark``:
        Regions that answer nobody, and in which nothing goes on. ``images``: facts of an
        Image, by AMI id. ``of_machines``: bad
        snapshots, impaired instances, gone images, and what has no capacity or is not offered,
        under the names that Conditions has for them.
        """
        given: dict[str, Any] = {
            "throttling": throttling,
            "limits": limits,
            "lag": None if lag is None else lag.total_seconds(),
            "commands": commands and {name: one.to_json() for name, one in commands.items()},
            "paced": paced,
            "dark": dark,
            "images": images,
            **of_machines,
        }
        wanted = {name: value for name, value in given.items() if value is not None}
        return self._control("conditions", wanted)

    def add_fault(
        self,
        pattern: str,
        effect: Effect,
        *,
        times: int = 1,
        after: int = 0,
        by: str | None = None,
        whole: bool = False,
    ) -> None:
        """Spoil calls of any client, function or service; see CallFault."""
        fault = CallFault(pattern, effect, times, after, by, whole)
        self._control("faults", fault.to_json())

    def kill(self, function: str, *, after: int) -> None:
        """Let the function die after the effect of its call number ``after``, from 1."""
        self.add_fault("*", KILL, after=after - 1, by=function)

    def add_event_fault(
        self,
        mishap: Mishap,
        *,
        detail_type: str = "*",
        times: int = 1,
        after: int = 0,
        delay: timedelta = timedelta(0),
    ) -> None:
        """Spoil events of EBS on their way to EventBridge; see EventFault."""
        fault = EventFault(mishap, detail_type, times, after, delay.total_seconds())
        self._control("events", fault.to_json())

    def clear_faults(self) -> None:
        """Nothing goes wrong any more; events that were held arrive."""
        self._control("faults", {})
        self._control("events", {})

    # --------------------------------------------------------------------- deploying

    def environment(self, region: str = "us-east-1", *, account: str = ACCOUNT) -> dict[str, str]:
        """What the CDK CLI, or any AWS tool, needs to take this cloud for AWS."""
        credentials = accounts.operator_credentials(account)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CDK_"))}
        return {
            **inherited,
            "AWS_ENDPOINT_URL": self.url,
            **{name.upper(): value for name, value in credentials.items()},
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            # The CLI keeps account ids by access key in its home.
            "CDK_HOME": self._home.name,
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
            "NODE_NO_WARNINGS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def cdk(
        self,
        *arguments: str,
        cwd: Path | None = None,
        region: str = "us-east-1",
        account: str = ACCOUNT,
    ) -> str:
        """Run the pinned CDK CLI; everything that it printed.

        Raises:
            CdkFailed: it ended with an error.
        """
        done = subprocess.run(
            [str(CDK), *arguments, "--no-notices"],
            cwd=cwd or self._home.name,
            env=self.environment(region, account=account),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CdkFailed(done.stdout)
        return done.stdout

    def bootstrap(self, *regions: str, account: str = ACCOUNT, trust: Sequence[str] = ()) -> None:
        """In a folder without cdk.json: otherwise the CLI synthesises the app first.

        ``trust``: the accounts from which stacks may be deployed into this one.
        """
        flags = [flag for other in trust for flag in ("--trust", other)]
        if trust:
            flags += ["--cloudformation-execution-policies", EXECUTION]
        for region in regions or ("us-east-1",):
            where = f"aws://{account}/{region}"
            self.cdk("bootstrap", where, *flags, region=region, account=account)

    def deploy(self, app: Path, *stacks: str, region: str = "us-east-1") -> str:
        """Deploy a folder with a cdk.json, or an assembly that was synthesised before, with the
        credentials of the home account."""
        chosen = stacks or ("--all",)
        flags = ("--require-approval", "never")
        if (app / "manifest.json").exists():
            return self.cdk("deploy", *chosen, *flags, "--app", str(app), region=region)
        return self.cdk("deploy", *chosen, *flags, cwd=app, region=region)
