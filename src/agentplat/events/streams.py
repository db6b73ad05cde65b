"""The streams and what stands in them.

A user's records are all in one stream, so they are read in the order in which they were published.
"""

from typing import Any
from zlib import crc32

from agentplat.events.models import Notification, RunRecord
from agentplat.infra.settings import get_settings

SHARDS = 8
# A larger body stays out: the streams live in memory, and who needs the row reads it from the journal.
MAX_BODY = 64 * 1024

Record = RunRecord | Notification
Fields = dict[bytes, str | int | bytes]


def stream_of(user_id: str) -> str:
    return _stream(crc32(user_id.encode()) % SHARDS)


def all_streams() -> list[str]:
    return [_stream(shard) for shard in range(SHARDS)]


def _stream(shard: int) -> str:
    # The braces are a hash tag: each shard is a slot of its own in a Redis Cluster.
    return f"{get_settings().redis_prefix}:events:{{{shard}}}"


def fields_of(record: Record) -> Fields:
    if isinstance(record, Notification):
        return {b"u": record.user_id, b"n": record.payload}
    fields: Fields = {
        b"u": record.user_id,
        b"g": record.graph_id,
        b"r": record.run_id,
        b"s": record.seq,
        b"f": int(record.final),
    }
    if record.body is not None and len(record.body) <= MAX_BODY:
        fields[b"b"] = record.body
    return fields


def record_of(entry_id: bytes, fields: dict[bytes, bytes]) -> Record:
    if b"n" in fields:
        return Notification(user_id=fields[b"u"].decode(), payload=fields[b"n"])
    return RunRecord(
        user_id=fields[b"u"].decode(),
        graph_id=fields[b"g"].decode(),
        run_id=fields[b"r"].decode(),
        seq=int(fields[b"s"]),
        final=fields[b"f"] == b"1",
        body=fields.get(b"b"),
        # An entry's id begins with Redis' clock in milliseconds.
        published=int(entry_id.partition(b"-")[0]) / 1000,
    )


def records_of(batches: Any) -> list[Record]:
    """What XREAD and XREADGROUP answer with. An entry that was trimmed while a reader had it comes without fields."""
    return [record_of(entry_id, fields) for _, entries in batches for entry_id, fields in entries if fields]
