"""Events that are too large to be sent as they are: what is left of them, and that they say so.

A member above its share loses the middle of its long texts and lists, where a text says how much is gone. An event
that is too large even so keeps its status and its figures and loses its values, and its type becomes ERROR_TYPE:
without it a client would wait for the end of a run for ever. Either way `truncated` names the members; all of them are
whole in the answers of the API. The same event always becomes the same one.
"""

from typing import Any

import msgspec

MAX_EVENT = 16 * 1024 * 1024
MAX_MEMBER = MAX_EVENT // 2
ERROR_TYPE = "error_comms_update"
# What a cut member keeps of each text (characters) and of each list (items), until it fits.
STEPS = ((1 << 22, 1 << 18), (1 << 20, 1 << 16), (1 << 16, 1 << 12), (1 << 12, 1 << 8), (1 << 8, 1 << 4))

_CUT = ("inputs", "outputs", "input_data", "output_data")
_LOST: dict[str, dict[str, Any] | None] = {
    **{name: {} for name in _CUT},
    "credential_inputs": None,
    "nodes_input_masks": None,
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def fitted(data: bytes) -> bytes:
    """An event's JSON as it is sent."""
    if len(data) <= MAX_MEMBER:
        return data
    event: dict[str, Any] = _decode(data)
    large = [name for name in _CUT if name in event and len(_encode(event[name])) > MAX_MEMBER]
    if cut := {name: shorter for name in large if (shorter := _cut(event[name])) is not None}:
        shown = _encode({**event, **cut, "truncated": list(cut)})
    else:
        shown = data
    return shown if len(shown) <= MAX_EVENT else _emptied(event, len(data))


def _cut(member: dict[str, Any]) -> dict[str, Any] | None:
    """Within its share, as much of it as a step leaves. None if not even the last one leaves little enough: objects
    keep all their names."""
    # The last step first: who fails it must not be looked at again and again, for everybody waits meanwhile.
    least = _within_share(member, STEPS[-1])
    if least is None:
        return None
    for step in STEPS[:-1]:
        if (shorter := _within_share(member, step)) is not None:
            return shorter
    return least


def _within_share(member: dict[str, Any], step: tuple[int, int]) -> dict[str, Any] | None:
    shorter: dict[str, Any] = _shortened(member, *step)
    return shorter if len(_encode(shorter)) <= MAX_MEMBER else None


def _shortened(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, str):
        gone = len(value) - characters
        if gone <= 0:
            return value
        half = characters // 2
        return f"{value[:half]}… ({gone} characters removed) …{value[-half:]}"
    if isinstance(value, list):
        gone = len(value) - items
        half = items // 2
        kept = value if gone <= 0 else [*value[:half], f"… ({gone} items removed) …", *value[-half:]]
        return [_shortened(item, characters, items) for item in kept]
    if isinstance(value, dict):
        return {name: _shortened(item, characters, items) for name, item in value.items()}
    return value


def _emptied(event: dict[str, Any], size: int) -> bytes:
    kept = {name: _shortened(member, *STEPS[-1]) for name, member in event.items() if name not in _LOST}
    lost = {name: _LOST[name] for name in _LOST if name in event}
    told = {
        "event_type": ERROR_TYPE,
        "error": f"Of this event's {size:,} bytes no more than {MAX_EVENT:,} are sent: ask the API for the run",
        "original_size_bytes": size,
        "max_size_bytes": MAX_EVENT,
        "truncated": list(lost),
    }
    return _encode(kept | lost | told)
