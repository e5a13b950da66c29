"""The layer: our own package, and what it needs beside Lambda's runtime."""

from pathlib import Path

from aws_cdk import IgnoreMode
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra import packages

CORE = packages.ROOT / "functions/core"
PYTHON = lambda_.Runtime.PYTHON_3_13
ARCHITECTURE = lambda_.Architecture.ARM_64

# Compiled files would change an asset's hash, and so deploy it anew, after every test run.
COMPILED = ("**/__pycache__", "**/*.pyc")


class CoreLayer(Construct):
    """Two layer versions, for what changes often and what does not: an edit of a rule uploads
    our own package alone, and neither needs a build step that could go stale."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.versions = (
            self._version("Lastgood", CORE, ("**", "!python/**", *COMPILED), "its own package"),
            self._version("Packages", packages.installed(), COMPILED, "packages it needs"),
        )

    def _version(
        self, construct_id: str, folder: Path, exclude: tuple[str, ...], description: str
    ) -> lambda_.LayerVersion:
        return lambda_.LayerVersion(
            self,
            construct_id,
            code=lambda_.Code.from_asset(
                str(folder), ignore_mode=IgnoreMode.DOCKER, exclude=list(exclude)
            ),
            description=f"Lastgood: {description}",
            compatible_runtimes=[PYTHON],
        )
