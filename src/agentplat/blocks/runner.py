"""Running a block: typed input in, plain JSON out, one failure text for everything that can go wrong.

`run_inline` is on the path of every node execution, so what can be decided once per block is decided in `_Prepared`,
and scalars never reach an encoder or a validator.
"""

import traceback
from collections.abc import AsyncGenerator, Callable
from math import isfinite
from typing import Any

import jsonschema_rs
import msgspec

from agentplat.infra.telemetry import get_logger
from agentplat.sdk import Block, BlockSpec, BlockType, Context

_log = get_logger(__name__)
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_convert = msgspec.convert

INVALID_INPUT = "Unable to execute block with invalid input data: "
INVALID_OUTPUT = "Block produced an invalid output data: "


class Outcome(msgspec.Struct, frozen=True):
    """What an execution gave: everything emitted before the end, and the failure text if it failed.

    `expected` tells a failure the block foresaw from a defect.
    """

    outputs: list[tuple[str, Any]]
    error: str | None = None
    expected: bool = True


class BlockFailure(Exception):
    """A block's execution failed. The text is what its `error` pin shows."""

    def __init__(self, text: str, *, expected: bool) -> None:
        super().__init__(text)
        self.expected = expected


class _Rejected(ValueError):
    """An emitted pair that the block's output schema does not allow."""


class _OutputCheck(msgspec.Struct, frozen=True):
    """`accepts` holds the Python types that satisfy the pin's schema whatever the value is."""

    accepts: frozenset[type]
    validate: Callable[[Any], None]


class _Prepared(msgspec.Struct, frozen=True):
    input_type: type[msgspec.Struct]
    name: str
    id: str
    checks: dict[str, _OutputCheck | None] | None


_NOTHING: frozenset[type] = frozenset()
_ANY: frozenset[type] = frozenset({str, int, float, bool, type(None), list, dict})
_BY_TYPE: dict[Any, frozenset[type]] = {
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "boolean": frozenset({bool}),
    "null": frozenset({type(None)}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
}
_NOTES = frozenset({"title", "description", "placeholder", "default", "advanced", "secret", "hidden", "depends_on"})
_prepared: dict[type[Block], _Prepared] = {}


def run_inline(block: Block, data: dict[str, Any], ctx: Context) -> Outcome:
    """Run a block that never suspends, without an event loop."""
    prepared = _prepared.get(type(block)) or _prepare(type(block))
    checks = prepared.checks
    outputs: list[tuple[str, Any]] = []
    stream = None
    try:
        stream = block.run(_typed_input(prepared, data), ctx)
        step = stream.__anext__
        while True:
            try:
                step().send(None)  # type: ignore[attr-defined]
            except StopIteration as emitted:
                name, value = emitted.value
            else:
                raise RuntimeError("the block is declared inline but waits for something")
            if name == "error":
                _close(prepared, stream)
                return _failed(prepared, outputs, _error_text(value), expected=True)
            outputs.append((name, _accept(checks, name, value, data)))
    except StopAsyncIteration:
        return Outcome(outputs)
    except Exception as error:
        # A block may raise anything; it ends this execution, with its message, and nothing else.
        if stream is not None:
            _close(prepared, stream)
        return _failed(prepared, outputs, *_explain(prepared, error))


async def stream(
    block: Block, data: dict[str, Any], ctx: Context, *, plain: Callable[[Any], Any] | None = None
) -> AsyncGenerator[tuple[str, Any], None]:
    """Run any block, pair by pair. Raises `BlockFailure` at the point where it fails.

    `plain` replaces the way values are turned into plain JSON.
    """
    prepared = _prepared.get(type(block)) or _prepare(type(block))
    running = None
    try:
        running = block.run(_typed_input(prepared, data), ctx)
        async for name, value in running:
            if name == "error":
                raise BlockFailure(_failure_text(prepared, _error_text(value)), expected=True)
            yield name, _accept(prepared.checks, name, value, data, plain or normalise)
    except BlockFailure:
        raise
    except Exception as error:
        # Likewise, for a block that waits.
        message, expected = _explain(prepared, error)
        raise BlockFailure(_failure_text(prepared, message), expected=expected) from error
    finally:
        # Leaving early (failure, cancellation) must run the block's own clean-up now, not when it is collected.
        if running is not None and hasattr(running, "aclose"):
            await running.aclose()


def validate_input(spec: BlockSpec, data: dict[str, Any]) -> str | None:
    """What is wrong with an input given by hand, or None. Nulls count as absent."""
    given = _without_nulls(data)
    validator = _validators.get(spec.id)
    if validator is None:
        validator = _validators[spec.id] = jsonschema_rs.validator_for(spec.input_schema)
    problem = next(iter(validator.iter_errors(given)), None)
    return None if problem is None else _describe(problem)


_validators: dict[str, Any] = {}


def normalise(value: Any) -> Any:
    """The value as plain JSON that shares nothing with the block. What JSON cannot say (nan, inf) becomes null."""
    kind = type(value)
    if kind is str:
        if not value.isascii():
            value.encode()  # refuses lone surrogates, which no JSON text and no database takes
        return value
    if kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if isfinite(value) else None
    return _decode(_encode(value))


def failure_text(name: str, block_id: str, message: str) -> str:
    """The text that every failed execution ends with."""
    return f"raised by {name} with message: {message}. block_id: {block_id}"


def _typed_input(prepared: _Prepared, data: dict[str, Any]) -> Any:
    if None in data.values():
        data = _without_nulls(data)
    try:
        return _convert(data, prepared.input_type)
    except msgspec.ValidationError:
        # JSON Schema takes 5.0 for an integer, msgspec does not.
        return _convert(_integral(data), prepared.input_type)


def _accept(
    checks: dict[str, _OutputCheck | None] | None,
    name: str,
    value: Any,
    data: dict[str, Any],
    plain: Callable[[Any], Any] = normalise,
) -> Any:
    """The emitted value as plain JSON, after the check against its pin's schema."""
    kind = type(value)
    try:
        if kind is list or kind is dict:
            # A value passed through is plain already, and values are never changed, so it may be shared.
            result = value if any(value is given for given in data.values()) else plain(value)
        elif kind in _ANY:
            result = plain(value)
        else:
            value = result = plain(value)
            kind = type(value)
    except (UnicodeError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise _Rejected(f"the value cannot be written as JSON: {error}") from error
    if checks is None:
        return result
    try:
        check = checks[name]
    except KeyError:
        raise _Rejected(f"the block has no output named '{name}'") from None
    # Scalars are checked as emitted: infinity is a number, though what is stored of it is null.
    if check is not None and kind not in check.accepts:
        check.validate(result if kind is list or kind is dict else value)
    return result


def _prepare(block: type[Block]) -> _Prepared:
    spec = block.spec
    checks = None
    if spec.block_type == BlockType.STANDARD:
        checks = {name: _output_check(schema) for name, schema in spec.outputs.items()}
    found = _prepared[block] = _Prepared(input_type=block.Input, name=spec.name, id=spec.id, checks=checks)
    return found


def _output_check(schema: dict[str, Any]) -> _OutputCheck | None:
    accepts = _accepted_types(schema)
    if accepts == _ANY:
        return None
    validator = jsonschema_rs.validator_for(schema)

    def validate(value: Any) -> None:
        try:
            problem = next(iter(validator.iter_errors(value)), None)
        except ValueError as error:  # a number that JSON cannot say
            raise _Rejected(str(error)) from None
        if problem is not None:
            raise _Rejected(_describe(problem))

    return _OutputCheck(accepts=accepts, validate=validate)


def _accepted_types(schema: dict[str, Any]) -> frozenset[type]:
    """The Python types all of whose values satisfy the schema. Leaving one out costs time, nothing else."""
    asked = {key: value for key, value in schema.items() if key not in _NOTES}
    if not asked:
        return _ANY
    if set(asked) == {"anyOf"}:
        found = _NOTHING
        for member in asked["anyOf"]:
            found |= _accepted_types(member)
        return found
    kind = asked.pop("type", None)
    if kind == "array" and asked.get("items") == {}:
        del asked["items"]
    if kind == "object" and asked.get("additionalProperties") is True:
        del asked["additionalProperties"]
    asked.pop("format", None)
    return _NOTHING if asked else _BY_TYPE.get(kind, _NOTHING)


def _explain(prepared: _Prepared, error: Exception) -> tuple[str, bool]:
    """The message for an exception, and whether it is of the kind that blocks fail with on purpose."""
    if isinstance(error, _Rejected):
        return f"{INVALID_OUTPUT}{error}", True
    expected = isinstance(error, (ValueError, msgspec.ValidationError)) and not isinstance(error, UnicodeError)
    if not expected:
        _log_defect("block failed unexpectedly", prepared, error)
    return str(error) or "Unknown error occurred", expected


def _log_defect(event: str, prepared: _Prepared, error: Exception) -> None:
    # As text, because loggers that take the exception itself may print local variables: here, what users own.
    text = "".join(traceback.format_exception(error, limit=-10))
    _log.error(event, block=prepared.name, block_id=prepared.id, traceback=text)


def _failed(prepared: _Prepared, outputs: list[tuple[str, Any]], message: str, expected: bool) -> Outcome:
    return Outcome(outputs, _failure_text(prepared, message), expected)


def _failure_text(prepared: _Prepared, message: str) -> str:
    return failure_text(prepared.name, prepared.id, message)


def _error_text(value: Any) -> str:
    return "Output error was None" if value is None else str(value)


def _close(prepared: _Prepared, stream: Any) -> None:
    """Run what the block does at its end. The execution has failed already, so nothing that happens here can matter."""
    try:
        stream.aclose().send(None)
    except StopIteration:
        return
    except Exception as error:
        # The outcome is decided; a defect in the clean-up is its author's, who finds it in the log.
        _log_defect("block did not close", prepared, error)


def _describe(problem: Any) -> str:
    path = ".".join(str(part) for part in problem.instance_path)
    return f"{problem.message} (at '{path}')" if path else str(problem.message)


def _without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _integral(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _integral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_integral(item) for item in value]
    return value
