"""Runs that runs start: the other side of an agent node.

A sub-run's id follows from its parent's id and the node's activation, so starting it again after a crash finds it
started. What comes of it arrives in the parent's mail.
"""

from uuid import UUID, uuid5

import asyncpg
from msgspec.structs import replace

from agentplat.engine.activation import Activation
from agentplat.graphs import service as graphs
from agentplat.graphs.errors import GraphNotFound
from agentplat.infra.clock import now
from agentplat.infra.errors import AppError
from agentplat.runs import acceptance, insertion, mail, queries, stopping, view
from agentplat.runs.models import RunRequest, RunRow
from agentplat.sdk import Tool

MAX_DEPTH = 16
_NAMESPACE = UUID("7c0e7d0e-3f5b-4b0f-9c62-6d2c5d0a8f11")


class NotStarted(Exception):
    """The sub-run can't be started. The text is for the person who built the agent."""


def subrun_id(parent: RunRow, act: Activation) -> str:
    return str(uuid5(_NAMESPACE, view.activation_id(parent.id, act.number)))


async def start(parent: RunRow, request: RunRequest, act: Activation) -> None:
    """Start the run behind an agent node, unless it is there already or the parent was lost. Raises NotStarted.

    It belongs to the same user, inherits constants and credentials of all its nodes, and ends with its parent's
    deadline at the latest.
    """
    run_id = subrun_id(parent, act)
    await mail.open_mailbox(parent.id)
    if await queries.find(run_id) is not None:
        return
    if parent.depth + 1 > MAX_DEPTH:
        raise NotStarted(f"Agents run each other more than {MAX_DEPTH} levels deep; do they run in circles?")
    constants = act.node.constants
    graph_id, version = constants.get("graph_id"), constants.get("graph_version")
    if not isinstance(graph_id, str) or not isinstance(version, int):
        raise NotStarted("The node does not say which graph it runs: graph_id and graph_version are needed.")
    try:
        graph = await graphs.runnable_within(parent.user_id, graph_id, version)
        row = await acceptance.draft(
            run_id,
            parent.user_id,
            graph,
            RunRequest(
                inputs=act.data or {},
                nodes_input_masks=request.masks,
                human_in_the_loop_safe_mode=request.human_in_the_loop_safe_mode,
                sensitive_action_safe_mode=request.sensitive_action_safe_mode,
            ),
            now(),
            parent.deadline,
            parent=parent,
            parent_activation=act.number,
        )
        stored = await insertion.insert(row, parent.fence)
    except AppError as error:
        raise NotStarted(str(error)) from error
    except asyncpg.ForeignKeyViolationError:  # it was deleted since it was looked up
        raise NotStarted(str(GraphNotFound(graph_id))) from None
    if stored:
        await acceptance.announce(row)


async def introduce(user_id: str, tool: Tool) -> Tool:
    """A tool that is another graph, with that graph's name, unless its node has one, and purpose. Raises NotStarted."""
    assert tool.agent is not None
    try:
        graph = await graphs.runnable_within(user_id, *tool.agent)
    except AppError as error:
        raise NotStarted(str(error)) from error
    return replace(tool, name=tool.name or graph.name, description=graph.description or tool.description)


async def stop(parent: RunRow, act: Activation) -> None:
    """Have the run behind an agent node stopped, with all runs below it."""
    await stopping.stop_trees(parent.user_id, [subrun_id(parent, act)], hidden=True)
