"""The statements that store a run: one below another run, and many that users have started."""

from collections.abc import Sequence

from agentplat.infra.db import db
from agentplat.runs.models import RunRow


async def insert(row: RunRow, parent_fence: int | None = None) -> bool:
    """Store a run that was accepted. One that is there already stays: a sub-run's id follows from its parent.

    False where the parent isn't held under `parent_fence` any more, or is to be stopped.
    """
    return bool(
        await db().fetchval(
            """
            WITH parent AS (
                SELECT FROM runs
                WHERE id = $6 AND fence = $14 AND status = 'RUNNING' AND stop_requested_at IS NULL FOR SHARE
            ), allowed AS (
                SELECT WHERE $14::int IS NULL OR EXISTS (SELECT FROM parent)
            ), stored AS (
                INSERT INTO runs (id, user_id, graph_id, graph_version, preset_id, parent_id, root_id, status, request,
                                  created_at, deadline, parent_activation, depth)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM allowed
                ON CONFLICT (id) DO NOTHING
            )
            SELECT true FROM allowed
            """,
            row.id,
            row.user_id,
            row.graph_id,
            row.graph_version,
            row.preset_id,
            row.parent_id,
            row.root_id,
            row.status,
            row.request,
            row.created_at,
            row.deadline,
            row.parent_activation,
            row.depth,
            parent_fence,
        )
    )


def _insert_many_sql(if_locked: str) -> str:
    return f"""
    WITH given AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY number) AS nth
        FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::bytea[], $7::timestamptz[],
            $8::timestamptz[]) WITH ORDINALITY
            AS given (id, user_id, graph_id, graph_version, preset_id, request, created_at, deadline, number)
    ), kept AS MATERIALIZED (
        -- The lock that the foreign key asks for, in an order in which no two wait for each other.
        SELECT g.id, g.version FROM graph_versions g
        WHERE (g.id, g.version) IN (SELECT graph_id, graph_version FROM given)
        ORDER BY g.id, g.version FOR KEY SHARE {if_locked}
    ), room AS (
        SELECT u.user_id, $9 - (
            SELECT count(*) FROM (
                SELECT FROM runs r WHERE r.user_id = u.user_id AND r.status = 'QUEUED' LIMIT $9) AS waiting
        ) AS runs
        FROM (SELECT DISTINCT user_id FROM given) AS u
    ), judged AS MATERIALIZED (
        SELECT given.*, given.nth <= room.runs AS fits
        FROM given
        JOIN kept ON kept.id = given.graph_id AND kept.version = given.graph_version
        JOIN room ON room.user_id = given.user_id
    ), stored AS (
        INSERT INTO runs (id, user_id, graph_id, graph_version, preset_id, root_id, status, request, created_at,
                          deadline, depth)
        SELECT id, user_id, graph_id, graph_version, preset_id, id, 'QUEUED', request, created_at, deadline, 0
        FROM judged WHERE fits
    )
    SELECT id, fits FROM judged
    """


_INSERT_MANY = _insert_many_sql("")
_INSERT_WITHOUT_WAITING = _insert_many_sql("SKIP LOCKED")


async def insert_many(rows: Sequence[RunRow], most_waiting: int, *, patient: bool = True) -> dict[str, bool]:
    """Store runs that users have started. Returns by id whether there was room for it: those of a user for which there
    is are the first ones. (Statements that come at once may exceed the limit a little.)

    What is left out has no graph any more. Somebody may be just deleting it, for which only the `patient` wait: whoever
    is not leaves out those as well.
    """
    judged = await db().fetch(
        _INSERT_MANY if patient else _INSERT_WITHOUT_WAITING,
        [row.id for row in rows],
        [row.user_id for row in rows],
        [row.graph_id for row in rows],
        [row.graph_version for row in rows],
        [row.preset_id for row in rows],
        [row.request for row in rows],
        [row.created_at for row in rows],
        [row.deadline for row in rows],
        most_waiting,
    )
    return {row["id"]: row["fits"] for row in judged}
