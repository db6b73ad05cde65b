from typing import Any

import pytest

from agentplat.blocks import service
from agentplat.blocks.builtin.logic import CalculatorBlock
from agentplat.blocks.errors import BlockDisabled, BlockExecutionFailed, BlockNotFound
from agentplat.blocks.registry import Registry
from agentplat.files import service as files
from agentplat.sdk import Block


class OffBlock(Block):
    """Not to be used."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5c01"
    disabled = True


async def test_unknown_block() -> None:
    with pytest.raises(BlockNotFound, match="Block #nope not found"):
        await service.execute("u", "nope", {})


async def test_disabled_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "registry", lambda: Registry({OffBlock.id: OffBlock}))
    with pytest.raises(BlockDisabled):
        await service.execute("u", OffBlock.id, {})


async def test_wrong_input_is_told_with_the_pin() -> None:
    with pytest.raises(BlockExecutionFailed) as failure:
        await service.execute("u", CalculatorBlock.id, {"operation": "Add", "a": "x", "b": 1})
    assert str(failure.value) == (
        "raised by CalculatorBlock with message: Unable to execute block with invalid input data: "
        f'"x" is not of type "number" (at \'a\'). block_id: {CalculatorBlock.id}'
    )
    assert failure.value.status == 400


async def test_what_json_cannot_say_is_shown() -> None:
    data = {"operation": "Divide", "a": 1, "b": 0}
    assert await service.execute("u", CalculatorBlock.id, data) == {"result": [{"$float": "inf"}]}


async def test_files_are_gone_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(files.RunFiles, "folder", tmp_path / "run")
    seen: list[bool] = []

    class LookBlock(Block):
        """Stores a file and looks whether it is there."""

        id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5c02"

        async def run(self, input: Any, ctx: Any) -> Any:
            name = await ctx.files.store("data:text/plain;base64,aGk=")
            seen.append((tmp_path / "run" / name).read_text() == "hi")
            yield "error", "enough"

    monkeypatch.setattr(service, "registry", lambda: Registry({LookBlock.id: LookBlock}))
    with pytest.raises(BlockExecutionFailed):
        await service.execute("u", LookBlock.id, {})
    assert seen == [True]
    assert not (tmp_path / "run").exists()
