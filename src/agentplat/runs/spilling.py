"""Values that are too big for the document that they are part of: how they are cut out of it, and put back.

A document (a journal row, a run's result) that is bigger than the limit keeps null in place of its big values, and
handles beside it, never in it: each says where a value belongs and what its content is called. So nothing that a user
sends can be mistaken for a handle, and a document without handles is as it always was. The name of a content is its
digest, so a value that many nodes hand on is stored once per run.

Pure. Works on encoded JSON and looks only into what is over the limit, so values are neither decoded nor walked.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw, Struct

# In bytes, as encoded. A list or object is looked into for parts that are bigger; one that would still be bigger
# without them is cut out as a whole.
LIMIT = 64 * 1024
# How deep is looked. Deeper parts stay with what they are part of; without a bound, looking costs depth times size.
MAX_DEPTH = 8

# How many levels of a document are its frame, which stays where it is: of a journal row the row and its messages.
JOURNAL_FRAME = 2
OUTPUTS_FRAME = 1
NODE_EXECUTIONS_FRAME = 2

_encode = msgspec.json.Encoder().encode
_NULL = Raw(b"null")
_decode = msgspec.json.Decoder().decode
_elements = msgspec.json.Decoder(list[Raw]).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


class Handle(Struct, frozen=True, array_like=True):
    """Where in a document a value belongs, by indexes and names, and its SHA-256 in hexadecimal digits."""

    path: list[int | str]
    digest: str


class ResultHandles(Struct, frozen=True):
    """The handles of a final run's two documents."""

    outputs: Sequence[Handle]
    node_executions: Sequence[Handle]


class Cut(Struct, frozen=True):
    """A document without its big values. `blobs` are the encoded values by digest."""

    document: bytes
    handles: Sequence[Handle] = ()
    blobs: Mapping[str, bytes] = {}


# Handles as they are stored beside their document.
decode_handles = msgspec.json.Decoder(list[Handle]).decode
decode_result_handles = msgspec.json.Decoder(ResultHandles).decode


def cut(document: bytes, frame: int) -> Cut:
    """Take the values over the limit out of a JSON document. The outermost `frame` levels stay, however big."""
    if len(document) <= LIMIT:
        return Cut(document)
    blobs: dict[str, bytes] = {}
    slim, handles = _cut(Raw(document), [], frame, blobs)
    return Cut(bytes(slim), handles, {handle.digest: blobs[handle.digest] for handle in handles})


def restored(document: bytes, handles: Sequence[Handle], blobs: Mapping[str, bytes]) -> bytes:
    """The document as it was before it was cut. Raises KeyError where a value is missing."""
    if not handles:
        return document
    root = [_decode(document)]
    for handle in handles:
        place: Any = root
        *way, last = [0, *handle.path]
        for step in way:
            place = place[step]
        place[last] = Raw(blobs[handle.digest])
    return _encode(root[0])


def _cut(value: Raw, path: list[int | str], frame: int, blobs: dict[str, bytes]) -> tuple[Raw, list[Handle]]:
    """What stays of a value, and the handles of what doesn't."""
    if len(value) <= LIMIT:
        return value, []
    slim, handles = _without_big_parts(value, path, frame, blobs)
    if len(slim) <= LIMIT or len(path) < frame:
        return slim, handles
    body = bytes(value)
    digest = sha256(body).hexdigest()
    blobs[digest] = body
    return _NULL, [Handle(path, digest)]


def _without_big_parts(
    value: Raw, path: list[int | str], frame: int, blobs: dict[str, bytes]
) -> tuple[Raw, list[Handle]]:
    kind = memoryview(value)[0]
    if len(path) >= MAX_DEPTH or kind not in b"[{":
        return value, []
    parts: Any = _elements(value) if kind in b"[" else _members(value)
    handles: list[Handle] = []
    for step, part in list(enumerate(parts) if kind in b"[" else parts.items()):
        if len(part) > LIMIT:
            parts[step], found = _cut(part, [*path, step], frame, blobs)
            handles += found
    return (Raw(_encode(parts)), handles) if handles else (value, [])
