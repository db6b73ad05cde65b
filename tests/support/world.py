"""A user with graphs on the real database, for tests of what stands above graphs."""

import msgspec

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.graphs import service as graphs
from agentplat.graphs.models import CreateGraph, GraphModel
from agentplat.runs import service as runs
from agentplat.runs.models import ExecuteBody, RunMeta
from tests.support.drawing import Drawing

ANN = User(id="ann", email="ann@example.com")
BOB = User(id="bob", email="bob@example.com")


async def save(drawing: Drawing, user: User = ANN) -> GraphModel:
    """The drawing as a stored graph of the user's."""
    accounts.forget_users()
    await accounts.ensure_user(user)
    return await graphs.create(user, msgspec.convert({"graph": drawing.as_graph()}, CreateGraph))


async def start(graph: GraphModel, user: User = ANN, **inputs: object) -> RunMeta:
    return await runs.start(user.id, graph.id, graph.version, ExecuteBody(inputs=inputs))


def names(graph: GraphModel) -> dict[str, str]:
    """Stored node id -> the name it was drawn with."""
    return {node.id: node.metadata["customized_name"] for node in graph.nodes}
