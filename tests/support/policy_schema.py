"""The JSON Schema of ``policies.yaml``, made from the domain's types for editors.

``python -m tests.support.policy_schema --write`` writes it anew.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

ROOT = Path(__file__).parents[2]
FILE = ROOT / "policies.schema.json"

if __name__ == "__main__":
    # Under pytest the settings in pyproject.toml do this.
    sys.path.insert(0, str(ROOT / "functions/core/python"))

from lastgood.domain import policy_checks as checks  # noqa: E402
from lastgood.domain.policy import (  # noqa: E402
    DURATION_PATTERN,
    SPAN_PATTERN,
    Copy,
    MaxDeletes,
    Policy,
    Restores,
    Retention,
    Schedule,
    Select,
    Span,
    duration_text,
)

_TYPES = (Policy, Select, Schedule, Retention, Copy, MaxDeletes, Restores)
_MERGED = ("Policy", "Select", "MaxDeletes", "Restores")  # what `defaults` may complete

_VALUES: dict[str, Any] = {"minItems": 1, "uniqueItems": True}
_COUNTS = {key: {"minimum": 0} for key in Retention().counts()}
_LIMITS: dict[str, dict[str, dict[str, Any]]] = {
    "Policy": {"tags": {"maxProperties": checks.MOST_TAGS}},
    "Select": {"tags": {"minProperties": 1}, "regions": {"uniqueItems": True}},
    "Schedule": {"cron": {"pattern": r"^\s*\S+(\s+\S+){5}\s*$", "examples": ["0 3 * * ? *"]}},
    "Retention": {**_COUNTS, "at_least": {"minimum": 1}},
    "Copy": {
        "region": {"pattern": f"^{checks.REGION_PATTERN}$"},
        "account": {"pattern": f"^{checks.ACCOUNT_PATTERN}$"},
        "kms_key": {"pattern": f"^({checks.KEY_PATTERN})$"},
    },
    "MaxDeletes": {
        "count": {"minimum": 1},
        "share": {"exclusiveMinimum": 0, "maximum": 1},
    },
    "Restores": {"approval": {"uniqueItems": True}},
}


class _Texts(GenerateJsonSchema):
    """Durations and spans as the texts that the codec reads."""

    def timedelta_schema(self, schema: Any) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": f"^{DURATION_PATTERN}$",
            "examples": ["15m", "26h"],
        }

    def encode_default(self, dft: Any) -> Any:
        return duration_text(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        if schema["cls"] is Span:
            return {"type": "string", "pattern": f"^{SPAN_PATTERN}$", "examples": ["14d", "1y6m"]}
        return super().dataclass_schema(schema)


def policy_schema() -> dict[str, Any]:
    """The schema of the whole file, keys in a stable order."""
    for type_ in _TYPES:
        type_.__pydantic_config__ = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    schema = TypeAdapter(Policy).json_schema(schema_generator=_Texts, mode="validation")
    definitions = schema.pop("$defs")
    definitions["Policy"] = schema
    definitions["Span"].pop("title", None)
    for name in _MERGED:
        definitions[name].pop("required", None)
    del schema["properties"]["name"]
    for name, limits in _LIMITS.items():
        for key, limit in limits.items():
            _limit(definitions[name]["properties"][key], limit)
    definitions["Select"]["properties"]["regions"]["items"]["pattern"] = (
        f"^{checks.REGION_PATTERN}$"
    )
    for tags in _tag_matches(definitions):
        tags["additionalProperties"].update(_VALUES)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lastgood policies",
        "type": "object",
        "additionalProperties": False,
        "required": ["policies"],
        "properties": {
            "policies": {
                "type": "object",
                "description": "The policies by name.",
                "propertyNames": {"pattern": f"^{checks.NAME_PATTERN}$"},
                "additionalProperties": {"$ref": "#/$defs/Policy"},
            },
            "defaults": {
                "description": "What every policy starts from: mappings are merged into it, "
                "lists and texts are replaced.",
                "anyOf": [{"$ref": "#/$defs/Policy"}, {"type": "null"}],
            },
        },
        "$defs": {name: _tidy(definitions[name]) for name in sorted(definitions)},
    }


def _limit(place: dict[str, Any], limit: dict[str, Any]) -> None:
    """Put a limit where the value itself is described, past the null and the "all"."""
    branches = place.get("anyOf", [place])
    next(b for b in branches if b.get("type") != "null" and "const" not in b).update(limit)


def _tag_matches(node: Any) -> list[dict[str, Any]]:
    """Every mapping of lists in the schema."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    found = [match for child in children for match in _tag_matches(child)]
    if isinstance(node, dict) and isinstance(node.get("additionalProperties"), dict):
        values = node["additionalProperties"]
        return [*found, node] if values.get("type") == "array" else found
    return found


def _tidy(node: Any) -> Any:
    """Without pydantic's titles, and with descriptions on one line."""
    if isinstance(node, list):
        return [_tidy(child) for child in node]
    if not isinstance(node, dict):
        return node
    tidy = {}
    for key, child in node.items():
        if key == "title" and isinstance(child, str):
            continue
        one_line = key == "description" and isinstance(child, str)
        tidy[key] = " ".join(child.replace("``", "").split()) if one_line else _tidy(child)
    return tidy


def schema_text() -> str:
    """The content of ``policies.schema.json``."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(schema_text(), encoding="utf-8")
    else:
        print(schema_text(), end="")


if __name__ == "__main__":
    main()
