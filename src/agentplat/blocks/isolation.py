"""Running blocks in processes of their own: a block that spins, leaks, blocks or crashes there fails, and nothing else.

A `Pool` has a few children, each of which runs one block at a time and is used again afterwards; starting one takes
most of a second, so none is started before it is needed. A child that was killed, that had no memory left, or that has
run many blocks, is replaced. Its limits protect the platform from mistakes and from costly patterns; against malice
they are not enough, for a child has the same account as the platform.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import msgspec

from agentplat.blocks import frames
from agentplat.blocks.frames import Done, Output, Ready, Request
from agentplat.blocks.runner import failure_text
from agentplat.infra.settings import Settings
from agentplat.sdk import BlockSpec

# The exit status of a child that had no memory left even to say so.
NO_MEMORY_STATUS = 77
# After so many blocks a child makes room for a fresh one, as what leaks a little leaks without end.
MAX_USES = 200
START_SECONDS = 60.0
# Variables that blocks have no business with, ours and whatever else the platform was started with.
_SECRET = re.compile("KEY|SECRET|TOKEN|PASSW|CREDENTIAL|DSN|DATABASE_URL|REDIS_URL", re.IGNORECASE)


class ChildGone(Exception):
    """The child's process has ended. The text says how."""


class Pool:
    """Use as `async with Pool(settings) as pool`. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.size = settings.node_processes
        self._memory = settings.node_memory_mb
        self._slots = asyncio.Semaphore(self.size)
        self._idle: list[Child] = []
        self._children: set[Child] = set()

    async def __aenter__(self) -> "Pool":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Kill all children, whatever they are doing."""
        self._idle.clear()
        await asyncio.gather(*(child.kill() for child in self._children))

    async def execute(self, spec: BlockSpec, request: Request, seconds: float) -> AsyncGenerator[Output | Done, None]:
        """Run a block in a child, as `Child.execute` does. Waits while all children are busy."""
        async with self.child() as child, aclosing(child.execute(spec, request, seconds)) as answers:
            async for answer in answers:
                yield answer

    @asynccontextmanager
    async def child(self) -> AsyncIterator["Child"]:
        """A child to run one block, or none. It has started. Waits while all children are busy."""
        async with self._slots:
            child = None
            while self._idle and child is None:
                child = self._idle.pop()
                if child.exited:  # killed while it had nothing to do
                    self._children.discard(child)
                    child = None
            child = child or Child(self._memory)
            self._children.add(child)
            try:
                await child.start()
                yield child
            finally:
                if child.reusable:
                    self._idle.append(child)
                else:
                    self._children.discard(child)
                    await asyncio.shield(child.kill())


class Child:
    """One process. `execute` may be called again where the child says that it is `reusable`."""

    def __init__(self, memory_mb: int) -> None:
        self._memory = memory_mb
        self._process: asyncio.subprocess.Process | None = None
        self._uses = 0
        self._waits = False  # for a request
        self._failed: str | None = None  # why it could not be started

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def exited(self) -> bool:
        return self._process is None or self._process.returncode is not None

    @property
    def reusable(self) -> bool:
        return self._waits and self._uses < MAX_USES and not self.exited

    async def start(self) -> None:
        """Start the process, unless it runs. One that can't be started says so when it is to execute something."""
        if self._process is not None:
            return
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agentplat.blocks.child",
            str(os.getpid()),
            str(self._memory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=_environment(),
            # What it starts is killed with it, and Ctrl-C at a terminal is not for it.
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                self._waits = isinstance(await self._answer(), Ready)
        except TimeoutError:
            self._failed = "the block's process did not start in time"
        except ChildGone as failure:
            self._failed = str(failure)

    async def execute(self, spec: BlockSpec, request: Request, seconds: float) -> AsyncGenerator[Output | Done, None]:
        """Run a block: its outputs as they come, and `Done` last, whatever happens.

        A child whose iterator was left early is killed: close the iterator, so that this happens at once.
        """
        try:
            if self._failed is not None:
                raise ChildGone(self._failed)
            async with aclosing(self._answers(frames.encode(request), seconds)) as answers:
                async for answer in answers:
                    yield answer
            return
        except TimeoutError:
            error = f"timed out after {seconds:g} seconds"
        except (ChildGone, ValueError) as failure:
            error = str(failure)
        yield Done(failure_text(spec.name, spec.id, error))

    async def _answers(self, frame: bytes, seconds: float) -> AsyncGenerator[Output | Done, None]:
        """What the child says to a request. Raises ChildGone, TimeoutError, and ValueError where it makes no sense."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._waits = False
        self._uses += 1
        give_up = asyncio.get_running_loop().time() + seconds
        async with asyncio.timeout_at(give_up):
            with suppress(ConnectionError):  # reading tells what became of it
                self._process.stdin.write(frame)
                await self._process.stdin.drain()
        while True:
            async with asyncio.timeout_at(give_up):
                answer = await self._answer()
            if isinstance(answer, Output):
                yield answer
            elif isinstance(answer, Done):
                self._waits = not answer.last
                yield answer
                return

    async def _answer(self) -> Ready | Output | Done:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            size = frames.length(await self._process.stdout.readexactly(frames.LENGTH_BYTES))
            answer: Ready | Output | Done = frames.decode_answer(await self._process.stdout.readexactly(size))
            return answer
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ChildGone(_how_it_ended(await self._process.wait())) from None
        except (msgspec.DecodeError, ValueError) as error:
            raise ChildGone("the block's process said something that makes no sense") from error

    async def kill(self) -> None:
        self._waits = False
        if self._process is not None:
            # Also when it has ended itself: what it started may go on.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"the block's process was killed by signal {-status}"
    if status == NO_MEMORY_STATUS:
        return "the block's process had no memory left"
    return f"the block's process ended with exit status {status}"


def _environment() -> dict[str, str]:
    """Ours without keys and addresses of servers. A key that is not used keeps settings from making one."""
    kept = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
    # One arena for all threads: each would take address space, which is what the limit of memory counts.
    return kept | {"JWT_VERIFY_KEY": "unused", "MALLOC_ARENA_MAX": "1"}
