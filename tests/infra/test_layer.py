"""The layer: pure, small, locked, and the same each time."""

import importlib.util
import marshal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from infra import packages
from tests.infra.conftest import Synthesised

MACHINE_CODE = {".so", ".pyd", ".dylib", ".dll"}


@pytest.fixture(scope="module")
def roots(bundle: Synthesised) -> list[Path]:
    """The folders that become the zips."""
    return [
        bundle.folder / f"asset.{one['Content']['S3Key'].removesuffix('.zip')}"
        for one in bundle.resources("AWS::Lambda::LayerVersion").values()
    ]


def pins() -> dict[str, str]:
    lines = packages.LOCK.read_text().splitlines()
    return dict(line.removesuffix(" \\").split("==") for line in lines if "==" in line)


def test_the_layer_holds_no_machine_code_and_no_tests(roots: list[Path]) -> None:
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]

    names = {part for path in files for part in path.parts[-4:-1]}

    assert files
    assert not [path for path in files if path.suffix in MACHINE_CODE]
    assert not names & {"test", "tests"}


def test_every_module_of_the_layer_has_its_bytecode_and_says_where_lambda_puts_it(
    roots: list[Path],
) -> None:
    for root in roots:
        for path in root.rglob("*.py"):
            compiled = Path(importlib.util.cache_from_source(str(path)))
            head, code = compiled.read_bytes()[:16], compiled.read_bytes()[16:]

            # PEP 552: hash-based, and never checked, since a zip keeps no time that could be.
            assert head[4:8] == b"\x01\0\0\0"
            assert marshal.loads(code).co_filename == f"/opt/{path.relative_to(root)}"


def test_the_layer_holds_nothing_but_python_packages(roots: list[Path]) -> None:
    top = {path.name for root in roots for path in (root / "python").iterdir()}

    assert {path.name for root in roots for path in root.iterdir()} == {"python"}
    assert {name for name in top if not name.endswith((".dist-info", ".py"))} == {
        "__pycache__",
        "attr",
        "attrs",
        "aws_lambda_powertools",
        "cattr",
        "cattrs",
        "jmespath",
        "lastgood",
    }


def test_nothing_in_the_layer_names_the_machine_that_made_it(roots: list[Path]) -> None:
    notes = {path.name for root in roots for path in root.glob("python/*.dist-info/*")}

    assert "METADATA" in notes
    assert not notes & {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def test_the_layer_is_all_that_our_code_needs_beside_the_runtime(roots: list[Path]) -> None:
    path = [str(root / "python") for root in roots]
    script = f"import sys; sys.path[:0] = {path}; import lastgood.codec, aws_lambda_powertools"

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_the_layer_fits_where_lambda_unpacks_it(roots: list[Path]) -> None:
    size = sum(path.stat().st_size for root in roots for path in root.rglob("*"))

    assert size < 20_000_000


def test_the_lock_pins_what_is_wanted_and_what_is_tested_here() -> None:
    wanted = [line for line in packages.WANTED.read_text().splitlines() if line and line[0] != "#"]

    pinned = pins()

    assert {f"{name}=={version}" for name, version in pinned.items()} >= set(wanted)
    assert pinned == {name: metadata.version(name) for name in pinned}
    assert packages.LOCK.read_text().count("--hash=sha256:") == len(pinned)


def test_the_packages_are_installed_once_for_a_lock() -> None:
    folder = packages.installed()
    before = folder.stat().st_ctime_ns

    assert packages.installed() == folder
    assert folder.stat().st_ctime_ns == before


def test_a_package_that_is_not_what_was_locked_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"attrs=={pins()['attrs']} --hash=sha256:{'0' * 64}\n")

    with pytest.raises(packages.PackagesMissing, match=r"(?i)hash"):
        packages.installed(lock, tmp_path / "build")

    assert list((tmp_path / "build").iterdir()) == []
