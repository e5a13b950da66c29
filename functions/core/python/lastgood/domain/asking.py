"""A request for a restore as people, pipelines and chat write it: flat, and all of it may be text.

Amazon Q Developer in chat applications passes flat JSON with texts; a command line is no better at
lists and numbers. So ``"3"``, ``3``, ``"sg-1,sg-2"`` and ``["sg-1", "sg-2"]`` are taken alike.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Address
from typing import Any, TypeVar

from lastgood.domain.names import RESTORE_PATTERN
from lastgood.domain.policy import Mode, duration
from lastgood.domain.policy_checks import REGION_PATTERN
from lastgood.domain.restoring import Asker, CommandCheck, Overrides, RestoreRequest
from lastgood.errors import MalformedMessage

T = TypeVar("T")

NOBODY = "somebody who gave no name"
MOST_CLONES = 20
LONGEST_TEXT = 1024
"""Characters of any one value: more than a list of ids needs."""
LONGEST_NAME = 128
LONGEST_CHECK = 4_000
LONGEST_TAG = 256

MOST_UNKNOWN = 10
"""Keys that a complaint is about, each; a request with more is none of ours."""
EXAMPLE = '{"source": "web-1"}'

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")

OF_RESTORES = (
    "source",
    "mode",
    "point",
    "region",
    "zone",
    "subnet",
    "type",
    "security_groups",
    "instance_profile",
    "key_name",
    "name",
    "tags",
    "private_ip",
    "kms_key",
    "image",
    "user_data",
    "time_to_live",
    "start",
    "count",
    "volumes",
    "instance",
    "device",
    "stop",
    "check",
    "check_document",
    "reason",
    "request_id",
    "dry_run",
)
OF_ALL = ("action", "by", "via", "channel", "answer", "allowed_sources")
VERBS: Mapping[str, tuple[str, ...]] = {
    "restore": OF_RESTORES,
    "points": ("source",),
    "status": ("restore", "source"),
    "extend": ("restore", "time_to_live"),
    "keep": ("restore",),
    "cancel": ("restore",),
    "remove": ("restore",),
    "approve": ("restore",),
    "decline": ("restore", "reason"),
}
"""The keys of each, beside those ``OF_ALL``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be done: ``restoring`` for a restore, the other fields for other verbs.

    ``allowed``: tags of which the source must match all keys of one; None: no such limit.
    """

    verb: str
    asker: Asker
    restoring: RestoreRequest | None = None
    restore: str = ""
    source: str = ""
    time_to_live: timedelta | None = None
    reason: str = ""
    allowed: tuple[Mapping[str, tuple[str, ...]], ...] | None = None


@dataclass(slots=True)
class _Reader:
    """Takes values out of a request, and gathers all that is wrong with them."""

    given: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    def wrong(self, key: str, text: str) -> None:
        self.problems.append(f"{_shown(key)}: {text}")

    def complained(self, key: str) -> bool:
        return any(one.startswith(f"{key}:") for one in self.problems)

    def text(self, key: str, longest: int = LONGEST_TEXT) -> str | None:
        """None if it is not given; without what stands around it."""
        value = self.given.get(key)
        if value is None:
            return None
        if isinstance(value, bool | int | float):
            value = str(value).lower() if isinstance(value, bool) else str(value)
        if not isinstance(value, str):
            self.wrong(key, f"must be a text, not {_kind_of(value)}")
            return None
        return self._plain(key, value, longest)

    def _plain(self, key: str, value: str, longest: int) -> str | None:
        value = value.strip()
        if len(value) > longest:
            self.wrong(key, f"has {len(value)} characters; at most {longest} are taken")
            return None
        # Half of a pair, which JSON can have, is no character, and cannot be written down.
        if any(
            (ord(one) < 32 and one not in "\n\t") or "\ud800" <= one <= "\udfff" for one in value
        ):
            self.wrong(key, "has control characters")
            return None
        return value

    def one_of(self, key: str, allowed: Mapping[str, T], default: T) -> T:
        value = self.text(key)
        if not value:
            return default
        if value.lower() not in allowed:
            self.wrong(key, f"is {value!r}; it may be {', '.join(allowed)}")
            return default
        return allowed[value.lower()]

    def flag(self, key: str, *, default: bool) -> bool:
        values = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}
        value = self.text(key)
        if not value:
            return default
        if value.lower() not in values:
            self.wrong(key, f"is {value!r}; it may be true or false")
            return default
        return values[value.lower()]

    def items(self, key: str) -> tuple[str, ...] | None:
        """Of a list, or of a text with commas."""
        value = self.given.get(key)
        if isinstance(value, list):
            if not all(isinstance(one, str) for one in value):
                self.wrong(key, "must be a list of texts, or a text with commas")
                return None
            plain = (self._plain(key, one, LONGEST_TEXT) for one in value)
            return tuple(one for one in plain if one)
        text = self.text(key)
        return None if text is None else tuple(o.strip() for o in text.split(",") if o.strip())

    def tags(self, key: str) -> dict[str, str]:
        """Of a mapping, or of a text such as ``team=web,stage=test``."""
        value = self.given.get(key)
        found: dict[str, str] = {}
        if isinstance(value, dict):
            if not all(isinstance(one, str) for one in value.values()):
                self.wrong(key, "must have texts as values")
                return {}
            pairs = [(name, "=", one) for name, one in value.items()]
        else:
            pairs = [one.partition("=") for one in self.items(key) or ()]
        for given, equals, text in pairs:
            name = self._plain(key, given, LONGEST_NAME)
            one = self._plain(key, text, LONGEST_TAG)
            if not equals or name == "":
                self.wrong(key, f"{given + equals + text!r} is not KEY=VALUE")
            elif name is not None and one is not None:
                found[name] = one
        return found

    def span(self, key: str) -> timedelta | None:
        text = self.text(key)
        if not text:
            return None
        try:
            length = duration(text)
        except ValueError:
            self.wrong(key, f"is {text!r}; write it as 90m, 8h or 3d")
            return None
        if length <= timedelta(0):
            self.wrong(key, "must be longer than nothing")
            return None
        return length

    def number(self, key: str, default: int, least: int, most: int) -> int:
        text = self.text(key)
        if not text:
            return default
        if not re.fullmatch(r"\d{1,6}", text) or not least <= int(text) <= most:
            self.wrong(key, f"is {text!r}; it may be a whole number from {least} to {most}")
            return default
        return int(text)

    def like(self, key: str, pattern: str, example: str) -> str | None:
        """An empty text stands for none at all."""
        text = self.text(key)
        if text and not re.fullmatch(pattern, text):
            self.wrong(key, f"is {text!r}; it must be like {example}")
            return None
        return text


def read(given: Mapping[str, Any], request_id: str) -> Asked:
    """``request_id``: the name of the request if it gives none itself.

    Raises:
        MalformedMessage: with a line for everything that is wrong with it.
    """
    if not isinstance(given, Mapping):
        raise MalformedMessage(
            f"the request must be a JSON object, such as {EXAMPLE}; it is {_kind_of(given)}"
        )
    reader = _Reader(dict(given))
    verb = (reader.text("action") or "restore").lower()
    if verb not in VERBS:
        raise MalformedMessage(f"action: is {verb!r}; it may be {', '.join(VERBS)}")
    known = (*OF_ALL, *VERBS[verb])
    unknown = sorted(given.keys() - set(known))
    for key in unknown[:MOST_UNKNOWN]:
        reader.wrong(key, f"is not known; {_meant(key, known, verb)}")
    if len(unknown) > MOST_UNKNOWN:
        reader.wrong("and", f"{len(unknown) - MOST_UNKNOWN} more keys that are not known")
    asker = _asker(reader)
    reader.one_of("answer", {"json": False, "text": True}, default=False)
    asked = (
        _restore(reader, asker, request_id) if verb == "restore" else _other(reader, verb, asker)
    )
    if reader.problems:
        raise MalformedMessage("\n".join(reader.problems))
    return asked


def wants_text(given: object) -> bool:
    """Whether the answer is to be one plain text, whatever else is wrong with the request."""
    how = given.get("answer") if isinstance(given, Mapping) else None
    return isinstance(how, str) and how.strip().lower() == "text"


def _meant(key: str, known: tuple[str, ...], verb: str) -> str:
    others = [one for one, keys in VERBS.items() if key in keys]
    if others:
        return f"{verb} does not take it, but {', '.join(others)}"
    close = get_close_matches(key, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}"


def _shown(key: str) -> str:
    """In one line, whatever the key is."""
    return key if re.fullmatch(r"[\w .-]{1,40}", key) else repr(key[:40])


def _kind_of(value: object) -> str:
    """As JSON calls it."""
    kinds = {str: "a text", list: "a list", dict: "an object", bool: "true or false"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else "null")


def _asker(reader: _Reader) -> Asker:
    return Asker(
        by=reader.text("by") or NOBODY,
        via=reader.text("via") or "cli",
        channel=reader.text("channel") or "",
    )


def _allowed(reader: _Reader) -> tuple[Mapping[str, tuple[str, ...]], ...] | None:
    """A list of tag matches, as policies have them."""
    value = reader.given.get("allowed_sources")
    if value is None:
        return None
    matches = value if isinstance(value, list) else []
    read = [one for one in matches if isinstance(one, dict) and all(map(_is_texts, one.values()))]
    if not isinstance(value, list) or len(read) < len(matches):
        reader.wrong("allowed_sources", "must be a list of mappings of a key to its values")
        return ()
    return tuple({key: tuple(texts) for key, texts in match.items()} for match in read)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _other(reader: _Reader, verb: str, asker: Asker) -> Asked:
    keys = VERBS[verb]
    source = reader.text("source") or "" if "source" in keys else ""
    restore = ""
    if "restore" in keys:
        restore = reader.like("restore", RESTORE_PATTERN, "rs-0123456789abcdef0123") or ""
    named = [one for one in keys if one in ("restore", "source")]
    if source and restore:
        reader.wrong("source", "is given beside restore; give one of them")
    elif not source and not restore and not any(map(reader.complained, named)):
        reader.problems.append(f"{' or '.join(named)}: is missing; {verb} needs it")
    length = reader.span("time_to_live") if "time_to_live" in keys else None
    if verb == "extend" and length is None and not reader.problems:
        reader.wrong("time_to_live", "is missing; say how long it is to stay from now on, as 8h")
    return Asked(
        verb=verb,
        asker=asker,
        restore=restore,
        source=source,
        time_to_live=length,
        reason=reader.text("reason") or "" if "reason" in keys else "",
        allowed=_allowed(reader),
    )


def _restore(reader: _Reader, asker: Asker, request_id: str) -> Asked:
    source = reader.text("source", LONGEST_NAME * 2)
    if not source and not reader.complained("source"):
        reader.wrong("source", "is missing; give an instance id, a volume id or a Name")
    mode = reader.one_of("mode", {one.value: one for one in Mode}, Mode.CLONE)
    lives = reader.text("time_to_live") or ""
    for_ever = lives.lower() in ("keep", "forever")
    if for_ever:
        reader.given["time_to_live"] = None
    request = RestoreRequest(
        source=source or "",
        mode=mode,
        point=reader.text("point") or "latest",
        region=reader.like("region", REGION_PATTERN, "eu-west-1") or None,
        overrides=_overrides(reader),
        count=reader.number("count", 1, 1, MOST_CLONES),
        started=reader.flag("start", default=True),
        time_to_live=reader.span("time_to_live"),
        for_ever=for_ever,
        volumes=reader.items("volumes") or (),
        instance=reader.like("instance", r"i-[0-9a-f]{8,17}", "i-0123456789abcdef0") or None,
        device=reader.text("device") or None,
        stop=reader.flag("stop", default=False),
        check=_check(reader),
        reason=reader.text("reason") or "",
        request=reader.text("request_id") or request_id,
        dry_run=reader.flag("dry_run", default=False),
        asker=asker,
    )
    _fits_mode(reader, request)
    return Asked(
        verb="restore",
        asker=asker,
        restoring=request,
        allowed=_allowed(reader),
    )


def _overrides(reader: _Reader) -> Overrides:
    return Overrides(
        name=reader.text("name", LONGEST_NAME * 2) or None,
        zone=reader.like("zone", rf"{REGION_PATTERN}[a-z0-9-]*", "eu-west-1a") or None,
        subnet=reader.like("subnet", r"subnet-[0-9a-f]{8,17}", "subnet-0123456789abcdef0") or None,
        type=reader.like("type", r"[a-z0-9-]+\.[a-z0-9-]+", "m7g.large") or None,
        groups=reader.items("security_groups") or None,
        instance_profile=reader.text("instance_profile"),
        key_name=reader.text("key_name"),
        private_ip=_address(reader),
        kms_key=reader.text("kms_key") or None,
        image=reader.like("image", r"ami-[0-9a-f]{8,17}", "ami-0123456789abcdef0") or None,
        user_data=reader.one_of("user_data", {"keep": True, "drop": False}, default=True),
        tags=reader.tags("tags"),
    )


def _address(reader: _Reader) -> str | None:
    text = reader.text("private_ip")
    if not text:
        return None
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        reader.wrong("private_ip", f"is {text!r}; it must be like 10.0.0.12")
        return None


def _check(reader: _Reader) -> CommandCheck | None:
    text = reader.text("check", LONGEST_CHECK)
    document = reader.like("check_document", r"[a-zA-Z0-9_.:/-]{3,200}", "AWS-RunShellScript")
    if not text:
        if document:
            reader.wrong("check", "is missing; check_document alone says nothing to run")
        return None
    lines = tuple(text.split("\n"))
    return (
        CommandCheck(commands=lines, document=document)
        if document
        else CommandCheck(commands=lines)
    )


LAUNCHING = ("type", "subnet", "groups", "instance_profile", "key_name", "private_ip", "image")
_SPOKEN = {"groups": "security_groups"}


def _fits_mode(reader: _Reader, request: RestoreRequest) -> None:
    """What is given and would be passed over in silence is a mistake."""
    mode, overrides = request.mode, request.overrides

    def only(key: str, given: object, *modes: Mode) -> None:
        if given and mode not in modes:
            names = " and ".join(one.value for one in modes)
            reader.wrong(key, f"has no meaning for mode {mode.value}; only for {names}")

    launching = (Mode.CLONE, Mode.DRILL)
    for name in LAUNCHING:
        only(_SPOKEN.get(name, name), getattr(overrides, name) is not None, *launching)
    only("user_data", not overrides.user_data, *launching)
    only("count", request.count > 1, Mode.CLONE)
    only("start", not request.started, Mode.CLONE)
    only("name", overrides.name, Mode.CLONE, Mode.DRILL, Mode.VOLUMES)
    only("tags", overrides.tags, Mode.CLONE, Mode.DRILL, Mode.VOLUMES)
    only("zone", overrides.zone, *launching, Mode.VOLUMES)
    only("region", request.region, *launching, Mode.VOLUMES)
    only("instance", request.instance, Mode.VOLUMES)
    only("device", request.device, Mode.VOLUMES)
    only("volumes", request.volumes, Mode.VOLUMES, Mode.IN_PLACE)
    only("stop", request.stop, Mode.IN_PLACE)
    only("check", request.check, *launching, Mode.IN_PLACE)
    if mode is Mode.DRILL and (request.time_to_live or request.for_ever):
        reader.wrong("time_to_live", "has no meaning for a drill, which is removed once checked")
    if mode is Mode.IN_PLACE and request.for_ever:
        reader.wrong(
            "time_to_live",
            "keep has no meaning in place: what was restored stays; it "
            "says how long the volumes that it replaced are kept",
        )
    if request.device and not request.instance:
        reader.wrong("device", "needs the instance that the volume is to be attached to")
    if overrides.private_ip and request.count > 1:
        reader.wrong("private_ip", "one address cannot be that of several instances")
    reserved = sorted(key for key in overrides.tags if key.startswith(("aws:", "lastgood:")))
    if reserved:
        reader.wrong("tags", f"{', '.join(map(_shown, reserved))}: keys that begin so are reserved")
    if "Name" in overrides.tags and overrides.name:
        reader.wrong("name", "is given twice, in tags too")
