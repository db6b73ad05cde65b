"""Agents that real people exported, against a running platform."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentplat.cli.supervisor import Platform
from tests.support.processes import agentplat, environment
from tests.support.shared import SHARED, agent_files, needs_shared

pytestmark = needs_shared


@pytest.fixture
def token(make_token: Callable[..., str]) -> str:
    return make_token("an-importer")


def test_one_runs_to_its_end(platform: Platform, token: str) -> None:
    file = str(SHARED / "agents" / "ai-function.json")
    done = agentplat("run", file, "--json", "--url", platform.url, "--token", token, env=environment())
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == "COMPLETED"
    assert len(document["outputs"]["return"]) == 1


@pytest.mark.parametrize("file", agent_files(), ids=lambda file: file.stem)
def test_each_is_imported_or_refused_by_name(file: Path, platform: Platform, token: str) -> None:
    graph = json.loads(file.read_text())
    answer = httpx.post(
        f"{platform.url}/api/graphs",
        json={"graph": graph, "source": "upload"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
    if answer.status_code == 200:
        assert len(answer.json()["nodes"]) == len(graph["nodes"])
    else:
        assert answer.status_code == 400
        messages = [problem["message"] for problem in answer.json()["detail"]["problems"]]
        assert messages
        assert all(_names_something(message, graph) for message in messages)


def _names_something(message: str, graph: dict[str, Any]) -> bool:
    """A block of the agent, or a pin that one of its links uses."""
    parts = [graph, *graph.get("sub_graphs", ())]
    names = {node["block_id"] for part in parts for node in part["nodes"]}
    names |= {
        f"`{link[end].split('_#_')[0].split('_$_')[0]}`"
        for part in parts
        for link in part["links"]
        for end in ("source_name", "sink_name")
    }
    return any(name in message for name in names)
