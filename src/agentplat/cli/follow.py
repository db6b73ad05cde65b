"""One run from its start to its end, as a client of the platform sees it live.

The graph's channel is subscribed to before the run is started, so no change of the run is missed. The run's own
channel, which also tells about nodes, can only be subscribed to once its id is known; `Tally.settle` makes up for that.
"""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Literal

import msgspec
from msgspec import Struct
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from agentplat.cli.platform_client import (
    FINAL,
    Frame,
    Graph,
    NodeEvent,
    PlatformClient,
    Refused,
    Run,
    RunEvent,
    subscribe,
)
from agentplat.cli.progress import Tally
from agentplat.infra.errors import Unavailable

PHASES = ("accepted", "queued", "started", "first output", "finished")
LISTEN_SECONDS = 20.0
RECONNECT_SECONDS = 0.5
# Without any event for so long the run is looked at, in case the event was lost with the process that had it.
SILENCE_SECONDS = 5.0
# The close codes of a token that is no good.
TOKEN_REFUSED = range(4001, 4004)

_frames = msgspec.json.Decoder(Frame)
_run_events = msgspec.json.Decoder(RunEvent)
_node_events = msgspec.json.Decoder(NodeEvent)


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
        self._socket: ClientConnection | None = None
        self._listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finished = asyncio.Event()
        self._run_id: str | None = None
        self._asked_at = 0.0
        self._heard_at = 0.0
        self._phases: dict[str, float] = {}

    async def run(
        self,
        inputs: Mapping[str, Any],
        credentials: Mapping[str, Any],
        *,
        timeout: float | None = None,
        interrupted: asyncio.Event | None = None,
    ) -> Outcome:
        reading = asyncio.create_task(self._read())
        try:
            await self._listen()
            self._asked_at = self._heard_at = perf_counter()
            run_id = await self._client.execute(self._graph, inputs, credentials)
            self._mark("accepted")
            self._run_id = run_id
            await self._subscribe_to_run()
            cut = await self._wait(run_id, timeout, interrupted or asyncio.Event())
            if cut is not None:
                await self._client.stop(self._graph, run_id)
            run = await self._client.run(self._graph, run_id)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        self._tally.settle(run.node_executions)
        return Outcome(run=run, phases={name: self._phases[name] for name in PHASES if name in self._phases}, cut=cut)

    async def _listen(self) -> None:
        try:
            async with asyncio.timeout(LISTEN_SECONDS):
                await self._listening
        except TimeoutError as error:
            raise self._explain(error) from None

    async def _wait(
        self, run_id: str, timeout: float | None, interrupted: asyncio.Event
    ) -> Literal["interrupted", "timeout"] | None:
        give_up = None if timeout is None else self._asked_at + timeout
        waits = [asyncio.create_task(event.wait()) for event in (self._finished, interrupted)]
        try:
            while True:
                look_at = self._heard_at + SILENCE_SECONDS
                until = look_at if give_up is None else min(look_at, give_up)
                patience = max(0.0, until - perf_counter())
                await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if self._finished.is_set():
                    return None
                if interrupted.is_set():
                    return "interrupted"
                if give_up is not None and perf_counter() >= give_up:
                    return "timeout"
                if perf_counter() >= self._heard_at + SILENCE_SECONDS:
                    await self._look(run_id)
        finally:
            for wait in waits:
                wait.cancel()

    async def _look(self, run_id: str) -> None:
        self._heard_at = perf_counter()
        self._take_run(await self._client.run(self._graph, run_id))

    # The socket

    async def _read(self) -> None:
        """Listen for as long as the run is followed. A connection that breaks is made again."""
        while True:
            try:
                async with self._client.events() as socket:
                    self._socket = socket
                    await subscribe(socket, "subscribe_graph_executions", graph_id=self._graph.id)
                    await self._subscribe_to_run()
                    if self._run_id is not None:
                        await self._look(self._run_id)
                    async for text in socket:
                        self._take(_frames.decode(text))
            except (OSError, WebSocketException, msgspec.DecodeError, Unavailable) as error:
                if not self._listening.done():
                    self._listening.set_exception(self._explain(error))
                    return
            self._socket = None
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _subscribe_to_run(self) -> None:
        if self._socket is not None and self._run_id is not None:
            try:
                await subscribe(self._socket, "subscribe_graph_execution", graph_exec_id=self._run_id)
            except ConnectionClosed:
                return  # `_read` connects again, and subscribes then

    def _explain(self, error: Exception) -> Exception:
        if isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code in TOKEN_REFUSED:
            return Refused(401, f"{self._client.url} refused the token: {error.rcvd.reason}")
        reason = str(error) or "it does not answer"
        return Unavailable(f"The event socket of {self._client.url} can't be used: {reason}")

    def _take(self, frame: Frame) -> None:
        self._heard_at = perf_counter()
        if frame.method == "node_execution_event":
            self._tally.take(_node_events.decode(frame.data))
        # The same event comes on the run's own channel too.
        elif frame.method == "graph_execution_event" and "|graph#" in (frame.channel or ""):
            self._take_run(_run_events.decode(frame.data))
        elif frame.method == "subscribe_graph_executions" and not self._listening.done():
            self._listening.set_result(None)
        elif frame.method == "error" and not self._listening.done():
            self._listening.set_exception(Refused(400, f"The event socket answered: {frame.error}"))

    def _take_run(self, event: RunEvent | Run) -> None:
        if self._run_id is not None and event.id != self._run_id:
            return
        # An event may overtake the answer to the request; that the run is on record is proven by either.
        self._mark("accepted")
        if event.status == "QUEUED":
            self._mark("queued")
        else:
            self._mark("started")
        if event.outputs:
            self._mark("first output")
        if event.status in FINAL:
            self._finish()

    def _finish(self) -> None:
        self._mark("finished")
        self._finished.set()

    def _mark(self, phase: str) -> None:
        self._phases.setdefault(phase, perf_counter() - self._asked_at)
