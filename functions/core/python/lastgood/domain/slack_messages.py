"""Messages for Slack: blocks of plain text, so that nothing in a Name or an error is markup."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lastgood.domain.policy import Mode
from lastgood.domain.restoring import RestoreStatus

MOST_CHARACTERS = 3_000
"""Of one section (Slack, "Section block"); counted with its escapes."""
MOST_BLOCKS = 50
"""Of one message (Slack, "Blocks")."""
MOST_IN_FALLBACK = 3_000
CUT = "... There is more: ask with the AWS CLI, which shows all of it."

EXTENDED_BY = "8h"
"""By the button."""

Message = dict[str, Any]

_UNSEEN = (
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """``action``: the verb. ``sure``: what a person is asked first; none if it is empty."""

    action: str
    label: str
    style: str = ""
    sure: str = ""


APPROVE = Button(action="approve", label="Approve", style="primary")
DECLINE = Button(action="decline", label="Decline", style="danger")
REMOVE = Button(
    action="remove",
    label="Remove it",
    style="danger",
    sure="What the restore made is removed, with all that was written to it.",
)
EXTEND = Button(action="extend", label=f"{EXTENDED_BY} more")
BUTTONS = {one.action: one for one in (APPROVE, DECLINE, REMOVE, EXTEND)}


def buttons_for(status: str, mode: str) -> tuple[Button, ...]:
    """What can be done about a restore in this state by a push of a button."""
    if status == RestoreStatus.APPROVING:
        return (APPROVE, DECLINE)
    if status == RestoreStatus.DONE and mode == Mode.CLONE:
        return (EXTEND, REMOVE)
    return ()


def message(
    text: str,
    *,
    restore: str = "",
    buttons: Sequence[Button] = (),
    for_all: bool = False,
    replace: bool = False,
) -> Message:
    """``for_all``: everybody in the channel sees it, not only who asked. ``replace``: it takes the
    place of the message that a button is on. ``buttons`` are about ``restore``."""
    text = text.strip() or "(nothing to say)"
    most = MOST_BLOCKS - (1 if buttons else 0)
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": _plain(piece)} for piece in _sections(text, most)
    ]
    if buttons:
        elements = [_button(one, restore) for one in buttons]
        blocks.append({"type": "actions", "elements": elements})
    return {
        "response_type": "in_channel" if for_all else "ephemeral",
        "replace_original": replace,
        # Shown in notifications only. It would be markup, if it were not told to be none.
        "text": next(_pieces(text, MOST_IN_FALLBACK)),
        "mrkdwn": False,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def escaped(text: str) -> str:
    """With Slack's three control characters as entities (Slack, "Formatting text"), and without
    what no person can see: controls, and marks that turn the direction of what follows."""
    seen = re.sub(_UNSEEN, " ", text)
    return seen.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(piece: str) -> Mapping[str, Any]:
    return {"type": "plain_text", "text": piece, "emoji": False}


def _button(one: Button, restore: str) -> dict[str, Any]:
    element = {
        "type": "button",
        "action_id": one.action,
        "text": _plain(one.label),
        "value": restore,
    }
    if one.style:
        element["style"] = one.style
    if one.sure:
        element["confirm"] = {
            "title": _plain("Are you sure?"),
            "text": _plain(one.sure),
            "confirm": _plain(one.label),
            "deny": _plain("No"),
        }
    return element


def _sections(text: str, most: int) -> Iterable[str]:
    pieces = list(_pieces(text, MOST_CHARACTERS))
    return pieces if len(pieces) <= most else [*pieces[: most - 1], CUT]


def _pieces(text: str, most: int) -> Iterator[str]:
    """Escaped, of ``most`` characters each at most, between lines where that is possible."""
    piece = ""
    for line in text.splitlines():
        for part in _parts(line, most):
            if piece and len(piece) + 1 + len(part) > most:
                yield piece
                piece = part
            else:
                piece = f"{piece}\n{part}" if piece else part
    yield piece or " "


def _parts(line: str, most: int) -> Iterator[str]:
    """One line, escaped and cut between characters, never inside of an entity."""
    part = ""
    for one in map(escaped, line):
        if len(part) + len(one) > most:
            yield part
            part = ""
        part += one
    yield part
