"""Scores in Postgres. They stand in rows of runs, of which the rest is the engine's business.

Nothing here touches a run that is not final, and the engine touches none that is. A run's figures are replaced only
where they are still what was read, so of two who judge one run at once the first counts.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from agentplat.infra.db import db
from agentplat.scoring.models import AccuracyLatestData, ExecutionAnalyticsRequest, ScoredRun, Survey

_FINAL = "status IN ('COMPLETED', 'FAILED', 'TERMINATED')"
# Bytes of a document that still are read. What is larger is not worth a model's time, nor our memory.
READABLE = 512 * 1024


async def survey(asked: ExecutionAnalyticsRequest, created_after: datetime | None, most: int) -> Survey:
    """One look at all runs of the graph, so it takes time in proportion to them."""
    row = await db().fetchrow(
        f"""
        WITH matching AS MATERIALIZED (
            SELECT id, created_at, correctness_score IS NOT NULL AS scored FROM runs
            WHERE graph_id = $1 AND {_FINAL} AND NOT is_deleted AND stats IS NOT NULL
                AND ($2::int IS NULL OR graph_version = $2) AND ($3::text IS NULL OR user_id = $3)
                AND ($4::timestamptz IS NULL OR created_at >= $4)
        ), older AS MATERIALIZED (
            SELECT * FROM matching WHERE $5::text IS NULL
                OR (created_at, id) < ((SELECT created_at FROM runs WHERE id = $5), $5)
        )
        SELECT (SELECT count(*) FROM matching) AS total,
            (SELECT count(*) FROM matching WHERE scored) AS scored,
            ARRAY(SELECT id FROM older WHERE NOT ($6 AND scored) ORDER BY created_at DESC, id DESC LIMIT $7) AS wanted,
            ARRAY(SELECT id FROM older WHERE $6 AND scored ORDER BY created_at DESC, id DESC LIMIT $7) AS known
        """,
        asked.graph_id,
        asked.graph_version,
        asked.user_id,
        created_after,
        asked.before,
        asked.skip_existing,
        most,
    )
    return Survey(**row)


async def runs(run_ids: Sequence[str], *, documents: bool) -> list[ScoredRun]:
    """The runs in the order of their ids in `run_ids`, with what a model is shown of them if `documents`."""
    read = ", ".join(
        f"CASE WHEN octet_length(r.{name}) <= {READABLE} THEN r.{name} END AS {name}"
        for name in ("request", "outputs", "node_executions")
    )
    rows = await db().fetch(
        f"""
        SELECT r.id, r.user_id, r.graph_id, r.graph_version, r.status, r.started_at, r.ended_at, r.stats,
            COALESCE(g.name, '') AS graph_name {f", {read}" if documents else ""}
        FROM unnest($1::text[]) WITH ORDINALITY AS w (id, place) JOIN runs r ON r.id = w.id
        LEFT JOIN graph_versions g ON (g.id, g.version) = (r.graph_id, r.graph_version)
        ORDER BY w.place
        """,
        list(run_ids),
    )
    return [ScoredRun(**row) for row in rows]


async def write(scores: Sequence[tuple[ScoredRun, float, bytes]]) -> set[str]:
    """Put scores into the runs, and figures that have them. Returns the ids of the runs that took theirs."""
    rows = await db().fetch(
        f"""
        UPDATE runs SET correctness_score = s.score, stats = s.stats
        FROM unnest($1::text[], $2::float8[], $3::bytea[], $4::bytea[]) AS s (id, score, stats, seen)
        WHERE runs.id = s.id AND runs.stats = s.seen AND {_FINAL}
        RETURNING runs.id
        """,
        [run.id for run, _, _ in scores],
        [score for _, score, _ in scores],
        [stats for _, _, stats in scores],
        [run.stats for run, _, _ in scores],
    )
    return {row["id"] for row in rows}


async def trends(
    graph_id: str, user_id: str | None, since: datetime, historical: bool
) -> list[tuple[AccuracyLatestData, float | None]]:
    """Days (UTC) that have runs with a score, newest first, and how far the mean of three has dropped below that of
    seven, in percent. Only the newest day unless `historical`."""
    rows: list[Any] = await db().fetch(
        """
        WITH daily AS (
            SELECT date_trunc('day', created_at, 'UTC') AS date, avg(correctness_score) * 100 AS daily_score FROM runs
            WHERE graph_id = $1 AND created_at >= $3 AND correctness_score IS NOT NULL AND NOT is_deleted
                AND ($2::text IS NULL OR user_id = $2)
            GROUP BY 1
        ), moving AS (
            SELECT date, daily_score,
                avg(daily_score) OVER (ORDER BY date ROWS 2 PRECEDING) AS three_day_avg,
                avg(daily_score) OVER (ORDER BY date ROWS 6 PRECEDING) AS seven_day_avg,
                avg(daily_score) OVER (ORDER BY date ROWS 13 PRECEDING) AS fourteen_day_avg
            FROM daily
        )
        SELECT *, (seven_day_avg - three_day_avg) / NULLIF(seven_day_avg, 0) * 100 AS drop_percent
        FROM moving ORDER BY date DESC LIMIT CASE WHEN $4 THEN NULL ELSE 1 END
        """,
        graph_id,
        user_id,
        since,
        historical,
    )
    found = []
    for row in rows:
        members = dict(row)
        drop = members.pop("drop_percent")
        found.append((AccuracyLatestData(**members), drop))
    return found
