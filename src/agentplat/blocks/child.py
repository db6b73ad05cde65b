"""What runs in a child that executes isolated blocks: `python -m agentplat.blocks.child PARENT MEGABYTES`.

It has no database, no Redis and none of the platform's keys. It takes one request after another from its standard
input, and answers on what was its standard output. A block that ends this process, or has it killed, ends nothing else.
"""

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from agentplat.blocks import service as blocks
from agentplat.blocks.frames import (
    LENGTH_BYTES,
    Done,
    Output,
    Ready,
    Request,
    decode_request,
    encode,
    length,
)
from agentplat.blocks.isolation import NO_MEMORY_STATUS
from agentplat.infra.lifeline import die_with
from agentplat.infra.settings import get_settings
from agentplat.infra.telemetry import configure_logging


def main() -> None:
    parent, megabytes = int(sys.argv[1]), int(sys.argv[2])
    die_with(parent, signal.SIGKILL)
    taken, given = _channel()
    configure_logging(get_settings())
    blocks.registry()
    _limit(megabytes)
    try:
        _serve(taken, given, f"the block took more than the {megabytes} MB of memory that it may take")
    except MemoryError:
        os._exit(NO_MEMORY_STATUS)
    except BrokenPipeError:
        os._exit(0)  # nobody waits for the answer any more


def _channel() -> tuple[BinaryIO, BinaryIO]:
    """The pipes from and to the parent. What blocks print goes to the log instead."""
    taken, given = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return taken, given


def _limit(megabytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # Measured in address space, of which the interpreter itself has taken a lot already.
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = taken + megabytes * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _serve(taken: BinaryIO, given: BinaryIO, no_memory: str) -> None:
    _send(given, Ready())
    with asyncio.Runner() as runner:
        while head := taken.read(LENGTH_BYTES):
            done = runner.run(_execute(decode_request(taken.read(length(head))), given, no_memory))
            _send(given, done)
            if done.last:
                return


async def _execute(request: Request, given: BinaryIO, no_memory: str) -> Done:
    block = blocks.get(request.block_id)
    assert block is not None  # who asks has the same registry
    spec = block.spec
    context = blocks.context(
        request.user_id, request.run_id, alone=True, **request.fields, credentials=request.credentials
    )
    plain = blocks.exact if request.exact else None
    error, last = None, False
    try:
        async for name, value in blocks.stream(block(), request.data, context, plain=plain):
            _send(given, Output(name, value))
    except blocks.BlockFailure as failure:
        error = str(failure)
        if isinstance(failure.__cause__, MemoryError):
            # Who knows what else was given up for lack of memory.
            error, last = blocks.failure_text(spec.name, spec.id, no_memory), True
    except ValueError as failure:
        error = blocks.failure_text(spec.name, spec.id, str(failure))
    # What a block left running must not run on beside the next one.
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    stats = None
    if context.recorded is not None and error is None:
        stats = {name: value for name, value in msgspec.to_builtins(context.recorded).items() if value}
    return Done(error, stats, last)


def _send(given: BinaryIO, frame: Ready | Output | Done) -> None:
    given.write(encode(frame))
    given.flush()


if __name__ == "__main__":
    main()
