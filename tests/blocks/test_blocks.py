"""What holds for every built-in block, and the few things no vector tells."""

import asyncio
import contextlib
import copy
import json
import random
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.blocks import runner, service
from agentplat.blocks.builtin import code, dicts, lists, logic, patterns, sampling
from agentplat.blocks.builtin import time as clocks
from agentplat.sdk import Block, Context
from tests.support.shared import SHARED

CTX = Context(user_id="u")
BUILTIN = {block.__name__: block for block in service.registry().blocks.values()}
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


def outputs(block: type[Block], data: dict[str, Any]) -> list[tuple[str, Any]]:
    """What a block emits, or `BlockFailure`."""

    async def collect() -> list[tuple[str, Any]]:
        return [pair async for pair in runner.stream(block(), data, CTX)]

    return asyncio.run(collect())


def pure_inputs() -> list[Any]:
    if not SHARED.is_dir():
        return []
    vectors = json.loads((SHARED / "catalog" / "local_vectors.json").read_text(encoding="utf-8"))["vectors"]
    return [(BUILTIN[vector["block"]], vector["input"]) for vector in vectors if vector["block"] in BUILTIN]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the contract's material is not beside this checkout")
def test_inputs_are_never_changed() -> None:
    """The engine shares values between nodes, so a block that changed its input would change another node's."""
    for block, data in pure_inputs():
        before = copy.deepcopy(data)
        if block.spec.pure:
            with contextlib.suppress(runner.BlockFailure):
                outputs(block, data)
        assert data == before, block


@pytest.mark.skipif(not SHARED.is_dir(), reason="the contract's material is not beside this checkout")
def test_inline_blocks_give_the_same_inline_as_streamed() -> None:
    for block, data in pure_inputs():
        if block.spec.inline and block.spec.pure and runner.validate_input(block.spec, data) is None:
            inline = runner.run_inline(block(), data, CTX)
            if inline.error is None:
                assert inline.outputs == outputs(block, data)
            else:
                with pytest.raises(runner.BlockFailure, match=re.escape(inline.error)):
                    outputs(block, data)


class TestLists:
    @given(st.lists(scalars, max_size=12), st.integers(1, 4))
    def test_parts_of_a_list_are_the_list(self, items: list[Any], size: int) -> None:
        parts = [part for _, part in outputs(lists.CreateListBlock, {"values": items, "max_size": size})]
        assert [item for part in parts for item in part] == items
        assert all(len(part) == size for part in parts[:-1])

    @given(st.lists(values, max_size=5), st.integers(-7, 7), values)
    def test_inserted_where_python_would(self, items: list[Any], at: int, item: Any) -> None:
        expected = [*items]
        expected.insert(at, item)
        data = {"list": items, "entries": [item], "position": at}
        assert outputs(lists.AddToListBlock, data) == [("updated_list", expected)]

    @given(st.lists(values, min_size=1, max_size=5), st.data())
    def test_removed_item_put_back_gives_the_list(self, items: list[Any], data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(items) - 1))
        removed = outputs(lists.RemoveFromListBlock, {"list": items, "index": at, "return_item": True})
        (_, rest), (_, item) = removed
        assert [*rest[:at], item, *rest[at:]] == items


class TestDictionaries:
    @given(st.dictionaries(st.text(max_size=3), values, min_size=1), st.data())
    def test_what_was_put_in_is_found(self, entries: dict[str, Any], data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(entries)))
        assert outputs(dicts.FindInDictionaryBlock, {"input": entries, "key": key}) == [("output", entries[key])]
        text = {"input": json.dumps(entries), "key": key}
        assert outputs(dicts.FindInDictionaryBlock, text) == [("output", entries[key])]


class TestLogic:
    @given(st.integers(), st.integers(), st.sampled_from(list(logic.Comparison)))
    def test_exactly_one_way_is_taken(self, left: int, right: int, operator: logic.Comparison) -> None:
        data = {"value1": left, "operator": operator.value, "value2": right}
        (_, result), (way, value) = outputs(logic.ConditionBlock, data)
        assert (way, value) == (("yes_output", left) if result else ("no_output", right))

    def test_too_many_items_fail_before_the_first(self) -> None:
        outcome = runner.run_inline(logic.StepThroughItemsBlock(), {"items": list(range(10_001))}, CTX)
        assert outcome.outputs == []
        assert "More than 10000 items" in str(outcome.error)


class TestPatterns:
    CATASTROPHE: ClassVar = {"text": "a" * 40 + "!", "data": "d", "match": "^(a|a)*$", "pattern": "^(a|a)*$"}

    @pytest.fixture(autouse=True)
    def _short_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(patterns, "_LIMIT_SECONDS", 0.2)

    def test_catastrophic_pattern_is_given_up(self) -> None:
        with pytest.raises(runner.BlockFailure, match="took longer"):
            outputs(patterns.MatchTextPatternBlock, self.CATASTROPHE)
        assert ("matched_count", 0) in outputs(patterns.ExtractTextInformationBlock, self.CATASTROPHE)

    def test_they_run_apart_because_compiling_a_pattern_has_no_time_limit(self) -> None:
        assert patterns.MatchTextPatternBlock.spec.isolated
        assert patterns.ExtractTextInformationBlock.spec.isolated

    def test_matches_are_limited(self) -> None:
        data = {"text": "a" * 5_000, "pattern": "a", "find_all": True}
        assert outputs(patterns.ExtractTextInformationBlock, data)[-1] == ("matched_count", 1_000)


class TestCode:
    def test_time_grows_with_the_text_and_not_with_its_square(self) -> None:
        text = "x```python\n" * 30_000
        started = time.process_time()
        assert [name for name, _ in outputs(code.CodeExtractionBlock, {"text": text})] == ["remaining_text"]
        assert time.process_time() - started < 3

    @pytest.mark.parametrize(
        ("text", "decoded"), [(r"a\nb", "a\nb"), (r"\x41\u0042\U00000043", "ABC"), (r"\"\\", '"\\'), (r"\z", r"\z")]
    )
    def test_escapes(self, text: str, decoded: str) -> None:
        assert outputs(code.TextDecoderBlock, {"text": text}) == [("decoded_text", decoded)]

    @pytest.mark.parametrize("text", ["a\\", r"\U99999999"])
    def test_broken_escapes(self, text: str) -> None:
        with pytest.raises(runner.BlockFailure) as failure:
            outputs(code.TextDecoderBlock, {"text": text})
        assert failure.value.expected


class TestSampling:
    METHODS = ("random", "systematic", "top", "bottom", "reservoir", "cluster", "stratified")

    @pytest.mark.parametrize("method", METHODS)
    @given(st.integers(1, 12), st.data(), st.integers(0, 99))
    def test_sample_is_part_of_the_data(self, method: str, rows: int, data: st.DataObject, seed: int) -> None:
        table = [{"i": index, "group": index % 3} for index in range(rows)]
        size = data.draw(st.integers(1, rows))
        settings = {"sampling_method": method, "random_seed": seed, "stratify_key": "group", "cluster_key": "group"}
        (_, drawn), (_, indices) = outputs(sampling.DataSamplingBlock, {"data": table, "sample_size": size, **settings})
        assert drawn == [table[index] for index in indices]
        assert len(set(indices)) == len(indices) <= size
        assert method == "stratified" or len(indices) == size

    def test_seed_decides(self) -> None:
        data = {"data": [{"i": index} for index in range(50)], "sample_size": 5, "random_seed": 7}
        expected = random.Random(7).sample(range(50), 5)
        assert outputs(sampling.DataSamplingBlock, data)[1] == ("sample_indices", expected)


class TestClocks:
    def test_offset_goes_back(self) -> None:
        (_, found) = outputs(clocks.GetCurrentDateBlock, {"trigger": "x", "offset": "7"})[0]
        passed = datetime.now(UTC).date() - datetime.strptime(found, "%Y-%m-%d").replace(tzinfo=UTC).date()
        assert timedelta(days=7) <= passed <= timedelta(days=8)

    @pytest.mark.parametrize(
        ("microseconds", "pattern"), [(False, r"T\d\d:\d\d:\d\d\+05:30"), (True, r"T\d\d:\d\d:\d\d\.\d{6}\+05:30")]
    )
    def test_iso_time_in_a_zone(self, microseconds: bool, pattern: str) -> None:
        chosen = {"discriminator": "iso8601", "timezone": "Asia/Kolkata", "include_microseconds": microseconds}
        ((_, found),) = outputs(clocks.GetCurrentTimeBlock, {"trigger": "x", "format_type": chosen})
        assert re.fullmatch(pattern, found)

    def test_zone_of_the_user(self) -> None:
        chosen = {"discriminator": "strftime", "format": "%Z", "use_user_timezone": True}
        data = {"trigger": "x", "format_type": chosen}
        for zone, name in (("Asia/Tokyo", "JST"), ("Nowhere/City", "UTC"), ("not-set", "UTC")):
            ctx = Context(user_id="u", timezone=zone)
            assert runner.run_inline(clocks.GetCurrentDateAndTimeBlock(), data, ctx).outputs == [("date_time", name)]

    def test_timer_waits(self) -> None:
        started = time.monotonic()
        assert outputs(clocks.CountdownTimerBlock, {"seconds": 1})
        assert time.monotonic() - started >= 1
