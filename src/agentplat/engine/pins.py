"""Dynamic pins: paths behind a pin's name, such as `values_#_city` or `items_$_0_#_id`.

`_$_` selects a list index, `_#_` an object's key, `_@_` an attribute. `tools_^_<node>_~_<field>` routes a tool call.
There is no escaping; a path is everything after the first delimiter, cut at each further one.
"""

import re
from typing import Any

from msgspec import Struct

DELIMITERS = ("_$_", "_#_", "_@_")
TOOL_PIN = "tools"
TOOL_PREFIX = "tools_^_"
TOOL_FIELD = "_~_"

# A list built pin by pin is padded up to the index, so the index bounds memory.
MAX_INDEX = 10_000

_DELIMITER = re.compile(r"_\$_|_#_|_@_")

Path = tuple[tuple[str, str], ...]


class PathError(ValueError):
    """A value can't be put at this path."""


def is_tool_pin(name: str) -> bool:
    return name == TOOL_PIN or name.startswith(TOOL_PREFIX)


def base_name(name: str) -> str:
    """The declared pin that `name` belongs to."""
    if is_tool_pin(name):
        return TOOL_PIN
    found = _DELIMITER.search(name)
    return name[: found.start()] if found else name


def parse_path(text: str) -> Path | None:
    """The steps of a path, each as (delimiter, key); None where the text is no path."""
    steps: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        delimiter = text[position : position + 3]
        if delimiter not in DELIMITERS:
            return None
        start = position + 3
        following = _DELIMITER.search(text, start)
        end = following.start() if following else len(text)
        if end == start:
            return None
        steps.append((delimiter, text[start:end]))
        position = end
    return tuple(steps)


def split(name: str) -> tuple[str, Path]:
    """A pin's name as base and path. A name whose path is malformed is a plain name."""
    found = _DELIMITER.search(name)
    if not found:
        return name, ()
    path = parse_path(name[found.start() :])
    return (name[: found.start()], path) if path else (name, ())


class Route(Struct, frozen=True):
    """How an emitted value reaches one link. `path` is empty where the link takes the whole value."""

    path: Path = ()
    exact: bool = True  # the link names the emitted pin itself, so it fires with null as well
    argument: bool = False  # of a tool call: null says that the call leaves it out


def route(emitted: str, selector: str, sink_id: str, sink_name: str) -> Route | None:
    """Whether a link from `selector` listens to the output `emitted`, and to which part of its value.

    Whatever a tool link calls its source, only the emitted node id and field decide.
    """
    if is_tool_pin(selector) and emitted.startswith(TOOL_PREFIX) and TOOL_FIELD in emitted:
        target, field = emitted[len(TOOL_PREFIX) :].split(TOOL_FIELD, 1)
        return Route((), exact=False, argument=True) if (target, field) == (sink_id, sink_name) else None
    if selector == emitted:
        return Route()
    if not selector.startswith(emitted):
        return None
    path = parse_path(selector[len(emitted) :])
    return Route(path, exact=False) if path else None


def select(value: Any, path: Path) -> Any:
    """The part of `value` at `path`; None where it isn't there."""
    for delimiter, key in path:
        if delimiter == "_$_":
            if not isinstance(value, list):
                return None
            try:
                value = value[int(key)]
            except (ValueError, IndexError):
                return None
        elif delimiter == "_#_":
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        else:
            return None  # values are plain JSON, which has no attributes
    return value


def merge(data: dict[str, Any]) -> dict[str, Any]:
    """`data` with every dynamic key also assembled into its base pin, in key order.

    The flat keys are kept beside it. Containers are copied before they are written to, because values are shared
    between nodes. Raises PathError.
    """
    merged: dict[str, Any] = {}
    owned: set[int] = set()
    for name, value in data.items():
        base, path = split(name)
        merged[name] = value
        if path:
            merged[base] = _assign(merged.get(base), path, 0, value, owned)
    return merged


def _assign(container: Any, path: Path, depth: int, value: Any, owned: set[int]) -> Any:
    """`container` with `value` at `path[depth:]`. `owned` has the ids of containers made here, which may be changed."""
    if depth == len(path):
        return value
    delimiter, key = path[depth]
    if delimiter == "_$_":
        items = _as_list(container, owned)
        index = _index(key, len(items))
        if index >= len(items):
            items.extend([None] * (index + 1 - len(items)))
        items[index] = _assign(items[index], path, depth + 1, value, owned)
        return items
    members = _as_object(container, owned)
    members[key] = _assign(members.get(key), path, depth + 1, value, owned)
    return members


def _index(key: str, length: int) -> int:
    try:
        index = int(key)
    except ValueError:
        raise PathError("index must be an integer") from None
    if index > MAX_INDEX:
        raise PathError(f"index {index} is over the limit of {MAX_INDEX}")
    if index < -length:
        raise PathError(f"index {index} is out of range")
    return index


def _as_list(container: Any, owned: set[int]) -> list[Any]:
    if isinstance(container, list) and id(container) in owned:
        return container
    # Another kind of container is replaced by its elements, as an iteration over it gives them.
    items = list(container) if isinstance(container, (list, str, dict)) else []
    owned.add(id(items))
    return items


def _as_object(container: Any, owned: set[int]) -> dict[str, Any]:
    if isinstance(container, dict) and id(container) in owned:
        return container
    members = dict(container) if isinstance(container, dict) else {}
    owned.add(id(members))
    return members
