"""What must be true of every run once the faults are over. Each function returns what is wrong, as sentences.

They look at the tables, at the file in which effects leave their lines, and at Redis; never at the API, which could
make the same mistake twice.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis

from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import Message, NodeEnded, NodeStarted, NodeTerminated, RunEnded, decode
from agentplat.engine.state import FINAL, IllegalTransition, Status
from agentplat.infra.db import db
from agentplat.runs import queries, view
from agentplat.runs.ending import ending_of
from agentplat.runs.models import RunRow, Segment
from agentplat.runs.replay import machine_of
from tests.faults.load import Accepted
from tests.support.drawing import EFFECT, REPEATABLE

# The queue's own sweep takes a job out of all lists for some seconds before it puts it back.
LOOKS, LOOK_SECONDS = 12, 1.0


def lines_of(effects: Path) -> Counter[str]:
    return Counter(effects.read_text().splitlines()) if effects.exists() else Counter()


async def find_violations(accepted: Sequence[Accepted], lines: Counter[str], redis: Redis) -> list[str]:
    """`accepted` is what clients were told, `lines` what the effects left.

    Clients asked under a key until they were told of a run, so a run that nobody was told of was started twice.
    """
    known = {run.id: run for run in accepted}
    rows = await db().fetch("SELECT id, parent_id FROM runs ORDER BY created_at")
    run_ids = [row["id"] for row in rows]
    found = [f"{run_id}: was accepted and is not there" for run_id in known.keys() - set(run_ids)]
    found += [
        f"{row['id']}: is there and nobody was told of it"
        for row in rows
        if row["parent_id"] is None and row["id"] not in known
    ]
    for run_id in run_ids:
        row = await queries.find(run_id)
        assert row is not None
        segments = await queries.read_journal(run_id, row.created_at.astimezone(UTC).date())
        machine = await machine_of(row)
        problems = of_run(row, segments, machine, known.get(run_id)) + of_effects(row, machine, lines)
        found += [f"{run_id}: {problem}" for problem in problems]
    found += [f"an effect of nobody: {line}" for line in +lines]
    return found + await of_queue(redis)


def of_run(row: RunRow, segments: Sequence[Segment], machine: RunMachine, told: Accepted | None) -> list[str]:
    """`machine` is as it was when the run was accepted; afterwards it has seen the journal."""
    if row.status not in FINAL:
        return [f"is {row.status}, with {len(segments)} journal rows under fence {row.fence}"]
    messages: list[Message] = []
    for segment in segments:
        if segment.seq != len(messages) + 1:
            return [f"message {len(messages) + 1} should follow, and {segment.seq} does"]
        messages += decode(segment.body)
    problems = of_messages(messages)
    try:
        for message in messages:
            machine.feed(message)
    except IllegalTransition as error:
        return [*problems, f"its journal can't be replayed: {error}"]
    if machine.status != row.status:
        return [*problems, f"is {row.status}, and its journal says {machine.status} ({row.stats!r})"]
    ending = ending_of(row, machine)
    for name in ("stats", "outputs", "node_executions"):
        if _comparable(name, getattr(row, name)) != _comparable(name, getattr(ending, name)):
            problems.append(f"its {name} are not what its journal says")
    if told is not None and not told.stopped:
        if row.status != Status.COMPLETED:
            problems.append(f"is {row.status} and nobody stopped it: {row.stats!r}")
        elif machine.node_count != told.shape.executions:
            problems.append(f"has {machine.node_count} executions instead of {told.shape.executions}")
    return problems


def _comparable(name: str, document: bytes | None) -> Any:
    """Without the times of commits, which only the worker knows that made them."""
    decoded = None if document is None else msgspec.json.decode(document)
    if name == "node_executions":
        for execution in decoded or ():
            execution["timings"].pop("recorded")
    return decoded


def of_messages(messages: Sequence[Message]) -> list[str]:
    problems = []
    started = Counter(message.activation for message in messages if isinstance(message, NodeStarted))
    outcomes = Counter(message.activation for message in messages if isinstance(message, NodeEnded | NodeTerminated))
    problems += [f"activation {number} was started {times} times" for number, times in started.items() if times > 1]
    problems += [f"activation {number} has {times} outcomes" for number, times in outcomes.items() if times > 1]
    problems += [f"activation {number} was started and has no outcome" for number in started.keys() - outcomes.keys()]
    ends = [number for number, message in enumerate(messages, 1) if isinstance(message, RunEnded)]
    if ends != [len(messages)]:
        problems.append(f"ends at messages {ends} of {len(messages)}")
    return problems


def of_effects(row: RunRow, machine: RunMachine, lines: Counter[str]) -> list[str]:
    """Takes the lines of this run out of `lines`."""
    problems = []
    for act in machine.activations:
        if act.node.spec.id not in (EFFECT, REPEATABLE):
            continue
        key = view.activation_id(row.id, act.number)
        begun, done = lines.pop(f"begun {key}", 0), lines.pop(f"done {key}", 0)
        if begun and act.started_at is None:
            problems.append(f"the effect of activation {act.number} began without being recorded")
        if begun > 1 and act.node.spec.id == EFFECT:
            problems.append(f"the effect of activation {act.number} began {begun} times")
        if act.status is Status.COMPLETED and not done:
            problems.append(f"the effect of activation {act.number} is recorded and was not done")
    return problems


async def of_queue(redis: Redis) -> list[str]:
    """A job that is in no list is one that neither a worker nor the queue's own sweep will ever look at.

    The lists change while they are read, so only what is still so some looks later is wrong.
    """
    ownerless = await _ownerless_jobs(redis)
    for _ in range(LOOKS):
        if not ownerless:
            break
        await asyncio.sleep(LOOK_SECONDS)
        ownerless &= await _ownerless_jobs(redis)
    return [f"{key.decode()} belongs to nobody: {await redis.get(key)!r}" for key in sorted(ownerless)]


async def _ownerless_jobs(redis: Redis) -> set[bytes]:
    found: set[bytes] = set()
    async for stats in redis.scan_iter("saq:*:stats"):
        queue = stats.decode().rsplit(":", 1)[0]
        listed: set[bytes] = set()
        for kind in ("queued", "active"):
            listed |= {job for job in await redis.lrange(f"{queue}:{kind}", 0, -1) if isinstance(job, bytes)}
        prefix = f"saq:job:{queue.removeprefix('saq:')}:"
        found |= {key async for key in redis.scan_iter(f"{_escaped(prefix)}*")} - listed
    return found


def _escaped(pattern: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in pattern)
