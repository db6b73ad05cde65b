"""One run from its start to its end, as a client of the platform sees it live."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from time import perf_counter
from typing import Any, Literal

from msgspec import Struct

from agentplat.cli.platform_client import Graph, PlatformClient
from agentplat.cli.progress import Tally
from agentplat.client import NodeEvent, Run, RunEvent

PHASES = ("accepted", "queued", "started", "first output", "finished")


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run went. `phases` are seconds from the request until this client saw it; those it never saw are absent.

    `cut` says who stopped it, if anybody did.
    """

    run: Run
    phases: dict[str, float]
    cut: Literal["interrupted", "timeout"] | None


class Follower:
    """Starts one run and follows it, keeping `tally` up to date."""

    def __init__(self, client: PlatformClient, graph: Graph, tally: Tally) -> None:
        self._client = client
        self._graph = graph
        self._tally = tally
        self._asked_at = 0.0
        self._phases: dict[str, float] = {}

    async def run(
        self,
        inputs: Mapping[str, Any],
        credentials: Mapping[str, Any],
        *,
        timeout: float | None = None,
        interrupted: asyncio.Event | None = None,
    ) -> Outcome:
        self._asked_at = perf_counter()
        run = await self._client.start(self._graph.id, inputs, version=self._graph.version, credentials=credentials)
        self._mark("accepted")
        cut = await self._watch_until(run, timeout, interrupted or asyncio.Event())
        if cut is not None:
            await self._client.stop(run)
        run = await self._client.get(run)
        self._tally.settle(run)
        return Outcome(run=run, phases={name: self._phases[name] for name in PHASES if name in self._phases}, cut=cut)

    async def _watch_until(
        self, run: Run, timeout: float | None, interrupted: asyncio.Event
    ) -> Literal["interrupted", "timeout"] | None:
        watching = asyncio.create_task(self._watch(run))
        interruption = asyncio.create_task(interrupted.wait())
        try:
            await asyncio.wait(
                {watching, interruption},
                timeout=None if timeout is None else max(0.0, self._asked_at + timeout - perf_counter()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if watching.done():
                await watching
                return None
            return "interrupted" if interrupted.is_set() else "timeout"
        finally:
            watching.cancel()
            interruption.cancel()
            await asyncio.gather(watching, interruption, return_exceptions=True)

    async def _watch(self, run: Run) -> None:
        async with aclosing(self._client.watch(run)) as events:
            async for event in events:
                if isinstance(event, NodeEvent):
                    self._tally.take(event.node)
                elif isinstance(event, RunEvent):
                    self._take(event.run)

    def _take(self, run: Run) -> None:
        self._tally.take_run(run)
        self._mark("queued" if run.status == "QUEUED" else "started")
        if run.outputs:
            self._mark("first output")
        if run.final:
            self._mark("finished")

    def _mark(self, phase: str) -> None:
        self._phases.setdefault(phase, perf_counter() - self._asked_at)
