from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.blocks.registry import Registry
from agentplat.engine.policy import MAX_PAUSE, Policy, policy_of
from tests.support.drawing import STORE

SPEC = Registry.load([]).blocks[STORE].spec


@pytest.mark.parametrize(
    ("metadata", "policy"),
    [
        ({}, None),
        ({"position": {"x": 1, "y": 2}}, None),
        ({"timeout": 5}, Policy(5.0)),
        ({"retry": {"attempts": 3}}, Policy(None, 3, 1.0)),
        ({"retry": {"attempts": 3, "delay": 0.5}, "timeout": 2.5}, Policy(2.5, 3, 0.5)),
        ({"retry": {"attempts": 1}}, None),
    ],
)
def test_what_a_node_may_ask_for(metadata: dict[str, Any], policy: Policy | None) -> None:
    assert policy_of(SPEC, metadata) == policy


@pytest.mark.parametrize(
    "metadata",
    [
        {"timeout": 0},
        {"timeout": "5"},
        {"timeout": True},
        {"timeout": 1e9},
        {"retry": 3},
        {"retry": {"attempts": 0}},
        {"retry": {"attempts": 21}},
        {"retry": {"attempts": 2.0}},
        {"retry": {"attempts": 2, "delay": -1}},
    ],
)
def test_what_makes_no_sense_is_named(metadata: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"metadata\.(timeout|retry)"):
        policy_of(SPEC, metadata)


@given(st.integers(1, 60), st.floats(0, 1), st.floats(0.01, 60))
def test_pauses_double_and_are_spread(failed: int, jitter: float, delay: float) -> None:
    policy = Policy(None, 20, delay)
    full = min(delay * 2.0 ** (failed - 1), MAX_PAUSE)
    assert full / 2 <= policy.pause(failed, jitter) <= full
