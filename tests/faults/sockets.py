"""What clients see while connections break, they are paused, and Redis is restarted, compared with the journal.

`python -m tests.faults.sockets [--seconds N] [--clients N] [--restarts N] [--seed N]` is the long form.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import msgspec
from msgspec import Struct

from agentplat.cli.supervisor import Platform
from agentplat.infra.settings import get_settings
from agentplat.realtime.fold import Fold, Keep
from agentplat.runs import service as runs
from tests.faults.campaign import PLENTY, account, opened, say, started
from tests.faults.clients import Clients
from tests.faults.counting import counting
from tests.faults.graphs import shapes
from tests.faults.injection import Target
from tests.faults.load import Load
from tests.faults.reviewers import Reviewers
from tests.faults.viewers import Saw, Spec, digest
from tests.support.processes import environment
from tests.support.services import BLOCK_MODULES, JWT_KEY, clear_environment

VIEWERS = 5  # per run
# How long a run with its viewers takes about, which says how many runs are wanted at once.
RUN_SECONDS = 8.0
PAUSED_SECONDS = 2.0
PAUSED_EVERY = (4.0, 8.0)
# Within this time after the last fault all clients must have seen the end of their run.
RECOVERY_SECONDS = 90.0
MOST_SHOWN = 20
ALL_ROWS = 1_000_000
LINE_LIMIT = 1 << 28


class Report(Struct, frozen=True, kw_only=True):
    seconds: float
    clients: int
    restarts: int
    runs: int
    seen: int
    events: int
    drops: Counter[str]
    violations: list[str]


def judge(expected: Sequence[str], saw: Saw) -> list[str]:
    """What is wrong with what a client saw of a run whose events have these digests, in order."""
    found = [f"run {saw.run_id}: the platform answered: {error}" for error in saw.errors]
    if saw.numbers != list(range(1, len(expected) + 1)):
        at = next(
            (n for n, number in enumerate(saw.numbers, 1) if n != number or n > len(expected)), len(saw.numbers) + 1
        )
        around = saw.numbers[max(0, at - 2) : at + 2]
        found.append(f"run {saw.run_id} has {len(expected)} events: numbers went wrong at {at}: {around}")
    for number, seen in zip(saw.numbers, saw.digests, strict=True):
        if 1 <= number <= len(expected) and seen != expected[number - 1]:
            found.append(f"run {saw.run_id}: event {number} is not what the journal says")
            break
    return found


async def events_of(run_id: str) -> list[str]:
    """The digests of a final run's events, as its row and journal yield them."""
    row = await runs.find(run_id)
    assert row is not None
    fold = await Fold.open(row)
    events = fold.begin(Keep.ALL)
    for segment in await runs.read_rows(row, 0, ALL_ROWS):
        for some in fold.feed(segment.seq, segment.body, Keep.ALL):
            events += some
    if not fold.final:
        events += fold.end(row, Keep.ALL)
    return [digest(event.kind, event.data.encode()) for event in events]


class Crowd:
    """The clients' process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.saw: list[Saw] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, spec: Spec) -> "Crowd":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.viewers"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            limit=LINE_LIMIT,
        )
        crowd = cls(process)
        crowd._say(msgspec.json.encode(spec).decode())
        return crowd

    def watch(self, run_id: str) -> None:
        self._say(run_id)

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())

    async def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(PAUSED_SECONDS)
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def finish(self, seconds: float) -> None:
        """Until all have seen the end of their run; who hasn't by then never will."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            async with asyncio.timeout(seconds):
                await self._reading
        except TimeoutError:
            pass

    async def close(self) -> None:
        self._reading.cancel()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            self.saw.append(msgspec.json.decode(line, type=Saw))


async def watched(platform: Platform, seconds: float, clients: int, restarts: int, seed: int) -> Report:
    chance = random.Random(seed)
    async with opened(platform.settings):
        token = await account(PLENTY)
    rate = clients / VIEWERS / RUN_SECONDS
    spec = Spec(url=platform.ws_url, token=token, viewers=VIEWERS, sockets=clients, seed=seed)
    crowd = await Crowd.start(spec)
    try:
        with counting() as service:
            async with (
                Clients(platform.url) as http,
                Reviewers(http, token, chance) as reviewers,
                Load(http, token, [], shapes(service.url), rate, chance) as load,
            ):
                loading = asyncio.create_task(load.run())
                done = await _break(platform, crowd, load, seconds, restarts, chance)
                load.end()
                async with asyncio.timeout(RECOVERY_SECONDS):
                    await loading
                reviewers.answer_rest()
                _show_new(crowd, load, done)
                await crowd.finish(RECOVERY_SECONDS)
    finally:
        await crowd.close()
    async with opened(platform.settings):
        expected = {run.id: await events_of(run.id) for run in load.accepted}
    violations = [line for saw in crowd.saw for line in judge(expected[saw.run_id], saw)]
    missing = Counter(dict.fromkeys(expected, VIEWERS)) - Counter(saw.run_id for saw in crowd.saw)
    violations += [f"run {run_id}: {count} clients never saw its end" for run_id, count in missing.items()]
    return Report(
        seconds=seconds,
        clients=clients,
        restarts=restarts,
        runs=len(expected),
        seen=len(crowd.saw),
        events=sum(len(saw.numbers) for saw in crowd.saw),
        drops=sum((Counter(saw.drops) for saw in crowd.saw), Counter()),
        violations=violations,
    )


def _show_new(crowd: Crowd, load: Load, shown: int) -> int:
    for run in load.accepted[shown:]:
        crowd.watch(run.id)
    return len(load.accepted)


async def _break(
    platform: Platform, crowd: Crowd, load: Load, seconds: float, restarts: int, chance: random.Random
) -> int:
    """How many runs have been shown to the clients by the end."""
    began = monotonic()
    restart_at = [began + seconds * (n + 1) / (restarts + 1) for n in range(restarts)]
    pause_at = began + chance.uniform(*PAUSED_EVERY)
    shown = 0
    while monotonic() < began + seconds:
        shown = _show_new(crowd, load, shown)
        if restart_at and monotonic() >= restart_at[0]:
            del restart_at[0]
            pid = Target(platform, chance, 0.0).valkey()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)  # its supervisor starts it again, empty
        if monotonic() >= pause_at:
            await crowd.pause()
            pause_at = monotonic() + chance.uniform(*PAUSED_EVERY)
        await asyncio.sleep(0.05)
    return shown


def table(report: Report) -> str:
    drops = ", ".join(f"{count} {how}" for how, count in sorted(report.drops.items()))
    return "\n".join(
        (
            "| seconds | clients | Redis restarts | runs | views | events seen | connections lost | violations |",
            "|---:|---:|---:|---:|---:|---:|---|---:|",
            f"| {report.seconds:.0f} | {report.clients} | {report.restarts} | {report.runs} | {report.seen} "
            f"| {report.events} | {drops} | {len(report.violations)} |",
        )
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sockets", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=2, help="of Redis")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    clear_environment()
    os.environ |= {"JWT_VERIFY_KEY": JWT_KEY, "AGENTPLAT_BLOCK_MODULES": BLOCK_MODULES}
    with tempfile.TemporaryDirectory(prefix="agentplat-faults-") as home, started(get_settings(), Path(home)) as one:
        report = asyncio.run(watched(one, arguments.seconds, arguments.clients, arguments.restarts, arguments.seed))
    for violation in report.violations[:MOST_SHOWN]:
        say(f"    {violation}\n")
    say(f"{table(report)}\n")
    return int(bool(report.violations))


if __name__ == "__main__":
    sys.exit(main())
