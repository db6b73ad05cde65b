"""The common way to make steps durable, as a baseline: each step is one INSERT in a transaction of its own and one
XADD to a stream, one after another. Same Postgres, same Redis, same process model, no engine."""

from uuid import uuid4

import asyncpg
from redis.asyncio import Redis

TABLE = """
CREATE TABLE IF NOT EXISTS benchmark_steps (
    run_id text NOT NULL, step integer NOT NULL, body bytea NOT NULL, PRIMARY KEY (run_id, step)
)
"""


async def run_steps(connection: "asyncpg.Connection[asyncpg.Record]", redis: Redis, steps: int) -> None:
    run_id = str(uuid4())
    for step in range(steps):
        body = b'{"output": [1]}'
        await connection.execute("INSERT INTO benchmark_steps VALUES ($1, $2, $3)", run_id, step, body)
        await redis.xadd("benchmark:steps", {"run": run_id, "step": step, "body": body}, maxlen=10_000)
