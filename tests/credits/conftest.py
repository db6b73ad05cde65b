from collections.abc import Iterator

import pytest

from agentplat.infra.db import Database
from tests.support.switches import environment_of


@pytest.fixture
def enabled(db: Database) -> Iterator[None]:
    with environment_of(ENABLE_CREDIT="true"):
        yield
