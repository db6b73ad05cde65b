"""Running blocks: outcomes, failure texts, checks, and what values look like afterwards."""

import asyncio
import enum
import math
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.blocks import runner
from agentplat.blocks.builtin.basic import StoreValueBlock
from agentplat.blocks.builtin.dicts import CreateDictionaryBlock
from agentplat.sdk import Block, BlockError, BlockType, Context, Outputs, OutputSchema, Schema, field
from tests.support.blocks import FailIfNegBlock, MidBlock, MultiBlock, SlowBlock

CTX = Context(user_id="u")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


class EmitBlock(Block):
    """Emits whatever it is told to, to see what becomes of it."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5b01"
    pure = True

    class Input(Schema):
        number: int = field(default=0)

    class Output(OutputSchema):
        anything: Any = field()
        number: float = field()
        names: list[str] = field()
        maybe: int | None = field()

    emitted: tuple[tuple[str, Any], ...] = ()
    closed = False

    async def run(self, input: Input, ctx: Context) -> Outputs:
        try:
            for pair in self.emitted:
                if isinstance(pair[1], Exception):
                    raise pair[1]
                yield pair
        finally:
            self.closed = True


class LooseBlock(EmitBlock):
    """The same, of a type whose outputs are not checked."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5b02"
    block_type = BlockType.AI


def emit(*pairs: tuple[str, Any], block: type[EmitBlock] = EmitBlock) -> runner.Outcome:
    instance = block()
    instance.emitted = pairs
    outcome = runner.run_inline(instance, {}, CTX)
    assert instance.closed
    assert asyncio.run(streamed(block, pairs)) == outcome
    return outcome


async def streamed(kind: type[EmitBlock], pairs: tuple[tuple[str, Any], ...]) -> runner.Outcome:
    """What `stream` makes of the same block, in the form of `run_inline`."""
    block = kind()
    block.emitted = pairs
    outputs: list[tuple[str, Any]] = []
    try:
        async for pair in runner.stream(block, {}, CTX):
            outputs.append(pair)
    except runner.BlockFailure as failure:
        return runner.Outcome(outputs, str(failure), failure.expected)
    finally:
        assert block.closed
    return runner.Outcome(outputs)


def message(outcome: runner.Outcome) -> str:
    assert outcome.error is not None
    name, _, rest = outcome.error.removeprefix("raised by ").partition(" with message: ")
    text, _, block_id = rest.rpartition(". block_id: ")
    assert {EmitBlock.spec.name: EmitBlock.id, LooseBlock.spec.name: LooseBlock.id}[name] == block_id
    return text


class TestOutcomes:
    def test_outputs_in_order(self) -> None:
        assert runner.run_inline(MultiBlock(), {"go": {"k": [1]}}, CTX).outputs == [
            ("data", {"k": [1]}),
            ("nothing", None),
            ("after", "z"),
        ]

    def test_error_pin_ends_the_execution(self) -> None:
        outcome = emit(("anything", 1), ("error", "no"), ("anything", 2))
        assert outcome.outputs == [("anything", 1)]
        assert message(outcome) == "no"
        assert outcome.expected

    @pytest.mark.parametrize(
        ("error", "text", "expected"),
        [
            (BlockError("sorry"), "sorry", True),
            (ValueError("bad"), "bad", True),
            (KeyError("boom"), "'boom'", False),
            (RuntimeError(), "Unknown error occurred", False),
            (StopIteration("x"), "async generator raised StopIteration", False),
        ],
    )
    def test_exceptions(self, error: Exception, text: str, expected: bool) -> None:
        outcome = emit(("anything", 1), ("anything", error))
        assert (outcome.outputs, message(outcome), outcome.expected) == ([("anything", 1)], text, expected)

    def test_error_pin_with_null(self) -> None:
        assert message(emit(("error", None))) == "Output error was None"

    def test_text_of_the_contract(self) -> None:
        negative = runner.run_inline(FailIfNegBlock(), {"x": -1}, CTX)
        broken = runner.run_inline(MidBlock(), {"go": 1}, CTX)
        assert negative.error == f"raised by FailIfNegBlock with message: neg. block_id: {FailIfNegBlock.id}"
        assert broken.error == f"raised by MidBlock with message: 'boom'. block_id: {MidBlock.id}"
        assert broken.outputs == [("a", 1), ("a", 2)]

    def test_block_that_waits_cannot_run_inline(self) -> None:
        outcome = runner.run_inline(SlowBlock(), {"v": 1}, CTX)
        assert "waits" in str(outcome.error)
        assert not outcome.expected

    async def test_leaving_a_stream_early_closes_the_block(self) -> None:
        block = EmitBlock()
        block.emitted = (("anything", 1), ("anything", 2))
        stream = runner.stream(block, {}, CTX)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert block.closed


class TestInput:
    def test_nulls_count_as_absent(self) -> None:
        assert runner.run_inline(StoreValueBlock(), {"input": 1, "data": None}, CTX).outputs == [("output", 1)]
        missing = runner.run_inline(StoreValueBlock(), {"input": None}, CTX)
        assert "missing required field `input`" in str(missing.error)

    def test_integral_number_for_an_integer(self) -> None:
        assert runner.run_inline(FailIfNegBlock(), {"x": 3.0}, CTX).outputs == [("ok", 3)]

    def test_unknown_pins_are_ignored(self) -> None:
        data = {"values": {"a": 1}, "values_#_a": 1}
        assert runner.run_inline(CreateDictionaryBlock(), data, CTX).outputs == [("dictionary", {"a": 1})]

    def test_validation_names_the_place(self) -> None:
        problem = runner.validate_input(CreateDictionaryBlock.spec, {"values": [1]})
        assert problem == "[1] is not of type \"object\" (at 'values')"
        assert runner.validate_input(CreateDictionaryBlock.spec, {"values": {}}) is None
        assert runner.validate_input(CreateDictionaryBlock.spec, {"values": None}) == '"values" is a required property'


class Colour(enum.Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int


class TestValues:
    @given(json_values)
    def test_plain_json_stays_as_it_is_and_shares_nothing(self, value: Any) -> None:
        copy = runner.normalise(value)
        assert copy == value
        assert not (isinstance(value, (list, dict)) and copy is value)

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            (math.nan, None),
            (-math.inf, None),
            ([math.nan, 1.5], [None, 1.5]),
            ((1, 2), [1, 2]),
            (Colour.RED, "red"),
            (Point(1), {"x": 1}),
            (date(2025, 1, 2), "2025-01-02"),
            ({1: 2}, {"1": 2}),
            (2**70, 2**70),
        ],
    )
    def test_other_values_become_plain_json(self, value: Any, plain: Any) -> None:
        assert emit(("anything", value)).outputs == [("anything", plain)]

    @pytest.mark.parametrize("value", ["\ud800", ["\ud800"], {"\udfff": 1}, object(), {(1, 2): 3}])
    def test_what_no_json_can_say_fails(self, value: Any) -> None:
        outcome = emit(("anything", value))
        assert outcome.outputs == []
        assert "cannot be written as JSON" in message(outcome)

    def test_endless_nesting_fails(self) -> None:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        assert "cannot be written as JSON" in message(emit(("anything", value)))

    def test_value_passed_through_is_shared(self) -> None:
        value = {"a": [1]}
        assert runner.run_inline(StoreValueBlock(), {"input": value}, CTX).outputs[0][1] is value


class TestChecks:
    @pytest.mark.parametrize(
        ("pin", "value"),
        [("number", 1), ("number", math.inf), ("names", ["a"]), ("names", []), ("maybe", None), ("maybe", 2.0)],
    )
    def test_fitting_values_pass(self, pin: str, value: Any) -> None:
        assert emit((pin, value)).error is None

    @pytest.mark.parametrize(
        ("pin", "value"),
        [("number", "1"), ("number", True), ("number", None), ("names", ["a", 1]), ("maybe", math.nan), ("maybe", 1.5)],
    )
    def test_others_fail_with_the_reason(self, pin: str, value: Any) -> None:
        outcome = emit(("anything", 0), (pin, value), ("anything", 1))
        assert outcome.outputs == [("anything", 0)]
        assert message(outcome).startswith("Block produced an invalid output data: ")
        assert outcome.expected

    def test_undeclared_output_fails(self) -> None:
        assert (
            message(emit(("nope", 1))) == "Block produced an invalid output data: the block has no output named 'nope'"
        )

    def test_only_standard_blocks_are_checked(self) -> None:
        assert emit(("nope", 1), ("number", "x"), block=LooseBlock).outputs == [("nope", 1), ("number", "x")]
