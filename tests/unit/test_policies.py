"""What ``policies.yaml`` may say, and exactly what a person is told when it says something else."""

import json
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.policies import LARGEST_DOCUMENT, load_policies, policy_document, schedule_names
from lastgood import codec
from lastgood.domain import policy_checks
from lastgood.domain.policy import (
    Copy,
    Encryption,
    MaxDeletes,
    Mode,
    Policy,
    ResourceKind,
    Restores,
    Retention,
    Schedule,
    Select,
    Span,
)
from lastgood.errors import PolicyInvalid

ROOT = Path(__file__).parents[2]

SELECT = "{resource: instance, tags: {backup: [daily]}}"
RETENTION = "{keep_daily: 7}"


def web(more: str = "", *, select: str = SELECT, retention: str = RETENTION) -> str:
    """A file with the one policy ``web``, and ``more`` keys of it."""
    return f"policies:\n  web:\n    select: {select}\n    retention: {retention}\n    {more}\n"


def selecting(more: str, *, resource: str = "instance") -> str:
    return web(select=f"{{resource: {resource}, tags: {{backup: [daily]}}, {more}}}")


def cron(expression: str) -> str:
    return web(f'schedules: [{{cron: "{expression}"}}]')


def copying(copy: str) -> str:
    return web(f"copies: [{copy}]")


DURATION = 'a duration: a whole number with one unit, d, h, m or s, such as "15m", "26h", "14d"'
SPAN = (
    "a span of years, months, days and hours, each at most once and in this order, "
    'such as "14d" or "1y6m"'
)
NAME = "a name of at most 48 lower-case letters, digits and hyphens, with a letter first"
NOTHING = (
    "keeps nothing; it must have at least one rule above 0, "
    "such as keep_daily: 7 or keep_within: 14d"
)
SIX_FIELDS = (
    "but must have six: minutes hours day-of-month month day-of-week year; "
    'every night at three is "0 3 * * ? *"'
)
KNOWN = (
    "known: description, select, schedules, retention, copies, encryption, rpo, max_deletes, tags, "
    "restores"
)
MANY_VALUES = ", ".join(f"v{number}" for number in range(191))
MANY_TAGS = ", ".join(f"key{number}: value" for number in range(26))

BAD: dict[str, tuple[str, list[str]]] = {
    "an empty file": ("", ["is empty, but must have the key 'policies'"]),
    "a file of comments": ("# nothing yet\n", ["is empty, but must have the key 'policies'"]),
    "a top level that is a list": (
        "- web\n",
        ["is a list, but must be a mapping with the key 'policies'"],
    ),
    "a top level that is a text": (
        "web",
        ["is the text 'web', but must be a mapping with the key 'policies'"],
    ),
    "no key policies": (
        "defaults: {}\n",
        ["policies: is missing; it must be a mapping of policies by name"],
    ),
    "policies with nothing below it": (
        "policies:\n",
        ["policies: is empty, but must be a mapping of policies by name"],
    ),
    "policies as a list": (
        "policies:\n  - web\n",
        ["policies: is a list, but must be a mapping of policies by name"],
    ),
    "defaults as a list": (
        "policies: {}\ndefaults: [1]\n",
        ["defaults: is a list, but must be a mapping"],
    ),
    "an unknown key at the top": (
        "policies: {}\npolices: {}\n",
        ["polices: unknown key 'polices'; did you mean 'policies'?"],
    ),
    "YAML with a bracket left open": (
        "policies:\n  web: {select: [\n",
        ["line 3: is not YAML: expected the node content, but found '<stream end>'"],
    ),
    "YAML with a tab": (
        "policies:\n\tweb: 1\n",
        ["line 2: is not YAML: found character '\\t' that cannot start any token"],
    ),
    "YAML with a tag that runs code": (
        "policies: !!python/object:os.system {}\n",
        [
            "line 1: is not YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object:os.system'"
        ],
    ),
    "YAML with two documents": (
        "policies: {}\n---\npolicies: {}\n",
        ["line 2: is not YAML: but found another document"],
    ),
    "YAML with a date that is none": (
        web("description: 2026-02-31"),
        ["is not YAML: day is out of range for month"],
    ),
    "bytes that are no text": (
        "policies: \x00",
        [
            "is not YAML: unacceptable character #x0000: special characters are not allowed"
            ' in "<byte string>", position 10'
        ],
    ),
    "two policies of one name": (
        web() + "  web:\n    description: again\n",
        [
            "line 6: has the key 'web' again, which is on line 2 already; take one out",
            "policies.web.select: is missing; it must be a mapping",
            "policies.web.retention: is missing; it must be a mapping",
        ],
    ),
    "a key twice within a policy": (
        web("description: one\n    description: two"),
        ["line 6: has the key 'description' again, which is on line 5 already; take one out"],
    ),
    "a policy without a body": (
        "policies:\n  web:\n",
        ["policies.web: is empty, but must be a mapping"],
    ),
    "a policy whose name is a number": (
        "policies:\n  7: {}\n",
        ["policies: has a name that is the number 7; write it in quotes"],
    ),
    "a policy name with a capital": (
        web().replace("  web:", "  Web:"),
        [f"policies.Web.name: is the text 'Web', but must be {NAME}"],
    ),
    "a policy name of 49 characters": (
        web().replace("  web:", f"  {'w' * 49}:"),
        [f"policies.{'w' * 49}.name: is the text '{'w' * 49}', but must be {NAME}"],
    ),
    "a policy that repeats its name": (
        web("name: web"),
        ["policies.web.name: unknown key 'name'; the name of a policy is the key above it"],
    ),
    "a policy with neither select nor retention": (
        "policies:\n  web: {}\n",
        [
            "policies.web.select: is missing; it must be a mapping",
            "policies.web.retention: is missing; it must be a mapping",
        ],
    ),
    "an unknown key in a policy": (
        web("retenion: {keep_daily: 7}"),
        ["policies.web.retenion: unknown key 'retenion'; did you mean 'retention'?"],
    ),
    "an unknown key like no other": (
        web("colour: red"),
        [f"policies.web.colour: unknown key 'colour'; {KNOWN}"],
    ),
    "an unknown key in select": (
        selecting("exclude_tag: {a: [b]}"),
        [
            "policies.web.select.exclude_tag: unknown key 'exclude_tag'; did you mean "
            "'exclude_tags'?"
        ],
    ),
    "an unknown key in a schedule": (
        web('schedules: [{cron: "0 3 * * ? *", tz: UTC}]'),
        ["policies.web.schedules[0].tz: unknown key 'tz'; known: cron, timezone, window"],
    ),
    "an unknown key in retention": (
        web(retention="{keep_daily: 7, keep_dayly: 7}"),
        ["policies.web.retention.keep_dayly: unknown key 'keep_dayly'; did you mean 'keep_daily'?"],
    ),
    "an unknown key in a copy": (
        copying("{region: eu-west-1, kms_kye: alias/a}"),
        ["policies.web.copies[0].kms_kye: unknown key 'kms_kye'; did you mean 'kms_key'?"],
    ),
    "an unknown key in max_deletes": (
        web("max_deletes: {counts: 5}"),
        ["policies.web.max_deletes.counts: unknown key 'counts'; did you mean 'count'?"],
    ),
    "an unknown key in defaults": (
        web() + "defaults: {retenion: {}}\n",
        ["defaults.retenion: unknown key 'retenion'; did you mean 'retention'?"],
    ),
    "a key that YAML reads as true": (
        web("on: 7"),
        [f"policies.web.True: unknown key 'True'; {KNOWN}"],
    ),
    "a tag key that YAML reads as true": (
        web(select="{resource: instance, tags: {on: [daily]}}"),
        [
            "policies.web.select.tags: has a key that is the truth value true, but every "
            "key must be a text: write it in quotes"
        ],
    ),
    "one value of a tag without a list": (
        web(select="{resource: instance, tags: {backup: daily}}"),
        [
            "policies.web.select.tags.backup: is the text 'daily', but must be a list of "
            'texts: write ["daily"]'
        ],
    ),
    "a tag value that YAML reads as true": (
        selecting("exclude_tags: {skip: [true]}"),
        [
            "policies.web.select.exclude_tags.skip[0]: is the truth value true, but must be"
            " a text: write it in quotes"
        ],
    ),
    "a tag value that is a number": (
        web("tags: {cost-centre: 42}"),
        ["policies.web.tags.cost-centre: is the number 42, but must be a text: write it in quotes"],
    ),
    "a tag value that is a date": (
        web("tags: {since: 2026-07-01}"),
        ["policies.web.tags.since: is the date 2026-07-01, but must be a text: write it in quotes"],
    ),
    "a tag value that is empty": (
        web("tags: {cost-centre: }"),
        ["policies.web.tags.cost-centre: is empty, but must be a text"],
    ),
    "a selector without tags": (
        web(select="{resource: instance, tags: {}}"),
        [
            "policies.web.select.tags: is an empty mapping, so it selects everything; it "
            "must name at least one tag"
        ],
    ),
    "a selector that leaves tags out": (
        web(select="{resource: instance}"),
        [
            "policies.web.select.tags: is missing; it must be a mapping with a list of "
            "texts for every key"
        ],
    ),
    "a tag without values": (
        web(select="{resource: instance, tags: {backup: []}}"),
        ["policies.web.select.tags.backup: is an empty list, but must name at least one value"],
    ),
    "an excluded tag without values": (
        selecting("exclude_tags: {skip: []}"),
        [
            "policies.web.select.exclude_tags.skip: is an empty list, but must name at "
            "least one value"
        ],
    ),
    "a tag value with a wildcard": (
        web(select='{resource: instance, tags: {backup: ["*"]}}'),
        [
            "policies.web.select.tags.backup[0]: is the text '*', but values are compared "
            "exactly: * and ? are not allowed"
        ],
    ),
    "a tag value twice": (
        web(select="{resource: instance, tags: {backup: [daily, daily]}}"),
        ["policies.web.select.tags.backup[1]: is the text 'daily', which is in the list already"],
    ),
    "more values than EC2 searches for": (
        web(select=f"{{resource: instance, tags: {{backup: [{MANY_VALUES}]}}}}"),
        [
            "policies.web.select.tags: has 191 values in all, but EC2 can search for at "
            "most 190 at once"
        ],
    ),
    "a tag both selected and excluded": (
        selecting("exclude_tags: {backup: [daily]}"),
        [
            "policies.web.select.exclude_tags.backup: excludes 'daily', which "
            "select.tags.backup asks for; take it out of one"
        ],
    ),
    "an unknown kind of resource": (
        web(select="{resource: instances, tags: {backup: [daily]}}"),
        [
            "policies.web.select.resource: is the text 'instances', but must be one of "
            "instance, volume: did you mean 'instance'?"
        ],
    ),
    "exclude_boot_volume with volumes": (
        selecting("exclude_boot_volume: true", resource="volume"),
        [
            "policies.web.select.exclude_boot_volume: has no meaning with resource: volume;"
            " it is for instances"
        ],
    ),
    "exclude_volume_tags with volumes": (
        selecting("exclude_volume_tags: {a: [b]}", resource="volume"),
        [
            "policies.web.select.exclude_volume_tags: has no meaning with resource: volume;"
            " it is for instances"
        ],
    ),
    "a truth value in quotes": (
        selecting('exclude_boot_volume: "true"'),
        [
            "policies.web.select.exclude_boot_volume: is the text 'true', but must be true "
            "or false: write it without quotes"
        ],
    ),
    "an Availability Zone as a Region": (
        selecting("regions: [eu-west-1a]"),
        [
            "policies.web.select.regions[0]: is the text 'eu-west-1a', but must be a Region"
            " such as eu-west-1: 'eu-west-1a' is an Availability Zone, write eu-west-1"
        ],
    ),
    "a Region that is none": (
        selecting("regions: [Frankfurt]"),
        [
            "policies.web.select.regions[0]: is the text 'Frankfurt', but must be a Region "
            "such as eu-west-1"
        ],
    ),
    "a Region twice": (
        selecting("regions: [eu-west-1, eu-north-1, eu-west-1]"),
        ["policies.web.select.regions[2]: is the Region eu-west-1, which is in the list already"],
    ),
    "an account that is none": (
        selecting('accounts: ["1234"]'),
        [
            "policies.web.select.accounts[0]: is the text '1234', but must be an AWS account id "
            "of twelve digits, in quotes"
        ],
    ),
    "an account twice": (
        selecting('accounts: ["111122223333", "111122223333"]'),
        [
            "policies.web.select.accounts[1]: is the account 111122223333, which is in the list "
            "already"
        ],
    ),
    "a copy into an account that keeps copies of its own there": (
        selecting('accounts: ["111122223333"]')
        + '    copies: [{region: eu-north-1}, {region: eu-north-1, account: "111122223333"}]\n',
        [
            "policies.web.copies[1]: is in eu-north-1 of 111122223333, where the copies of that "
            "account's own sources are already, by the entry without an account; take one out"
        ],
    ),
    "a copy into a place of its own sources in another account": (
        selecting('accounts: ["111122223333"], regions: [eu-north-1]')
        + '    copies: [{region: eu-north-1, account: "111122223333"}]\n',
        [
            "policies.web.copies[0].region: is eu-north-1, where the points themselves are; name "
            "another Region, or an account that select.accounts does not name"
        ],
    ),
    "one Region without a list": (
        selecting("regions: eu-west-1"),
        [
            "policies.web.select.regions: is the text 'eu-west-1', but must be a list of "
            'texts: write ["eu-west-1"]'
        ],
    ),
    "a cron of five fields": (
        cron("0 3 * * *"),
        [f"policies.web.schedules[0].cron: has 5 fields, {SIX_FIELDS}"],
    ),
    "a cron without a question mark": (
        cron("0 3 * * * *"),
        [
            "policies.web.schedules[0].cron: has '*' in the field day-of-month and '*' in "
            "the field day-of-week, but exactly one of the two must be ?"
        ],
    ),
    "a cron with a wrong hour": (
        cron("0 24 * * ? *"),
        [
            "policies.web.schedules[0].cron: has '24' in the field hours, where '24' is not"
            " a value of this field; allowed: 0-23, with *, lists, ranges and steps such as"
            " */2"
        ],
    ),
    "a cron in its wrapping": (
        cron("cron(0 3 * * ? *)"),
        [
            "policies.web.schedules[0].cron: is the text 'cron(0 3 * * ? *)', but must be "
            'six cron fields and nothing else: write "0 3 * * ? *"'
        ],
    ),
    "a rate": (
        cron("rate(1 day)"),
        [
            "policies.web.schedules[0].cron: is the text 'rate(1 day)', but must be six "
            "cron fields and nothing else"
        ],
    ),
    "a cron with Sunday as 0": (
        cron("0 3 ? * 0 *"),
        [
            "policies.web.schedules[0].cron: has '0' in the field day-of-week, where '0' is"
            " not a day: Sunday is 1 or SUN; allowed: 1-7 or SUN-SAT, with *, lists, "
            "ranges, ?, 6L (the last Friday) and 6#2 (the second Friday)"
        ],
    ),
    "two crons that are the same": (
        web('schedules: [{cron: "0 3 ? * MON *"}, {cron: "0  3 ? * mon *", window: 5m}]'),
        ["policies.web.schedules[1]: has the same cron and timezone as schedules[0]; take one out"],
    ),
    "schedules as a mapping": (
        web('schedules: {cron: "0 3 * * ? *"}'),
        ["policies.web.schedules: is a mapping, but must be a list of mappings"],
    ),
    "a schedule without a cron": (
        web("schedules: [{window: 15m}]"),
        ["policies.web.schedules[0].cron: is missing; it must be a text"],
    ),
    "a zone that does not exist": (
        web('schedules: [{cron: "0 3 * * ? *", timezone: Europe/Belrin}]'),
        [
            "policies.web.schedules[0].timezone: is the text 'Europe/Belrin', but must be "
            "an IANA time zone such as Europe/Berlin; did you mean 'Europe/Berlin'?"
        ],
    ),
    "a zone in lower case": (
        web(retention="{keep_daily: 7, timezone: europe/berlin}"),
        [
            "policies.web.retention.timezone: is the text 'europe/berlin', but must be an "
            "IANA time zone such as Europe/Berlin; did you mean 'Europe/Berlin'?"
        ],
    ),
    "a zone as an offset": (
        web(retention="{keep_daily: 7, timezone: +02:00}"),
        [
            "policies.web.retention.timezone: is the text '+02:00', but must be an IANA "
            "time zone such as Europe/Berlin"
        ],
    ),
    "a window with a space": (
        web('schedules: [{cron: "0 3 * * ? *", window: 15 min}]'),
        [f"policies.web.schedules[0].window: is the text '15 min', but must be {DURATION}"],
    ),
    "a window without a unit": (
        web('schedules: [{cron: "0 3 * * ? *", window: 15}]'),
        [f"policies.web.schedules[0].window: is the number 15, but must be {DURATION}"],
    ),
    "a window of more than a day": (
        web('schedules: [{cron: "0 3 * * ? *", window: 25h}]'),
        [
            "policies.web.schedules[0].window: is 25h, but must be whole minutes from 1m to"
            " 1440m (24h)"
        ],
    ),
    "a window of seconds": (
        web('schedules: [{cron: "0 3 * * ? *", window: 90s}]'),
        [
            "policies.web.schedules[0].window: is 90s, but must be whole minutes from 1m to"
            " 1440m (24h)"
        ],
    ),
    "an rpo in weeks": (
        web("rpo: 2w"),
        [f"policies.web.rpo: is the text '2w', but must be {DURATION}"],
    ),
    "an rpo with a fraction": (
        web("rpo: 1.5h"),
        [f"policies.web.rpo: is the text '1.5h', but must be {DURATION}"],
    ),
    "an rpo without a schedule": (
        web("rpo: 26h"),
        ["policies.web.rpo: needs at least one schedule; a policy without one runs only by hand"],
    ),
    "an rpo below an hour": (
        cron("0 * * * ? *") + "    rpo: 30m\n",
        [
            "policies.web.rpo: is 30m, but must be at least 1h: a point needs time to "
            "complete before it counts"
        ],
    ),
    "an rpo within the window": (
        web('schedules: [{cron: "0 3 * * ? *", window: 3h}]') + "    rpo: 2h\n",
        ["policies.web.rpo: is 2h, but must be longer than schedules[0].window, which is 3h"],
    ),
    "an empty retention": (web(retention="{}"), [f"policies.web.retention: {NOTHING}"]),
    "retention with every count at 0": (
        web(retention="{keep_last: 0, keep_daily: 0}"),
        [f"policies.web.retention: {NOTHING}"],
    ),
    "retention with a floor alone": (
        web(retention="{at_least: 3}"),
        [f"policies.web.retention: {NOTHING} (at_least is a floor, not a rule)"],
    ),
    "retention with tags that nothing can bear": (
        web(retention="{keep_tags: [{hold: []}]}"),
        [
            "policies.web.retention.keep_tags[0].hold: is an empty list, but must name at least "
            "one value"
        ],
    ),
    "a count that no account has points for": (
        web(retention="{keep_daily: 100001}"),
        [
            "policies.web.retention.keep_daily: is the number 100001, but must be at most "
            '100000: write "all" for no limit'
        ],
    ),
    "a floor that no account has points for": (
        web(retention="{keep_daily: 7, at_least: 100001}"),
        ["policies.web.retention.at_least: is the number 100001, but must be at most 100000"],
    ),
    "a span in weeks": (
        web(retention="{keep_within: 2w}"),
        [f"policies.web.retention.keep_within: is the text '2w', but must be {SPAN}"],
    ),
    "a negative count": (
        web(retention="{keep_daily: -2}"),
        ['policies.web.retention.keep_daily: is the number -2, but must be 0 or more, or "all"'],
    ),
    "-1 for no limit": (
        web(retention="{keep_last: -1}"),
        [
            "policies.web.retention.keep_last: is the number -1, but must be 0 or more, or "
            '"all": write "all" for no limit'
        ],
    ),
    "a count in quotes": (
        web(retention='{keep_daily: "7"}'),
        [
            "policies.web.retention.keep_daily: is the text '7', but must be a whole number"
            ' or "all"'
        ],
    ),
    "a count with a fraction": (
        web(retention="{keep_daily: 7.5}"),
        [
            "policies.web.retention.keep_daily: is the number 7.5, but must be a whole "
            'number or "all"'
        ],
    ),
    "a count that is a truth value": (
        web(retention="{keep_daily: yes}"),
        [
            "policies.web.retention.keep_daily: is the truth value true, but must be a "
            'whole number or "all"'
        ],
    ),
    "a span with a wrong unit": (
        web(retention="{keep_within: 14x}"),
        [f"policies.web.retention.keep_within: is the text '14x', but must be {SPAN}"],
    ),
    "a span in the wrong order": (
        web(retention="{keep_within_daily: 3d2y}"),
        [f"policies.web.retention.keep_within_daily: is the text '3d2y', but must be {SPAN}"],
    ),
    "a span of nothing": (
        web(retention="{keep_daily: 7, keep_within: 0d}"),
        [
            "policies.web.retention.keep_within: is 0h, but must be longer than nothing; "
            "leave the key out to switch it off"
        ],
    ),
    "a floor of 0": (
        web(retention="{keep_daily: 7, at_least: 0}"),
        [
            "policies.web.retention.at_least: is the number 0, but must be 1 or more: the "
            "newest point is never deleted"
        ],
    ),
    "keep_tags that keep everything": (
        web(retention="{keep_daily: 7, keep_tags: [{}]}"),
        [
            "policies.web.retention.keep_tags[0]: is an empty mapping, so it keeps "
            "everything; it must name at least one tag"
        ],
    ),
    "keep_tags as a mapping": (
        web(retention='{keep_daily: 7, keep_tags: {hold: ["true"]}}'),
        ["policies.web.retention.keep_tags: is a mapping, but must be a list of mappings"],
    ),
    "a copy without a Region": (
        copying("{account: '111122223333'}"),
        ["policies.web.copies[0].region: is missing; it must be a text"],
    ),
    "a copy into the Region of the points": (
        selecting("regions: [eu-west-1]") + "    copies: [{region: eu-west-1}]\n",
        [
            "policies.web.copies[0].region: is eu-west-1, where the points themselves are; "
            "name another Region, or the account to copy into"
        ],
    ),
    "a copy into the Region of the stack": (
        copying("{region: eu-central-1}"),
        [
            "policies.web.copies[0].region: is eu-central-1, where the points themselves "
            "are; name another Region, or the account to copy into"
        ],
    ),
    "the same copy twice": (
        web("copies: [{region: eu-west-1}, {region: eu-west-1}]"),
        ["policies.web.copies[1]: has the same region and account as copies[0]; take one out"],
    ),
    "an account id without quotes": (
        copying("{region: eu-west-1, account: 111122223333}"),
        [
            "policies.web.copies[0].account: is the number 111122223333, but must be a "
            "text: write it in quotes"
        ],
    ),
    "an account id of eleven digits": (
        copying("{region: eu-west-1, account: '11112222333'}"),
        [
            "policies.web.copies[0].account: is the text '11112222333', but must be an AWS "
            "account id of twelve digits, in quotes"
        ],
    ),
    "a KMS key that is none": (
        copying("{region: eu-west-1, kms_key: lastgood}"),
        [
            "policies.web.copies[0].kms_key: is the text 'lastgood', but must be a KMS key:"
            " alias/name, an ARN or a key id"
        ],
    ),
    "the key of AWS in another account": (
        copying("{region: eu-west-1, account: '111122223333', kms_key: alias/aws/ebs}"),
        [
            "policies.web.copies[0].kms_key: is the key 'alias/aws/ebs', which AWS manages,"
            " but a copy in another account must have a key of your own"
        ],
    ),
    "a key of another Region": (
        copying("{region: eu-north-1, kms_key: 'arn:aws:kms:eu-west-1:111122223333:key/k'}"),
        [
            "policies.web.copies[0].kms_key: is a key of eu-west-1 of 111122223333, but the copy "
            "is in eu-north-1; name a key that is there, such as alias/lastgood"
        ],
    ),
    "a key of another account": (
        copying(
            "{region: eu-north-1, account: '444455556666', "
            "kms_key: 'arn:aws:kms:eu-north-1:111122223333:key/k'}"
        ),
        [
            "policies.web.copies[0].kms_key: is a key of eu-north-1 of 111122223333, but the copy "
            "is in eu-north-1 of 444455556666; name a key that is there, such as alias/lastgood"
        ],
    ),
    "a copy that keeps nothing": (
        copying("{region: eu-west-1, retention: {}}"),
        [f"policies.web.copies[0].retention: {NOTHING}"],
    ),
    "complete_within off the quarter hour": (
        copying("{region: eu-west-1, complete_within: 20m}"),
        [
            "policies.web.copies[0].complete_within: is 20m, but must be 15m to 48h, in "
            "steps of 15 minutes"
        ],
    ),
    "complete_within of three days": (
        copying("{region: eu-west-1, complete_within: 3d}"),
        [
            "policies.web.copies[0].complete_within: is 3d, but must be 15m to 48h, in "
            "steps of 15 minutes"
        ],
    ),
    "an encryption that is none": (
        web("encryption: require"),
        [
            "policies.web.encryption: is the text 'require', but must be one of required, "
            "as-is: did you mean 'required'?"
        ],
    ),
    "a share that stops every prune": (
        web('schedules: [{cron: "0 * * * ? *"}]', retention="{keep_hourly: 12, keep_daily: 7}"),
        [
            "policies.web.max_deletes.share: is 0.5, but at these schedules and this retention 24 "
            "of the 41 points of a source go on one day: nothing would ever be pruned; it must be "
            "at least 0.59"
        ],
    ),
    "too many values to keep": (
        web(retention=f"{{keep_daily: 7, keep_tags: [{{a: [{MANY_VALUES}]}}]}}"),
        [
            "policies.web.retention.keep_tags[0]: has 191 values in all, but EC2 can search for at "
            "most 190 at once"
        ],
    ),
    "a share of 0": (
        web("max_deletes: {share: 0}"),
        ["policies.web.max_deletes.share: is the number 0, but must be above 0 and at most 1"],
    ),
    "a share in per cent": (
        web("max_deletes: {share: 50}"),
        ["policies.web.max_deletes.share: is the number 50, but must be above 0 and at most 1"],
    ),
    "a share that is not a number": (
        web("max_deletes: {share: .nan}"),
        ["policies.web.max_deletes.share: is the number nan, but must be above 0 and at most 1"],
    ),
    "a count of deletes of 0": (
        web("max_deletes: {count: 0}"),
        ["policies.web.max_deletes.count: is the number 0, but must be 1 or more"],
    ),
    "a mode that there is not, to approve": (
        web("restores: {approval: [in-place]}"),
        [
            "policies.web.restores.approval[0]: is the text 'in-place', but must be one of clone, "
            "volumes, in_place, drill: did you mean 'in_place'?"
        ],
    ),
    "a mode to approve twice": (
        web("restores: {approval: [clone, in_place, clone]}"),
        [
            "policies.web.restores.approval[2]: is the mode clone, which is in the list already",
        ],
    ),
    "no time to live": (
        web("restores: {time_to_live: 0h}"),
        ["policies.web.restores.time_to_live: is 0s, but must be above 0 and at most 365d"],
    ),
    "a time to live that is a number": (
        web("restores: {time_to_live: 8}"),
        [f"policies.web.restores.time_to_live: is the number 8, but must be {DURATION}"],
    ),
    "more than the longest time to live": (
        web("restores: {time_to_live: 31d}"),
        ["policies.web.restores.longest: is 30d, but must be at least time_to_live, which is 31d"],
    ),
    "a time to live of more than a year": (
        web("restores: {longest: 366d}"),
        ["policies.web.restores.longest: is 366d, but must be above 0 and at most 365d"],
    ),
    "too many tags": (
        web(f"tags: {{{MANY_TAGS}}}"),
        [
            "policies.web.tags: has 26 tags, but must have at most 25: a snapshot holds 50,"
            " and needs the rest for the tags of its source and of Lastgood"
        ],
    ),
    "a reserved tag": (
        web("tags: {'aws:owner': me, 'Lastgood:point': x}"),
        [
            "policies.web.tags.aws:owner: has the prefix 'aws:', which is reserved; take "
            "another key",
            "policies.web.tags.Lastgood:point: has the prefix 'Lastgood:', which is "
            "reserved; take another key",
        ],
    ),
    "a tag key that is too long": (
        web(f"tags: {{{'k' * 129}: v}}"),
        [f"policies.web.tags.{'k' * 129}: has a key of 129 characters, but a tag key has 1 to 128"],
    ),
    "a tag value that is too long": (
        web(f"tags: {{k: {'v' * 257}}}"),
        ["policies.web.tags.k: has 257 characters, but a tag value has at most 256"],
    ),
    "an empty tag key": (
        web("tags: {'': v}"),
        ["policies.web.tags['']: has a key of 0 characters, but a tag key has 1 to 128"],
    ),
    "a policy too large for SSM": (
        web(f"description: {'d' * 8192}"),
        [
            "policies.web: takes 8856 bytes as an SSM parameter, but must take at most "
            "8192: split it into two policies"
        ],
    ),
    "mistakes in every part at once": (
        web(
            "tags: {'aws:a': b}\n    rpo: 26\n    schedules: [{cron: x, window: 2w}, {cron: y}]",
            select="{resource: instance, tags: {backup: daily}, regions: [mars]}",
            retention="{}",
        )
        + "  api: {description: 7}\n",
        [
            "policies.web.select.tags.backup: is the text 'daily', but must be a list of "
            'texts: write ["daily"]',
            f"policies.web.schedules[0].window: is the text '2w', but must be {DURATION}",
            f"policies.web.rpo: is the number 26, but must be {DURATION}",
            "policies.web.select.regions[0]: is the text 'mars', but must be a Region such "
            "as eu-west-1",
            f"policies.web.schedules[0].cron: has 1 field, {SIX_FIELDS}",
            f"policies.web.schedules[1].cron: has 1 field, {SIX_FIELDS}",
            f"policies.web.retention: {NOTHING}",
            "policies.web.tags.aws:a: has the prefix 'aws:', which is reserved; take another key",
            "policies.api.description: is the number 7, but must be a text: write it in quotes",
            "policies.api.select: is missing; it must be a mapping",
            "policies.api.retention: is missing; it must be a mapping",
        ],
    ),
    "mistakes that come from defaults": (
        "policies:\n  web: {select: {tags: {backup: [daily]}}}\n"
        "  api: {select: {tags: {api: [daily]}}}\n"
        "defaults:\n  select: {resource: instance, regions: [mars]}\n"
        "  retention: {keep_daily: -3}\n",
        [
            "defaults.select.regions[0]: is the text 'mars', but must be a Region such as "
            "eu-west-1",
            'defaults.retention.keep_daily: is the number -3, but must be 0 or more, or "all"',
        ],
    ),
}


def problems_of(text: str, folder: Path, home_region: str | None = "eu-central-1") -> list[str]:
    file = folder / "policies.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyInvalid) as caught:
        load_policies(file, home_region=home_region)
    return caught.value.problems


def loaded(text: str, folder: Path) -> dict[str, Policy]:
    file = folder / "policies.yaml"
    file.write_text(text, encoding="utf-8")
    return load_policies(file, home_region="eu-central-1")


@pytest.mark.parametrize(
    ("copies", "problem"),
    [
        (
            "[{region: eu-central-1, account: '123456789012'}]",
            "copies[0]: is in eu-central-1 of 123456789012, where the points themselves are; name "
            "another Region, or another account",
        ),
        (
            "[{region: eu-north-1}, {region: eu-north-1, account: '123456789012'}]",
            "copies[1]: is the same place as copies[0], since 123456789012 is the account of the "
            "stack; take one out",
        ),
    ],
)
def test_the_account_of_the_stack_is_no_other_account_though_it_is_named(
    copies: str, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(
        "policies: {web: {select: {resource: volume, tags: {backup: [x]}}, "
        f"retention: {{keep_last: 1}}, copies: {copies}}}}}"
    )

    with pytest.raises(PolicyInvalid) as caught:
        load_policies(file, home_region="eu-central-1", home_account="123456789012")

    assert caught.value.problems == [f"policies.yaml: policies.web.{problem}"]


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_named_with_its_path_and_what_is_allowed(case, tmp_path):
    text, expected = BAD[case]

    assert problems_of(text, tmp_path) == [f"policies.yaml: {line}" for line in expected]


def test_bytes_that_are_not_utf8_are_a_mistake_and_not_a_crash(tmp_path):
    file = tmp_path / "policies.yaml"
    file.write_bytes(b"policies: \xff\n")

    with pytest.raises(PolicyInvalid, match="is not YAML"):
        load_policies(file)


def test_the_message_of_the_error_has_all_problems_a_line_each(tmp_path):
    file = tmp_path / "policies.yaml"
    file.write_text(web("colour: red\n    shape: round"))

    with pytest.raises(PolicyInvalid) as caught:
        load_policies(file)

    assert str(caught.value).splitlines() == caught.value.problems
    assert len(caught.value.problems) == 2


def test_the_policies_of_a_fresh_deployment_are_valid():
    policies = load_policies(ROOT / "policies.yaml", home_region="eu-central-1")

    assert list(policies) == ["web-daily", "data-volumes"]
    web_daily = policies["web-daily"]
    assert web_daily == Policy(
        name="web-daily",
        description="Instances, every night, a year back",
        select=Select(
            resource=ResourceKind.INSTANCE,
            tags={"backup": ("daily", "gold")},
            exclude_tags={"backup-skip": ("true",)},
            exclude_volume_tags={"scratch": ("true",)},
        ),
        schedules=(
            Schedule(cron="0 3 * * ? *", timezone="Europe/Berlin", window=timedelta(minutes=15)),
        ),
        retention=Retention(
            timezone="Europe/Berlin",
            keep_last=3,
            keep_daily=7,
            keep_weekly=4,
            keep_monthly=12,
            keep_yearly=1,
            keep_within=Span(days=14),
            keep_tags=({"hold": ("true",)},),
            at_least=2,
        ),
        rpo=timedelta(hours=26),
        tags={"cost-centre": "web"},
    )


def test_every_key_can_be_used_at_once(tmp_path):
    text = web(
        "copies: [{region: eu-north-1, account: '111122223333', kms_key: alias/lastgood,"
        " retention: {keep_monthly: all}, complete_within: 4h}]\n"
        "    encryption: required\n"
        "    max_deletes: {count: 10, share: 1}\n"
        "    restores: {approval: [in_place, drill], time_to_live: 90m, longest: 7d}",
        select="{resource: instance, tags: {'aws:autoscaling:groupName': [web]},"
        " exclude_boot_volume: true, regions: [us-gov-west-1, eu-west-1]}",
        retention="{keep_last: all, keep_within: 2y5m7d3h}",
    )

    policy = loaded(text, tmp_path)["web"]

    assert policy.copies == (
        Copy(
            region="eu-north-1",
            account="111122223333",
            kms_key="alias/lastgood",
            retention=Retention(keep_monthly="all"),
            complete_within=timedelta(hours=4),
        ),
    )
    assert policy.encryption is Encryption.REQUIRED
    assert policy.max_deletes == MaxDeletes(count=10, share=1.0)
    assert policy.restores == Restores(
        approval=(Mode.IN_PLACE, Mode.DRILL),
        time_to_live=timedelta(minutes=90),
        longest=timedelta(days=7),
    )
    assert policy.select.regions == ("us-gov-west-1", "eu-west-1")
    assert policy.retention.keep_last == "all"
    assert policy.retention.keep_within == Span(years=2, months=5, days=7, hours=3)


def test_a_policy_without_schedules_is_valid_and_has_none(tmp_path):
    policy = loaded(web(), tmp_path)["web"]

    assert policy.schedules == ()
    assert schedule_names(policy) == {}


def test_no_policies_at_all_must_be_said_on_purpose(tmp_path):
    assert loaded("policies: {}\n", tmp_path) == {}


def test_defaults_fill_mappings_key_by_key_and_lists_as_a_whole(tmp_path):
    text = (
        web("tags: {owner: web}", retention="{keep_daily: 7}")
        + "defaults:\n"
        + "  retention: {keep_daily: 30, keep_monthly: 12}\n"
        + "  tags: {owner: all, cost-centre: it}\n"
        + "  select: {tags: {backup: [daily, gold], env: [prod]}}\n"
    )

    policy = loaded(text, tmp_path)["web"]

    assert (policy.retention.keep_daily, policy.retention.keep_monthly) == (7, 12)
    assert policy.tags == {"owner": "web", "cost-centre": "it"}
    assert policy.select.tags == {"backup": ("daily",), "env": ("prod",)}


def test_null_takes_back_a_default_that_may_be_absent(tmp_path):
    text = web("rpo: null") + "defaults: {rpo: 26h}\n"

    assert loaded(text, tmp_path)["web"].rpo is None


def test_an_empty_defaults_key_is_no_mistake(tmp_path):
    assert list(loaded(web() + "defaults:\n", tmp_path)) == ["web"]


def test_yaml_anchors_and_merges_are_no_duplicate_keys(tmp_path):
    text = (
        "policies:\n"
        "  web: &web\n"
        f"    select: {SELECT}\n"
        f"    retention: {RETENTION}\n"
        "    description: one\n"
        "  api: &api\n"
        "    <<: *web\n"
        "    description: two\n"
        "  db:\n"
        "    <<: *api\n"
        "    description: three\n"
    )

    policies = loaded(text, tmp_path)

    assert [policy.description for policy in policies.values()] == ["one", "two", "three"]


def test_a_copy_in_place_is_not_looked_for_when_the_home_region_is_not_known(tmp_path):
    file = tmp_path / "policies.yaml"
    file.write_text(copying("{region: eu-central-1}"))

    assert list(load_policies(file)) == ["web"]


def test_a_copy_in_place_into_another_account_is_valid(tmp_path):
    text = copying("{region: eu-central-1, account: '111122223333'}")

    assert list(loaded(text, tmp_path)) == ["web"]


def test_a_schedule_name_is_stable_when_others_come_and_windows_change():
    before = a_policy(schedules=(Schedule(cron="0 3 * * ? *"),))
    after = a_policy(
        schedules=(
            Schedule(cron="0 15 * * ? *"),
            Schedule(cron="0  3 * * ? *", window=timedelta(minutes=5)),
        )
    )

    assert set(schedule_names(before)) < set(schedule_names(after))
    assert list(schedule_names(before)) == ["web-48a3b3a8"]


def test_a_schedule_name_differs_by_zone():
    policy = a_policy(
        schedules=(
            Schedule(cron="0 3 * * ? *"),
            Schedule(cron="0 3 * * ? *", timezone="Europe/Berlin"),
        )
    )

    assert len(schedule_names(policy)) == 2


def test_the_longest_policy_name_still_gives_a_schedule_name_that_scheduler_takes():
    policy = a_policy(name="w" * 48, schedules=(Schedule(cron="0 3 * * ? *"),))

    (name,) = schedule_names(policy)

    assert len(name) <= 64


def test_a_document_is_compact_json_and_has_no_nested_parameter_for_ssm():
    policy = a_policy(description="{{ssm:secret}} and {{{x}}}")

    document = policy_document(policy)

    assert "{{" not in document
    assert ": " not in document
    assert codec.structure(json.loads(document), Policy) == policy


def test_a_document_over_the_limit_of_ssm_names_its_policy():
    fits = LARGEST_DOCUMENT - len(policy_document(a_policy()))

    assert len(policy_document(a_policy(description="d" * fits))) == LARGEST_DOCUMENT
    with pytest.raises(PolicyInvalid, match=r"^policies\.web: takes 8193 bytes"):
        policy_document(a_policy(description="d" * (fits + 1)))


def test_a_span_reads_back_what_it_writes():
    assert str(Span.parse("2y5m7d3h")) == "2y5m7d3h"
    assert not Span.parse("0d")
    for text in ("", "d", "3d2y", "14x", "1.5h", "-1d", "1d1d", "\u0661d"):
        with pytest.raises(ValueError, match="not a span"):
            Span.parse(text)


def test_retention_lists_every_rule_it_has():
    rules = {field.name for field in fields(Retention) if field.name.startswith("keep_")}

    assert {*Retention(keep_last=1).counts(), *Retention().spans(), "keep_tags"} == rules


def a_policy(**changes: object) -> Policy:
    start: dict[str, object] = {
        "name": "web",
        "select": Select(resource=ResourceKind.INSTANCE, tags={"backup": ("daily",)}),
        "retention": Retention(keep_daily=7),
    }
    return Policy(**{**start, **changes})


texts = st.text(max_size=20)
minutes = st.integers(0, 100_000).map(lambda count: timedelta(minutes=count))
matches = st.dictionaries(texts, st.lists(texts, max_size=3).map(tuple), max_size=3)
counts = st.integers(-3, 1000) | st.just("all")
spans = st.builds(Span, **dict.fromkeys(("years", "months", "days", "hours"), st.integers(0, 999)))
retentions = st.builds(
    Retention,
    **dict.fromkeys(Retention().counts(), counts),
    **dict.fromkeys(Retention().spans(), st.none() | spans),
    keep_tags=st.lists(matches, max_size=2).map(tuple),
    at_least=st.integers(-1, 9),
)
policies = st.builds(
    Policy,
    name=texts,
    description=texts,
    select=st.builds(
        Select,
        resource=st.sampled_from(ResourceKind),
        tags=matches,
        exclude_tags=matches,
        exclude_boot_volume=st.booleans(),
        exclude_volume_tags=matches,
        regions=st.lists(texts, max_size=2).map(tuple),
    ),
    schedules=st.lists(
        st.builds(Schedule, cron=texts, timezone=texts, window=st.none() | minutes), max_size=2
    ).map(tuple),
    retention=retentions,
    copies=st.lists(
        st.builds(
            Copy,
            region=texts,
            account=st.none() | texts,
            kms_key=st.none() | texts,
            retention=st.none() | retentions,
            complete_within=st.none() | minutes,
        ),
        max_size=2,
    ).map(tuple),
    encryption=st.sampled_from(Encryption),
    rpo=st.none() | minutes,
    max_deletes=st.builds(
        MaxDeletes, count=st.integers(), share=st.floats(allow_nan=False, allow_infinity=False)
    ),
    tags=st.dictionaries(texts, texts, max_size=3),
    restores=st.builds(
        Restores,
        approval=st.lists(st.sampled_from(Mode), max_size=3).map(tuple),
        time_to_live=minutes,
        longest=minutes,
    ),
)


@given(policies)
def test_any_policy_comes_back_equal_from_its_document(policy):
    assert codec.structure(json.loads(policy_document(policy)), Policy) == policy


@given(policies)
def test_checking_any_policy_gives_problems_with_a_path_that_exists(policy):
    for path, text in policy_checks.problems(policy):
        place: object = policy
        for step in path:
            keyed = isinstance(place, dict | tuple)
            place = place[step] if keyed else getattr(place, str(step))
        assert text


@given(st.recursive(st.none() | st.booleans() | st.integers() | texts, st.lists) | matches)
def test_whatever_a_policy_is_made_of_the_answer_is_problems_and_never_a_crash(junk):
    for field in fields(Policy):
        data = {**codec.unstructure(a_policy()), field.name: junk}
        value, problems = codec.structure_or_problems(data, Policy)
        assert problems or isinstance(value, Policy)
