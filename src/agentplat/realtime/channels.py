"""The table of channels: who is subscribed to what. A channel is there while somebody is, and leaves nothing behind."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from agentplat.infra.clock import now
from agentplat.realtime import metrics
from agentplat.realtime.models import ChannelKey
from agentplat.realtime.subscription import Sink, Subscription

# Clocks of different machines differ.
MARGIN = timedelta(seconds=1)


class Channel:
    """`since` is when somebody began to watch: runs accepted later are shown from their beginning."""

    def __init__(self, key: ChannelKey) -> None:
        self.key = key
        self.since = now() - MARGIN
        self.subscriptions: dict[Sink, Subscription] = {}
        self.lock = asyncio.Lock()
        self.located = False  # where its runs stand is known
        self.users = 0  # who are about to subscribe


class Channels:
    def __init__(self) -> None:
        self._channels: dict[ChannelKey, Channel] = {}
        self._of_user: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def get(self, key: ChannelKey) -> Channel | None:
        return self._channels.get(key)

    def make(self, key: ChannelKey) -> Channel:
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(key)
            self._of_user[key.user_id] = self._of_user.get(key.user_id, 0) + 1
        return channel

    def tidy(self, channel: Channel) -> None:
        """Remove a channel that nobody uses any more."""
        if channel.subscriptions or channel.users or self._channels.get(channel.key) is not channel:
            return
        del self._channels[channel.key]
        user_id = channel.key.user_id
        self._of_user[user_id] -= 1
        if not self._of_user[user_id]:
            del self._of_user[user_id]

    def add(self, subscription: Subscription) -> None:
        channel = self.make(subscription.key)
        if subscription.sink not in channel.subscriptions:
            metrics.SUBSCRIPTIONS.inc()
        channel.subscriptions[subscription.sink] = subscription

    def remove(self, subscription: Subscription) -> None:
        channel = self._channels.get(subscription.key)
        if channel is not None and channel.subscriptions.get(subscription.sink) is subscription:
            del channel.subscriptions[subscription.sink]
            metrics.SUBSCRIPTIONS.dec()
            self.tidy(channel)

    def of_user(self, user_id: str) -> bool:
        """Whether anybody watches anything of the user's. Asked for every record there is, so it is one look-up."""
        return user_id in self._of_user

    def any(self, keys: Iterable[ChannelKey]) -> bool:
        return any(key in self._channels for key in keys)

    def since(self, keys: Iterable[ChannelKey]) -> datetime | None:
        """When somebody began to watch several runs, of which this may be one."""
        found = [channel.since for key in keys if key.kind != "run" and (channel := self._channels.get(key))]
        return min(found, default=None)

    def of_several_runs(self) -> list[tuple[str, str | None]]:
        """User and graph of each channel that is not a single run's; no graph: all of the user's."""
        return [(key.user_id, graph_of(key)) for key in self._channels if key.kind != "run"]


def graph_of(key: ChannelKey) -> str | None:
    """The graph that the channel's runs are of, or None for any."""
    return key.id if key.kind == "graph" else None
