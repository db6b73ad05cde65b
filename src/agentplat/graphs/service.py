"""Graphs: kept in immutable versions, checked before they are stored, prepared before they run."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from msgspec import UNSET, Struct
from msgspec.structs import replace

from agentplat.accounts.models import User
from agentplat.blocks import service as blocks
from agentplat.engine.compile import CompileError, Problem, compile_graph
from agentplat.engine.plan import Plan
from agentplat.events import facts
from agentplat.graphs import queries
from agentplat.graphs.errors import (
    GraphIdMismatch,
    GraphInvalid,
    GraphNotFound,
    GraphNotInLibrary,
    GraphNotRunnable,
    NodeErrors,
)
from agentplat.graphs.events import GraphSaved
from agentplat.graphs.models import (
    MAX_VERSION,
    CreateGraph,
    DeleteGraphResponse,
    Graph,
    GraphMeta,
    GraphModel,
    GraphSettings,
    GraphSettingsPatch,
    GraphVersion,
    JsonObject,
    LibraryAgent,
    Prepared,
)
from agentplat.graphs.rules import checks, credentials, intake, nesting, views
from agentplat.graphs.rules.intake import Draft
from agentplat.infra.errors import AppError
from agentplat.infra.ids import is_id, new_id
from agentplat.infra.lru import LRU
from agentplat.infra.uow import unit_of_work
from agentplat.integrations import service as integrations

MAX_LISTED = 250
MAX_VERSIONS_LISTED = 50
# Who has that many is helped by the first ones.
MAX_WARNINGS = 100
# Of a search.
MAX_WORDS = 16

GraphRef = tuple[str, int]
# Without a version: whichever is active.
WantedRef = tuple[str, int | None]
RunnableVersion = tuple[GraphVersion, GraphSettings]
KnownCredentials = Mapping[str, credentials.Known | None]


class _Runnable(Struct, frozen=True):
    """What is the same for every run of one version."""

    plan: Plan
    sub_graphs: list[GraphVersion]
    groups: dict[str, credentials.Group]
    node_errors: NodeErrors


# All keyed by (id, version), whose contents never change. Weights are bytes of stored JSON, except for `_shown`.
_versions: LRU[GraphRef, GraphVersion] = LRU(32 * 1024 * 1024)
_runnables: LRU[GraphRef, _Runnable] = LRU(32 * 1024 * 1024)
_shown: LRU[GraphRef, tuple[views.Computed, JsonObject]] = LRU(4096)


# --- reading


async def get(user: User, graph_id: str, version: int | None = None, *, for_export: bool = False) -> GraphModel:
    graph = await queries.get_own(user.id, graph_id, version) if is_id(graph_id) else None
    if graph is None:
        raise GraphNotFound(graph_id, version)
    parts = [graph, *await _sub_graphs(graph)]
    if for_export:
        parts = [views.exported(part, blocks.specs()) for part in parts]
    return views.model(parts[0], parts[1:], blocks.specs())


async def list_(user: User) -> list[GraphMeta]:
    """The active versions of the user's graphs, without sub-graphs. What they compute is remembered, so that a list
    reads no bodies the second time."""
    heads = await queries.active_heads(user.id, MAX_LISTED)
    missing = [(head.id, head.version) for head in heads if _shown.get((head.id, head.version)) is None]
    fresh: dict[GraphRef, tuple[views.Computed, JsonObject]] = {}
    for graph in await queries.get_many(user.id, missing) if missing else ():
        shown = views.computed(graph, blocks.specs()), views.needed_credentials(graph, (), blocks.specs())
        fresh[graph.id, graph.version] = shown
        _shown.put((graph.id, graph.version), shown)
    found = ((head, fresh.get((head.id, head.version)) or _shown.get((head.id, head.version))) for head in heads)
    return [views.meta(head, *shown) for head, shown in found if shown]


async def search(user: User, query: str, limit: int) -> list[LibraryAgent]:
    """Agents at the user's hand that have each word of the query in name or description, the best first."""
    words = query.replace("\0", " ").split()
    return await queries.search(user.id, words[:MAX_WORDS], limit) if words else []


async def versions(user: User, graph_id: str) -> list[GraphModel]:
    found = await queries.versions(user.id, graph_id, MAX_VERSIONS_LISTED) if is_id(graph_id) else []
    if not found:
        raise GraphNotFound(graph_id)
    return [views.model(graph, (), blocks.specs()) for graph in found]


async def _sub_graphs(graph: GraphVersion) -> list[GraphVersion]:
    """All graphs that agent nodes run, at any depth, as far as they belong to the same user. One query per depth."""
    seen = {(graph.id, graph.version)}
    found: list[GraphVersion] = []
    level = nesting.refs(graph.nodes, blocks.specs()) - seen
    while level:
        seen |= level
        deeper = await queries.get_many(graph.user_id, level)
        found += deeper
        level = {ref for part in deeper for ref in nesting.refs(part.nodes, blocks.specs())} - seen
    return found


# --- changing


async def create(user: User, request: CreateGraph) -> GraphModel:
    """Store a graph and its sub-graphs under ids of their own.

    The version is kept: whoever imports version 58 expects to find 58. So is `is_active`, except for an uploaded file:
    there it says what was true elsewhere, and a graph without an active version could not be found in the list.
    """
    specs = blocks.specs()
    drafts = intake.complete(request.graph, user.id, specs, new_id)
    if request.source == "upload":
        drafts = [replace(draft, is_active=True) for draft in drafts]
    await _check(user, drafts)
    drafts = await _with_known_origins(user, drafts)
    graph_ids = {draft.id: new_id() for draft in drafts}
    drafts = intake.renumber(drafts, lambda graph_id, _: graph_ids.get(graph_id, graph_id), specs, new_id)
    drafts = intake.one_active(drafts)
    async with unit_of_work():
        stored = await queries.insert(user.id, drafts)
        await queries.put_in_library(user.id, intake.newest(drafts))
    await facts.tell(GraphSaved(user_id=user.id, source=request.source))
    return await _just_stored(stored)


async def update(user: User, graph_id: str, graph: Graph) -> GraphModel:
    """Store the next version.

    Sub-graphs that the user has already are what a client was shown before, and stay as they are, since versions do
    not change; others are stored as new graphs.
    """
    if graph.id and graph.id != graph_id:
        raise GraphIdMismatch
    if not is_id(graph_id):
        raise GraphNotFound(graph_id)
    specs = blocks.specs()
    drafts = intake.complete(replace(graph, id=graph_id), user.id, specs, new_id)
    await _check(user, drafts)
    drafts = await _with_known_origins(user, drafts, graph_id)
    async with unit_of_work():
        latest = await queries.lock(user.id, graph_id)
        if latest is None:
            raise GraphNotFound(graph_id)
        if latest >= MAX_VERSION:
            raise GraphInvalid([Problem(f"Version {latest} is the highest there can be")])
        known = await queries.own_refs(user.id, [(part.id, part.version) for part in drafts[1:] if is_id(part.id)])
        added = [part for part in drafts[1:] if (part.id, part.version) not in known]
        new_ids = {part.id: new_id() for part in added}
        # By version, since what the user has may be one of the same graph, and even one of this. A list, because what
        # a node names as a version may be anything.
        refs = [(part.id, part.version) for part in added]
        drafts = [replace(drafts[0], version=latest + 1), *added]
        drafts = intake.renumber(drafts, lambda one, at: new_ids[one] if (one, at) in refs else one, specs, new_id)
        drafts = intake.one_active([replace(drafts[0], id=graph_id), *drafts[1:]])
        if drafts[0].is_active:
            await queries.deactivate(graph_id)
        stored = await queries.insert(user.id, drafts)
        await queries.put_in_library(user.id, intake.newest(drafts if drafts[0].is_active else drafts[1:]))
    return await _just_stored(stored)


async def _just_stored(stored: Sequence[GraphVersion]) -> GraphModel:
    """The first graph as it is shown to who has stored them all, with what is suspicious about any of them."""
    specs = blocks.specs()
    parts = await _sub_graphs(stored[0])
    shown = views.model(stored[0], parts, specs)
    found = nesting.warnings(stored, parts, specs)
    return replace(shown, warnings=found[:MAX_WARNINGS]) if found else shown


async def set_active(user: User, graph_id: str, version: int) -> None:
    async with unit_of_work():
        latest = await queries.lock(user.id, graph_id) if is_id(graph_id) else None
        if latest is None:
            raise GraphNotFound(graph_id)
        await queries.deactivate(graph_id)
        if not await queries.activate(graph_id, version):
            raise GraphNotFound(graph_id, version)
        await queries.put_in_library(user.id, [(graph_id, version)])


hold = queries.hold


async def delete(user: User, graph_id: str) -> DeleteGraphResponse:
    """All versions, with their library entries and runs, whatever those are doing: see `runs.removal`. Zero when there
    was nothing of the user's to delete."""
    return DeleteGraphResponse(version_counts=await queries.delete(user.id, graph_id) if is_id(graph_id) else 0)


async def change_settings(user: User, graph_id: str, changes: GraphSettingsPatch) -> GraphSettings:
    defaults = GraphSettings()
    async with unit_of_work():
        current = await queries.settings(user.id, graph_id, for_update=True) if is_id(graph_id) else None
        if current is None:
            raise GraphNotFound(graph_id)
        for name in changes.__struct_fields__:
            value = getattr(changes, name)
            if value is not UNSET:
                current = replace(current, **{name: getattr(defaults, name) if value is None else value})
        await queries.store_settings(user.id, graph_id, current)
    return current


async def _check(user: User, drafts: Sequence[Draft]) -> None:
    """Raise GraphInvalid with everything that is wrong, before anything is stored."""
    specs = blocks.specs()
    problems = intake.problems(drafts, specs)
    mentioned = [use for draft in drafts for use in credentials.mentions(draft.nodes, specs)]
    known = await _look_up(user.id, credentials.ids(mentioned))
    for use in mentioned:
        if use.credentials_id is None or known[use.credentials_id] is None:
            message = f"Node #{use.node_id} input '{use.field}' updated with non-existent credentials"
            problems.append(Problem(f"{message} #{use.credentials_id}", use.node_id, use.field))
    if problems:
        raise GraphInvalid(problems)


async def _with_known_origins(user: User, drafts: list[Draft], graph_id: str | None = None) -> list[Draft]:
    """What a file from elsewhere says that it was forked from means nothing here, unless the user has that, or it is
    what `graph_id` was forked from."""
    claimed = [draft.origin for draft in drafts if draft.origin]
    known = await queries.known_origins(user.id, claimed, graph_id) if claimed else set()
    return [
        draft if draft.origin in known else replace(draft, forked_from_id=None, forked_from_version=None)
        for draft in drafts
    ]


# --- running


async def load(graph_id: str, version: int) -> GraphVersion:
    """A version whoever it belongs to: for the platform itself, after `runnable` has let the user through."""
    if cached := _versions.get((graph_id, version)):
        return cached
    graph = await queries.get(graph_id, version)
    if graph is None:
        raise GraphNotFound(graph_id, version)
    _versions.put((graph_id, version), graph, graph.size)
    return graph


async def plan(graph_id: str, version: int) -> Plan:
    """Raises GraphInvalid when the graph uses blocks that this process does not have (any more)."""
    return (await _runnable(await load(graph_id, version))).plan


async def runnable(user_id: str, graph_id: str, version: int | None = None) -> tuple[GraphVersion, GraphSettings]:
    """The version that a run of this user would use, the one asked for, else the active one; and how such runs behave.

    A graph that is unknown and one that is somebody else's get the same answer.
    """
    ref = (graph_id, version)
    access = await queries.access_of((user_id, *ref)) if _could_exist(*ref) else None
    loaded = {} if access is None else await _load_own(user_id, [(graph_id, access.version)])
    found = _judged(ref, access, loaded)
    if isinstance(found, AppError):
        raise found
    return found


async def runnables(user_id: str, wanted: Iterable[WantedRef]) -> dict[WantedRef, RunnableVersion | AppError]:
    """The same of many at once, in two statements: each version, or why there is none."""
    asked = set(wanted)
    known = [(user_id, *ref) for ref in asked if _could_exist(*ref)]
    found = await queries.access(known) if known else {}
    loaded = await _load_own(user_id, {(graph_id, one.version) for (_, graph_id, _), one in found.items()})
    return {ref: _judged(ref, found.get((user_id, *ref)), loaded) for ref in asked}


def _judged(
    ref: WantedRef, access: queries.Access | None, loaded: Mapping[GraphRef, GraphVersion]
) -> RunnableVersion | AppError:
    graph_id, version = ref
    graph = None if access is None else loaded.get((graph_id, access.version))
    if access is None or graph is None:
        return GraphNotFound(graph_id, version)
    if not access.in_library:
        return GraphNotInLibrary(f"Graph #{graph_id} is not in your library")
    return graph, access.settings


async def _load_own(user_id: str, refs: Iterable[GraphRef]) -> dict[GraphRef, GraphVersion]:
    cached = {ref: _versions.get(ref) for ref in refs}
    loaded = {ref: graph for ref, graph in cached.items() if graph is not None}
    if missing := cached.keys() - loaded.keys():
        for graph in await queries.get_many(user_id, missing):
            loaded[graph.id, graph.version] = graph
            _versions.put((graph.id, graph.version), graph, graph.size)
    return loaded


async def runnable_within(user_id: str, graph_id: str, version: int) -> GraphVersion:
    """The version that a run of this user may start from within: its own, in the library or not."""
    if not _could_exist(graph_id, version) or not await queries.access_of((user_id, graph_id, version)):
        raise GraphNotFound(graph_id)
    return await load(graph_id, version)


def _could_exist(graph_id: str, version: int | None) -> bool:
    return is_id(graph_id) and (version is None or 0 < version <= MAX_VERSION)


async def known_credentials(user_id: str, graphs: Iterable[GraphVersion], given: Iterable[str]) -> KnownCredentials:
    """What runs of these graphs that are `given` such ids may have to know of credentials, in one statement."""
    distinct = {(graph.id, graph.version): graph for graph in graphs}
    mentioned = [use for graph in distinct.values() for use in credentials.mentions(graph.nodes, blocks.specs())]
    return await _look_up(user_id, credentials.ids(mentioned).union(given))


async def prepare_run(
    user_id: str,
    graph: GraphVersion,
    credentials_inputs: Mapping[str, JsonObject],
    nodes_input_masks: Mapping[str, JsonObject],
    known: KnownCredentials = MappingProxyType({}),
) -> Prepared:
    """Spread credentials over the nodes and check that every node has what it needs. Raises GraphNotRunnable.

    Credentials of sub-graph nodes are given here and checked when the sub-graph starts. What is `known` isn't asked.
    """
    shared = await _runnable(graph)
    masks = credentials.spread(shared.groups, credentials_inputs)
    for node_id, mask in nodes_input_masks.items():
        masks[node_id] = masks.get(node_id, {}) | mask
    errors = {node_id: dict(fields) for node_id, fields in shared.node_errors.items() if node_id not in masks}
    if masks:
        # Only nodes whose constants this run overrides need another look.
        for part in (graph, *shared.sub_graphs):
            touched = [node for node in part.nodes if node.id in masks]
            errors |= checks.graph_errors(touched, part.links, blocks.specs(), masks, for_run=True)
    used = credentials.uses(graph.nodes, blocks.specs(), masks)
    known = {**known, **await _look_up(user_id, credentials.ids(used) - known.keys())}
    credential_errors, skipped = credentials.judge(used, known)
    for node_id, fields in credential_errors.items():
        errors.setdefault(node_id, {}).update(fields)
    if errors:
        raise GraphNotRunnable(errors)
    return Prepared(masks=masks, nodes_to_skip=skipped)


async def _runnable(graph: GraphVersion) -> _Runnable:
    key = (graph.id, graph.version)
    if cached := _runnables.get(key):
        return cached
    specs = blocks.specs()
    try:
        compiled = compile_graph(graph.nodes, graph.links, specs)
    except CompileError as error:
        raise GraphInvalid(error.problems) from error
    sub_graphs = await _sub_graphs(graph)
    parts = (graph, *sub_graphs)
    errors: NodeErrors = {}
    for part in parts:
        errors |= checks.graph_errors(part.nodes, part.links, specs, {}, for_run=True)
    shared = _Runnable(
        plan=compiled,
        sub_graphs=sub_graphs,
        groups=credentials.groups([node for part in parts for node in part.nodes], specs),
        node_errors=errors,
    )
    _runnables.put(key, shared, sum(part.size for part in parts))
    return shared


async def _look_up(user_id: str, ids: Collection[str]) -> KnownCredentials:
    found = await integrations.find(user_id, ids)
    return {one: credentials.Known(found[one].provider, found[one].type) if one in found else None for one in ids}
