"""CloudFormation templates: their intrinsic functions, conditions and the order of their resources.

Source: "Intrinsic function reference" of the CloudFormation User Guide. Any other function fails
the stack.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

NO_VALUE = object()
PLACEHOLDER = re.compile(r"\$\{([^!{}][^{}]*)\}")
LITERAL = re.compile(r"\$\{!([^{}]*)\}")


class TemplateError(Exception):
    """The template cannot be understood or resolved."""


def parse(text: str) -> dict[str, Any]:
    try:
        template = json.loads(text)
    except ValueError:
        template = yaml.safe_load(text)
    if not isinstance(template, dict) or not template.get("Resources"):
        raise TemplateError("Template format error: At least one Resources member must be defined.")
    return template


class Scope:
    """What the names in a template stand for.

    ``attribute`` answers Fn::GetAtt, ``physical`` Ref to a resource, ``imported`` Fn::ImportValue.
    """

    def __init__(
        self,
        template: Mapping[str, Any],
        parameters: Mapping[str, Any],
        physical: Callable[[str], Any],
        attribute: Callable[[str, str], Any],
        imported: Callable[[str], str],
    ) -> None:
        self._template = template
        self._parameters = parameters
        self._physical = physical
        self._attribute = attribute
        self._imported = imported

    def wanted(self, entry: Mapping[str, Any]) -> bool:
        """Whether the condition of a resource or an output holds, if it has one."""
        return "Condition" not in entry or self._condition(entry["Condition"])

    def resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            items = [self.resolve(item) for item in value]
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(value, dict):
            if isinstance(value, str) and "{{resolve:" in value:
                raise TemplateError(f"dynamic reference {value}")
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._function(name, argument)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        return self._parameters[name] if name in self._parameters else self._physical(name)

    def _function(self, name: str, argument: Any) -> Any:
        function = self.FUNCTIONS.get(name)
        if function is None:
            raise TemplateError(f"intrinsic function {name}")
        return function(self, argument)

    def _get_att(self, argument: Any) -> Any:
        name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
        return self._attribute(name, attribute)

    def _sub(self, argument: Any) -> str:
        text, given = argument if isinstance(argument, list) else (argument, {})
        values = {name: self.resolve(value) for name, value in given.items()}

        def value_of(found: re.Match[str]) -> str:
            name = found[1]
            if name in values:
                return str(values[name])
            return str(self._get_att(name) if "." in name else self._ref(name))

        return LITERAL.sub(r"${\1}", PLACEHOLDER.sub(value_of, text))

    def _join(self, argument: Any) -> str:
        separator, values = argument
        return str(separator).join(str(value) for value in self.resolve(values))

    def _select(self, argument: Any) -> Any:
        index, values = argument
        return self.resolve(values)[int(self.resolve(index))]

    def _split(self, argument: Any) -> list[str]:
        separator, text = argument
        return str(self.resolve(text)).split(separator)

    def _find_in_map(self, argument: Any) -> Any:
        table, first, second = self.resolve(argument)
        return self._template["Mappings"][table][first][second]

    def _import(self, argument: Any) -> str:
        return self._imported(str(self.resolve(argument)))

    def _if(self, argument: Any) -> Any:
        condition, if_true, if_false = argument
        return self.resolve(if_true if self._condition(condition) else if_false)

    def _base64(self, argument: Any) -> str:
        return base64.b64encode(str(self.resolve(argument)).encode()).decode()

    def _condition(self, name: str) -> bool:
        return self._holds(self._template["Conditions"][name])

    def _holds(self, condition: Any) -> bool:
        ((name, argument),) = condition.items()
        match name:
            case "Condition":
                return self._condition(argument)
            case "Fn::Equals":
                first, second = self.resolve(argument)
                return str(first) == str(second)
            case "Fn::Not":
                return not self._holds(argument[0])
            case "Fn::And":
                return all(map(self._holds, argument))
            case "Fn::Or":
                return any(map(self._holds, argument))
            case _:
                raise TemplateError(f"condition function {name}")

    FUNCTIONS: Mapping[str, Callable[["Scope", Any], Any]] = {
        "Fn::Base64": _base64,
        "Fn::FindInMap": _find_in_map,
        "Fn::GetAtt": _get_att,
        "Fn::If": _if,
        "Fn::ImportValue": _import,
        "Fn::Join": _join,
        "Fn::Select": _select,
        "Fn::Split": _split,
        "Fn::Sub": _sub,
    }


def references(value: Any) -> Iterator[str]:
    """The names that a value refers to, resources and parameters alike."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for name, argument in value.items():
            if name == "Ref":
                yield argument
            elif name == "Fn::GetAtt":
                yield argument[0] if isinstance(argument, list) else argument.split(".")[0]
            elif name == "Fn::Sub":
                text, given = argument if isinstance(argument, list) else (argument, {})
                yield from (m[1].split(".")[0] for m in PLACEHOLDER.finditer(text))
                yield from references(given)
            else:
                yield from references(argument)


def in_order(resources: Mapping[str, Any]) -> list[str]:
    """The logical ids, each after those that it refers to or depends on.

    Raises:
        TemplateError: they go round in a circle.
    """
    ordered: list[str] = []
    under_way: list[str] = []

    def visit(name: str) -> None:
        if name in ordered:
            return
        if name in under_way:
            raise TemplateError(f"Circular dependency between resources: {under_way}")
        under_way.append(name)
        entry = resources[name]
        depends = entry.get("DependsOn", [])
        wanted = [*(depends if isinstance(depends, list) else [depends])]
        for other in [*wanted, *references(entry.get("Properties", {}))]:
            if other in resources:
                visit(other)
        under_way.pop()
        ordered.append(name)

    for name in resources:
        visit(name)
    return ordered
