"""The processes that are measured: our own for event sockets, our API server, and the common ways beside them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psutil

from agentplat.cli.supervisor import Platform, free_port

START_SECONDS = 60.0


class Served:
    """A server with its process. `socket` is the address of its event socket."""

    def __init__(self, pid: int, port: int) -> None:
        self._process = psutil.Process(pid)
        self.port = port
        self.socket = f"ws://127.0.0.1:{port}/ws"

    def _all(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def resident(self) -> int:
        """Bytes."""
        return sum(process.memory_info().rss for process in self._all())

    def cpu(self) -> float:
        """Seconds so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._all())


@asynccontextmanager
async def served(platform: Platform, *arguments: str) -> AsyncIterator[Served]:
    """`python -m` these arguments and `--port`, on the platform's database and Redis."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments, "--port", str(port)),
        env={**platform.env, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        # One client for all that it asks: making one takes the processor from the server that starts.
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient() as client:
            while not await _answers(client, port):
                if process.returncode is not None:
                    raise ConnectionError(f"{' '.join(arguments)} ended with status {process.returncode}")
                await asyncio.sleep(0.05)
        yield Served(process.pid, port)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(client: httpx.AsyncClient, port: int) -> bool:
    try:
        await client.get(f"http://127.0.0.1:{port}/health")
    except httpx.HTTPError:
        return False
    return True


OURS = ("agentplat", "websocket")
API_SERVER = ("agentplat", "server")
