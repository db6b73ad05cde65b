"""Our server and the contender, on the same database, each asked the same in turn."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import msgspec

from agentplat.cli.supervisor import Platform, free_port
from benchmarks.client import Client
from benchmarks.graphs import chain
from benchmarks.platform import started
from benchmarks.report import Figure, Result, figure
from benchmarks.rest.contender import COMPUTED, GIVEN
from benchmarks.rest.load import Outcome, Spec

COMPARED = ("fastapi", "sqlalchemy")
NODES = 20
ROUNDS = 5
# Counted like everybody, and never too many.
UNLIMITED = {"AGENTPLAT_RATE_LIMIT": "1000000000"}
READY_SECONDS = 30


def request(method: str, path: str, token: str, body: bytes = b"", **headers: str) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]) + body.decode()


async def load(spec: Spec, good: int = 200) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.rest.load", msgspec.json.encode(spec).decode(), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    outcome = msgspec.json.decode(output, type=Outcome)
    assert outcome.statuses.keys() == {good}, outcome.statuses
    return outcome


@contextmanager
def contender(platform: Platform, token: str, graph_id: str) -> Iterator[int]:
    """The port of a FastAPI application under granian, started like our server, with one process like ours."""
    headers = {"Authorization": f"Bearer {token}"}
    with tempfile.TemporaryDirectory(prefix="agentplat-bench-") as folder, httpx.Client(headers=headers) as client:
        ours: dict[str, Any] = {
            "graph": client.get(f"{platform.url}/api/graphs/{graph_id}").json(),
            "blocks": client.get(f"{platform.url}/api/blocks").json(),
        }
        given = Path(folder) / "given.json"
        computed = {name: ours["graph"][name] for name in COMPUTED}
        given.write_text(json.dumps({"graph": computed, "blocks": ours["blocks"]}), encoding="utf-8")
        port = free_port()
        command = [*("granian", "--interface", "asgi", "--factory", "--loop", "uvloop", "--log-level", "warning")]
        command += ["--port", str(port), "benchmarks.rest.contender:create"]
        environment = {**os.environ, **platform.env, GIVEN: str(given)}
        environment |= {"DATABASE_URL": str(platform.settings.database_url)}
        environment |= {"JWT_VERIFY_KEY": str(platform.settings.jwt_verify_key)}
        process = subprocess.Popen([sys.executable, "-m", *command], env=environment)
        try:
            _await(client, f"http://127.0.0.1:{port}/openapi.json")
            for path, answer in ((f"/api/graphs/{graph_id}", ours["graph"]), ("/api/blocks", ours["blocks"])):
                theirs = client.get(f"http://127.0.0.1:{port}{path}").json()
                assert theirs == answer, f"{path} is answered differently"
            yield port
        finally:
            process.terminate()
            process.wait()


def _await(client: httpx.Client, url: str) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while True:
        try:
            client.get(url).raise_for_status()
            return
        except httpx.TransportError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def against_contender(case: str, what: str, target: str, path: str, **headers: str) -> Result:
    """`path` may name the graph, which both have."""
    with started(workers=0, env=UNLIMITED) as (platform, token):
        graph_id = asyncio.run(_create(platform.url, token))
        with contender(platform, token, graph_id) as port:
            text = request("GET", path.format(graph_id=graph_id), token, **headers)
            return asyncio.run(compare(case, what, target, text, (platform.settings.port, port)))


async def _create(url: str, token: str) -> str:
    async with Client(url, token) as client:
        return str((await client.create(chain(NODES)))["id"])


async def compare(case: str, what: str, target: str, text: str, ports: tuple[int, int]) -> Result:
    """Ours and theirs in turn, so that a machine that changes its mind does so to both."""
    mine, theirs = [], []
    for _ in range(ROUNDS):
        mine.append(await load(Spec(port=ports[0], request=text)))
        theirs.append(await load(Spec(port=ports[1], request=text)))
    baseline = figure(
        ", ".join(f"{name} {version(name)}" for name in COMPARED), "1/s", [one.per_second for one in theirs]
    )
    ours = figure("requests", "1/s", [one.per_second for one in mine])
    return Result(
        case=case,
        what=what,
        target=target,
        figures=[ours, *_tails("ours", mine), *_tails("theirs", theirs)],
        baseline=baseline,
        ratio=ours.median / baseline.median,
    )


def _tails(whose: str, outcomes: list[Outcome]) -> list[Figure]:
    p50, p99 = [one.p50 for one in outcomes], [one.p99 for one in outcomes]
    return [figure(f"p50, {whose}", "ms", p50), figure(f"p99, {whose}", "ms", p99)]
