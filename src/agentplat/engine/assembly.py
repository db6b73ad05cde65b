"""From the values that arrived at a node to the input of its block: overlay, merge, convert, validate.

Everything that depends on the node alone is worked out once, at compile time: the constants are converted and judged,
and each pin gets one function that converts and validates its value. Schemas have no rules across pins, so judging
pins one by one is judging the whole.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jsonschema_rs

from agentplat.engine.pins import PathError, base_name, merge
from agentplat.sdk.convert import Converter, converter
from agentplat.sdk.spec import BlockSpec, PinSpec
from agentplat.sdk.tools import CONVERSATION_PIN, RESULT_PIN, pending_calls

# Keywords that only describe: a schema of these and a type says nothing that the value's Python type does not.
_DESCRIBING = frozenset(
    {"title", "description", "default", "advanced", "secret", "placeholder", "hidden", "depends_on", "examples"}
)
_TYPES: dict[Any, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}

Judge = Callable[[Any], str | None]


class Pin:
    """One declared input pin, ready to take values. `settled` is the type that needs no conversion and no judgement."""

    __slots__ = ("convert", "judge", "name", "required", "settled")

    def __init__(self, spec: PinSpec) -> None:
        constraints = {key: value for key, value in spec.schema.items() if key not in _DESCRIBING}
        self.name = spec.name
        self.required = spec.required
        self.convert: Converter | None = converter(spec.schema) if spec.convert else None
        self.judge: Judge | None = _judge(spec.name, constraints) if constraints else None
        self.settled = _settled(constraints)

    def take(self, value: Any) -> tuple[Any, str | None]:
        """The converted value, and what is wrong with it if anything is."""
        if value is None:
            return value, f"'{self.name}' is a required property" if self.required else None
        if type(value) is self.settled:
            return value, None
        if self.convert is not None:
            value = self.convert(value)
        return value, self.judge(value) if self.judge is not None else None


class Assembler:
    """Builds the input of one node. Immutable after construction, shared by all runs of the graph."""

    __slots__ = ("_constants", "_pins", "_prepared", "_slow", "block_name")

    def __init__(self, spec: BlockSpec, constants: dict[str, Any], linked: Iterable[str]) -> None:
        linked = frozenset(linked)
        self.block_name = spec.name
        self._pins = block_pins(spec)
        # Shorter keys first, then by bytes: a base pin precedes its dynamic keys, so constants merge the same way
        # in whatever order the client wrote them.
        self._constants = {key: constants[key] for key in sorted(constants, key=lambda key: (len(key), key.encode()))}
        bases = {base_name(name) for name in (*self._constants, *linked)}
        self._prepared: dict[str, Any] = {}
        self._slow = any(pin.required and pin.name not in bases for pin in self._pins.values()) or any(
            _is_dynamic(name) for name in (*self._constants, *linked)
        )
        for name, value in self._constants.items():
            problem = None
            if name in self._pins and name not in linked:  # what a link overrides is not looked at
                value, problem = self._pins[name].take(value)
            self._prepared[name] = value
            self._slow |= problem is not None

    def assemble(self, data: dict[str, Any], *, plain: bool = True) -> dict[str, Any] | str:
        """The block's input from `data` (constants not included), or the reason why there is none.

        `plain` says that `data` holds the linked pins, all of them and nothing else: nothing in it is dynamic unless
        the node is, and no constant of a linked pin shows.
        """
        if self._slow or not plain:
            return self._assemble_dynamic(data)
        result = {**self._prepared, **data}
        pins = self._pins
        for name, value in data.items():
            pin = pins.get(name)
            if pin is None or type(value) is pin.settled:
                continue
            result[name], problem = pin.take(value)
            if problem:
                return self._reason(problem)
        return result or self._reason("no input")

    def _assemble_dynamic(self, data: dict[str, Any]) -> dict[str, Any] | str:
        try:
            result = merge({**self._constants, **data})
        except PathError as error:
            return self._reason(str(error))
        for name, pin in self._pins.items():
            if name not in result:
                if pin.required:
                    return self._reason(f"missing input {{'{name}'}}")
                continue
            result[name], problem = pin.take(result[name])
            if problem:
                return self._reason(problem)
        return result or self._reason("no input")

    def _reason(self, problem: str) -> str:
        return f"Input data missing or mismatch for `{self.block_name}`: {problem}"


class AgentAssembler(Assembler):
    """Builds the inputs of another graph: what the node holds for it, overlaid by what arrives, as it is.

    The pins are the other graph's, and so is judging what they take.
    """

    __slots__ = ()

    def __init__(self, spec: BlockSpec, inputs: Any, linked: Iterable[str]) -> None:
        super().__init__(spec, inputs if isinstance(inputs, dict) else {}, linked)
        self._pins = {}

    def assemble(self, data: dict[str, Any], *, plain: bool = True) -> dict[str, Any] | str:
        try:
            return merge({**self._constants, **data})
        except PathError as error:
            return self._reason(str(error))


class CallerAssembler(Assembler):
    """Builds the input of a block that calls tools, which may stand in a loop with them.

    Its conversation comes back to it on one pin and what a tool answered on another, in either order. It can go on
    when the conversation waits for an answer and there is one, or neither. With only one of the two linked, or with an
    answer that would be used again and again, there is no telling, so nothing is ever complete.
    """

    __slots__ = ("_miswired",)

    def __init__(
        self, spec: BlockSpec, constants: dict[str, Any], linked: Iterable[str], static_pins: Iterable[str]
    ) -> None:
        linked = frozenset(linked)
        super().__init__(spec, constants, linked)
        self._miswired = len(linked & {CONVERSATION_PIN, RESULT_PIN}) == 1 or RESULT_PIN in static_pins

    def assemble(self, data: dict[str, Any], *, plain: bool = True) -> dict[str, Any] | str:
        if self._miswired:
            return self._reason(f"'{CONVERSATION_PIN}' and '{RESULT_PIN}' are linked together, the latter not static")
        result = super().assemble(data, plain=False)
        if isinstance(result, str):
            return result
        asked = bool(pending_calls(result.get(CONVERSATION_PIN)))
        answered = result.get(RESULT_PIN) is not None
        if asked != answered:
            return self._reason(f"missing input {{'{RESULT_PIN if asked else CONVERSATION_PIN}'}}")
        return result


_PINS: dict[int, tuple[BlockSpec, dict[str, Pin]]] = {}


def block_pins(spec: BlockSpec) -> dict[str, Pin]:
    """The pins of a block, built once per spec (specs live as long as the registry that made them)."""
    known = _PINS.get(id(spec))
    if known is None:
        known = _PINS[id(spec)] = (spec, {name: Pin(pin) for name, pin in spec.inputs.items()})
    return known[1]


def _is_dynamic(name: str) -> bool:
    return base_name(name) != name


def _settled(constraints: dict[str, Any]) -> type | None:
    """The Python type that alone satisfies `constraints`, if there is one."""
    bare = {key: value for key, value in constraints.items() if key != "type"}
    if bare not in ({}, {"items": {}}, {"additionalProperties": True}):
        return None
    return _TYPES.get(constraints.get("type"))


def _judge(name: str, constraints: dict[str, Any]) -> Judge:
    validator = jsonschema_rs.validator_for(constraints)

    def judge(value: Any) -> str | None:
        if validator.is_valid(value):
            return None
        error = next(iter(validator.iter_errors(value)), None)
        return f"'{name}': {error.message if error else 'invalid'}"

    return judge
