"""What a type checker makes of code written with the SDK. `test_typing.py` runs one over this file."""

from typing import Any, reveal_type

from agentplat.sdk import (
    Block,
    BlockError,
    Category,
    Context,
    CredentialsMeta,
    Outputs,
    OutputSchema,
    Schema,
    credentials,
    field,
)


class RepeatBlock(Block):
    """Says something several times."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5e01"
    categories = (Category.TEXT,)
    pure = True

    class Input(Schema):
        text: str = field(description="What to say.")
        times: int = field(default=2)
        anything: Any = field(default=None)
        credentials: CredentialsMeta = credentials(providers=("openai",))

    class Output(OutputSchema):
        said: str = field()

    async def run(self, input: Input, ctx: Context) -> Outputs:
        reveal_type(input.text)  # str
        reveal_type(input.times)  # int
        reveal_type(input.anything)  # Any
        reveal_type(input.credentials)  # CredentialsMeta
        reveal_type(ctx.user_id)  # str
        reveal_type(ctx.api_key())  # ApiKeyCredentials
        reveal_type(ctx.stats.llm_call_count)  # int
        reveal_type(await ctx.files.read(input.text))  # bytes
        if input.times < 0:
            raise BlockError("Not that often.")
        yield "said", input.text * input.times


class RepeatTwiceBlock(RepeatBlock):
    """Inputs are inherited, and a pin may be narrowed."""

    id = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5e02"

    class Input(RepeatBlock.Input):
        times: int = field(default=2, advanced=False)


reveal_type(RepeatBlock.Input(text="a", credentials=CredentialsMeta(id="", provider="", type="")).text)  # str
reveal_type(RepeatBlock.spec.inputs["text"].required)  # bool
RepeatBlock.Input(text="a")  # error: call-arg
RepeatBlock.Input("a")  # error: call-arg
RepeatTwiceBlock.Input(text=1, credentials=CredentialsMeta(id="", provider="", type=""))  # error: arg-type
