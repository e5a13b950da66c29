#!/usr/bin/env python3
"""The CDK app. ``cdk synth`` needs no credentials, no Docker and no git."""

import os
import sys
from pathlib import Path

import aws_cdk as cdk

sys.path.insert(0, str(Path(__file__).resolve().parent / "functions/core/python"))

from infra.bundle import AccountUnknown, RegionUnknown, build
from infra.chat import ChatInvalid
from infra.packages import PackagesMissing
from lastgood.errors import PolicyInvalid


def main() -> None:
    """Synthesise, or end with what a person has to change, and exit code 1."""
    app = cdk.App()
    try:
        build(
            app,
            account=os.environ.get("CDK_DEFAULT_ACCOUNT"),
            region=os.environ.get("CDK_DEFAULT_REGION"),
        )
    except (PolicyInvalid, ChatInvalid, AccountUnknown, RegionUnknown, PackagesMissing) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"cannot read {error.filename}: {error.strerror}")
    app.synth()


if __name__ == "__main__":
    main()
