"""Graphs and library entries in Postgres. Whose a graph is, is part of every statement that a user's request leads to.

A version is one row: its nodes and links are one JSON document, because they are only ever read and written together.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from agentplat.engine.graph import Link, Node
from agentplat.graphs.models import GraphHead, GraphSettings, GraphVersion, LibraryAgent
from agentplat.graphs.rules.intake import Draft
from agentplat.infra.clock import now
from agentplat.infra.db import db
from agentplat.infra.gathering import Gathering
from agentplat.infra.ids import new_id
from agentplat.infra.serving import using_database

HEAD = (
    "g.id, g.version, g.user_id, g.name, g.description, g.instructions, g.recommended_schedule_cron, g.is_active, "
    "g.forked_from_id, g.forked_from_version, g.created_at"
)

GraphRef = tuple[str, int]
# Whose it must be, and without a version whichever is active.
WantedByUser = tuple[str, str, int | None]

MOST_AT_ONCE = 100


class _Body(Struct, frozen=True):
    nodes: list[Node]
    links: list[Link]


class _Settings(Struct, frozen=True):
    """As stored: null and absence both mean the default."""

    human_in_the_loop_safe_mode: bool | None = None
    sensitive_action_safe_mode: bool | None = None
    run_deadline_seconds: int | None = None


_encode = msgspec.json.Encoder().encode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_settings = msgspec.json.Decoder(_Settings).decode


def _head(row: Any) -> GraphHead:
    return GraphHead(**dict(row))


def _version(row: Any) -> GraphVersion:
    members = dict(row)
    encoded = members.pop("body")
    body = _decode_body(encoded)
    return GraphVersion(**members, nodes=body.nodes, links=body.links, size=len(encoded))


async def get(graph_id: str, version: int) -> GraphVersion | None:
    """For the platform's own use: whoever calls this has already decided that the graph may be seen."""
    row = await db().fetchrow(
        f"SELECT {HEAD}, g.body FROM graph_versions g WHERE id = $1 AND version = $2", graph_id, version
    )
    return _version(row) if row else None


async def get_own(user_id: str, graph_id: str, version: int | None) -> GraphVersion | None:
    """Without a version: the highest, whatever is active."""
    row = await db().fetchrow(
        f"SELECT {HEAD}, g.body FROM graph_versions g WHERE id = $1 AND user_id = $2 "
        "AND ($3::int IS NULL OR version = $3) ORDER BY version DESC LIMIT 1",
        graph_id,
        user_id,
        version,
    )
    return _version(row) if row else None


async def get_many(user_id: str, refs: Iterable[GraphRef]) -> list[GraphVersion]:
    ids, versions = _columns(refs)
    rows = await db().fetch(
        f"SELECT {HEAD}, g.body FROM graph_versions g "
        "JOIN unnest($2::text[], $3::int[]) AS wanted (id, version) ON g.id = wanted.id AND g.version = wanted.version "
        "WHERE g.user_id = $1 ORDER BY g.id, g.version",
        user_id,
        ids,
        versions,
    )
    return [_version(row) for row in rows]


async def own_refs(user_id: str, refs: Iterable[GraphRef]) -> set[GraphRef]:
    """Those of `refs` that exist and are the user's."""
    ids, versions = _columns(refs)
    rows = await db().fetch(
        "SELECT g.id, g.version FROM graph_versions g "
        "JOIN unnest($2::text[], $3::int[]) AS wanted (id, version) ON g.id = wanted.id AND g.version = wanted.version "
        "WHERE g.user_id = $1",
        user_id,
        ids,
        versions,
    )
    return {(row["id"], row["version"]) for row in rows}


async def known_origins(user_id: str, refs: Iterable[GraphRef], graph_id: str | None) -> set[GraphRef]:
    """Those of `refs` that are the user's, or that a version of the user's graph `graph_id` was forked from."""
    ids, versions = _columns(refs)
    rows = await db().fetch(
        "SELECT id, version FROM unnest($2::text[], $3::int[]) AS wanted (id, version) "
        "WHERE EXISTS (SELECT FROM graph_versions g "
        "WHERE g.id = wanted.id AND g.version = wanted.version AND g.user_id = $1) "
        "OR EXISTS (SELECT FROM graph_versions g WHERE g.id = $4 AND g.user_id = $1 "
        "AND g.forked_from_id = wanted.id AND g.forked_from_version = wanted.version)",
        user_id,
        ids,
        versions,
        graph_id,
    )
    return {(row["id"], row["version"]) for row in rows}


def _columns(refs: Iterable[GraphRef]) -> tuple[list[str], list[int]]:
    pairs = list(refs)
    return [graph_id for graph_id, _ in pairs], [version for _, version in pairs]


async def active_heads(user_id: str, limit: int) -> list[GraphHead]:
    rows = await db().fetch(
        f"SELECT {HEAD} FROM graph_versions g WHERE user_id = $1 AND is_active ORDER BY version DESC, id LIMIT $2",
        user_id,
        limit,
    )
    return [_head(row) for row in rows]


async def search(user_id: str, words: Sequence[str], limit: int) -> list[LibraryAgent]:
    """Agents of the user's library that have each of the words in name or description: first those that have all in
    the name, then what was changed last."""
    rows = await db().fetch(
        "SELECT l.id, g.id AS graph_id, g.name, g.description FROM library_agents l JOIN LATERAL ("
        "SELECT id, name, description FROM graph_versions WHERE id = l.graph_id AND user_id = $1 "
        "ORDER BY is_active DESC, version DESC LIMIT 1) AS g ON true "
        "WHERE l.user_id = $1 AND NOT l.is_deleted AND NOT l.is_archived AND NOT EXISTS ("
        "SELECT FROM unnest($2::text[]) AS w WHERE position(lower(w) IN lower(g.name || ' ' || g.description)) = 0) "
        "ORDER BY EXISTS (SELECT FROM unnest($2::text[]) AS w WHERE position(lower(w) IN lower(g.name)) = 0), "
        "l.updated_at DESC, l.id LIMIT $3",
        user_id,
        list(words),
        limit,
    )
    return [LibraryAgent(**row) for row in rows]


async def versions(user_id: str, graph_id: str, limit: int) -> list[GraphVersion]:
    rows = await db().fetch(
        f"SELECT {HEAD}, g.body FROM graph_versions g WHERE id = $1 AND user_id = $2 ORDER BY version DESC LIMIT $3",
        graph_id,
        user_id,
        limit,
    )
    return [_version(row) for row in rows]


async def lock(user_id: str, graph_id: str) -> int | None:
    """Keep others from changing this graph until the transaction ends. The highest version, None if there is none.

    The lock is on the lowest version, which is always there. The highest has to be read by a second statement: the
    first one does not see a version that was committed while it waited.
    """
    locked = await db().fetchval(
        "SELECT version FROM graph_versions WHERE id = $1 AND user_id = $2 ORDER BY version LIMIT 1 FOR NO KEY UPDATE",
        graph_id,
        user_id,
    )
    if locked is None:
        return None
    highest: int | None = await db().fetchval("SELECT max(version) FROM graph_versions WHERE id = $1", graph_id)
    return highest


async def hold(user_id: str, graph_id: str) -> None:
    """Keep others from storing anything that refers to a version of this graph until the transaction ends."""
    await db().execute("SELECT FROM graph_versions WHERE id = $1 AND user_id = $2 FOR UPDATE", graph_id, user_id)


async def insert(user_id: str, drafts: Sequence[Draft]) -> list[GraphVersion]:
    moment = now()
    stored: list[GraphVersion] = []
    rows: list[tuple[Any, ...]] = []
    for draft in drafts:
        body = _encode(_Body(draft.nodes, draft.links))
        stored.append(GraphVersion(**msgspec.structs.asdict(draft), user_id=user_id, created_at=moment, size=len(body)))
        rows.append(
            (
                draft.id,
                draft.version,
                user_id,
                draft.name,
                draft.description,
                draft.instructions,
                draft.recommended_schedule_cron,
                draft.is_active,
                draft.forked_from_id,
                draft.forked_from_version,
                moment,
                body,
            )
        )
    await db().executemany(
        "INSERT INTO graph_versions (id, version, user_id, name, description, instructions, recommended_schedule_cron, "
        "is_active, forked_from_id, forked_from_version, created_at, body) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        rows,
    )
    return stored


async def deactivate(graph_id: str) -> None:
    await db().execute("UPDATE graph_versions SET is_active = false WHERE id = $1 AND is_active", graph_id)


async def activate(graph_id: str, version: int) -> bool:
    done = await db().execute(
        "UPDATE graph_versions SET is_active = true WHERE id = $1 AND version = $2", graph_id, version
    )
    return done == "UPDATE 1"


async def delete(user_id: str, graph_id: str) -> int:
    """Library entries and runs of the graph go with it, by foreign key."""
    done = await db().execute("DELETE FROM graph_versions WHERE id = $1 AND user_id = $2", graph_id, user_id)
    return int(done.removeprefix("DELETE "))


# --- the library


async def put_in_library(user_id: str, refs: Iterable[GraphRef]) -> None:
    """Point the user's entries at these versions. A deleted entry comes back: the graph is in use again."""
    ids, numbers = _columns(refs)
    await db().execute(
        "INSERT INTO library_agents (id, user_id, graph_id, graph_version, is_created_by_user) "
        "SELECT given.id, $1, given.graph_id, given.version, true "
        "FROM unnest($2::text[], $3::text[], $4::int[]) AS given (id, graph_id, version) "
        "ON CONFLICT (user_id, graph_id) DO UPDATE "
        "SET graph_version = EXCLUDED.graph_version, is_deleted = false, updated_at = now()",
        user_id,
        [new_id() for _ in ids],
        ids,
        numbers,
    )


class Access(NamedTuple):
    """The version that a run would use, whether the graph is in the user's library, and how it is set there."""

    version: int
    in_library: bool
    settings: GraphSettings


async def access(wanted: Iterable[WantedByUser]) -> dict[WantedByUser, Access]:
    """What runs of the users would use; graphs that aren't theirs are left out."""
    refs = list(wanted)
    rows = await db().fetch(
        "SELECT w.user_id, w.id, w.version AS wanted, found.* "
        "FROM unnest($1::text[], $2::text[], $3::int[]) AS w (user_id, id, version) "
        "CROSS JOIN LATERAL ("
        "SELECT g.version, l.settings, l.graph_id IS NOT NULL AND NOT l.is_archived AS in_library "
        "FROM graph_versions g "
        "LEFT JOIN library_agents l ON l.user_id = w.user_id AND l.graph_id = w.id AND NOT l.is_deleted "
        "WHERE g.id = w.id AND g.user_id = w.user_id AND (w.version IS NULL OR g.version = w.version) "
        "ORDER BY g.is_active DESC, g.version DESC LIMIT 1) AS found",
        [user_id for user_id, _, _ in refs],
        [graph_id for _, graph_id, _ in refs],
        [version for _, _, version in refs],
    )
    found = {(row["user_id"], row["id"], row["wanted"]): row for row in rows}
    return {ref: Access(row["version"], row["in_library"], _settings(row["settings"])) for ref, row in found.items()}


async def access_of(wanted: WantedByUser) -> Access | None:
    """The same of one; in one statement with what others ask for at the same time, which reads and so waits for nobody.

    Within a transaction it is that one's, which may see more.
    """
    if db().in_transaction:
        return (await access([wanted])).get(wanted)
    with using_database():
        return await _accesses.ask(wanted)


async def _access_many(wanted: list[WantedByUser]) -> list[Access | None]:
    found = await access(set(wanted))
    return [found.get(one) for one in wanted]


_accesses = Gathering(_access_many, MOST_AT_ONCE)


async def settings(user_id: str, graph_id: str, *, for_update: bool = False) -> GraphSettings | None:
    stored = await db().fetchval(
        "SELECT settings FROM library_agents WHERE user_id = $1 AND graph_id = $2 AND NOT is_deleted"
        + (" FOR UPDATE" if for_update else ""),
        user_id,
        graph_id,
    )
    return None if stored is None else _settings(stored)


def _settings(stored: str | None) -> GraphSettings:
    if stored is None:
        return GraphSettings()
    try:
        known = _decode_settings(stored)
    except msgspec.DecodeError:
        known = _Settings()
    given = {name: value for name, value in msgspec.structs.asdict(known).items() if value is not None}
    return GraphSettings(**given)


async def store_settings(user_id: str, graph_id: str, changed: GraphSettings) -> None:
    await db().execute(
        "UPDATE library_agents SET settings = $3, updated_at = now() WHERE user_id = $1 AND graph_id = $2",
        user_id,
        graph_id,
        _encode(changed).decode(),
    )
