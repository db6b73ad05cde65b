"""Nodes that wait for others: for the run of another agent, for a person.

The platform executes them itself when they stand in a graph; what is here is what they are, and what they do when
somebody tries them alone.
"""

from typing import Any

from agentplat.sdk import Block, BlockError, BlockType, Category, Context, Outputs, OutputSchema, Schema, field

_MASKS = {
    "anyOf": [
        {"additionalProperties": {"additionalProperties": {}, "type": "object"}, "type": "object"},
        {"type": "null"},
    ]
}


class AgentExecutorBlock(Block):
    """Runs another agent and passes on its outputs as they come."""

    id = "e189baac-8c20-45a1-94a7-55177ea42565"
    categories = (Category.AGENT,)
    block_type = BlockType.AGENT
    repeatable = True

    class Input(Schema):
        user_id: str = field(description="Whose run it is.")
        graph_id: str = field(description="The agent to run.")
        graph_version: int = field(description="Its version.")
        agent_name: str | None = field(default=None, description="What people call it.")
        inputs: dict[str, Any] = field(description="Its inputs.")
        input_schema: dict[str, Any] = field(description="The form of its inputs.")
        output_schema: dict[str, Any] = field(description="The form of its outputs.")
        nodes_input_masks: Any = field(
            default=None, hidden=True, description="Constants of its nodes that are overridden.", extra=_MASKS
        )

    class Output(Schema):
        pass

    async def run(self, input: Input, ctx: Context) -> Outputs:
        raise BlockError("An agent is run as part of a graph, or by starting a run of its own.")
        yield "", None


class HumanInTheLoopBlock(Block):
    """Waits for a person to approve, change or reject a value."""

    id = "8b2a7b3c-6e9d-4a5f-8c1b-2e3f4a5b6c7d"
    categories = (Category.BASIC,)
    block_type = BlockType.HUMAN_IN_THE_LOOP
    repeatable = True

    class Input(Schema):
        data: Any = field(description="What to review.")
        name: str = field(description="What the reviewer is told it is.")
        editable: bool = field(default=True, description="Whether the reviewer may change it.")

    class Output(OutputSchema):
        approved_data: Any = field(description="The value, if it was approved, with the reviewer's changes.")
        rejected_data: Any = field(description="The value, if it was rejected.")
        review_message: str = field(default="", description="What the reviewer said.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        yield "approved_data", input.data
        yield "review_message", "Auto-approved (safe mode disabled)"
