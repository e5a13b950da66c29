"""A request for a restore as people, pipelines and chat write it: flat, and all of it may be text.

Amazon Q Developer in chat applications passes flat JSON with texts; a command line is no better at
lists and numbers. So ``"3"``, ``3``, ``"sg-1,sg-2"`` and ``["sg-1", "sg-2"]`` are taken alike.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, TypeVar

from lastgood.domain.policy import Mode, duration
from lastgood.domain.restoring import Asker, CommandCheck, Overrides, RestoreRequest
from lastgood.errors import MalformedMessage

T = TypeVar("T")

NOBODY = "somebody who gave no name"
MOST_CLONES = 20
LONGEST_TEXT = 1024
"""Characters of any one value: more than a list of ids needs."""
LONGEST_NAME = 128
LONGEST_CHECK = 4_000

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
OF_ALL = ("action", "by", "via", "channel", "reply_to", "answer", "allowed_sources")
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
    as_text: bool = False
    allowed: tuple[Mapping[str, tuple[str, ...]], ...] | None = None


@dataclass(slots=True)
class _Reader:
    """Takes values out of a request, and gathers all that is wrong with them."""

    given: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    def wrong(self, key: str, text: str) -> None:
        self.problems.append(f"{key}: {text}")

    def text(self, key: str, longest: int = LONGEST_TEXT) -> str | None:
        """None if it is not given; without what stands around it."""
        value = self.given.get(key)
        if value is None:
            return None
        if isinstance(value, bool | int | float):
            value = str(value).lower() if isinstance(value, bool) else str(value)
        if not isinstance(value, str):
            self.wrong(key, f"must be a text, not {type(value).__name__}")
            return None
        value = value.strip()
        if len(value) > longest:
            self.wrong(key, f"has {len(value)} characters; at most {longest} are taken")
            return None
        if any(ord(one) < 32 and one not in "\n\t" for one in value):
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
            return tuple(one.strip() for one in value if one.strip())
        text = self.text(key)
        return None if text is None else tuple(o.strip() for o in text.split(",") if o.strip())

    def tags(self, key: str) -> dict[str, str]:
        """Of a mapping, or of a text such as ``team=web,stage=test``."""
        value = self.given.get(key)
        if isinstance(value, dict):
            if not all(isinstance(one, str) for one in value.values()):
                self.wrong(key, "must have texts as values")
                return {}
            return {str(name): one for name, one in value.items()}
        found = {}
        for one in self.items(key) or ():
            name, equals, text = one.partition("=")
            if not equals or not name.strip():
                self.wrong(key, f"{one!r} is not KEY=VALUE")
            else:
                found[name.strip()] = text.strip()
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
    reader = _Reader(dict(given))
    verb = reader.text("action") or "restore"
    if verb not in VERBS:
        raise MalformedMessage(f"action: is {verb!r}; it may be {', '.join(VERBS)}")
    known = (*OF_ALL, *VERBS[verb])
    for key in sorted(given.keys() - set(known)):
        close = get_close_matches(key, known, n=1)
        meant = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        reader.problems.append(f"{key}: is not known; {meant}")
    asker = _asker(reader)
    asked = (
        _restore(reader, asker, request_id) if verb == "restore" else _other(reader, verb, asker)
    )
    if reader.problems:
        raise MalformedMessage("\n".join(reader.problems))
    return asked


def _asker(reader: _Reader) -> Asker:
    return Asker(
        by=reader.text("by") or NOBODY,
        via=reader.text("via") or "cli",
        channel=reader.text("channel") or "",
        reply_to=reader.text("reply_to") or "",
    )


def _allowed(reader: _Reader) -> tuple[Mapping[str, tuple[str, ...]], ...] | None:
    """A list of tag matches, as policies have them."""
    value = reader.given.get("allowed_sources")
    if value is None:
        return None
    try:
        return tuple({key: tuple(texts) for key, texts in match.items()} for match in value)
    except (AttributeError, TypeError):
        reader.wrong("allowed_sources", "must be a list of mappings of a key to its values")
        return ()


def _other(reader: _Reader, verb: str, asker: Asker) -> Asked:
    keys = VERBS[verb]
    source = reader.text("source") or "" if "source" in keys else ""
    restore = ""
    if "restore" in keys:
        restore = reader.like("restore", r"rs-[0-9a-f]{20}", "rs-0123456789abcdef0123") or ""
    if not source and not restore and "restore: is" not in " ".join(reader.problems):
        reader.problems.append(
            f"{' or '.join(k for k in keys if k in ('restore', 'source'))}: is "
            f"missing; {verb} needs it"
        )
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
        as_text=reader.one_of("answer", {"json": False, "text": True}, default=False),
        allowed=_allowed(reader),
    )


def _restore(reader: _Reader, asker: Asker, request_id: str) -> Asked:
    source = reader.text("source", LONGEST_NAME * 2)
    if not source and not any(one.startswith("source:") for one in reader.problems):
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
        region=reader.like("region", r"[a-z]{2}(-[a-z]+)+-\d", "eu-west-1") or None,
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
        as_text=reader.one_of("answer", {"json": False, "text": True}, default=False),
        allowed=_allowed(reader),
    )


def _overrides(reader: _Reader) -> Overrides:
    return Overrides(
        name=reader.text("name", LONGEST_NAME * 2) or None,
        zone=reader.like("zone", r"[a-z]{2}(-[a-z]+)+-\d[a-z0-9-]*", "eu-west-1a") or None,
        subnet=reader.like("subnet", r"subnet-[0-9a-f]{8,17}", "subnet-0123456789abcdef0") or None,
        type=reader.like("type", r"[a-z0-9-]+\.[a-z0-9-]+", "m7g.large") or None,
        groups=reader.items("security_groups") or None,
        instance_profile=reader.text("instance_profile"),
        key_name=reader.text("key_name"),
        private_ip=reader.like("private_ip", r"\d{1,3}(\.\d{1,3}){3}", "10.0.0.12") or None,
        kms_key=reader.text("kms_key") or None,
        image=reader.like("image", r"ami-[0-9a-f]{8,17}", "ami-0123456789abcdef0") or None,
        user_data=reader.one_of("user_data", {"keep": True, "drop": False}, default=True),
        tags=reader.tags("tags"),
    )


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
        reader.wrong("tags", f"{', '.join(reserved)}: keys that begin so are reserved")
    if "Name" in overrides.tags and overrides.name:
        reader.wrong("name", "is given twice, in tags too")
