"""The client for programs without an event loop: each call is carried out by a loop in a thread of the client's own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from agentplat.client.client import AsyncClient
from agentplat.client.errors import Refused
from agentplat.client.models import Event, NewRun, Run, RunEvent

T = TypeVar("T")
_END = object()


class Client:
    """`with Client(url, token) as client`. Every method is that of AsyncClient."""

    def __init__(self, url: str, token: str, *, patience: float = 60.0) -> None:
        self._client = AsyncClient(url, token, patience=patience)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agentplat-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._call(self._client.aclose())
        self._call(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(
        self,
        graph_id: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        credentials: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        return self._call(
            self._client.start(
                graph_id, inputs, version=version, credentials=credentials, idempotency_key=idempotency_key
            )
        )

    def get(self, run: str | Run) -> Run:
        return self._call(self._client.get(run))

    def wait(self, run: str | Run, timeout: float | None = None) -> Run:
        return self._call(self._client.wait(run, timeout))

    def stop(self, run: str | Run) -> Run:
        return self._call(self._client.stop(run))

    def start_many(self, runs: Sequence[NewRun]) -> list[Run | Refused]:
        return self._call(self._client.start_many(runs))

    def get_many(self, runs: Sequence[str | Run], *, outputs: bool = True) -> list[Run | Refused]:
        return self._call(self._client.get_many(runs, outputs=outputs))

    def stop_many(self, runs: Sequence[str | Run]) -> list[Run | Refused]:
        return self._call(self._client.stop_many(runs))

    def watch(
        self,
        run: str | Run,
        last_event: int = 0,
        *,
        snapshot: bool = False,
        nodes: Sequence[str] | None = None,
        node_events: bool = True,
    ) -> Iterator[Event]:
        return self._each(self._client.watch(run, last_event, snapshot=snapshot, nodes=nodes, node_events=node_events))

    def watch_graph(self, graph_id: str, last_event: Mapping[str, int] | None = None) -> Iterator[RunEvent]:
        return self._each(self._client.watch_graph(graph_id, last_event))

    def watch_user(self, last_event: Mapping[str, int] | None = None) -> Iterator[RunEvent]:
        return self._each(self._client.watch_user(last_event))

    def _call(self, asked: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(asked, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # by Ctrl-C; of one that is done nothing comes

    def _each(self, events: AsyncGenerator[T, None]) -> Iterator[T]:
        async def following() -> Any:
            return await anext(events, _END)

        try:
            while (event := self._call(following())) is not _END:
                yield event
        finally:
            if not self._loop.is_closed():
                self._call(events.aclose())
