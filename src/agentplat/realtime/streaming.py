"""Opening event streams: what a request asks for, and where it resumes."""

from litestar.response.base import ASGIResponse
from msgspec import Struct

from agentplat.accounts.models import User
from agentplat.graphs import service as graphs
from agentplat.infra.ids import is_id
from agentplat.realtime.errors import PositionInvalid, TooFarBehind
from agentplat.realtime.hub import Hub
from agentplat.realtime.models import MAX_RESUMED, ChannelKey, EventFilter, EventKind, GraphTarget, RunTarget
from agentplat.realtime.stream import DONE, EventStream, GraphStream, Position, StreamResponse
from agentplat.runs import service as runs

NO_CONTENT = 204


class Wanted(Struct, frozen=True, kw_only=True):
    """What a request says. `position` is the id of the last event that the client has."""

    position: str | None = None
    snapshot: bool = False
    events: list[EventKind] | None = None
    nodes: list[str] | None = None

    def filter(self) -> EventFilter | None:
        if self.events is None and self.nodes is None:
            return None
        return EventFilter(
            events=None if self.events is None else frozenset(self.events),
            nodes=None if self.nodes is None else frozenset(self.nodes),
        )


async def of_run(hub: Hub, user: User, run_id: str, wanted: Wanted) -> ASGIResponse:
    """Raises an AppError where the stream can't begin."""
    number = 0 if wanted.position is None else _number(wanted.position)
    # A client that comes back has the state already: it needs what follows.
    snapshot = wanted.snapshot and wanted.position is None
    await hub.ready()
    stream = EventStream(hub, user.id)
    target = RunTarget(
        graph_exec_id=run_id,
        snapshot=snapshot,
        last_event=None if snapshot else number,
        filter=wanted.filter(),
    )
    try:
        await stream.session.subscribe_run(ChannelKey(user.id, "run", run_id), target)
    except BaseException:
        await stream.close()
        raise
    if stream.nothing_follows and number == stream.number:
        await stream.close()
        return ASGIResponse(status_code=NO_CONTENT)
    return StreamResponse(stream)


async def of_graph(hub: Hub, user: User, graph_id: str, wanted: Wanted) -> ASGIResponse:
    _ = await graphs.get(user, graph_id)
    position = None if wanted.position is None else Position.decode(wanted.position)
    await hub.ready()
    stream = GraphStream(hub, user.id, position)
    try:
        key = ChannelKey(user.id, "graph", graph_id)
        if position is None:
            await stream.session.subscribe_runs(key, GraphTarget(graph_id=graph_id, seq=True, snapshot=wanted.snapshot))
            for run_id, number in (await stream.session.numbers(key)).items():
                stream.know(run_id, number)
        else:
            missed = await _missed(user.id, graph_id, position)
            await stream.session.subscribe_runs(key, GraphTarget(graph_id=graph_id, last_event=missed))
    except BaseException:
        await stream.close()
        raise
    return StreamResponse(stream)


async def _missed(user_id: str, graph_id: str, position: Position) -> dict[str, int]:
    """The runs of which a client may lack events, each with the last event that it has."""
    begun = {run.id: 0 for run in await runs.begun([(user_id, graph_id)], position.since)}
    known = {run_id: number for run_id, number in position.runs.items() if number != DONE and is_id(run_id)}
    # A run that was deleted since is missed by nobody.
    still = await runs.own(user_id, list(known), graph_id)
    over = position.runs.keys() - known.keys()
    missed = {run_id: number for run_id, number in begun.items() if run_id not in over}
    missed |= {run_id: known[run_id] for run_id in still}
    if len(missed) > MAX_RESUMED:
        raise TooFarBehind
    return missed


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise PositionInvalid
    return int(text)
