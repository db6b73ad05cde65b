"""`agentplat blocks`."""

import click
import msgspec

from agentplat.blocks import service as blocks
from agentplat.cli.console import table
from agentplat.infra.errors import NotFound


@click.command("blocks")
@click.argument("block_id", required=False)
def command(block_id: str | None) -> None:
    """List the blocks, or show one as JSON, by its id or by its name."""
    specs = blocks.specs()
    if block_id is None:
        rows = sorted((spec.name, spec.block_type.value, spec.id) for spec in specs.values())
        table(("Name", "Type", "Id"), rows)
        return
    spec = specs.get(block_id) or next((spec for spec in specs.values() if spec.name == block_id), None)
    if spec is None:
        raise NotFound(
            f"There is no block with the id or name {block_id!r}.", hint="`agentplat blocks` lists them all."
        )
    document = {
        "id": spec.id,
        "name": spec.name,
        "description": spec.description,
        "type": spec.block_type.value,
        "categories": spec.categories,
        "static_output": spec.static_output,
        "pure": spec.pure,
        "input_schema": spec.input_schema,
        "output_schema": spec.output_schema,
        "costs": spec.costs,
    }
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
