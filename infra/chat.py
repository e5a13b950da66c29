"""``chat.yaml``: read, checked in full, and made ready for the stack."""

from pathlib import Path

from infra.policies import LARGEST_DOCUMENT, parameter_text, parse
from lastgood import codec
from lastgood.domain import chat_checks
from lastgood.domain.chat_permissions import Permissions


class ChatInvalid(Exception):
    """``chat.yaml`` has mistakes. ``problems`` has one line for each, with its path."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_chat(path: Path) -> Permissions:
    """Read and check who may ask for what by chat.

    Raises:
        ChatInvalid: with one line for each mistake in the file, with the path of the value.
        OSError: the file cannot be read.
    """
    document, lines = parse(path.read_bytes(), "slack")
    permissions = None
    if document is not None:
        permissions, problems = codec.structure_or_problems(document, Permissions)
        if permissions is not None:
            problems = list(chat_checks.problems(permissions))
        lines += [
            f"{codec.show_path(where)}: {text}".removeprefix(": ") for where, text in problems
        ]
    if permissions is not None and not lines:
        size = len(chat_document(permissions).encode())
        if size > LARGEST_DOCUMENT:
            lines = [
                f"takes {size} bytes as an SSM parameter, but must take at most "
                f"{LARGEST_DOCUMENT}: name groups of people in Slack's channels instead"
            ]
    if lines or permissions is None:
        raise ChatInvalid([f"{path.name}: {line}" for line in lines])
    checked: Permissions = permissions
    return checked


def chat_document(permissions: Permissions) -> str:
    """The text of the SSM parameter, which ``codec.structure`` reads back."""
    return parameter_text(permissions)
