"""The templates, as CloudFormation's own rules see them."""

import json

from cfnlint import ManualArgs
from cfnlint.api import lint_file

from tests.infra.conftest import HOME, Synthesised

ACCEPTED = {
    "W3005": "CDK says again that a function depends on its role, which the reference says already",
}


def test_cfn_lint_finds_nothing(bundle: Synthesised) -> None:
    config = ManualArgs(regions=[HOME, "eu-north-1"])

    found = [
        f"{path.name}: {match.rule.id} {match.message}"
        for path in bundle.templates
        for match in lint_file(path, config=config)
        if match.rule.id not in ACCEPTED
    ]

    assert found == []


def test_the_validator_of_cdk_finds_nothing(bundle: Synthesised) -> None:
    report = json.loads((bundle.folder / "validation-report.json").read_text())

    found = [one for plugin in report["pluginReports"] for one in plugin["violations"]]

    assert found == []
