"""One synth of the whole app, checked by everything that checks templates."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

# Read when jsii starts its process, on the first import of aws_cdk: the major version to be silent
# about, beyond its end of life.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

import aws_cdk as cdk
import cdk_nag

from infra.bundle import CHAT, POLICIES, REGION, build
from infra.catalog import Row
from infra.packages import ROOT

HOME = "eu-west-1"
ACCOUNT = "123456789012"
AWAY = "eu-north-1"
VAULT = "210987654321"
CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]

TWO_REGIONS = """
policies:
  web-daily:
    select: {resource: instance, tags: {backup: [daily]}, regions: [eu-west-1, eu-north-1]}
    schedules:
      - {cron: "0 3 * * ? *", timezone: Europe/Berlin, window: 15m}
      - {cron: "0 15 ? * MON-FRI *"}
    retention: {keep_daily: 7}
  copied:
    select: {resource: volume, tags: {backup: [volume]}, regions: [eu-west-1]}
    retention: {keep_last: 3}
    copies: [{region: eu-north-1}, {region: eu-north-1, account: "210987654321"}]
  many-tags:
    select: {resource: volume, tags: {backup: [MANY]}}
    retention: {keep_last: 3}
""".replace("MANY", ", ".join(f"a-rather-long-value-of-a-tag-number-{n}" for n in range(110)))


PERMISSIONS = """
slack: {team: T0123456789}
groups: {oncall: [U01AAAAAAA]}
allow:
  - who: {groups: [oncall], channels: [C01OPS0000]}
    verbs: [list, clone]
    sources: {backup: [daily]}
"""


@dataclass(frozen=True)
class Synthesised:
    """What a synth left in its folder."""

    folder: Path

    def template(self, stack: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / f"{stack}.template.json").read_text())
        return loaded

    @cached_property
    def templates(self) -> list[Path]:
        return sorted(self.folder.glob("*.template.json"))

    def resources(self, type_: str, stack: str = "Lastgood") -> dict[str, Any]:
        """The properties of all resources of a type, by logical id."""
        return {
            name: one.get("Properties", {})
            for name, one in self.template(stack)["Resources"].items()
            if one["Type"] == type_
        }

    def function(self, row: Row, stack: str = "Lastgood") -> dict[str, Any]:
        return self.named("AWS::Lambda::Function", "FunctionName", row.physical_name, stack)[1]

    def named(
        self, type_: str, key: str, name: str, stack: str = "Lastgood"
    ) -> tuple[str, dict[str, Any]]:
        """The one resource of a type with that name, and its logical id."""
        found = [one for one in self.resources(type_, stack).items() if one[1].get(key) == name]
        assert len(found) == 1, f"{len(found)} of {type_} are named {name}"
        return found[0]

    def granted(self, row: Row, stack: str = "Lastgood") -> list[dict[str, Any]]:
        """The statements of a function's role."""
        roles = self.resources("AWS::IAM::Role", stack)
        return self.rights(roles[self.function(row, stack)["Role"]["Fn::GetAtt"][0]], stack)

    def rights(self, role: dict[str, Any], stack: str = "Lastgood") -> list[dict[str, Any]]:
        """The statements of a role: of its inline policy, and of managed ones of its own."""
        managed = self.resources("AWS::IAM::ManagedPolicy", stack)
        (policy,) = role["Policies"]
        attached = [managed[one["Ref"]] for one in role.get("ManagedPolicyArns", [])]
        return [
            statement
            for one in (policy, *attached)
            for statement in one["PolicyDocument"]["Statement"]
        ]

    @cached_property
    def assets(self) -> dict[str, str]:
        """The hash of each asset that is code, by what it is the code of."""
        functions = {
            one["FunctionName"]: one["Code"]["S3Key"]
            for one in self.resources("AWS::Lambda::Function").values()
        }
        layers = {
            name: one["Content"]["S3Key"]
            for name, one in self.resources("AWS::Lambda::LayerVersion").items()
        }
        return functions | layers


def synthesise(
    folder: Path,
    policies: Path | str = "policies.yaml",
    *,
    region: str | None = HOME,
    context: Mapping[str, Any] | None = None,
    checked: bool = False,
) -> Synthesised:
    """In this process. ``checked``: with cdk-nag and CDK's own validator, which take seconds."""
    app = cdk.App(
        outdir=str(folder),
        context={**CONTEXT, POLICIES: str(policies), **(context or {})},
        builtin_cloud_formation_validation=checked,
    )
    known = region or REGION in (context or {})
    build(app, account=ACCOUNT if known else None, region=region)
    if checked:
        cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    app.synth()
    return Synthesised(folder)


@pytest.fixture(scope="session")
def two_regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policies") / "policies.yaml"
    path.write_text(TWO_REGIONS)
    return path


@pytest.fixture(scope="session")
def chat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chat") / "chat.yaml"
    path.write_text(PERMISSIONS)
    return path


@pytest.fixture(scope="session")
def bundle(
    tmp_path_factory: pytest.TempPathFactory, two_regions: Path, chat_file: Path
) -> Synthesised:
    """With all that there can be: further Regions, another account, chat."""
    return synthesise(
        tmp_path_factory.mktemp("cdk.out"),
        two_regions,
        # So that findings are in the report, where a test names them, and do not end the synth.
        context={"@aws-cdk/core:failSynthOnValidationErrors": False, CHAT: str(chat_file)},
        checked=True,
    )
