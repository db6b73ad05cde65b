"""What has happened in one part of the platform, for parts above it that it must not know.

Told within this process, right after it happened and to whoever listens there. Nothing is stored: who listens has to be
able to miss something when a process dies.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from agentplat.infra.telemetry import get_logger

Fact = TypeVar("Fact")

_listeners: dict[type[Any], list[Callable[[Any], Awaitable[object]]]] = {}
_log = get_logger(__name__)


def listen(kind: type[Fact], hear: Callable[[Fact], Awaitable[object]]) -> None:
    """Have `hear` called with every fact of this kind; once, however often this is asked for."""
    listeners = _listeners.setdefault(kind, [])
    if hear not in listeners:
        listeners.append(hear)


async def tell(fact: object) -> None:
    for hear in _listeners.get(type(fact), ()):
        try:
            await hear(fact)
        except Exception:
            # It has happened, and whoever asked for it is to hear just that.
            _log.exception("fact_not_heard", fact=type(fact).__name__)
