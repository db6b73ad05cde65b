"""One socket, with a server that this test plays."""

from typing import Any

from agentplat.realtime import metrics
from agentplat.realtime.connection import Connection
from agentplat.realtime.hub import Hub


async def test_a_mistake_ends_the_socket_with_a_code_and_leaves_nothing() -> None:
    sent: list[Any] = []
    events = iter([{"type": "websocket.receive", "text": '{"method": "heartbeat"}'}])

    async def receive() -> Any:
        if (event := next(events, None)) is None:
            raise RuntimeError("broken")
        return event

    async def send(message: Any) -> None:
        sent.append(message)

    hub, sockets = Hub(), metrics.SOCKETS._value.get()
    await Connection(hub, "ann").serve(receive, send)
    assert sent[-1] == {"type": "websocket.close", "code": 1011, "reason": "internal error"}
    assert metrics.SOCKETS._value.get() == sockets
    assert not hub._sinks
