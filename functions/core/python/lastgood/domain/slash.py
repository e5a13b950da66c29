"""What people write after ``/lastgood``: read strictly, and answered with the nearest form."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from lastgood.domain.chat_permissions import Verb
from lastgood.domain.names import RESTORE_PATTERN, instant
from lastgood.domain.policy import Mode, duration
from lastgood.domain.policy_checks import REGION_PATTERN

MOST_CHARACTERS = 1_000
LONGEST_NAME = 256
"""Characters (EC2 User Guide, "Tag restrictions": the value of a tag)."""

FORMS = {
    Verb.HELP: "help",
    Verb.LIST: "list SOURCE",
    Verb.EXPLAIN: "explain POINT",
    Verb.STATUS: "status RESTORE or SOURCE",
    Verb.CLONE: (
        "clone SOURCE [as NAME] [at TIME] [for 8h] [in REGION] [subnet SUBNET] "
        "[groups sg-1,sg-2] [key NAME or none] [type TYPE]"
    ),
    Verb.RESTORE: "restore SOURCE [at TIME] [volumes /dev/sdf,/dev/sdg] [stop] [because REASON]",
    Verb.EXTEND: "extend RESTORE for 8h",
    Verb.KEEP: "keep RESTORE",
    Verb.CANCEL: "cancel RESTORE",
    Verb.REMOVE: "remove RESTORE",
    Verb.APPROVE: "approve RESTORE",
    Verb.DECLINE: "decline RESTORE",
}

HELP = "\n".join(
    [
        "What you can write after /lastgood:",
        *(f"  {one}" for one in FORMS.values()),
        "SOURCE is the id or the Name of an instance or volume; a Name with spaces in quotes:",
        '  clone "web 1" as "web 1, tried out"',
        "TIME is latest, a point (pt-...), a day (2026-11-20), or a day and a time in UTC or with",
        "its zone (2026-11-20 09:00, 2026-11-20T09:00+01:00): then it is the last point before.",
        "clone in another Region needs a subnet and groups of there, and a key pair or none.",
        "clone makes a new instance. restore puts the data of the point into the instance itself.",
        "You may do what chat.yaml allows you, and only there.",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """``target``: the source, restore or point that it is about. ``payload``: what clone_instance
    is to be told (of ``explain``: what prune_snapshots is), without who asks."""

    verb: Verb
    target: str = ""
    payload: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """``text`` says to who wrote it what was not, and what can be written instead."""

    text: str


def read(text: str) -> Command | NotUnderstood:
    """``text`` as Slack sends it. Nothing is asked for: ``help``."""
    verb: Verb | None = None
    try:
        words = _Words(list(_words(_plain(text))))
        verb = _verb(words)
        return _READ[verb](verb, words)
    except _Unclear as error:
        near = _nearest(error.verb, [one.value for one in Verb])
        form = FORMS[verb or Verb(near or Verb.HELP)]
        return NotUnderstood(f"I did not understand that: {error}.\nWrite: /lastgood {form}")


def of_button(action: str, restore: str, extended_by: str) -> Command | NotUnderstood:
    """What pushing a button says."""
    more = f" for {extended_by}" if action == Verb.EXTEND else ""
    return read(f"{action} {restore}{more}")


class _Unclear(Exception):
    """``verb``: what stands where a verb is to be, if that is what is unclear."""

    def __init__(self, what: str, verb: str = "") -> None:
        super().__init__(what)
        self.verb = verb


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    quoted: bool = False


class _Words:
    """Taken one by one from the front."""

    def __init__(self, words: list[_Word]) -> None:
        self._left = words

    def __bool__(self) -> bool:
        return bool(self._left)

    def next(self, wanted: str) -> _Word:
        if not self._left:
            raise _Unclear(f"{wanted} is missing")
        return self._left.pop(0)

    def next_if(self, fits: Callable[[_Word], bool]) -> _Word | None:
        return self._left.pop(0) if self._left and fits(self._left[0]) else None

    def end(self) -> None:
        if self._left:
            raise _Unclear(f"'{_short(self._left[0].text)}' is too much")


def _plain(text: str) -> str:
    """As it was typed: Slack writes three characters as entities, and some keyboards quotes of
    their own."""
    text = text.strip()
    if len(text) > MOST_CHARACTERS:
        raise _Unclear(f"that is longer than {MOST_CHARACTERS} characters")
    if "<" in text or ">" in text:
        raise _Unclear("mentions, channels and links are not read here: write the name itself")
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, character)
    text = re.sub("[\u201c\u201d\u201e\u201f]", '"', text)
    if any(_unseen(one) for one in text):
        raise _Unclear("there is a line break, or a character that cannot be seen, in it")
    return text


def _unseen(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith("C") or category in ("Zl", "Zp")


def _words(text: str) -> Iterator[_Word]:
    for found in re.finditer(r'"([^"]*)"(?=\s|$)|(\S+)', text):
        if found[1] is not None:
            yield _Word(found[1], quoted=True)
        elif '"' in found[2]:
            raise _Unclear("a quote stands alone, or inside of a word")
        else:
            yield _Word(found[2])


def _verb(words: _Words) -> Verb:
    if not words:
        return Verb.HELP
    word = words.next("a verb").text.lower()
    if word not in list(Verb):
        raise _Unclear(f"'{_short(word)}' is nothing that I can do", word)
    return Verb(word)


def _help(verb: Verb, words: _Words) -> Command:  # noqa: ARG001
    return Command(verb=verb)


def _list(verb: Verb, words: _Words) -> Command:
    source = _name(words, "a source")
    words.end()
    return Command(verb=verb, target=source, payload={"action": "points", "source": source})


def _explain(verb: Verb, words: _Words) -> Command:
    point = words.next("a point").text
    if not re.fullmatch(r"(pt|snap)-[0-9a-f]{8,40}", point, re.ASCII):
        raise _Unclear(f"'{_short(point)}' is no point (pt-...) and no snapshot (snap-...)")
    words.end()
    return Command(verb=verb, target=point, payload={"explain": point})


def _status(verb: Verb, words: _Words) -> Command:
    target = _name(words, "a restore or a source")
    words.end()
    kind = "restore" if re.fullmatch(RESTORE_PATTERN, target, re.ASCII) else "source"
    return Command(verb=verb, target=target, payload={"action": verb.value, kind: target})


def _of_restore(verb: Verb, words: _Words) -> Command:
    restore = _restore(words)
    words.end()
    return Command(verb=verb, target=restore, payload={"action": verb.value, "restore": restore})


def _extend(verb: Verb, words: _Words) -> Command:
    restore = _restore(words)
    words.next_if(lambda word: word.text.lower() == "for")
    length = _length(words)
    words.end()
    payload = {"action": verb.value, "restore": restore, "time_to_live": length}
    return Command(verb=verb, target=restore, payload=payload)


def _new(verb: Verb, words: _Words) -> Command:
    """A clone, or a restore in place: a source, and then options in any order, each once."""
    source = _name(words, "a source")
    payload = {
        "source": source,
        "mode": (Mode.CLONE if verb is Verb.CLONE else Mode.IN_PLACE).value,
    }
    options = _OPTIONS[verb]
    while words:
        word = words.next("an option")
        option = word.text.lower()
        if word.quoted or option not in options:
            raise _Unclear(f"'{_short(word.text)}' is no option of {verb}{_near(option, options)}")
        key, value = options[option]
        if key in payload:
            raise _Unclear(f"'{option}' is there twice")
        payload[key] = value(words)
    return Command(verb=verb, target=source, payload=payload)


def _name(words: _Words, wanted: str) -> str:
    name = words.next(wanted).text
    if not 1 <= len(name) <= LONGEST_NAME:
        raise _Unclear(f"a name has 1 to {LONGEST_NAME} characters")
    return name


def _new_name(words: _Words) -> str:
    return _name(words, "a name after 'as'")


def _reason(words: _Words) -> str:
    return _name(words, "a reason after 'because' (in quotes)")


def _restore(words: _Words) -> str:
    restore = words.next("a restore (rs-...)").text
    if not re.fullmatch(RESTORE_PATTERN, restore, re.ASCII):
        raise _Unclear(f"'{_short(restore)}' is no restore: it is rs- and 20 digits")
    return restore


def _length(words: _Words) -> str:
    text = words.next("a length of time, such as 8h,").text.lower()
    try:
        length = duration(text)
    except ValueError:
        length = timedelta(0)
    if not length:
        raise _Unclear(f"'{_short(text)}' is no length of time: write 90m, 8h or 3d")
    return text


def _plain_word(pattern: str, wanted: str) -> Callable[[_Words], str]:
    def value(words: _Words) -> str:
        text = words.next(wanted).text
        if not re.fullmatch(pattern, text, re.ASCII):
            raise _Unclear(f"'{_short(text)}' is not {wanted}")
        return text

    return value


def _yes(words: _Words) -> str:  # noqa: ARG001
    return "true"


def _key(words: _Words) -> str:
    """An empty text stands for none; a key pair of that name has quotes."""
    word = words.next("a key pair, or none,")
    if not 1 <= len(word.text) <= LONGEST_NAME:
        raise _Unclear(f"a key pair's name has 1 to {LONGEST_NAME} characters")
    return "" if word.text.lower() == "none" and not word.quoted else word.text


def _point(words: _Words) -> str:
    """``latest``, a point, a day, or ``before`` an instant in UTC."""
    text = words.next("a time after 'at'").text
    if text.lower() == "latest" or re.fullmatch(r"pt-[0-9a-f]{8,40}", text, re.ASCII):
        return text.lower()
    if re.fullmatch(_DAY, text, re.ASCII):
        time = words.next_if(lambda word: re.fullmatch(_TIME, word.text, re.ASCII) is not None)
        return _before(f"{text}T{time.text}") if time else _day(text)
    if re.fullmatch(rf"{_DAY}[T ]{_TIME}", text, re.ASCII):
        return _before(text)
    raise _Unclear(f"'{_short(text)}' is no time that I know: {_TIMES}")


_DAY = r"\d{4}-\d\d-\d\d"
_TIME = r"\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?"
_TIMES = "write 2026-11-20, 2026-11-20 09:00 (UTC), 2026-11-20T09:00+01:00, latest, or a point"


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise _Unclear(f"there is no day '{text}': {_TIMES}") from error


def _before(text: str) -> str:
    try:
        time = datetime.fromisoformat(text)
        return f"before {instant(time if time.tzinfo else time.replace(tzinfo=UTC))}"
    except (ValueError, OverflowError) as error:
        raise _Unclear(f"there is no time '{text}': {_TIMES}") from error


_Option = tuple[str, Callable[[_Words], str]]
_OPTIONS: dict[Verb, dict[str, _Option]] = {
    Verb.CLONE: {
        "as": ("name", _new_name),
        "at": ("point", _point),
        "for": ("time_to_live", _length),
        "in": (
            "region",
            _plain_word(REGION_PATTERN, "a Region, such as eu-west-1"),
        ),
        "subnet": (
            "subnet",
            _plain_word(r"subnet-[0-9a-f]{8,40}", "a subnet, such as subnet-0123456789abcdef0"),
        ),
        "groups": (
            "security_groups",
            _plain_word(
                r"sg-[0-9a-f]{8,40}(,sg-[0-9a-f]{8,40}){0,15}",
                "security groups with commas, such as sg-0123456789abcdef0",
            ),
        ),
        "key": ("key_name", _key),
        "type": (
            "type",
            _plain_word(r"[a-z0-9-]{1,20}\.[a-z0-9-]{1,20}", "a type, such as t3.large"),
        ),
    },
    Verb.RESTORE: {
        "at": ("point", _point),
        "volumes": (
            "volumes",
            _plain_word(
                r"[\w/]{2,40}(,[\w/]{2,40}){0,39}", "devices with commas, such as /dev/sdf,/dev/sdg"
            ),
        ),
        "stop": ("stop", _yes),
        "because": ("reason", _reason),
    },
}
_READ: dict[Verb, Callable[[Verb, _Words], Command]] = {
    Verb.HELP: _help,
    Verb.LIST: _list,
    Verb.EXPLAIN: _explain,
    Verb.STATUS: _status,
    Verb.CLONE: _new,
    Verb.RESTORE: _new,
    Verb.EXTEND: _extend,
    Verb.KEEP: _of_restore,
    Verb.CANCEL: _of_restore,
    Verb.REMOVE: _of_restore,
    Verb.APPROVE: _of_restore,
    Verb.DECLINE: _of_restore,
}


def _near(word: str, known: Mapping[str, object]) -> str:
    near = _nearest(word, list(known))
    return f"; did you mean '{near}'?" if near else ""


def _nearest(word: str, known: list[str]) -> str:
    import difflib  # a cold start need not pay for it

    close = difflib.get_close_matches(word, known, n=1)
    return close[0] if close else ""


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
