"""Blocks that only tests need: one that fails on purpose, one that breaks, one that emits nulls, one that waits."""

import asyncio
import ctypes
import os
import time
from typing import Any

from agentplat.sdk import (
    Block,
    BlockError,
    BlockType,
    Category,
    Context,
    CostEntry,
    CredentialsMeta,
    Outputs,
    OutputSchema,
    Schema,
    credentials,
    field,
)


class FailIfNegBlock(Block):
    """Fails for a negative number."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a01"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        x: int = field(description="The number.")

    class Output(OutputSchema):
        ok: int = field(description="The number, unless negative.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        if input.x < 0:
            yield "error", "neg"
        yield "ok", input.x


class MultiBlock(Block):
    """Emits its input, nothing, and a text."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a02"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        go: Any = field(description="Anything.")

    class Output(OutputSchema):
        data: Any = field(description="The input.")
        nothing: Any = field(description="Null.")
        after: str = field(description="A text.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "data", input.go
        yield "nothing", None
        yield "after", "z"


class MidBlock(Block):
    """Breaks after two outputs."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a03"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        go: Any = field(description="Anything.")

    class Output(OutputSchema):
        a: int = field(description="1, then 2.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "a", 1
        yield "a", 2
        raise Exception("'boom'")


class SlowBlock(Block):
    """Passes a value on after a while."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a04"
    categories = (Category.BASIC,)
    pure = True
    inline = False

    class Input(Schema):
        v: Any = field(description="The value.")
        delay: float = field(default=0.0, advanced=False, description="Seconds to wait.")

    class Output(OutputSchema):
        out: Any = field(description="The value.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        await asyncio.sleep(input.delay)
        yield "out", input.v


class NestedBlock(Block):
    """Has the pins of a block that runs another graph, and runs nothing: for what is decided before a run."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a05"
    categories = (Category.AGENT,)
    block_type = BlockType.AGENT

    class Input(Schema):
        user_id: str = field(description="Whose graph.")
        graph_id: str = field(description="Which graph.")
        graph_version: int = field(description="Which version.")
        inputs: dict[str, Any] = field(description="Its inputs.")
        input_schema: dict[str, Any] = field(description="The form of its inputs.")
        output_schema: dict[str, Any] = field(description="The form of its outputs.")

    class Output(Schema):
        pass

    async def run(self, input: Input, ctx: Context) -> Outputs:
        for name in input.output_schema:
            yield name, None


class EffectBlock(Block):
    """Leaves a line in a file, before and after waiting: an effect that can be counted."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a15"
    categories = (Category.BASIC,)

    class Input(Schema):
        path: str = field(description="The file.")
        delay: float = field(default=0.0, advanced=False, description="Seconds to wait.")
        v: Any = field(default=None, description="A value to pass on.")

    class Output(OutputSchema):
        out: Any = field(description="The value.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        _append(input.path, f"begun {ctx.idempotency_key}")
        await asyncio.sleep(input.delay)
        _append(input.path, f"done {ctx.idempotency_key}")
        yield "out", input.v


class RepeatableEffectBlock(EffectBlock):
    """The same, but it may be repeated after a crash."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a16"
    repeatable = True


class SpillBlock(Block):
    """Emits numbers one by one, waiting before each: a stream that can be interrupted."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a17"
    categories = (Category.BASIC,)
    repeatable = True

    class Input(Schema):
        count: int = field(description="How many.")
        delay: float = field(default=0.0, advanced=False, description="Seconds to wait before each.")

    class Output(OutputSchema):
        n: int = field(description="0, 1, 2 …")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        for number in range(input.count):
            await asyncio.sleep(input.delay)
            yield "n", number


class FlakyBlock(Block):
    """Fails as often as it is told, counted in a file, and succeeds then."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a18"
    categories = (Category.BASIC,)

    class Input(Schema):
        path: str = field(description="The file.")
        failures: int = field(description="How often.")

    class Output(OutputSchema):
        n: int = field(description="One before, one after the failure.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "n", 1
        _append(input.path, ctx.idempotency_key)
        with open(input.path, encoding="utf-8") as file:  # noqa: ASYNC230 - a test's small file
            tried = len(file.readlines())
        if tried <= input.failures:
            raise BlockError(f"attempt {tried} failed")
        yield "n", 2


class PaidBlock(Block):
    """Passes a value on after a while, for one credit."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a19"
    categories = (Category.BASIC,)
    costs = (CostEntry(cost_amount=1),)

    class Input(Schema):
        v: Any = field(description="The value.")
        delay: float = field(default=0.0, advanced=False, description="Seconds to wait.")

    class Output(OutputSchema):
        out: Any = field(description="The value.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        await asyncio.sleep(input.delay)
        yield "out", input.v


class TwoBlock(Block):
    """Joins two texts, of which one may be left out."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a1a"
    categories = (Category.BASIC,)
    pure = True

    class Input(Schema):
        q: str = field(description="The first.")
        u: str = field(default="dflt", description="The second.")

    class Output(OutputSchema):
        o: str = field(description="Both.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "o", input.q + input.u


class KeyedBlock(PaidBlock):
    """The same as the paid one, with credentials."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a1b"

    class Input(PaidBlock.Input):
        credentials: CredentialsMeta = credentials(providers=("openai",))


class SendBlock(Block):
    """Sends requests, one after another, and fails unless all are answered with 2xx."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a1c"
    categories = (Category.BASIC,)

    class Input(Schema):
        url: str = field(description="Where to.")
        methods: list[str] = field(description="Which, in order.")
        headers: dict[str, str] = field(default_factory=dict, description="With each.")

    class Output(OutputSchema):
        body: str = field(description="What was answered.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        for method in input.methods:
            answer = await ctx.request(method, input.url, headers=input.headers, json={})
            if answer.is_error:
                raise BlockError(f"answered {answer.status_code}")
            yield "body", answer.text


class GateBlock(Block):
    """Passes a value on once there is a file: a node that lasts as long as the test needs it."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a1d"
    categories = (Category.BASIC,)
    pure = True
    inline = False

    class Input(Schema):
        path: str = field(description="The file.")
        v: Any = field(default=None, description="The value.")

    class Output(OutputSchema):
        out: Any = field(description="The value.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        while not os.path.exists(input.path):  # noqa: ASYNC240 - a look at a local file
            await asyncio.sleep(0.01)
        yield "out", input.v


class _Isolated(Block):
    categories = (Category.BASIC,)
    isolated = True

    class Input(Schema):
        v: Any = field(default=None, description="A value to pass on.")
        path: str = field(default="", advanced=False, description="A file that tells of the process, if any.")

    class Output(OutputSchema):
        out: Any = field(description="The value.")


class SpinningBlock(_Isolated):
    """Computes for ever."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a20"

    async def run(self, input: _Isolated.Input, ctx: Context) -> Outputs:
        if input.path:
            _append(input.path, str(os.getpid()))
        while True:
            pass
        yield "out", input.v


class HoardingBlock(_Isolated):
    """Allocates memory without end."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a21"

    async def run(self, input: _Isolated.Input, ctx: Context) -> Outputs:
        hoard = []
        while True:
            hoard.append(bytearray(1024 * 1024))
        yield "out", input.v


class CrashingBlock(_Isolated):
    """Reads what is not there, as a defect in C would."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a22"

    async def run(self, input: _Isolated.Input, ctx: Context) -> Outputs:
        yield "out", input.v
        ctypes.string_at(0)


class ExitingBlock(_Isolated):
    """Ends its process."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a23"

    async def run(self, input: _Isolated.Input, ctx: Context) -> Outputs:
        os._exit(3)
        yield "out", input.v


class BlockingBlock(Block):
    """Emits numbers one by one, blocking its process before each. Leaves a line in a file when it begins."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a24"
    categories = (Category.BASIC,)
    isolated = True

    class Input(Schema):
        count: int = field(default=1, description="How many.")
        delay: float = field(default=0.0, advanced=False, description="Seconds to block before each.")
        path: str = field(default="", advanced=False, description="The file, if any.")
        gate: str = field(default="", advanced=False, description="A file that it waits for after the first, if any.")
        v: Any = field(default=None, description="Anything.")

    class Output(OutputSchema):
        n: int = field(description="0, 1, 2 …")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        if input.path:
            _append(input.path, f"{os.getpid()} {os.getppid()} {ctx.idempotency_key}")
        for number in range(input.count):
            time.sleep(input.delay)  # noqa: ASYNC251 - what isolation is for
            yield "n", number
            while input.gate and not os.path.exists(input.gate):  # noqa: ASYNC240 - a look at a local file
                time.sleep(0.01)  # noqa: ASYNC251 - as above


class RepeatableBlockingBlock(BlockingBlock):
    """The same, but it may be repeated after a crash."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a25"
    repeatable = True


class IsolatedFlakyBlock(FlakyBlock):
    """Fails as often as it is told, in a process of its own."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a26"
    isolated = True


class IsolatedPaidBlock(Block):
    """Tells what it was given besides its input. Costs one credit."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a27"
    categories = (Category.BASIC,)
    costs = (CostEntry(cost_amount=1),)
    isolated = True

    class Input(Schema):
        v: Any = field(default=None, description="Anything.")
        credentials: CredentialsMeta = credentials(providers=("openai",))

    class Output(OutputSchema):
        key: str = field(description="The key that was given.")
        environment: list[str] = field(description="The names of the variables that its process sees.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        ctx.stats.add(input_token_count=7)
        yield "key", ctx.api_key().api_key.reveal()
        yield "environment", sorted(os.environ)


def _append(path: str, line: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")
