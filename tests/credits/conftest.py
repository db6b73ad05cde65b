from collections.abc import AsyncIterator, Iterator

import pytest

from agentplat.credits import gateway
from agentplat.infra.db import Database
from tests.support.api import api
from tests.support.ledger import unsound_accounts
from tests.support.stripe import API_KEY, WEBHOOK_SECRET, FakeStripe, running
from tests.support.switches import environment_of

__all__ = ["api"]


@pytest.fixture
def enabled(db: Database) -> Iterator[None]:
    with environment_of(ENABLE_CREDIT="true"):
        yield


@pytest.fixture
async def stripe(db: Database) -> AsyncIterator[FakeStripe]:
    """Credits and payments switched on, with a Stripe of the test's own. Afterwards all accounts have to be sound."""
    with (
        running() as server,
        environment_of(
            ENABLE_CREDIT="true",
            STRIPE_API_KEY=API_KEY,
            STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
            STRIPE_BASE_URL=server.url,
        ),
    ):
        yield server
        await gateway.close()
    assert await unsound_accounts(db) == []
