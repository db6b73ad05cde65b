"""One acceptance example: an agent, what goes in, and what must come of it."""

from typing import Any

from msgspec import Struct

from tests.support.drawing import Drawing

Execution = tuple[str, dict[str, Any], dict[str, list[Any]]]


def done(data: dict[str, Any], /, **output: list[Any]) -> Execution:
    return "COMPLETED", data, output


def failed(data: dict[str, Any], /, **output: list[Any]) -> Execution:
    return "FAILED", data, output


def incomplete(**received: Any) -> Execution:
    return "INCOMPLETE", received, {}


def stored(value: Any) -> Execution:
    return done({"input": value}, output=[value])


class Example(Struct, frozen=True):
    """What goes in and what must come out. `nodes` lists executions in order; nodes not named must have none, unless
    `partial` says that only the named ones are looked at. `masks` can't be sent through the API."""

    name: str
    drawing: Drawing
    nodes: dict[str, list[Execution]]
    count: int
    inputs: dict[str, Any] = {}
    outputs: dict[str, list[Any]] = {}
    masks: dict[str, dict[str, Any]] = {}
    errors: int = 0
    partial: bool = False


def text(template: str, values: dict[str, Any], **flat: Any) -> dict[str, Any]:
    return {"format": template, "values": values} | {f"values_#_{key}": value for key, value in flat.items()}
