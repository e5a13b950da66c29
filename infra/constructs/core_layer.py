"""The layer: our own package, and what it needs beside Lambda's runtime."""

from pathlib import Path

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra import packages
from infra.assets import LAYER, Staged, staged

CORE = packages.ROOT / "functions/core"
PYTHON = lambda_.Runtime.PYTHON_3_13
ARCHITECTURE = lambda_.Architecture.ARM_64


class CoreLayer(Construct):
    """Two layer versions, for what changes often and what does not: an edit of a rule uploads
    our own package alone."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.versions = (
            self._version("Lastgood", _root(CORE / "python"), "its own package"),
            self._version("Packages", _root(packages.installed() / "python"), "packages it needs"),
        )

    def _version(self, construct_id: str, code: Staged, description: str) -> lambda_.LayerVersion:
        return lambda_.LayerVersion(
            self,
            construct_id,
            code=lambda_.Code.from_asset(str(code.folder), asset_hash=code.digest),
            description=f"Lastgood: {description}",
            compatible_runtimes=[PYTHON],
        )


def _root(source: Path) -> Staged:
    return staged(source, inside="python", unpacked=LAYER)
