"""Tools as a model sees them: functions with parameters. And its calls, read back and checked."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from agentplat.sdk import BlockError, Tool, ToolPin

# Providers take these characters in names, and no more of them.
_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME = 64


class Function(Struct, frozen=True, kw_only=True):
    """A tool under the name by which the model calls it. `fields` maps its parameters to the tool's pins."""

    name: str
    tool: Tool
    fields: Mapping[str, str]
    parameters: Mapping[str, Any]

    def as_sent(self) -> dict[str, Any]:
        """As the provider wants it."""
        function = {"name": self.name, "description": self.tool.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def as_shown(self) -> dict[str, Any]:
        """With what routes a call to the tool's node, as the AutoGPT Platform contract shows it."""
        sent = self.as_sent()
        sent["function"] |= {"_field_mapping": self.fields, "_sink_node_id": self.tool.node_id}
        return sent


class Call(Struct, frozen=True, kw_only=True):
    """One call that the model wants, with `arguments` by pin. Only those that it gave are in it."""

    id: str
    function: Function
    arguments: Mapping[str, Any]

    def by_pin(self) -> dict[str, Any]:
        """All arguments, null for what was left out."""
        return {pin: self.arguments.get(pin) for pin in self.function.fields.values()}

    def outputs(self) -> list[tuple[str, Any]]:
        """The call as a block emits it: one output per pin."""
        return [(f"tools_^_{self.function.tool.node_id}_~_{pin}", value) for pin, value in self.by_pin().items()]


def functions_of(tools: Iterable[Tool]) -> list[Function]:
    functions: dict[str, Function] = {}
    for tool in tools:
        name = _unused(tool.name, functions)
        fields: dict[str, str] = {}
        for pin in tool.pins:
            fields[_unused(pin.name, fields)] = pin.name
        functions[name] = Function(name=name, tool=tool, fields=fields, parameters=_parameters(tool, fields))
    return list(functions.values())


def _unused(text: str, taken: Mapping[str, Any]) -> str:
    """`text` as a name that providers take and that nothing else has."""
    name = _FORBIDDEN.sub("_", text).lower()[:_MAX_NAME]
    number = 1
    while name in taken:
        number += 1
        suffix = f"_{number}"
        name = name[: _MAX_NAME - len(suffix)].removesuffix(f"_{number - 1}") + suffix
    return name


def _parameters(tool: Tool, fields: Mapping[str, str]) -> dict[str, Any]:
    named = list(zip(fields, tool.pins, strict=True))
    schema = {"type": "object", "additionalProperties": False}
    if tool.agent is not None:
        return schema | {"properties": {name: _agent_property(pin) for name, pin in named}, "strict": True}
    return schema | {
        "properties": {name: _property(pin) for name, pin in named},
        "required": sorted(name for name, pin in named if pin.required),
    }


def _property(pin: ToolPin) -> dict[str, Any]:
    if pin.is_dynamic:
        place = pin.name[len(pin.base) + 3 :]
        about = (pin.schema or {}).get("description", "")
        return {"type": "string", "description": f"The part '{place}' of '{pin.base}'. {about}".strip()}
    return {"description": f"A value for '{pin.name}'.", **({"type": "string"} if pin.schema is None else pin.schema)}


def _agent_property(pin: ToolPin) -> dict[str, Any]:
    schema = pin.schema or {}
    about = schema.get("description") or f"A value for '{pin.name}'."
    return {"type": "string", "description": about, "default": json.dumps(schema.get("default"))}


def read_calls(wanted: Sequence[Mapping[str, Any]], functions: Sequence[Function]) -> list[Call]:
    """The calls in a model's answer. Raises BlockError with everything that is wrong with them."""
    by_name = {function.name: function for function in functions}
    calls: list[Call] = []
    problems: list[str] = []
    for one in wanted:
        asked = one.get("function") or {}
        name = str(asked.get("name"))
        # Models get the name of the only tool wrong more often than they mean something else by it.
        function = functions[0] if len(functions) == 1 else by_name.get(name)
        if function is None:
            problems.append(f"There is no tool '{name}', only {', '.join(by_name)}.")
            continue
        try:
            arguments = json.loads(asked.get("arguments") or "{}")
        except ValueError as error:
            problems.append(f"The arguments for '{name}' are not JSON: {error}.")
            continue
        if found := _problems(function, arguments):
            problems.extend(found)
            continue
        given = {function.fields[field]: value for field, value in arguments.items()}
        calls.append(Call(id=str(one.get("id")), function=function, arguments=given))
    if problems:
        raise BlockError(" ".join(problems))
    return calls


def _problems(function: Function, arguments: Any) -> list[str]:
    if not isinstance(arguments, dict):
        return [f"The arguments for '{function.name}' have to be an object."]
    unknown = sorted(set(arguments) - set(function.fields))
    # No block takes null for an input that it requires.
    missing = [field for field in function.parameters.get("required", ()) if arguments.get(field) is None]
    found = []
    if unknown:
        expected = ", ".join(function.fields)
        found.append(f"'{function.name}' has no parameters {', '.join(unknown)}; it has {expected}.")
    if missing:
        found.append(f"'{function.name}' needs {', '.join(missing)}.")
    return found
