"""The platform as its users start it, for the length of a benchmark."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agentplat.accounts import service as accounts
from agentplat.cli.supervisor import Platform, free_port
from agentplat.infra.settings import get_settings


@contextmanager
def started(workers: int = 1, env: Mapping[str, str] | None = None) -> Iterator[tuple[Platform, str]]:
    """A running platform with its own servers in a new home, and a user's token for it."""
    with tempfile.TemporaryDirectory(prefix="agentplat-bench-") as home:
        settings = msgspec.structs.replace(
            get_settings(), home=Path(home), port=free_port(), database_url=None, redis_url=None
        )
        with Platform(settings, workers=workers, quiet=True, env={"LOG_LEVEL": "WARNING", **(env or {})}) as platform:
            yield platform, accounts.issue_token("bench", "bench@example.com")
