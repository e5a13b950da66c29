"""``chat.yaml``: who may do what in chat; read, checked in full, and made ready for the stack."""

from pathlib import Path

from infra.policies import document, parse
from lastgood import codec
from lastgood.domain import chat_checks
from lastgood.domain.chat_permissions import Permissions
from lastgood.errors import PolicyInvalid


def load_permissions(path: Path) -> Permissions:
    """Read and check a file of permissions.

    Raises:
        PolicyInvalid: with one line for each mistake in the file, with the path of the value.
        OSError: the file cannot be read.
    """
    content, problems = parse(path.read_bytes(), "allow")
    permissions = None
    if content is not None:
        permissions, found = codec.structure_or_problems(content, Permissions)
        if not found:
            found = list(chat_checks.problems(permissions))
        problems += [
            f"{codec.show_path(where)}: {text}" if where else text for where, text in found
        ]
    if not problems:
        try:
            permissions_document(permissions)
        except PolicyInvalid as error:
            problems = error.problems
    if problems:
        raise PolicyInvalid([f"{path.name}: {problem}" for problem in problems])
    return permissions


def permissions_document(permissions: Permissions) -> str:
    """The text of the SSM parameter, which ``codec.structure`` reads back.

    Raises:
        PolicyInvalid: as ``document``.
    """
    return document(permissions, "chat", "name groups and channels rather than people")
