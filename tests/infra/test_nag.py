"""cdk-nag's AwsSolutions: everything it finds is repaired, or has its reason where it stands."""

import json
from pathlib import Path

import aws_cdk as cdk
import cdk_nag
from aws_cdk import aws_sqs as sqs

from tests.infra.conftest import Synthesised


def findings(folder: Path) -> set[tuple[str, str]]:
    """Rule and construct. A plugin that finds nothing is not in the report."""
    report = json.loads((folder / "validation-report.json").read_text())
    return {
        (violation["ruleName"], construct["constructPath"])
        for plugin in report["pluginReports"]
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    }


def test_cdk_nag_finds_nothing_without_a_reason(bundle: Synthesised) -> None:
    assert findings(bundle.folder) == set()


def test_cdk_nag_would_say_so(tmp_path: Path) -> None:
    app = cdk.App(
        outdir=str(tmp_path),
        context={"@aws-cdk/core:failSynthOnValidationErrors": False},
        builtin_cloud_formation_validation=False,
    )
    sqs.Queue(cdk.Stack(app, "Careless"), "Queue")
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))

    app.synth()

    assert ("AwsSolutions-SQS4", "Careless/Queue/Resource") in findings(tmp_path)
