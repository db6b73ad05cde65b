"""The common ways to fan out events, as servers of their own on the same uvicorn: no numbers, no resuming, no users.

`python -m benchmarks.sockets.stock --way pubsub|streams|loop --port N`. The first two are the backends that Litestar's
channels plugin brings; `loop` is a Redis subscription per socket. All relay what is published under CHANNEL, as it is.
"""

import argparse
import os
from typing import Any

import uvicorn
from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsBackend, ChannelsPlugin
from litestar.channels.backends.redis import RedisChannelsPubSubBackend, RedisChannelsStreamBackend
from redis.asyncio import Redis

CHANNEL = "benchmark"
WAYS = ("pubsub", "streams", "loop")


def backend(way: str, redis: Redis) -> ChannelsBackend | None:
    if way == "streams":
        return RedisChannelsStreamBackend(history=100_000, redis=redis)
    return RedisChannelsPubSubBackend(redis=redis) if way == "pubsub" else None


def create_app(way: str) -> Litestar:
    redis = Redis.from_url(os.environ["REDIS_URL"], max_connections=10_000)

    @websocket("/ws")
    async def relayed(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        if way == "loop":
            async with redis.pubsub() as subscription:
                await subscription.subscribe(CHANNEL)
                async for message in subscription.listen():
                    if message["type"] == "message":
                        await socket.send_data(message["data"].decode())
            return
        async with channels.start_subscription([CHANNEL]) as subscriber:
            async for event in subscriber.iter_events():
                await socket.send_data(event.decode())

    if (chosen := backend(way, redis)) is None:
        return Litestar([relayed])
    channels = ChannelsPlugin(backend=chosen, channels=[CHANNEL])
    return Litestar([relayed], plugins=[channels])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(arguments.way),
        port=arguments.port,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="critical",
        access_log=False,
        loop="uvloop",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
