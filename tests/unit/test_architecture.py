"""Who may import whom. The table is docs/architecture.md's; this reads every import there is."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYER = ROOT / "functions/core/python"
PURE = ("lastgood.domain", "lastgood.errors")
BOTO = ("boto3", "botocore")

# For modules that begin with the key (the longest that fits): what they may import beside the
# standard library, by prefix.
ALLOWED: dict[str, tuple[str, ...]] = {
    "lastgood": (),
    "lastgood.errors": (),
    "lastgood.domain": PURE,
    "lastgood.codec": (*PURE, "cattrs"),
    "lastgood.ports": PURE,
    "lastgood.fleet": (*PURE, "lastgood.ports"),
    "lastgood.series": (*PURE, "lastgood.ports"),
    "lastgood.judging": (*PURE, "lastgood.ports", "lastgood.series"),
    "lastgood.telling": (*PURE, "lastgood.ports"),
    "lastgood.stepping": (*PURE, "lastgood.ports"),
    "lastgood.settings": PURE,
    "lastgood.slack": (*PURE, "urllib3"),
    "lastgood.aws": (*PURE, "lastgood.aws", "lastgood.codec", "lastgood.ports", *BOTO),
    "lastgood.ledger": (
        *PURE,
        "lastgood.aws.faults",
        "lastgood.codec",
        "lastgood.ledger",
        "lastgood.ports",
        *BOTO,
    ),
    "lastgood.runtime": ("lastgood", *BOTO, "aws_lambda_powertools"),
    "infra": (
        *PURE,
        "lastgood.codec",
        "lastgood.ledger.keys",
        "lastgood.settings",
        "infra",
        "aws_cdk",
        "cdk_nag",
        "constructs",
        "jsii",
        "yaml",
    ),
}
USECASE = (
    *PURE,
    *("lastgood.ports", "lastgood.fleet", "lastgood.series", "lastgood.judging"),
    *("lastgood.telling", "lastgood.stepping"),
)
HANDLER = ("lastgood.runtime", *USECASE, "aws_lambda_powertools")


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(LAYER.rglob("*.py")):
        yield _name(path, LAYER), path
    for path in sorted((ROOT / "infra").rglob("*.py")):
        yield _name(path, ROOT), path
    for path in sorted((ROOT / "functions").glob("*/*.py")):
        yield _name(path, ROOT / "functions"), path


def _name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every imported module; ``from a import b`` counts as ``a.b`` where that is a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            base = node.module or ""
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if _is_module(full) else base


def _is_module(name: str) -> bool:
    path = Path(*name.split("."))
    return any(
        (root / path).with_suffix(".py").exists() or (root / path).is_dir()
        for root in (LAYER, ROOT, ROOT / "functions")
    )


def allowed_for(name: str) -> tuple[str, ...]:
    function = name.split(".")[0]
    if (ROOT / "functions" / function).is_dir() and function != "core":
        rules = HANDLER if name.endswith(".handler") else USECASE
        return (*rules, function)
    fitting = [key for key in ALLOWED if _within(name, (key,))]
    return ALLOWED[max(fitting, key=len)]


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=str)
def test_a_module_imports_only_what_its_layer_may(name: str, path: Path) -> None:
    allowed = allowed_for(name)

    wrong = [
        imported
        for imported in imports(path)
        if imported.split(".")[0] not in sys.stdlib_module_names
        and not _within(imported, allowed)
        and not (imported == "lastgood" and _within("lastgood.runtime", allowed))
    ]

    assert not wrong, f"{name} may import {allowed}, but imports {wrong}"


@pytest.mark.parametrize("path", sorted((LAYER / "lastgood/domain").rglob("*.py")), ids=str)
def test_the_domain_reads_no_clock_environment_or_log(path: Path) -> None:
    tree = ast.parse(path.read_text())
    called = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today", "environ")
    }

    assert not called
    assert not {"logging", "os", "time", "random"} & set(imports(path))


def test_only_settings_reads_the_environment() -> None:
    readers = {
        name
        for name, path in modules()
        if name.startswith("lastgood")
        and any(word in path.read_text() for word in ("os.environ", "getenv"))
    }

    assert readers == {"lastgood.settings"}


def test_nothing_that_is_deployed_knows_the_tests() -> None:
    assert not [
        name for name, path in modules() if any(_within(one, ("tests",)) for one in imports(path))
    ]
