"""One request or job is one unit of work: services open it, and nobody else commits.

Hazard: the open transaction lives in a context variable, so a task created inside a unit of work would inherit its
connection; `db()` refuses to work in such a task. Start tasks after the block, or with `after_commit`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

from agentplat.infra.db import db
from agentplat.infra.telemetry import get_logger

Callback = Callable[[], Awaitable[object]]

_callbacks: ContextVar[list[Callback] | None] = ContextVar("agentplat_after_commit", default=None)
_log = get_logger(__name__)


@asynccontextmanager
async def unit_of_work() -> AsyncIterator[None]:
    """One transaction; inside another unit of work it is that one's transaction."""
    if _callbacks.get() is not None:
        yield
        return
    callbacks: list[Callback] = []
    token = _callbacks.set(callbacks)
    try:
        async with db().transaction():
            yield
    finally:
        _callbacks.reset(token)
    for callback in callbacks:
        # What was committed stays committed: an enqueue or publish that fails is made up for by the sweepers, and
        # must not turn a request that succeeded into an error.
        try:
            await callback()
        except Exception:
            _log.exception("after_commit_failed", callback=getattr(callback, "__qualname__", repr(callback)))


def after_commit(callback: Callback) -> None:
    """Have `callback` awaited once the outermost unit of work is committed, and never if it is rolled back."""
    callbacks = _callbacks.get()
    if callbacks is None:
        raise RuntimeError("after_commit() needs an open unit of work")
    callbacks.append(callback)
