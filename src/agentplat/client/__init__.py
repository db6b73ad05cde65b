"""A small client of a running platform: start runs, wait for them, watch them live.

    async with AsyncClient("http://127.0.0.1:8006", token) as client:
        run = await client.start(graph_id, {"name": "Ada"})
        async for event in client.watch(run.id):
            print(event.seq, event)

`Client` is the same without `async`.
"""

from agentplat.client.client import AsyncClient
from agentplat.client.errors import ClientError, ConnectionLost, GaveUp, Refused
from agentplat.client.models import FINAL, Event, NewRun, NodeEvent, NodeExecution, Run, RunEvent, Snapshot, Stats
from agentplat.client.sync import Client

__all__ = [
    "FINAL",
    "AsyncClient",
    "Client",
    "ClientError",
    "ConnectionLost",
    "Event",
    "GaveUp",
    "NewRun",
    "NodeEvent",
    "NodeExecution",
    "Refused",
    "Run",
    "RunEvent",
    "Snapshot",
    "Stats",
]
