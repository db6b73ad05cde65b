"""Stored graphs as clients see them."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import asdict, replace

from agentplat.graphs.models import GraphHead, GraphMeta, GraphModel, GraphVersion, NodeModel, SubGraphModel
from agentplat.graphs.rules import interface
from agentplat.graphs.rules.credentials import credentials_schema, groups
from agentplat.graphs.rules.export import stripped
from agentplat.graphs.rules.interface import Specs
from agentplat.sdk.spec import BlockType

# What a version shows besides what was stored; as fixed as the version itself.
Computed = dict[str, Any]


def computed(graph: GraphVersion, specs: Specs) -> Computed:
    nodes = graph.nodes
    return {
        "input_schema": interface.input_schema(nodes, specs),
        "output_schema": interface.output_schema(nodes, specs),
        "has_external_trigger": interface.has_block_type(nodes, specs, *interface.TRIGGERS),
        "has_human_in_the_loop": interface.has_block_type(nodes, specs, BlockType.HUMAN_IN_THE_LOOP),
        "has_sensitive_action": interface.has_sensitive_block(nodes, specs),
        "trigger_setup_info": interface.trigger_setup(nodes, specs),
    }


def needed_credentials(graph: GraphVersion, sub_graphs: Sequence[GraphVersion], specs: Specs) -> dict[str, Any]:
    nodes = [node for part in (graph, *sub_graphs) for node in part.nodes]
    return credentials_schema(graph.name, groups(nodes, specs))


def _stored(head: GraphHead) -> dict[str, Any]:
    facts = asdict(head)
    for name in ("created_at", "user_id", "nodes", "links", "size"):
        facts.pop(name, None)
    return facts


def meta(head: GraphHead, shown: Computed, credentials: dict[str, Any]) -> GraphMeta:
    return GraphMeta(
        **_stored(head), **shown, user_id=head.user_id, sub_graphs=[], credentials_input_schema=credentials
    )


def model(graph: GraphVersion, sub_graphs: Sequence[GraphVersion], specs: Specs) -> GraphModel:
    nodes = interface.with_links(graph.nodes, graph.links)
    return GraphModel(
        **_stored(graph),
        **computed(graph, specs),
        user_id=graph.user_id,
        created_at=graph.created_at,
        nodes=[NodeModel(**asdict(node), graph_id=graph.id, graph_version=graph.version) for node in nodes],
        links=interface.distinct(graph.links),
        sub_graphs=[_sub_graph(part, specs) for part in sub_graphs],
        credentials_input_schema=needed_credentials(graph, sub_graphs, specs),
    )


def _sub_graph(graph: GraphVersion, specs: Specs) -> SubGraphModel:
    return SubGraphModel(
        **_stored(graph),
        **computed(graph, specs),
        nodes=interface.with_links(graph.nodes, graph.links),
        links=interface.distinct(graph.links),
    )


def exported(graph: GraphVersion, specs: Specs) -> GraphVersion:
    return replace(graph, user_id="", nodes=[stripped(node, specs) for node in graph.nodes])
