"""Isolated nodes with real processes: broken blocks beside good ones, and `kill -9` of whoever has the node or the run."""

import signal
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from agentplat.cli.children import Child
from agentplat.cli.supervisor import Platform
from tests.support.client import User
from tests.support.processes import eventually


@pytest.fixture
async def user(platform: Platform, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(platform.url, make_token("isolated")) as one:
        yield one


@pytest.fixture
def node_worker(platform: Platform) -> Iterator[Child]:
    """The platform with one process for runs and one for nodes, instead of one for both."""
    with platform._watching:
        both = platform.child("worker")
        both.arguments = ("worker", "--queues", "runs")
        both.signal(signal.SIGTERM)
        both.wait()
        nodes = Child(
            "node-worker", ("worker", "--queues", "nodes"), dict(platform.env), platform.settings.home / "n.log"
        )
        nodes.start()
        platform.children.append(nodes)
        both.start()
    eventually(lambda: nodes.ready and both.ready)
    yield nodes
    with platform._watching:
        platform.children.remove(nodes)
        nodes.signal(signal.SIGTERM)
        nodes.wait()
        both.arguments = ("worker",)
        both.signal(signal.SIGTERM)
        both.wait()
        both.start()
    eventually(lambda: both.ready)
