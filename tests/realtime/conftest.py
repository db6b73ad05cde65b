"""Users of the running platform who watch."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.client import User


@pytest.fixture
async def user(base_url: str, make_token: Callable[..., str]) -> AsyncIterator[User]:
    async with User(base_url, make_token("watcher")) as one:
        yield one
