"""A page of 25 runs where there are a million, next to the same page where there are a thousand.

Two ways to a page: `GET /api/executions`, which goes on behind a run that the client names, and the numbered pages of
one graph's runs with their total. Of each the first page, and one from deep inside.
"""

import asyncio
import statistics
from time import perf_counter

import asyncpg
import httpx

from agentplat.accounts import service as accounts
from benchmarks.graphs import chain
from benchmarks.platform import started
from benchmarks.report import Figure, Result, figure

FEW = 1_000
MANY = 1_000_000
PAGE = 25
REQUESTS = 200
ROUNDS = 5
WARM_UP = 50

# Oldest first, a second apart; all in the past, as most runs of most installations are.
FILL = """
    INSERT INTO runs (id, user_id, graph_id, graph_version, root_id, status, request, created_at, started_at, ended_at,
                      deadline, stats, outputs, node_executions)
    SELECT gen_random_uuid()::text, $1, $2, 1, '', 'COMPLETED',
        '{"inputs":{},"shown":{"name":"Ada"},"credential_inputs":{},"nodes_input_masks":{}}',
        now() - interval '1 second' * (3600 + $3 - n), now(), now(), now(), '{"cost":0,"duration":1.5}', '{}', '[]'
    FROM generate_series(1, $3) AS n
"""


def main() -> Result:
    with started() as (platform, _):
        assert platform.settings.database_url is not None
        measured = asyncio.run(_measure(platform.url, platform.settings.database_url))
    (first, baseline), *others = (
        (figure(f"{name}, {MANY:,} runs", "ms", many), figure(f"{name}, {FEW:,} runs", "ms", few))
        for name, many, few in measured
    )
    figures = [first, *(one for pair in others for one in pair)]
    ratios = [_ratio(many, few) for many, few in ((first, baseline), *others)]
    worst = figure("worst ratio of the four", "times", [max(ratios)])
    return Result(
        case="list_executions",
        what=f"GET a page of {PAGE} runs at {MANY:,} runs",
        target=f"<= 1.5 times as long as at {FEW:,} runs",
        figures=[first, worst, *figures[1:]],
        baseline=baseline,
        ratio=baseline.median / first.median,
    )


def _ratio(many: Figure, few: Figure) -> float:
    return many.median / few.median


async def _measure(url: str, database_url: str) -> list[tuple[str, list[float], list[float]]]:
    """Name, times at many and times at few, of each way to a page."""
    connection = await asyncpg.connect(database_url)
    clients = {}
    for runs in (FEW, MANY):
        user = f"bench-{runs}"
        headers = {"Authorization": f"Bearer {accounts.issue_token(user, f'{user}@example.com')}"}
        client = httpx.AsyncClient(base_url=url, headers=headers, timeout=300)
        graph = (await client.post("/api/graphs", json={"graph": chain(1)})).json()["id"]
        await connection.execute(FILL, user, graph, runs, timeout=600)
        clients[runs] = client, graph
    await connection.execute("VACUUM ANALYZE runs", timeout=600)
    paths = {runs: await _paths(connection, graph, runs) for runs, (_, graph) in clients.items()}
    await connection.close()
    measured = []
    for name in paths[FEW]:
        times: dict[int, list[float]] = {FEW: [], MANY: []}
        for _ in range(ROUNDS):
            for runs, (client, _) in clients.items():
                times[runs].append(await _median(client, paths[runs][name]))
        measured.append((name, times[MANY], times[FEW]))
    for client, _ in clients.values():
        await client.aclose()
    return measured


async def _paths(connection: "asyncpg.Connection[asyncpg.Record]", graph: str, runs: int) -> dict[str, str]:
    deep = await connection.fetchval(
        "SELECT id FROM runs WHERE graph_id = $1 ORDER BY created_at, id LIMIT 1 OFFSET $2", graph, runs // 4
    )
    listed, paged = f"/api/executions?page_size={PAGE}", f"/api/graphs/{graph}/executions?page_size={PAGE}"
    return {
        "first page": listed,
        "deep page": f"{listed}&before={deep}",
        "first page of a graph": paged,
        "deep page of a graph": f"{paged}&page={runs * 3 // 4 // PAGE}",
    }


async def _median(client: httpx.AsyncClient, path: str) -> float:
    times = []
    for number in range(WARM_UP + REQUESTS):
        began = perf_counter()
        answer = await client.get(path)
        if number >= WARM_UP:
            times.append((perf_counter() - began) * 1000)
    executions = answer.json()
    assert len(executions if isinstance(executions, list) else executions["executions"]) == PAGE
    return statistics.median(times)
