"""What runs need of graphs, on the real database."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.graphs import service
from agentplat.graphs.errors import GraphInvalid, GraphNotFound, GraphNotInLibrary, GraphNotRunnable
from agentplat.graphs.models import (
    CreateGraph,
    Graph,
    GraphModel,
    GraphSettings,
    GraphSettingsPatch,
    GraphVersion,
)
from agentplat.infra import settings as settings_module
from agentplat.infra.db import Database
from tests.support.api import NOBODYS_ID, echo_graph
from tests.support.graphs import OUTPUT, STORE
from tests.support.shared import agent_files, needs_shared

ANN, BOB = User(id="ann"), User(id="bob")
LLM = "1f292d4a-41a4-4977-9684-7c8d560b9f91"
SYSTEM_OPENAI = {"id": "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a", "provider": "openai", "type": "api_key"}
GROUP = "openai_api_key_credentials"


@pytest.fixture(autouse=True)
async def _users(db: Database) -> None:
    accounts.forget_users()
    for user in (ANN, BOB):
        await accounts.ensure_user(user)


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    settings_module.get_settings.cache_clear()
    yield
    monkeypatch.undo()
    settings_module.get_settings.cache_clear()


async def create(user: User = ANN, **members: Any) -> GraphModel:
    return await service.create(user, msgspec.convert({"graph": echo_graph(**members)}, CreateGraph))


async def loaded(graph: GraphModel) -> GraphVersion:
    return await service.load(graph.id, graph.version)


async def test_an_origin_counts_if_the_user_has_it(db: Database) -> None:
    mine, theirs = await create(), await create(BOB)
    copy = await create(forked_from_id=mine.id, forked_from_version=1)
    assert (copy.forked_from_id, copy.forked_from_version) == (mine.id, 1)
    for origin in ((NOBODYS_ID, 1), (theirs.id, 1), (mine.id, 2), (mine.id, None), ("\0", 1)):
        stranger = await create(forked_from_id=origin[0], forked_from_version=origin[1])
        assert (stranger.forked_from_id, stranger.forked_from_version) == (None, None)
    # What is on record as the origin stays so, whatever has become of it.
    await service.delete(ANN, mine.id)
    sent = echo_graph(id=copy.id, forked_from_id=mine.id, forked_from_version=1)
    newer = await service.update(ANN, copy.id, msgspec.convert(sent, Graph))
    assert (newer.version, newer.forked_from_id, newer.forked_from_version) == (2, mine.id, 1)


async def test_a_run_uses_the_active_version_unless_told_otherwise() -> None:
    graph = await create(version=4)
    newer = msgspec.convert(echo_graph(is_active=False), Graph)
    await service.update(ANN, graph.id, newer)
    assert (await service.runnable("ann", graph.id))[0].version == 4
    assert (await service.runnable("ann", graph.id, 5))[0].version == 5


@pytest.mark.parametrize("version", [None, 1, 0, -1, 2, 2**40])
async def test_who_may_not_see_a_graph_can_not_tell_it_from_none(version: int | None) -> None:
    graph = await create()
    for graph_id in (graph.id, NOBODYS_ID, "", "\0"):
        with pytest.raises(GraphNotFound) as found:
            await service.runnable("bob", graph_id, version)
        assert str(found.value) == f"Graph #{graph_id} not found."
        assert found.value.hint == (None if version is None else f"Version {version} of it was asked for.")


@pytest.mark.parametrize("column", ["is_deleted", "is_archived"])
async def test_a_run_needs_a_library_entry(db: Database, column: str) -> None:
    graph = await create()
    await db.execute(f"UPDATE library_agents SET {column} = true")
    with pytest.raises(GraphNotInLibrary):
        await service.runnable("ann", graph.id)
    await service.set_active(ANN, graph.id, 1)
    if column == "is_deleted":
        assert (await service.runnable("ann", graph.id))[0].id == graph.id


async def test_loading_twice_is_one_query_and_the_plan_is_shared(db: Database) -> None:
    graph = await create()
    assert await loaded(graph) is await loaded(graph)
    assert await service.plan(graph.id, 1) is await service.plan(graph.id, 1)
    assert [node.id for node in (await service.plan(graph.id, 1)).nodes] == [node.id for node in graph.nodes]
    with pytest.raises(GraphNotFound):
        await service.load(NOBODYS_ID, 1)


async def test_a_graph_whose_block_is_gone_is_shown_and_does_not_run(db: Database) -> None:
    graph = await create()
    await db.execute(
        "UPDATE graph_versions SET body = convert_to(replace(convert_from(body, 'UTF8'), $1, 'removed'), 'UTF8')", STORE
    )
    assert (await service.get(ANN, graph.id)).nodes[1].block_id == "removed"
    with pytest.raises(GraphInvalid, match="Invalid block removed for node"):
        await service.plan(graph.id, 1)


async def test_a_run_goes_by_the_settings_of_its_graph() -> None:
    graph = await create()
    assert (await service.runnable("ann", graph.id))[1] == GraphSettings()
    changed = await service.change_settings(ANN, graph.id, GraphSettingsPatch(run_deadline_seconds=60))
    assert (await service.runnable("ann", graph.id))[1] == changed


async def test_a_node_that_is_not_filled_in_is_named() -> None:
    node = {"id": "n", "block_id": OUTPUT, "input_default": {"name": "x"}}
    lacking = {"id": "m", "block_id": "db7d8f02-2f44-4c55-ab7a-eae0941f0c30"}
    graph = await create(nodes=[node, lacking], links=[])
    node_id = graph.nodes[1].id
    with pytest.raises(GraphNotRunnable) as refused:
        await service.prepare_run("ann", await loaded(graph), {}, {})
    assert refused.value.detail["type"] == "validation_error"
    assert refused.value.detail["message"].startswith("Graph validation failed: ")
    assert "This field is required" in refused.value.node_errors[node_id].values()
    assert f"\n  {node_id}:\n    " in str(refused.value)
    mask = {name: {} if name == "values" else "text" for name in refused.value.node_errors[node_id]}
    prepared = await service.prepare_run("ann", await loaded(graph), {}, {node_id: mask})
    assert prepared.masks == {node_id: mask}


async def test_credentials_of_a_run_reach_the_nodes_of_their_group(openai_key: None) -> None:
    nodes = [
        {"id": "a", "block_id": LLM, "input_default": {"prompt": "hi", "model": "gpt-4o-mini"}},
        {
            "id": "b",
            "block_id": LLM,
            "input_default": {"prompt": "hi", "model": "gpt-4o-mini"},
            "metadata": {"credentials_optional": True},
        },
    ]
    graph = await create(nodes=nodes, links=[])
    assert graph.credentials_input_schema["required"] == [GROUP]
    first, second = (node.id for node in graph.nodes)
    with pytest.raises(GraphNotRunnable) as refused:
        await service.prepare_run("ann", await loaded(graph), {}, {})
    assert refused.value.node_errors == {first: {"credentials": "These credentials are required"}}
    prepared = await service.prepare_run("ann", await loaded(graph), {GROUP: SYSTEM_OPENAI}, {})
    assert prepared.masks == {first: {"credentials": SYSTEM_OPENAI}, second: {"credentials": SYSTEM_OPENAI}}
    assert prepared.nodes_to_skip == []
    only_first = {first: {"credentials": SYSTEM_OPENAI}}
    assert (await service.prepare_run("ann", await loaded(graph), {}, only_first)).nodes_to_skip == [second]
    with pytest.raises(GraphNotRunnable, match="Unknown credentials #nope"):
        await service.prepare_run("ann", await loaded(graph), {GROUP: SYSTEM_OPENAI | {"id": "nope"}}, {})


async def test_credentials_that_do_not_exist_are_refused_before_anything_is_stored(
    db: Database, openai_key: None
) -> None:
    def nodes(credentials_id: str) -> list[dict[str, Any]]:
        constants = {"prompt": "hi", "model": "gpt-4o-mini", "credentials": SYSTEM_OPENAI | {"id": credentials_id}}
        return [{"id": "a", "block_id": LLM, "input_default": constants}]

    message = "Node #a input 'credentials' updated with non-existent credentials #nope"
    with pytest.raises(GraphInvalid, match=message):
        await create(nodes=nodes("nope"), links=[])
    assert await db.fetchval("SELECT count(*) FROM graph_versions") == 0
    assert await create(nodes=nodes(SYSTEM_OPENAI["id"]), links=[])


@needs_shared
@pytest.mark.parametrize("file", agent_files(), ids=lambda file: file.stem)
async def test_a_real_export_is_imported_or_its_missing_block_or_pin_is_named(file: Any) -> None:
    exported = msgspec.json.decode(file.read_bytes(), type=Graph)
    block_ids = {node.block_id for part in (exported, *exported.sub_graphs) for node in part.nodes}
    try:
        stored = await service.create(ANN, CreateGraph(graph=exported, source="upload"))
    except GraphInvalid as refused:
        first = refused.problems[0].message
        assert any(block_id in first for block_id in block_ids) or "invalid, Allowed fields" in first, first
    else:
        assert (stored.version, len(stored.nodes), stored.is_active) == (exported.version, len(exported.nodes), True)
        assert await service.plan(stored.id, stored.version)
