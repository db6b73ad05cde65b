import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import agentplat, belonging_to

CONFIGURED = ("DATABASE_URL", "REDIS_URL", "JWT_VERIFY_KEY", "AGENTPLAT_BLOCK_MODULES", "OPENAI_API_KEY")


@pytest.fixture
def bare() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="agentplat-home-") as home:
        yield {**{k: v for k, v in os.environ.items() if k not in CONFIGURED}, "AGENTPLAT_HOME": home}


def test_from_nothing_to_outputs_and_back_to_nothing(bare: dict[str, str]) -> None:
    done = agentplat("demo", env=bare)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "No OPENAI_API_KEY is set" in done.stdout
    assert done.stdout.count("COMPLETED: ") == 4
    assert "COMPLETED: 2,429 node executions" in done.stdout
    assert "node executions per second" in done.stdout
    assert "Hello, world!" in done.stdout
    assert "What to try next" in done.stdout
    assert not (Path(bare["AGENTPLAT_HOME"]) / "platform.json").exists()
    assert belonging_to(bare["AGENTPLAT_HOME"]) == []


def test_what_fails_is_said_plainly(bare: dict[str, str]) -> None:
    failed = agentplat("demo", env={**bare, "DATABASE_URL": "postgresql://127.0.0.1:1/none"})
    assert failed.returncode == 1
    assert "Postgres can't be reached" in failed.stderr
    assert "Traceback" not in failed.stderr
