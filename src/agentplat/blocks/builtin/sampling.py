"""Drawing samples."""

import random
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from agentplat.sdk import Block, BlockError, Category, Context, Outputs, OutputSchema, Schema, field

Row = dict[str, Any] | list[Any]


class Method(StrEnum):
    RANDOM = "random"
    SYSTEMATIC = "systematic"
    TOP = "top"
    BOTTOM = "bottom"
    STRATIFIED = "stratified"
    WEIGHTED = "weighted"
    RESERVOIR = "reservoir"
    CLUSTER = "cluster"


class DataSamplingBlock(Block):
    """Draws a sample of the rows of a table."""

    id = "4a448883-71fa-49cf-91cf-70d793bd7d87"
    categories = (Category.LOGIC,)
    inline = True
    repeatable = True

    class Input(Schema):
        data: dict[str, Any] | list[Row] = field(description="The rows, or a single one.")
        sample_size: int = field(default=10, description="How many rows to draw.")
        sampling_method: Method = field(default=Method.RANDOM, description="How to draw them.")
        accumulate: bool = field(default=False, description="Draw only when there are enough rows.")
        random_seed: int | None = field(default=None, description="The same number draws the same rows.")
        stratify_key: str | None = field(default=None, description="Stratified: the key that tells groups apart.")
        weight_key: str | None = field(default=None, description="Weighted: the key of a row's weight.")
        cluster_key: str | None = field(default=None, description="Cluster: the key that tells clusters apart.")

    class Output(OutputSchema):
        sampled_data: list[Row] = field(description="The rows drawn.")
        sample_indices: list[int] = field(description="Where they stood.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        rows: list[Any] = [input.data] if isinstance(input.data, dict) else input.data
        size = input.sample_size
        if input.accumulate and len(rows) < size:
            return
        if not 0 <= size <= len(rows):
            raise BlockError(f"A sample of {size} cannot be drawn from {len(rows)} rows.")
        chance = random.Random(input.random_seed)
        indices = _DRAW[input.sampling_method](rows, size, chance, input)
        yield "sampled_data", [rows[index] for index in indices]
        yield "sample_indices", indices


Draw = Callable[[list[Any], int, random.Random, DataSamplingBlock.Input], list[int]]


def _systematic(rows: list[Any], size: int, chance: random.Random, _: Any) -> list[int]:
    if size == 0:
        raise BlockError("A systematic sample has at least one row.")
    step = len(rows) // size
    return list(range(chance.randint(0, step - 1), len(rows), step))[:size]


def _stratified(rows: list[Any], size: int, chance: random.Random, input: DataSamplingBlock.Input) -> list[int]:
    groups = _groups(rows, input.stratify_key, "stratify_key")
    quotas = {key: max(1, len(members) * size // len(rows)) for key, members in groups.items()}
    while sum(quotas.values()) != size:
        largest = max(quotas, key=lambda key: quotas[key])
        quotas[largest] += 1 if sum(quotas.values()) < size else -1
    drawn: list[int] = []
    for key, members in groups.items():
        drawn += chance.sample(members, min(max(quotas[key], 0), len(members)))
    return drawn


def _weighted(rows: list[Any], size: int, chance: random.Random, input: DataSamplingBlock.Input) -> list[int]:
    try:
        weights = [float(value) for value in _values(rows, input.weight_key, "weight_key")]
        return chance.choices(range(len(rows)), weights=weights, k=size)
    except (TypeError, ValueError) as error:
        raise BlockError(f"The weights cannot be used: {error}") from error


def _reservoir(rows: list[Any], size: int, chance: random.Random, _: Any) -> list[int]:
    drawn = list(range(size))
    for index in range(size, len(rows)):
        at = chance.randint(0, index)
        if at < size:
            drawn[at] = index
    return drawn


def _cluster(rows: list[Any], size: int, chance: random.Random, input: DataSamplingBlock.Input) -> list[int]:
    clusters = list(_groups(rows, input.cluster_key, "cluster_key").values())
    drawn: list[int] = []
    while len(drawn) < size:
        drawn += clusters.pop(chance.randrange(len(clusters)))
    return chance.sample(drawn, size) if len(drawn) > size else drawn


_DRAW: dict[Method, Draw] = {
    Method.RANDOM: lambda rows, size, chance, _: chance.sample(range(len(rows)), size),
    Method.TOP: lambda rows, size, *_: list(range(size)),
    Method.BOTTOM: lambda rows, size, *_: list(range(len(rows) - size, len(rows))),
    Method.SYSTEMATIC: _systematic,
    Method.STRATIFIED: _stratified,
    Method.WEIGHTED: _weighted,
    Method.RESERVOIR: _reservoir,
    Method.CLUSTER: _cluster,
}


def _groups(rows: list[Any], key: str | None, setting: str) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, value in enumerate(_values(rows, key, setting)):
        groups.setdefault(str(value), []).append(index)
    return groups


def _values(rows: list[Any], key: str | None, setting: str) -> list[Any]:
    if not key:
        raise BlockError(f"This way of sampling needs '{setting}'.")
    values = [row.get(key) if isinstance(row, dict) else None for row in rows]
    if None in values:
        raise BlockError(f"Row {values.index(None)} has no value for '{key}'.")
    return values
