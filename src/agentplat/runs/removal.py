"""Deleting a graph with its runs, also those that go on: whoever holds one learns of it, what runs of other graphs wait
for is over, and what they have started is stopped. Else some run would wait for ever, or go on for nobody.
"""

from agentplat.accounts.models import User
from agentplat.engine.state import Status
from agentplat.graphs import service as graphs
from agentplat.graphs.models import DeleteGraphResponse
from agentplat.infra.clock import now
from agentplat.infra.ids import is_id
from agentplat.infra.uow import unit_of_work
from agentplat.runs import control, mail, queries, stopping
from agentplat.runs.letters import Addressed, SubRunEnded


async def delete_graph(user: User, graph_id: str) -> DeleteGraphResponse:
    """Delete all versions of a graph with their runs. Zero versions where there was nothing of the user's to delete."""
    if not is_id(graph_id):
        return DeleteGraphResponse(version_counts=0)
    letters: list[Addressed] = []
    asleep: list[str] = []
    stopped: list[str] = []
    async with unit_of_work():
        # Whoever starts a run of it now waits for this, and finds no graph.
        await graphs.hold(user.id, graph_id)
        if going := await queries.find_going(user.id, graph_id):
            letters = [
                Addressed(parent, SubRunEnded(activation, Status.TERMINATED, 0, 0))
                for parent, activation in going.values()
                if parent is not None and activation is not None and parent not in going
            ]
            await mail.close_mailboxes(list(going))
            asleep = await mail.deliver(letters) if letters else []
            stopped = await queries.request_stop(user.id, list(going), now(), hidden=True)
        deleted = await graphs.delete(user, graph_id)
    if stopped:
        await stopping.carry_out(stopped)
        await control.call_for_mail(letters, asleep)
    return deleted
