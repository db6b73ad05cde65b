"""Blocks that call a service, which counts: effects that others see. See `tests/faults/counting.py`."""

from typing import Any

import httpx

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, field


class CallBlock(Block):
    """Calls a service under its idempotency key."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a30"
    categories = (Category.BASIC,)

    class Input(Schema):
        url: str = field(description="The service.")
        seconds: float = field(default=0.0, advanced=False, description="How long the service takes.")
        failures: int = field(default=0, advanced=False, description="How often the service refuses first.")
        v: Any = field(default=None, description="A value to pass on.")

    class Output(OutputSchema):
        out: Any = field(description="The value.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        body = {"v": input.v, "seconds": input.seconds, "failures": input.failures}
        async with httpx.AsyncClient(verify=False, trust_env=False, timeout=60) as client:
            answer = await client.post(input.url, json=body, headers={"Idempotency-Key": ctx.idempotency_key})
        if not answer.is_success:
            raise BlockError(f"the service answered {answer.status_code}")
        yield "out", input.v


class RepeatableCallBlock(CallBlock):
    """The same, but it may be repeated after a crash."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a31"
    repeatable = True


class IsolatedCallBlock(CallBlock):
    """The same in a process of its own."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a32"
    isolated = True


class RepeatableIsolatedCallBlock(IsolatedCallBlock):
    """The same, but it may be repeated after a crash."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a33"
    repeatable = True
