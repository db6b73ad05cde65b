"""Blocks against the observed behaviour of the AutoGPT Platform's: every vector through direct execution."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agentplat.blocks import service
from agentplat.blocks.errors import BlockExecutionFailed
from tests.support.shared import SHARED

IDS = {block.spec.name: block_id for block_id, block in service.registry().blocks.items()}
# What the reference says when its own code trips is no message worth having.
UNWANTED_MESSAGES = {"async generator raised StopIteration"}


def vectors() -> list[Any]:
    path = SHARED / "catalog" / "local_vectors.json"
    if not path.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason="the contract's material is not beside this checkout"))]
    found = json.loads(path.read_text(encoding="utf-8"))["vectors"]
    numbered = ((number, vector) for number, vector in enumerate(found) if vector["block"] in IDS)
    return [pytest.param(vector, id=f"{number}-{vector['block']}") for number, vector in numbered]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def _children() -> AsyncIterator[None]:
    """Isolated blocks share child processes, which belong to one event loop."""
    yield
    await service.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("vector", vectors())
async def test_vector(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with pytest.raises(BlockExecutionFailed) as failure:
            await service.execute("user", IDS[vector["block"]], vector["input"])
        message = vector["error"].get("message")
        if message and message not in UNWANTED_MESSAGES:
            assert f"with message: {message}." in str(failure.value)
        return
    expected: dict[str, list[Any]] = {}
    for pin, value in vector["outputs"]:
        expected.setdefault(pin, []).append(value)
    assert await service.execute("user", IDS[vector["block"]], vector["input"]) == expected
