"""The tools that Lastgood is compared with, each in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import show
from tests.bench.installation import HOME
from tests.cloud.driver import REPOSITORY, CloudProcess

PLACE = REPOSITORY / "build" / "bench"
CUSTODIAN = "c7n==0.9.53"
SHELVERY = "shelvery==0.10.1"
TAGS = {"backup": "daily", "shelvery:create_backup": "true"}
"""Of instances and volumes: by these every tool finds its sources."""

POLICY = """\
policies:
  - name: snapshots
    resource: aws.ec2
    filters:
      - "tag:backup": daily
    actions:
      - type: snapshot
        copy-tags: [backup]
        tags: {custodian_snapshot: "true"}
"""


@dataclass(frozen=True)
class Tool:
    name: str
    command: tuple[str, ...]

    def run(
        self, cloud: CloudProcess, folder: Path, longest: float, tick: Callable[[], None]
    ) -> str:
        """How it ended. ``longest`` in seconds; ``tick`` is called about once a second."""
        output = folder / "output"
        with output.open("w") as written:
            process = subprocess.Popen(
                self.command,
                cwd=folder,
                env=cloud.environment(HOME) | {"HOME": str(folder)},
                stdout=written,
                stderr=subprocess.STDOUT,
            )
            began = time.monotonic()
            while True:
                try:
                    code = process.wait(timeout=1)
                    return "ended well" if code == 0 else f"ended with {code}"
                except subprocess.TimeoutExpired:
                    tick()
                if time.monotonic() - began > longest:
                    process.kill()
                    process.wait()
                    return f"stopped after {longest:.0f} s"


def others(folder: Path) -> list[Tool]:
    """With their virtual environments, made the first time; ``folder`` is for a policy."""
    policy = folder / "custodian.yml"
    policy.write_text(POLICY)
    custodian = (str(installed(CUSTODIAN) / "custodian"), "run", str(policy))
    options = ("--region", HOME, "--output-dir", str(folder / "out"), "--cache-period", "0")
    shelvery = str(installed(SHELVERY) / "shelvery")
    return [
        Tool("plain loop", (sys.executable, str(Path(__file__).with_name("plain_loop.py")))),
        Tool(f"custodian {CUSTODIAN}", (*custodian, *options)),
        Tool(f"shelvery {SHELVERY}", (shelvery, "ebs", "create_backups")),
    ]


def installed(package: str) -> Path:
    """The folder of the programs of a virtual environment that holds the package alone."""
    environment = PLACE / package.replace("==", "-")
    programs = environment / "bin"
    done = environment / "installed"
    if not done.exists():
        show.doing(f"installing {package} into {os.path.relpath(environment, REPOSITORY)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = ("install", "-qq", "--disable-pip-version-check", package)
        subprocess.run([str(programs / "pip"), *pip], check=True)
        done.touch()
    return programs
