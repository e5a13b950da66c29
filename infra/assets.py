"""What is zipped for Lambda: source with its bytecode.

Lambda cannot write where code is, so without bytecode each cold start compiles all that it
imports (docs/performance.md has the figures). Bytecode is of one version of Python, so it is of use
only if the bundle is synthesised under the version that the functions run on; elsewhere they
compile, as they would without.
"""

import compileall
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

from infra.packages import ROOT, publish

STAGED = ROOT / "build/assets"
LAYER = "/opt"
TASK = "/var/task"
"""Where Lambda unpacks layers and functions: what tracebacks name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """``digest`` is of the source and the version of Python: bytecode has no stable bytes."""

    folder: Path
    digest: str


def staged(source: Path, *, inside: str, unpacked: str) -> Staged:
    """The files of ``source`` under the path ``inside``, with bytecode beside them.

    Made once for each content. ``unpacked`` is where Lambda puts the whole.
    """
    digest = _digest(source, inside)
    folder = STAGED / f"{source.name}-{digest[:16]}"
    if not folder.exists():
        STAGED.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=STAGED, prefix=".new-") as made:
            root = Path(made) / "asset"
            for path in _files(source):
                target = root / inside / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            _compile(root, unpacked)
            publish(root, folder)
    return Staged(folder=folder, digest=digest)


def _compile(root: Path, unpacked: str) -> None:
    """Never checked against the source: zips keep no times that could be."""
    compileall.compile_dir(
        root,
        quiet=2,
        workers=1,
        stripdir=str(root),
        prependdir=unpacked,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )


def _files(source: Path) -> Iterator[Path]:
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _digest(source: Path, inside: str) -> str:
    digest = hashlib.sha256(f"{inside} {sys.implementation.cache_tag}".encode())
    for path in _files(source):
        digest.update(f"\n{path.relative_to(source)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
