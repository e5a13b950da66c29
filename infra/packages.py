"""What the layer holds beside our own package: locked with hashes, installed without Docker.

``python -m infra.packages`` renews the lock from ``functions/core/requirements.in``.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WANTED = ROOT / "functions/core/requirements.in"
LOCK = ROOT / "functions/core/requirements.txt"
BUILD = ROOT / "build/layer"

# Wheels for any platform only: they hold no compiled code, so the very layer that is tested here
# runs on arm64 in Lambda. pip refuses a package that has no such wheel.
PURE = (
    "--only-binary=:all:",
    "--platform=any",
    "--implementation=py",
    "--abi=none",
    "--python-version=3.13",
)
# Scripts, and pip's notes about this very installation, which name paths that are not in the layer.
# METADATA and the licences stay.
LEFT_OUT = ("bin", "*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED")


class PackagesMissing(Exception):
    """pip could not install the layer's packages. The message is pip's own."""


def installed(lock: Path = LOCK, build: Path = BUILD) -> Path:
    """The folder that is the layer's root: installed once for each content of the lock.

    Raises:
        PackagesMissing: the first time only, with what pip said.
    """
    folder = build / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    if not folder.exists():
        build.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=build, prefix=".new-") as made:
            _install(lock, Path(made) / "layer/python")
            publish(Path(made) / "layer", folder)
    return folder


def locked(wanted: Path = WANTED) -> str:
    """The text of the lock: every package that ``wanted`` leads to, with version and hash.

    Raises:
        PackagesMissing: with what pip said.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _pip(
            *("--dry-run", "--ignore-installed", "--target", folder),
            *("--report", str(report), "-r", str(wanted)),
        )
        found = json.loads(report.read_text())["install"]
    head = f"# Written by `make lock` from {wanted.name}: the layer's packages, and what they need."
    return "\n".join([head, *sorted(map(_pin, found))]) + "\n"


def _pin(package: dict[str, Any]) -> str:
    metadata = package["metadata"]
    name = metadata["name"].lower().replace("_", "-")
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{name}=={metadata['version']} \\\n    --hash=sha256:{digest}"


def _install(lock: Path, target: Path) -> None:
    _pip("--require-hashes", "--no-deps", "--no-compile", "--target", str(target), "-r", str(lock))
    for pattern in LEFT_OUT:
        for path in target.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def publish(made: Path, folder: Path) -> None:
    """Put what was made in place, whole or not at all."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        # Another synth was quicker, with the same content.


def _pip(*arguments: str) -> None:
    command: Sequence[str] = (
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *PURE,
        *arguments,
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise PackagesMissing(
            f"pip cannot install the packages of the layer:\n{done.stderr.strip()}"
        )


if __name__ == "__main__":
    LOCK.write_text(locked())
