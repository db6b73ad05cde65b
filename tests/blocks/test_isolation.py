"""Blocks in processes of their own: whatever they do there, they fail, and nothing else."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agentplat.blocks import service as blocks
from agentplat.blocks.errors import BlockExecutionFailed
from agentplat.blocks.isolation import Pool
from agentplat.infra.settings import Settings
from agentplat.sdk import ApiKeyCredentials, Block, Secret
from tests.support.blocks import (
    BlockingBlock,
    CrashingBlock,
    ExitingBlock,
    HoardingBlock,
    IsolatedPaidBlock,
    SpinningBlock,
)
from tests.support.conditions import until

pytestmark = pytest.mark.usefixtures("settings")


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with Pool(replace(settings, node_processes=2, node_memory_mb=128)) as one:
        yield one


async def executed(
    pool: Pool, block: type[Block], seconds: float = 60, given: dict[str, Any] | None = None, **data: Any
) -> tuple[list[tuple[str, Any]], blocks.Done]:
    request = blocks.Request(
        block_id=block.id, data=data, user_id="u", run_id="r", credentials=given or {}, fields={"node_id": "n"}
    )
    *outputs, done = [answer async for answer in pool.execute(block.spec, request, seconds)]
    assert isinstance(done, blocks.Done)
    return [(one.name, one.value) for one in outputs if isinstance(one, blocks.Output)], done


def message(done: blocks.Done) -> str:
    assert done.error is not None
    return done.error.partition(" with message: ")[2].rpartition(". block_id: ")[0]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_outputs_come_as_they_are_emitted_and_a_child_is_used_again(pool: Pool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        assert await executed(pool, BlockingBlock, count=3, path=str(log)) == (
            [("n", 0), ("n", 1), ("n", 2)],
            blocks.Done(),
        )
    first, second = (line.split()[0] for line in log.read_text().splitlines())
    assert first == second
    assert int(first) != os.getpid()


@pytest.mark.parametrize(
    ("block", "seconds", "said", "emitted"),
    [
        (CrashingBlock, 60, "the block's process was killed by signal 11", [("out", 5)]),
        (ExitingBlock, 60, "the block's process ended with exit status 3", []),
        (SpinningBlock, 1, "timed out after 1 seconds", []),
    ],
)
async def test_what_goes_wrong_is_said_and_the_next_block_gets_a_fresh_child(
    pool: Pool, block: type[Block], seconds: float, said: str, emitted: list[Any]
) -> None:
    outputs, done = await executed(pool, block, seconds, v=5)
    assert message(done) == said
    assert outputs == emitted
    assert (await executed(pool, BlockingBlock, count=1))[1].error is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits address space")
async def test_a_block_that_allocates_without_end_meets_its_limit(pool: Pool) -> None:
    assert message((await executed(pool, HoardingBlock))[1]) == (
        "the block took more than the 128 MB of memory that it may take"
    )
    assert (await executed(pool, BlockingBlock, count=1))[1].error is None


async def test_a_block_that_blocks_holds_up_neither_others_nor_the_loop(pool: Pool) -> None:
    slow = asyncio.create_task(executed(pool, BlockingBlock, count=1, delay=600.0))
    await executed(pool, BlockingBlock, count=1)
    assert not slow.done()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_leaving_kills_the_child(pool: Pool, tmp_path: Path) -> None:
    log = tmp_path / "pid"
    task = asyncio.create_task(executed(pool, SpinningBlock, path=str(log)))
    await until(lambda: log.exists() and log.read_text().endswith("\n"))
    pid = int(log.read_text())
    assert alive(pid)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not alive(pid)


async def test_a_child_gets_credentials_but_none_of_our_keys(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ours")
    given = {"credentials": ApiKeyCredentials(id="1", provider="openai", api_key=Secret("sk-theirs"))}
    reference = {"id": "1", "provider": "openai", "type": "api_key"}
    outputs, done = await executed(pool, IsolatedPaidBlock, given=given, v=1, credentials=reference)
    assert done == blocks.Done(stats={"input_token_count": 7})
    assert outputs[0] == ("key", "sk-theirs")
    names = outputs[1][1]
    assert "PATH" in names
    assert not {"DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY"} & set(names)


async def test_large_values_pass_both_ways(pool: Pool) -> None:
    text = "x" * 5_000_000
    extract = blocks.get("3146e4fe-2cdd-4f29-bd12-0c9d5bb4deb0")
    assert extract is not None
    outputs, _ = await executed(pool, extract, text=text, pattern="y")
    assert outputs[0] == ("negative", text)


async def test_executing_by_hand_is_isolated_too() -> None:
    try:
        with pytest.raises(BlockExecutionFailed, match="killed by signal 11"):
            await blocks.execute("u", CrashingBlock.id, {})
        assert await blocks.execute("u", BlockingBlock.id, {"count": 2}) == {"n": [0, 1]}
    finally:
        await blocks.close()
