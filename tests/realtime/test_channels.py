"""What the channels plugin does for us, with a backend that only notes what it is asked for."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any

import pytest
from litestar.channels import ChannelsBackend, Subscriber

from agentplat.realtime.channels import Channels, Plugin
from agentplat.realtime.models import ChannelKey

RUN, GRAPH, USER = (ChannelKey("ann", kind, kind) for kind in ("run", "graph", "user"))


class Backend(ChannelsBackend):
    def __init__(self) -> None:
        self.channels: set[str] = set()

    async def on_startup(self) -> None: ...

    async def on_shutdown(self) -> None: ...

    async def publish(self, data: bytes, channels: Iterable[str]) -> None: ...

    async def subscribe(self, channels: Iterable[str]) -> None:
        self.channels.update(channels)

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        self.channels.difference_update(channels)

    async def stream_events(self) -> AsyncGenerator[tuple[str, Any], None]:
        for channel in sorted(self.channels):
            yield channel, channel.encode()
        yield "nobody's", b""

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        return []


class Ear(Subscriber):
    def __init__(self, *_: object, **__: object) -> None:
        self.heard: list[bytes | None] = []

    def put_nowait(self, item: bytes | None) -> bool:
        self.heard.append(item)
        return True


async def subscribed(plugin: Plugin, *channels: str) -> Ear:
    ear = await plugin.subscribe(channels)
    assert isinstance(ear, Ear)
    return ear


async def test_each_gets_what_it_is_subscribed_to_and_nothing_is_left() -> None:
    backend = Backend()
    plugin = Plugin(backend, arbitrary_channels_allowed=True, subscriber_class=Ear)
    one, two = await subscribed(plugin, "a", "b"), await subscribed(plugin, "a")
    await plugin._sub_worker()
    assert (one.heard, two.heard) == ([b"a", b"b"], [b"a"])
    await plugin.unsubscribe(one, ["a", "b", "never"])
    assert backend.channels == {"a"}
    await plugin.unsubscribe(one, "a")
    await plugin._sub_worker()
    assert (one.heard, two.heard) == ([b"a", b"b"], [b"a", b"a"])
    await plugin.unsubscribe(two, "a")
    assert backend.channels == set()
    assert plugin._channels == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ChannelKey("a", "run", "b|graph_exec#c"), ChannelKey("a|graph_exec#b", "run", "c")),
        (ChannelKey('a","run', "run", "b"), ChannelKey("a", "run", 'run","b')),
        (ChannelKey("a", "graph", ""), ChannelKey("a", "user", "")),
    ],
)
def test_no_two_keys_have_one_name(one: ChannelKey, other: ChannelKey) -> None:
    assert one.name != other.name
    assert (ChannelKey.named(one.name), ChannelKey.named(other.name)) == (one, other)


def test_a_user_is_watched_while_one_of_its_channels_is() -> None:
    channels = Channels()
    for key in (RUN, GRAPH, USER):
        channels.add(key)
    assert channels.of_several_runs() == [("ann", "graph"), ("ann", None)]
    assert channels.since([RUN]) is None
    assert channels.since([RUN, GRAPH, USER]) == channels[GRAPH].since
    for key in (RUN, GRAPH):
        channels.remove(key)
        assert channels.of_user("ann")
    channels.remove(USER)
    assert not channels.of_user("ann")
    assert not len(channels)
