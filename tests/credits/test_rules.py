"""Which price applies, as a property of filters and inputs, and for every price of the contract's catalogue."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentplat.credits.rules import FREE, cost_of
from agentplat.sdk.spec import CostEntry
from tests.support.shared import SHARED, needs_shared

NOTHINGS: list[Any] = [None, "", False, 0, [], {}]
NAMES = st.sampled_from(["model", "credentials", "raw", "id", "type"])
TRUTHY = st.text(min_size=1, max_size=3) | st.integers(1, 5) | st.just(True) | st.lists(st.integers(), min_size=1)
FILTERS = st.dictionaries(
    NAMES,
    st.recursive(
        TRUTHY | st.sampled_from(NOTHINGS), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
    ),
    max_size=4,
)


def entry(cost_filter: dict[str, Any], amount: int = 7, kind: str = "run") -> CostEntry:
    return CostEntry(cost_amount=amount, cost_filter=cost_filter, cost_type=kind)


def costs(cost_filter: dict[str, Any], data: dict[str, Any]) -> bool:
    return cost_of([entry(cost_filter)], data).amount == 7


@given(FILTERS, st.data())
def test_an_input_with_more_than_the_filter_matches(cost_filter: dict[str, Any], data: st.DataObject) -> None:
    def grown(wanted: Any) -> Any:
        if not isinstance(wanted, dict) or not wanted:
            return wanted
        extra = data.draw(st.dictionaries(st.sampled_from(["other", "more"]), TRUTHY, max_size=2))
        return {**extra, **{name: grown(value) for name, value in wanted.items()}}

    assert costs(cost_filter, grown(cost_filter))


@given(FILTERS, st.data())
def test_all_kinds_of_nothing_are_the_same(cost_filter: dict[str, Any], data: st.DataObject) -> None:
    def swapped(wanted: Any) -> Any:
        if not isinstance(wanted, dict):
            return wanted
        kept = {}
        for name, value in wanted.items():
            if value:
                kept[name] = swapped(value) or value
            elif not data.draw(st.booleans()):
                kept[name] = data.draw(st.sampled_from(NOTHINGS))
        return kept

    assert costs(cost_filter, swapped(cost_filter))


@given(FILTERS, NAMES, TRUTHY, TRUTHY | st.sampled_from([*NOTHINGS, {"id": "x"}]))
def test_one_member_that_differs_is_enough_not_to_match(
    cost_filter: dict[str, Any], name: str, wanted: Any, value: Any
) -> None:
    assume(wanted != value)
    assert not costs({**cost_filter, name: wanted}, {**cost_filter, name: value})
    assert not costs({"deep": {**cost_filter, name: wanted}}, {"deep": {**cost_filter, name: value}})


@given(st.lists(FILTERS, max_size=5), FILTERS)
def test_the_first_entry_that_matches_decides(filters: list[dict[str, Any]], data: dict[str, Any]) -> None:
    prices = [entry(one, amount) for amount, one in enumerate(filters, start=1)]
    alone = [price for price in prices if cost_of([price], data) != FREE]
    found = cost_of(prices, data)
    assert (found.amount, found.cost_filter) == (
        (alone[0].cost_amount, alone[0].cost_filter) if alone else (0, FREE.cost_filter)
    )


def test_an_empty_filter_matches_everything_and_nothing_given_matches_nothing_wanted() -> None:
    assert costs({}, {})
    assert costs({"raw_content": False}, {})
    assert not costs({"raw_content": False}, {"raw_content": True})
    assert not costs({"credentials": {"id": "x"}}, {"credentials": "x"})
    assert cost_of([], {"a": 1}) == FREE


def test_prices_by_time_and_size_are_rounded_down_and_nothing_up_front() -> None:
    by_second, by_byte = entry({}, 3, "second"), entry({}, 2, "byte")
    assert cost_of([by_second], {}, seconds=1.5).amount == 4
    assert cost_of([by_byte], {}, size=10).amount == 20
    # Free as they are, they still hide what stands behind them.
    assert cost_of([by_second, entry({})], {}).amount == 0
    assert cost_of([by_byte, entry({})], {}).amount == 0


@pytest.fixture(scope="module")
def catalogue() -> dict[str, list[CostEntry]]:
    blocks = json.loads((SHARED / "catalog" / "blocks.json").read_text(encoding="utf-8"))["blocks"]
    return {block["name"]: msgspec.convert(block["costs"], list[CostEntry]) for block in blocks if block.get("costs")}


@needs_shared
def test_every_price_of_the_catalogue_is_reached_by_its_own_filter(catalogue: dict[str, list[CostEntry]]) -> None:
    hidden = {
        (name, price.cost_amount)
        for name, prices in catalogue.items()
        for price in prices
        if cost_of(prices, price.cost_filter | {"prompt": "p"}).amount != price.cost_amount
    }
    # The general entry stands before the one for the dearer model.
    assert hidden == {("IdeogramModelBlock", 18)}
    assert len(catalogue) > 100


@needs_shared
def test_own_keys_are_free_unless_the_catalogue_charges_for_the_block_itself(
    catalogue: dict[str, list[CostEntry]],
) -> None:
    for prices in catalogue.values():
        for price in prices:
            own = price.cost_filter | {"credentials": {"id": "mine", "provider": "openai", "type": "api_key"}}
            expected = price.cost_amount if "credentials" not in price.cost_filter else 0
            assert cost_of(prices, own).amount == expected
            without_model = {name: value for name, value in price.cost_filter.items() if name != "model"}
            if "model" in price.cost_filter:
                assert cost_of(prices, without_model) == FREE
