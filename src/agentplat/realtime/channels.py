"""The channels that somebody is subscribed to. A channel is there while somebody is, and leaves nothing behind."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from litestar.channels import ChannelsPlugin, Subscriber

from agentplat.infra.clock import now
from agentplat.realtime.models import ChannelKey

# Clocks of different machines differ.
MARGIN = timedelta(seconds=1)


class Plugin(ChannelsPlugin):
    """Litestar's, with subscriptions for subscribers: who is subscribed to what, and who gets what the backend yields.

    Its own way to unsubscribe looks through all channels there are, and keeps each that there ever was.
    """

    async def unsubscribe(self, subscriber: Subscriber, channels: str | Iterable[str] | None = None) -> None:
        """From the named channels. Never waits, so that it can't be cut short."""
        for name in [channels] if isinstance(channels, str) else channels or ():
            if subscribers := self._channels.get(name):
                subscribers.discard(subscriber)
                if not subscribers:
                    del self._channels[name]
                    await self._backend.unsubscribe([name])

    async def _sub_worker(self) -> None:
        async for channel, payload in self._backend.stream_events():
            self._hand_out(channel, payload)

    def _hand_out(self, channel: str, payload: Any) -> None:
        # Not in the loop above, which would keep hold of the last subscriber while nothing happens.
        for subscriber in self._channels.get(channel, ()):
            subscriber.put_nowait(payload)


class Channel:
    """`since` is when somebody began to watch: runs accepted later are shown from their beginning."""

    def __init__(self, key: ChannelKey) -> None:
        self.key = key
        self.name = key.name
        self.since = now() - MARGIN
        self.lock = asyncio.Lock()
        self.located = False  # where its runs stand is known


class Channels(dict[ChannelKey, Channel]):
    """What is to be known of the channels before anything is made for them."""

    def __init__(self) -> None:
        super().__init__()
        self._of_user: dict[str, int] = {}

    def add(self, key: ChannelKey) -> None:
        self[key] = Channel(key)
        self._of_user[key.user_id] = self._of_user.get(key.user_id, 0) + 1

    def remove(self, key: ChannelKey) -> None:
        del self[key]
        self._of_user[key.user_id] -= 1
        if not self._of_user[key.user_id]:
            del self._of_user[key.user_id]

    def of_user(self, user_id: str) -> bool:
        """Whether anybody watches anything of the user's. Asked for every record there is, so it is one look-up."""
        return user_id in self._of_user

    def any(self, keys: Iterable[ChannelKey]) -> bool:
        return any(key in self for key in keys)

    def since(self, keys: Iterable[ChannelKey]) -> datetime | None:
        """When somebody began to watch several runs, of which this may be one."""
        found = [channel.since for key in keys if key.kind != "run" and (channel := self.get(key))]
        return min(found, default=None)

    def of_several_runs(self) -> list[tuple[str, str | None]]:
        """User and graph of each channel that is not a single run's; no graph: all of the user's."""
        return [(key.user_id, graph_of(key)) for key in self if key.kind != "run"]


def graph_of(key: ChannelKey) -> str | None:
    """The graph that the channel's runs are of, or None for any."""
    return key.id if key.kind == "graph" else None
