"""What makes a policy of the right shape still a mistake: pure, and all mistakes at once."""

import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from typing import Any

from lastgood.domain import cron
from lastgood.domain.model import LONGEST_TAG_VALUE
from lastgood.domain.place import Place
from lastgood.domain.policy import (
    Copy,
    MaxDeletes,
    Mode,
    Policy,
    ResourceKind,
    Restores,
    Retention,
    Schedule,
    Select,
    Span,
    TagMatch,
    duration_text,
)

Problem = tuple[tuple[str | int, ...], str]
"""Where (keys, and positions from 0), and what is wrong and what is allowed."""

NAME_PATTERN = r"[a-z][a-z0-9-]{0,47}"
REGION_PATTERN = r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}"
ACCOUNT_PATTERN = r"[0-9]{12}"
KEY_PATTERN = r"alias/[\w/-]{1,250}|arn:aws[\w-]*:kms:\S+|mrk-[0-9a-f]{32}|[0-9a-f-]{36}"

MOST_TAGS = 25
"""A snapshot holds 50; the rest is for Lastgood's own and for those of the source."""
LONGEST_TAG_KEY = 128  # characters: EC2 User Guide, "Tag restrictions"
MOST_VALUES = 190
"""EC2 takes 200 filter values in one describe; the rest is for Lastgood's own filters."""
TOO_MANY = f"but EC2 can search for at most {MOST_VALUES} at once"
MOST_POINTS = 100_000
"""Snapshots in a Region, by default (EBS User Guide, "Quotas for Amazon EBS")."""
LEAST_WINDOW, MOST_WINDOW = timedelta(minutes=1), timedelta(minutes=1440)  # EventBridge Scheduler
LEAST_RPO = timedelta(hours=1)
COMPLETION_STEP = timedelta(minutes=15)  # EC2 API, CopySnapshot, CompletionDurationMinutes
MOST_COMPLETION = timedelta(hours=48)  # the same
LONGEST_CLONE = timedelta(days=365)
"""What is to stay for longer is kept for good, as any other instance."""


def problems(value: object) -> Iterator[Problem]:
    """Yield every mistake in a policy or in any part of one, parts first.

    Paths start at ``value``. A value of a type that is no part of a policy has no mistakes.
    """
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _below(index, problems(item))
    elif is_dataclass(value):
        for field in fields(value):
            yield from _below(
                field.name, field_problems(type(value), field.name, getattr(value, field.name))
            )
        yield from _WHOLE.get(type(value), _nothing)(value)


def field_problems(owner: type, name: str, value: object) -> Iterator[Problem]:
    """Yield the mistakes in one field of ``owner``, looking at nothing else of it."""
    check = _FIELDS.get(owner, {}).get(name, _nothing)
    if value is not None:
        yield from check(value)
    yield from problems(value)


def home_problems(
    policy: Policy, home_region: str, home_account: str | None = None
) -> Iterator[Problem]:
    """Yield what is wrong with a policy in a stack of ``home_region``; ``home_account``: its
    account, if that is known."""
    if not policy.select.regions:
        yield from _copies_in_place(policy, (home_region,))
    if home_account:
        yield from _copies_at_home(policy, Place(region=home_region, account=home_account))


def _below(step: str | int, found: Iterator[Problem]) -> Iterator[Problem]:
    for path, text in found:
        yield (step, *path), text


def _nothing(_: Any) -> Iterator[Problem]:
    return iter(())


def _whole(pattern: str, allowed: str) -> Callable[[str], Iterator[Problem]]:
    """A check that a text matches a pattern from end to end."""

    def check(text: str) -> Iterator[Problem]:
        if not re.fullmatch(pattern, text):
            yield (), f"is the text '{text}', but must be {allowed}"

    return check


_account = _whole(ACCOUNT_PATTERN, "an AWS account id of twelve digits, in quotes")


def _timezone(name: str) -> Iterator[Problem]:
    zones = _zones()
    if name not in zones:
        by_lower_case = {zone.lower(): zone for zone in zones}
        close = get_close_matches(name.lower(), by_lower_case, n=1)
        hint = f"; did you mean '{by_lower_case[close[0]]}'?" if close else ""
        yield (), f"is the text '{name}', but must be an IANA time zone such as Europe/Berlin{hint}"


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _region(name: str) -> Iterator[Problem]:
    if not re.fullmatch(REGION_PATTERN, name):
        zone = re.fullmatch(rf"({REGION_PATTERN})[a-z]", name)
        hint = f": '{name}' is an Availability Zone, write {zone[1]}" if zone else ""
        yield (), f"is the text '{name}', but must be a Region such as eu-west-1{hint}"


def _regions(names: tuple[str, ...]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        yield from _below(index, _region(name))
        if name in names[:index]:
            yield (index,), f"is the Region {name}, which is in the list already"


def _accounts(ids: tuple[str, ...]) -> Iterator[Problem]:
    for index, id_ in enumerate(ids):
        yield from _below(index, _account(id_))
        if id_ in ids[:index]:
            yield (index,), f"is the account {id_}, which is in the list already"


def _match(wanted: TagMatch) -> Iterator[Problem]:
    for key, values in wanted.items():
        yield from _below(key, _matched_key(key))
        if not values:
            yield (key,), "is an empty list, but must name at least one value"
        for index, value in enumerate(values):
            yield from _below(key, _below(index, _matched_value(value)))
            if value in values[:index]:
                yield (key, index), f"is the text '{value}', which is in the list already"


def _matched_key(key: str) -> Iterator[Problem]:
    if not 1 <= len(key) <= LONGEST_TAG_KEY:
        yield (), f"has a key of {len(key)} characters, but a tag key has 1 to {LONGEST_TAG_KEY}"


def _matched_value(value: str) -> Iterator[Problem]:
    if len(value) > LONGEST_TAG_VALUE:
        yield (), f"has {len(value)} characters, but a tag value has at most {LONGEST_TAG_VALUE}"
    if "*" in value or "?" in value:
        # EC2's filters would read them as wildcards, our own comparison would not.
        yield (), f"is the text '{value}', but values are compared exactly: * and ? are not allowed"


def selecting_problems(wanted: TagMatch) -> Iterator[Problem]:
    """Yield the mistakes in tags that sources are selected by."""
    if not wanted:
        yield (), "is an empty mapping, so it selects everything; it must name at least one tag"
    count = sum(len(values) for values in wanted.values())
    if count > MOST_VALUES:
        yield (), f"has {count} values in all, {TOO_MANY}"
    yield from _match(wanted)


def _new_tags(tags: Mapping[str, str]) -> Iterator[Problem]:
    if len(tags) > MOST_TAGS:
        yield (
            (),
            (
                f"has {len(tags)} tags, but must have at most {MOST_TAGS}: a snapshot holds 50, "
                "and needs the rest for the tags of its source and of Lastgood"
            ),
        )
    for key, value in tags.items():
        yield from _below(key, _matched_key(key))
        if key.lower().startswith(("aws:", "lastgood:")):
            prefix = key.partition(":")[0]
            yield (key,), f"has the prefix '{prefix}:', which is reserved; take another key"
        if len(value) > LONGEST_TAG_VALUE:
            yield (
                (key,),
                f"has {len(value)} characters, but a tag value has at most {LONGEST_TAG_VALUE}",
            )


def _cron(expression: str) -> Iterator[Problem]:
    for text in cron.problems(expression):
        yield (), text


def _window(length: timedelta) -> Iterator[Problem]:
    if not LEAST_WINDOW <= length <= MOST_WINDOW or length % timedelta(minutes=1):
        yield (), f"is {duration_text(length)}, but must be whole minutes from 1m to 1440m (24h)"


def _count(count: Any) -> Iterator[Problem]:
    if count != "all" and count < 0:
        hint = ': write "all" for no limit' if count == -1 else ""
        yield (), f'is the number {count}, but must be 0 or more, or "all"{hint}'
    if count != "all" and count > MOST_POINTS:
        yield (
            (),
            f'is the number {count}, but must be at most {MOST_POINTS}: write "all" for no limit',
        )


def _span(span: Span) -> Iterator[Problem]:
    if not span:
        yield (), f"is {span}, but must be longer than nothing; leave the key out to switch it off"


def _floor(count: int) -> Iterator[Problem]:
    if count < 1:
        yield (
            (),
            f"is the number {count}, but must be 1 or more: the newest point is never deleted",
        )
    if count > MOST_POINTS:
        yield (), f"is the number {count}, but must be at most {MOST_POINTS}"


def _keep_tags(matches: tuple[TagMatch, ...]) -> Iterator[Problem]:
    for index, wanted in enumerate(matches):
        if not wanted:
            yield (
                (index,),
                "is an empty mapping, so it keeps everything; it must name at least one tag",
            )
        count = sum(len(values) for values in wanted.values())
        if count > MOST_VALUES:
            yield (index,), f"has {count} values in all, {TOO_MANY}"
        yield from _below(index, _match(wanted))


def _completion(length: timedelta) -> Iterator[Problem]:
    if not COMPLETION_STEP <= length <= MOST_COMPLETION or length % COMPLETION_STEP:
        yield (), f"is {duration_text(length)}, but must be 15m to 48h, in steps of 15 minutes"


def _rpo(length: timedelta) -> Iterator[Problem]:
    if length < LEAST_RPO:
        yield (
            (),
            (
                f"is {duration_text(length)}, but must be at least 1h: "
                "a point needs time to complete before it counts"
            ),
        )


def _most_deletes(count: int) -> Iterator[Problem]:
    if count < 1:
        yield (), f"is the number {count}, but must be 1 or more"


def _share(share: float) -> Iterator[Problem]:
    if not 0 < share <= 1:
        yield (), f"is the number {share:g}, but must be above 0 and at most 1"


def _approval(modes: tuple[Mode, ...]) -> Iterator[Problem]:
    for index, mode in enumerate(modes):
        if mode in modes[:index]:
            yield (index,), f"is the mode {mode}, which is in the list already"


def _clone_stays(length: timedelta) -> Iterator[Problem]:
    if not timedelta(0) < length <= LONGEST_CLONE:
        yield (), f"is {duration_text(length)}, but must be above 0 and at most 365d"


def _restores(restores: Restores) -> Iterator[Problem]:
    if restores.longest < restores.time_to_live:
        yield (
            ("longest",),
            (
                f"is {duration_text(restores.longest)}, but must be at least time_to_live, which "
                f"is {duration_text(restores.time_to_live)}"
            ),
        )


def _select(select: Select) -> Iterator[Problem]:
    for key, values in select.tags.items():
        for value in values:
            if value in select.exclude_tags.get(key, ()):
                yield (
                    ("exclude_tags", key),
                    f"excludes '{value}', which select.tags.{key} asks for; take it out of one",
                )
    if select.resource is ResourceKind.VOLUME:
        for name in ("exclude_boot_volume", "exclude_volume_tags"):
            if getattr(select, name):
                yield (name,), "has no meaning with resource: volume; it is for instances"


def _retention(retention: Retention) -> Iterator[Problem]:
    rules = (*retention.counts().values(), *retention.spans().values(), retention.keep_tags)
    if not any(rules):
        yield (
            (),
            (
                "keeps nothing; it must have at least one rule above 0, "
                "such as keep_daily: 7 or keep_within: 14d"
                + (" (at_least is a floor, not a rule)" if retention.at_least > 1 else "")
            ),
        )


def _copy(copy: Copy) -> Iterator[Problem]:
    if copy.account and copy.kms_key and copy.kms_key.startswith("alias/aws/"):
        yield (
            ("kms_key",),
            (
                f"is the key '{copy.kms_key}', which AWS manages, "
                "but a copy in another account must have a key of your own"
            ),
        )
    if copy.kms_key and copy.kms_key.startswith("arn:"):
        # arn:partition:kms:region:account:key/id
        parts = copy.kms_key.split(":")
        region, account = (*parts, "", "", "", "", "")[3:5]
        if region != copy.region or (copy.account and account != copy.account):
            where = f"{copy.region} of {copy.account}" if copy.account else copy.region
            yield (
                ("kms_key",),
                f"is a key of {region or 'no Region'} of {account or 'no account'}, "
                f"but the copy is in {where}; name a key that is there, such as alias/lastgood",
            )


def _policy(policy: Policy) -> Iterator[Problem]:
    expressions = [(schedule.expression, schedule.timezone) for schedule in policy.schedules]
    for index, expression in enumerate(expressions):
        first = expressions.index(expression)
        if first < index:
            yield (
                ("schedules", index),
                f"has the same cron and timezone as schedules[{first}]; take one out",
            )
    places = [(copy.region, copy.account) for copy in policy.copies]
    for index, place in enumerate(places):
        first = places.index(place)
        if first < index:
            yield (
                ("copies", index),
                f"has the same region and account as copies[{first}]; take one out",
            )
    yield from _copies_twice(policy)
    yield from _copies_in_place(policy, policy.select.regions)
    yield from _rpo_out_of_reach(policy)


def _copies_twice(policy: Policy) -> Iterator[Problem]:
    of_source = {one.region for one in policy.copies if one.account is None}
    for index, copy in enumerate(policy.copies):
        if copy.region in of_source and copy.account in policy.select.accounts:
            yield (
                ("copies", index),
                (
                    f"is in {copy.region} of {copy.account}, where the copies of that account's "
                    "own sources are already, by the entry without an account; take one out"
                ),
            )


def _copies_at_home(policy: Policy, home: Place) -> Iterator[Problem]:
    """Of those that name the account of the stack, which need not be named."""
    sources = policy.select.places(home)
    of_sources = [one.region if one.account is None else "" for one in policy.copies]
    for index, copy in enumerate(policy.copies):
        if copy.account != home.account:
            continue
        place = Place(region=copy.region, account=copy.account)
        if place in sources and home.account not in policy.select.accounts:
            yield (
                ("copies", index),
                f"is in {place}, where the points themselves are; name another Region, or another "
                "account",
            )
        elif copy.region in of_sources and not policy.select.accounts:
            yield (
                ("copies", index),
                f"is the same place as copies[{of_sources.index(copy.region)}], since "
                f"{copy.account} is the account of the stack; take one out",
            )


def _copies_in_place(policy: Policy, regions: tuple[str, ...]) -> Iterator[Problem]:
    for index, copy in enumerate(policy.copies):
        there = copy.account is None or copy.account in policy.select.accounts
        if copy.region in regions and there:
            yield (
                ("copies", index, "region"),
                f"is {copy.region}, where the points themselves are; name another Region, or "
                + (
                    "an account that select.accounts does not name"
                    if copy.account
                    else "the account to copy into"
                ),
            )


def _rpo_out_of_reach(policy: Policy) -> Iterator[Problem]:
    if policy.rpo is None:
        return
    if not policy.schedules:
        yield ("rpo",), "needs at least one schedule; a policy without one runs only by hand"
    for index, schedule in enumerate(policy.schedules):
        if schedule.window is not None and policy.rpo <= schedule.window:
            yield (
                ("rpo",),
                (
                    f"is {duration_text(policy.rpo)}, but must be longer than "
                    f"schedules[{index}].window, which is {duration_text(schedule.window)}"
                ),
            )


_FIELDS: dict[type, dict[str, Callable[[Any], Iterator[Problem]]]] = {
    Policy: {
        "name": _whole(
            NAME_PATTERN,
            "a name of at most 48 lower-case letters, digits and hyphens, with a letter first",
        ),
        "rpo": _rpo,
        "tags": _new_tags,
    },
    Select: {
        "tags": selecting_problems,
        "exclude_tags": _match,
        "exclude_volume_tags": _match,
        "regions": _regions,
        "accounts": _accounts,
    },
    Schedule: {"cron": _cron, "timezone": _timezone, "window": _window},
    Retention: {
        "timezone": _timezone,
        "at_least": _floor,
        "keep_tags": _keep_tags,
        **dict.fromkeys(Retention().counts(), _count),
        **dict.fromkeys(Retention().spans(), _span),
    },
    Copy: {
        "region": _region,
        "account": _account,
        "kms_key": _whole(KEY_PATTERN, "a KMS key: alias/name, an ARN or a key id"),
        "complete_within": _completion,
    },
    MaxDeletes: {"count": _most_deletes, "share": _share},
    Restores: {
        "approval": _approval,
        "time_to_live": _clone_stays,
        "longest": _clone_stays,
    },
}
_WHOLE: dict[type, Callable[[Any], Iterator[Problem]]] = {
    Policy: _policy,
    Select: _select,
    Retention: _retention,
    Copy: _copy,
    Restores: _restores,
}
