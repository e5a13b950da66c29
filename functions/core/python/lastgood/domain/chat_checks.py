"""What makes permissions of the right shape still a mistake: pure, and all mistakes at once."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from lastgood.domain.chat_permissions import Allow, Permissions, Verb, Who
from lastgood.domain.policy_checks import Problem, selecting_problems

TEAM_PATTERN = r"[TE][A-Z0-9]{2,20}"
USER_PATTERN = r"[UW][A-Z0-9]{2,20}"
CHANNEL_PATTERN = r"[CGD][A-Z0-9]{2,20}"
"""Ids of Slack: of a workspace or organization, a person, a channel or conversation."""

_USER = "the id of a person in Slack, such as U01AAAAAAA"


def problems(permissions: Permissions) -> Iterator[Problem]:
    """Yield every mistake, with its path."""
    team = permissions.slack.team
    yield from _id(("slack", "team"), team, TEAM_PATTERN, "the id of a workspace, such as T01ABCDE")
    for name, members in permissions.groups.items():
        if not members:
            yield ("groups", name), "is an empty list, but must name at least one person"
        yield from _ids(("groups", name), members, USER_PATTERN, _USER)
    if not permissions.allow:
        yield ("allow",), "is an empty list, so nobody may ask for anything"
    for index, allow in enumerate(permissions.allow):
        for path, text in _allow(allow, permissions):
            yield ("allow", index, *path), text


def _allow(allow: Allow, permissions: Permissions) -> Iterator[Problem]:
    yield from _who(allow.who, permissions)
    if not allow.verbs:
        yield ("verbs",), "is an empty list, but must name at least one verb"
    yield from _twice(("verbs",), allow.verbs)
    if Verb.DECLINE in allow.verbs:
        yield ("verbs", allow.verbs.index(Verb.DECLINE)), "comes with approve: write that"
    if allow.sources is not None:
        for path, text in selecting_problems(allow.sources):
            yield ("sources", *path), text


def _who(who: Who, permissions: Permissions) -> Iterator[Problem]:
    if who == Who():
        yield ("who",), "names nobody, so it means everybody: name users, groups or channels"
    for index, group in enumerate(who.groups):
        if group not in permissions.groups:
            close = get_close_matches(group, list(permissions.groups), n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            yield ("who", "groups", index), f"is '{group}', which is not one of groups{hint}"
    yield from _twice(("who", "groups"), who.groups)
    yield from _ids(("who", "users"), who.users, USER_PATTERN, _USER)
    channel = "the id of a channel in Slack, such as C01OPS0000 (a name is not enough)"
    yield from _ids(("who", "channels"), who.channels, CHANNEL_PATTERN, channel)


def _ids(
    path: tuple[str | int, ...], ids: Sequence[str], pattern: str, allowed: str
) -> Iterator[Problem]:
    for index, id_ in enumerate(ids):
        yield from _id((*path, index), id_, pattern, allowed)
    yield from _twice(path, ids)


def _id(path: tuple[str | int, ...], id_: str, pattern: str, allowed: str) -> Iterator[Problem]:
    if not re.fullmatch(pattern, id_):
        yield path, f"is the text '{id_}', but must be {allowed}"


def _twice(path: tuple[str | int, ...], values: Sequence[str]) -> Iterator[Problem]:
    for index, value in enumerate(values):
        if value in values[:index]:
            yield (*path, index), f"is '{value}', which is in the list already"
