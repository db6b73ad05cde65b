import sys
from types import ModuleType

import pytest

from agentplat.blocks.builtin.basic import StoreValueBlock
from agentplat.blocks.errors import BlockModuleBroken
from agentplat.blocks.registry import Registry
from agentplat.sdk import Block
from tests.support import blocks as extra


def test_extra_modules_add_their_blocks() -> None:
    plain, extended = Registry.load(), Registry.load([extra.__name__])
    assert {StoreValueBlock.id, *plain.blocks} < extended.blocks.keys()
    assert extended.blocks.keys() - plain.blocks.keys() == {
        block.id for block in vars(extra).values() if isinstance(block, type) and hasattr(block, "spec")
    }


def test_module_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(BlockModuleBroken, match=r"'no\.such\.module' cannot be imported"):
        Registry.load(["no.such.module"])


def test_id_used_twice_is_refused_with_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("twice")
    copy = type("CopyBlock", (Block,), {"id": StoreValueBlock.id, "__module__": "twice"})
    setattr(module, "CopyBlock", copy)  # noqa: B010 - a module object has no such attribute to a checker
    monkeypatch.setitem(sys.modules, "twice", module)
    with pytest.raises(BlockModuleBroken, match=r"twice\.CopyBlock.*StoreValueBlock"):
        Registry.load(["twice"])
