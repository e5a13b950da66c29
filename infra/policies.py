"""``policies.yaml``: read, checked in full, and made ready for the stack."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from lastgood import codec
from lastgood.domain import forecast, policy_checks
from lastgood.domain.policy import Policy, Schedule
from lastgood.domain.policy_checks import Problem
from lastgood.errors import PolicyInvalid, UnknownPolicy

LARGEST_DOCUMENT = 8_192
"""Bytes in an advanced parameter (AWS Systems Manager quotas, Parameter Store)."""

WAITS_FOR_COPIES = (
    "note: the policy asks for copies: a point goes only once all of its copies are available"
)
"""Of a policy with copies, beside what its retention would do."""

_KEYS = [field.name for field in fields(Policy) if field.name != "name"]


def load_policies(
    path: Path, *, home_region: str | None = None, home_account: str | None = None
) -> dict[str, Policy]:
    """Read and check all policies of a file; by name, in the order of the file.

    ``home_region`` and ``home_account`` are where the stack goes; without them, it is not checked
    whether copies are where the points of a policy are that does not name that.

    Raises:
        PolicyInvalid: with one line for each mistake in the file, with the path of the value.
        OSError: the file cannot be read.
    """
    document, problems = parse(path.read_bytes(), "policies")
    policies: dict[str, Policy] = {}
    if document is not None:
        defaults, bodies, wrong = _split(document)
        problems += wrong
        for name, body in bodies.items():
            policy, wrong = _policy(name, body, defaults, home_region, home_account)
            problems += wrong
            if policy is not None:
                policies[name] = policy
    if problems:
        # What is wrong in the defaults is met once for every policy.
        raise PolicyInvalid([f"{path.name}: {problem}" for problem in dict.fromkeys(problems)])
    return policies


def load_policy(path: Path, name: str) -> Policy:
    """One policy of a file, all of which is checked.

    Raises:
        UnknownPolicy: it is not there; names those that are.
        PolicyInvalid, OSError: as ``load_policies``.
    """
    policies = load_policies(path)
    if name not in policies:
        known = ", ".join(sorted(policies)) or "none"
        raise UnknownPolicy(f"no policy {name!r} in {path.name}; there are: {known}")
    return policies[name]


def policy_document(policy: Policy) -> str:
    """The policy as the text of one SSM parameter, which ``codec.structure`` reads back.

    Raises:
        PolicyInvalid: the text is larger than ``LARGEST_DOCUMENT``.
    """
    text = parameter_text(policy)
    size = len(text.encode())
    if size > LARGEST_DOCUMENT:
        raise PolicyInvalid(
            [
                f"policies.{policy.name}: takes {size} bytes as an SSM parameter, "
                f"but must take at most {LARGEST_DOCUMENT}: split it into two policies"
            ]
        )
    return text


def parameter_text(value: object) -> str:
    """As an SSM parameter takes it."""
    data = codec.unstructure(value)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    # SSM refuses {{ }} in a value. Compact JSON has {{ only inside texts, where it can be escaped.
    return text.replace("{{", "{\\u007b")


def schedule_names(policy: Policy) -> dict[str, Schedule]:
    """One EventBridge Scheduler schedule for each cron of a policy, by its name.

    A name depends on the policy, the cron and its zone alone, so that adding another schedule or
    a wider window renames nothing. At most 57 characters of the 64 that Scheduler allows.
    """
    return {f"{policy.name}-{_fingerprint(schedule)}": schedule for schedule in policy.schedules}


def _fingerprint(schedule: Schedule) -> str:
    text = f"{schedule.expression} {schedule.timezone}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class _Loader(yaml.SafeLoader):
    """The safe loader, which also remembers keys that are there twice: YAML takes the last."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.duplicates: list[str] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not at construction, where << has already put the keys of others beside ours.
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, object], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                before = first.get((key.tag, key.value))
                first.setdefault((key.tag, key.value), line)
                if before is not None:
                    self.duplicates.append(
                        f"line {line}: has the key '{key.value}' again, "
                        f"which is on line {before} already; take one out"
                    )
        return node


def parse(text: bytes, key: str) -> tuple[object, list[str]]:
    """The content, and what is wrong with the YAML; None if there is no content to look at.
    ``key``: what it must have at least."""
    loader = None
    try:
        loader = _Loader(text)
        document = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        return None, [f"{line}is not YAML: {error.problem or error.context}"]
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: a date such as 2026-02-31, which PyYAML reads before it knows what is wanted.
        return None, [f"is not YAML: {' '.join(str(error).split())}"]
    finally:
        if loader is not None:
            loader.dispose()
    if document is None:
        return None, [f"is empty, but must have the key '{key}'"]
    return document, loader.duplicates


def _split(
    document: object,
) -> tuple[Mapping[str, object], Mapping[str, object], list[str]]:
    """The defaults, the bodies of the policies by name, and what is wrong with the top level."""
    if not isinstance(document, Mapping):
        return (
            {},
            {},
            [f"{codec.describe(document)}, but must be a mapping with the key 'policies'"],
        )
    problems = [
        f"{codec.show_path((str(key),))}: {codec.unknown_key(key, ['policies', 'defaults'])}"
        for key in document
        if key not in ("policies", "defaults")
    ]
    defaults = document.get("defaults")
    if defaults is None:
        defaults = {}
    if not isinstance(defaults, Mapping):
        problems.append(f"defaults: {codec.describe(defaults)}, but must be a mapping")
        defaults = {}
    bodies = document.get("policies")
    if "policies" not in document:
        problems.append("policies: is missing; it must be a mapping of policies by name")
        bodies = {}
    elif not isinstance(bodies, Mapping):
        problems.append(
            f"policies: {codec.describe(bodies)}, but must be a mapping of policies by name"
        )
        bodies = {}
    return defaults, bodies, problems


def _policy(
    name: object,
    body: object,
    defaults: Mapping[str, object],
    home_region: str | None,
    home_account: str | None,
) -> tuple[Policy | None, list[str]]:
    """One policy, or what is wrong with it."""
    if not isinstance(name, str):
        return None, [f"policies: has a name that {codec.describe(name)}; write it in quotes"]
    if not isinstance(body, Mapping):
        path = codec.show_path(("policies", name))
        return None, [f"{path}: {codec.describe(body)}, but must be a mapping"]
    merged = _merged(defaults, body)
    found: list[Problem] = [((str(key),), _unknown(key)) for key in merged if key not in _KEYS]
    data = {"name": name, **{key: merged[key] for key in _KEYS if key in merged}}
    policy, mismatches = codec.structure_or_problems(data, Policy)
    found += mismatches
    if policy is None:
        found += _part_problems(data, Policy)
    else:
        found += policy_checks.problems(policy)
        if home_region is not None:
            found += policy_checks.home_problems(policy, home_region, home_account)
        # What a policy does can be tried only if it makes sense.
        found = found or list(forecast.problems(policy))
    if not found:
        try:
            policy_document(policy)
        except PolicyInvalid as error:
            return None, error.problems
    lines = [_line(name, body, defaults, problem) for problem in found]
    return (None if lines else policy), lines


def _unknown(key: object) -> str:
    if key == "name":
        return "unknown key 'name'; the name of a policy is the key above it"
    return codec.unknown_key(key, _KEYS)


def _merged(defaults: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """``body`` on top of ``defaults``: mappings are merged key by key, all else is replaced."""
    merged = {**defaults, **body}
    for key in defaults.keys() & body.keys():
        if isinstance(defaults[key], Mapping) and isinstance(body[key], Mapping):
            merged[key] = _merged(defaults[key], body[key])
    return merged


def _part_problems(data: object, type_: Any) -> Iterator[Problem]:
    """What is wrong with the meaning of those parts of a broken value that are sound themselves."""
    if isinstance(type_, type) and is_dataclass(type_) and isinstance(data, Mapping):
        hints = get_type_hints(type_)
        for field in fields(type_):
            if field.name in data:
                part = data[field.name]
                value, mismatches = codec.structure_or_problems(part, hints[field.name])
                found: Iterable[Problem]
                if mismatches:
                    found = _part_problems(part, hints[field.name])
                else:
                    found = policy_checks.field_problems(type_, field.name, value)
                yield from (((field.name, *path), text) for path, text in found)
    elif get_origin(type_) is tuple and isinstance(data, list):
        item_type = get_args(type_)[0]
        for index, item in enumerate(data):
            value, mismatches = codec.structure_or_problems(item, item_type)
            found = _part_problems(item, item_type) if mismatches else policy_checks.problems(value)
            yield from (((index, *path), text) for path, text in found)


def _line(
    name: str, body: Mapping[str, object], defaults: Mapping[str, object], problem: Problem
) -> str:
    """The path as a person finds it in the file, in ``defaults`` if that is where it comes from."""
    path, text = problem
    in_defaults = not _has(body, path) and _has(defaults, path)
    return (
        f"{codec.show_path((('defaults',) if in_defaults else ('policies', name)) + path)}: {text}"
    )


def _has(data: object, path: tuple[str | int, ...]) -> bool:
    """Whether there is a value of its own at a path."""
    for step in path:
        if isinstance(data, list):
            data = dict(enumerate(data))
        if not isinstance(data, Mapping) or step not in data:
            return False
        data = data[step]
    return True
