"""Who may ask for what in chat: the types of ``chat.yaml``, and the one question put to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lastgood.domain.policy import TagMatch
from lastgood.domain.retention import matches


class Verb(StrEnum):
    """What can be asked for in chat."""

    HELP = "help"
    LIST = "list"
    EXPLAIN = "explain"
    STATUS = "status"
    CLONE = "clone"
    RESTORE = "restore"
    EXTEND = "extend"
    KEEP = "keep"
    CANCEL = "cancel"
    REMOVE = "remove"
    APPROVE = "approve"
    DECLINE = "decline"

    @property
    def right(self) -> "Verb":
        """The verb that has to be allowed for this one: who may approve may decline."""
        return Verb.APPROVE if self is Verb.DECLINE else self

    @property
    def opens(self) -> bool:
        """It begins a restore."""
        return self in (Verb.CLONE, Verb.RESTORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack:
    """``team``: the id of the one workspace that may ask."""

    team: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """A person in one of ``groups`` or named in ``users``, or anybody if neither is given; and in
    one of ``channels``, or anywhere if none is given."""

    groups: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """``sources``: the tags that a source has to have, as in a policy's ``select.tags``; None:
    every source."""

    who: Who
    verbs: tuple[Verb, ...]
    sources: TagMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What is not allowed by any of ``allow`` is not, but for ``help``."""

    slack: Slack
    allow: tuple[Allow, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``why`` is for people. ``sources``: what is allowed concerns sources only that have the tags
    of one of these; None: every source."""

    allowed: bool
    why: str
    sources: tuple[TagMatch, ...] | None = None


def may(permissions: Permissions, *, person: str, channel: str, verb: Verb) -> Verdict:
    """Whether the person may ask for this in that channel, and of which sources."""
    if verb is Verb.HELP:
        return Verdict(allowed=True, why="help is for everybody")
    fitting = [one for one in permissions.allow if _meant(one.who, permissions, person, channel)]
    allowing = [one for one in fitting if verb.right in one.verbs]
    if not allowing:
        right = f" ({verb.right})" if verb.right is not verb else ""
        return Verdict(
            allowed=False, why=f"nothing in chat.yaml lets you {verb}{right} in this channel"
        )
    restricted = [one.sources for one in allowing if one.sources is not None]
    if len(restricted) < len(allowing):
        return Verdict(allowed=True, why=f"chat.yaml lets you {verb} every source")
    return Verdict(
        allowed=True,
        why=f"chat.yaml lets you {verb} sources with certain tags",
        sources=tuple(restricted),
    )


def touches(sources: Sequence[TagMatch] | None, tags: Mapping[str, str]) -> bool:
    """Whether a source with ``tags`` is one of ``Verdict.sources``."""
    return sources is None or any(matches(tags, one) for one in sources)


def _meant(who: Who, permissions: Permissions, person: str, channel: str) -> bool:
    named = who.users or who.groups
    members = {one for group in who.groups for one in permissions.groups.get(group, ())}
    return (not named or person in who.users or person in members) and (
        not who.channels or channel in who.channels
    )
