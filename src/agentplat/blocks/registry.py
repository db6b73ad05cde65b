"""Which blocks exist: the built-in ones, those of configured modules, and those of installed packages."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from types import ModuleType

from agentplat.blocks import builtin
from agentplat.blocks.errors import BlockModuleBroken
from agentplat.sdk import Block

ENTRY_POINT_GROUP = "agentplat.blocks"


class Registry:
    """Block classes by id. Loaded once per process and never changed."""

    def __init__(self, blocks: Mapping[str, type[Block]]) -> None:
        self.blocks = blocks

    @classmethod
    def load(cls, modules: Iterable[str] = ()) -> "Registry":
        """Import every module that holds blocks. One that cannot be imported, or reuses an id, stops the start."""
        found: dict[str, type[Block]] = {}
        for module in _modules(modules):
            for block in _blocks_of(module):
                other = found.setdefault(block.id, block)
                if other is not block:
                    names = f"{block.__module__}.{block.__name__} and {other.__module__}.{other.__name__}"
                    raise BlockModuleBroken(f"two blocks have the id {block.id}: {names}")
        return cls(found)


def _modules(extra: Iterable[str]) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(builtin.__path__, f"{builtin.__name__}."):
        yield importlib.import_module(info.name)
    for name in extra:
        try:
            yield importlib.import_module(name)
        except Exception as error:
            raise BlockModuleBroken(f"the block module '{name}' cannot be imported: {error!r}") from error
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            yield entry.load()
        except Exception as error:
            raise BlockModuleBroken(f"the block package '{entry.value}' cannot be imported: {error!r}") from error


def _blocks_of(module: ModuleType) -> Iterator[type[Block]]:
    for value in vars(module).values():
        if not (isinstance(value, type) and issubclass(value, Block) and "spec" in vars(value)):
            continue
        # A class is found where it is written, not where it is imported.
        if value.__module__ == module.__name__:
            yield value
