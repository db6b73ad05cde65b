"""What passes between a process and the children that run isolated blocks: JSON with its length in front."""

from typing import Any

import msgspec
from msgspec import Struct

from agentplat.sdk import Credentials, Secret

# Of one frame, in bytes. What a block is given and what it emits may be large, but somebody has to hold it.
MAX_BYTES = 64 * 1024 * 1024
LENGTH_BYTES = 4


class Request(Struct, frozen=True, kw_only=True, tag="request"):
    """Run this block. `fields` are those of its context. `exact`: infinity is to come back as `{"$float": …}`."""

    block_id: str
    data: dict[str, Any]
    user_id: str
    run_id: str
    fields: dict[str, Any] = {}
    credentials: dict[str, Credentials] = {}
    exact: bool = False


class Ready(Struct, frozen=True, tag="ready"):
    """The child waits for requests."""


class Output(Struct, frozen=True, tag="output"):
    """The block has emitted this."""

    name: str
    value: Any


class Done(Struct, frozen=True, tag="done"):
    """The block is done: failed, where `error` is set. `last`: the child takes no further request."""

    error: str | None = None
    stats: dict[str, Any] | None = None
    last: bool = False


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError


def _conceal(kind: type, value: Any) -> Any:
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError


_encode = msgspec.json.Encoder(enc_hook=_reveal).encode
decode_request = msgspec.json.Decoder(Request, dec_hook=_conceal).decode
decode_answer = msgspec.json.Decoder(Ready | Output | Done).decode


def encode(frame: Request | Ready | Output | Done) -> bytes:
    """Raises ValueError where the frame is too large."""
    body = _encode(frame)
    if len(body) > MAX_BYTES:
        raise ValueError(f"a value of {len(body)} bytes is too large: at most {MAX_BYTES} are allowed")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def length(head: bytes) -> int:
    """The length of the frame that begins with `head`. Raises ValueError where there can be no such frame."""
    size = int.from_bytes(head, "big")
    if size > MAX_BYTES:
        raise ValueError("this is not a frame")
    return size
