"""`agentplat run` as a process, against a running platform and with one of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentplat.cli.supervisor import Platform
from tests.support.drawing import INPUT, NEG, OUTPUT, SLOW, STORE, draw
from tests.support.processes import ROOT, agentplat, environment

AGENTS = ROOT / "examples" / "agents"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def where(platform: Platform, make_token: Callable[..., str]) -> dict[str, str]:
    token = make_token("the-runner")
    return environment(AGENTPLAT_URL=platform.url, AGENTPLAT_TOKEN=token)


@pytest.fixture
def run(where: dict[str, str]) -> Run:
    return lambda *arguments: agentplat("run", *map(str, arguments), env=where)


def write(path: Path, nodes: dict[str, tuple[str, dict[str, Any]]], *links: str) -> Path:
    path.write_text(json.dumps(draw(nodes, *links).as_graph()))
    return path


def test_outputs_phases_and_counts(run: Run) -> None:
    done = run(AGENTS / "greeting.json", "--input", "name=Ada")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["message", "Hello,", "Ada!"] in lines
    assert ["length", "11"] in lines
    assert [line[0] for line in lines if line[-1].endswith("ms)")] == [
        "accepted",
        "queued",
        "started",
        "first",
        "finished",
    ]
    assert lines[-1][:4] == ["COMPLETED:", "6", "node", "executions"]
    assert "  name (AgentShortTextInput): 1 done" in done.stderr


def test_the_platforms_own_timings(run: Run) -> None:
    done = run(AGENTS / "squares.json", "--input", "count=3", "--timings")
    assert done.returncode == 0, done.stderr
    for moment in ("enqueued +0.0 ms", "leased", "first node started", "finished"):
        assert re.search(rf"^  {moment}", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^  Node +Executions +waited +executed +recorded$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^  \S.* 3 +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms$", done.stdout, re.MULTILINE), done.stdout


def test_json_is_one_document(run: Run) -> None:
    done = run(AGENTS / "squares.json", "--input", "count=200", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["status"] == "COMPLETED"
    assert document["outputs"] == {"sum": [sum(n * n for n in range(1, 201))]}
    assert document["stats"]["node_exec_count"] == sum(
        node["executions"].get("COMPLETED", 0) for node in document["nodes"]
    )
    phases = list(document["phases_ms"].values())
    assert phases == sorted(phases)
    assert document["platform"]["started"] is False


def test_a_model_with_the_platforms_credentials(run: Run) -> None:
    done = run(AGENTS / "slogans.json", "--input", "topics=tea,rain")
    assert done.returncode == 0, done.stderr
    assert "own openai credentials (53c25cb8-e3ee-465c-a4d1-e75a4c899c2a)" in done.stderr
    assert "Write a slogan (AITextGenerator): 2 done" in done.stderr


def test_failed_nodes_are_shown_with_their_error(run: Run, tmp_path: Path) -> None:
    agent = write(tmp_path / "neg.json", {"n": (NEG, {"x": -1})})
    done = run(agent)
    assert done.returncode == 0
    assert f"n: raised by FailIfNegBlock with message: neg. block_id: {NEG}" in done.stdout
    assert "1 of them failed" in done.stdout


def test_inputs_from_files_and_unknown_ones(run: Run, tmp_path: Path) -> None:
    (tmp_path / "name.txt").write_text("Grace")
    done = run(AGENTS / "greeting.json", "--input", f"name=@{tmp_path / 'name.txt'}", "--input", "nmae=x")
    assert done.returncode == 0
    assert "Hello, Grace!" in done.stdout
    assert "Warning: The agent has no input 'nmae'" in done.stderr


def test_missing_inputs_are_named_and_nothing_is_left(run: Run, where: dict[str, str]) -> None:
    def graphs() -> int:
        with httpx.Client(headers={"Authorization": f"Bearer {where['AGENTPLAT_TOKEN']}"}) as client:
            return len(client.get(f"{where['AGENTPLAT_URL']}/api/graphs").json())

    before = graphs()
    refused = run(AGENTS / "greeting.json")
    assert refused.returncode == 2
    assert "needs input 'name'" in refused.stderr
    assert "--input name=VALUE" in refused.stderr
    assert graphs() == before


@pytest.mark.parametrize("as_json", [False, True])
def test_an_agent_that_cannot_be_imported_is_refused_by_name(run: Run, tmp_path: Path, as_json: bool) -> None:
    unknown = "11111111-1111-4111-8111-111111111111"
    agent = write(
        tmp_path / "odd.json", {"a": (unknown, {}), "b": (STORE, {}), "c": (STORE, {"input": 1})}, "c.nope -> b.input"
    )
    refused = run(agent, *(["--json"] if as_json else []))
    assert refused.returncode == 2
    assert unknown in refused.stderr
    assert "nope" in refused.stderr
    assert refused.stdout == "" or unknown in json.loads(refused.stdout)["error"]["message"]


def test_files_that_are_no_agents(run: Run, tmp_path: Path) -> None:
    for text, reason in (("nonsense", "is not JSON"), ("[]", "is no agent"), ("{}", "is no agent")):
        (tmp_path / "file").write_text(text)
        refused = run(tmp_path / "file")
        assert refused.returncode == 2
        assert reason in refused.stderr


def test_a_token_that_is_no_good(platform: Platform) -> None:
    agent = str(AGENTS / "greeting.json")
    refused = agentplat("run", agent, "--url", platform.url, "--token", "nonsense", env=environment())
    assert refused.returncode == 2
    assert "Invalid token" in refused.stderr
    assert "--token" in refused.stderr


def test_nobody_answers() -> None:
    refused = agentplat("run", str(AGENTS / "greeting.json"), "--url", "http://127.0.0.1:1", env=environment())
    assert refused.returncode == 1
    assert "No platform answers at http://127.0.0.1:1" in refused.stderr


def test_a_run_with_more_events_than_a_socket_holds_is_followed_to_its_end(run: Run) -> None:
    done = run(AGENTS / "squares.json", "--input", "count=3000", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["outputs"]["sum"] == [sum(n * n for n in range(1, 3001))]
    assert document["phases_ms"]["finished"] is not None


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return write(
        tmp_path / "slow.json",
        {"i": (INPUT, {"name": "v", "value": 1}), "s": (SLOW, {"delay": 60}), "o": (OUTPUT, {"name": "r"})},
        "i.result -> s.v",
        "s.out -> o.value",
    )


def test_a_run_that_takes_too_long_is_stopped(run: Run, slow: Path) -> None:
    done = run(slow, "--timeout", "1", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["status"], document["run"]["stopped_by"]) == ("TERMINATED", "timeout")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_run(slow: Path, where: dict[str, str], number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "agentplat", "run", str(slow)],
        env=where,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr
        shown = ""
        for line in process.stderr:
            shown += line
            if "1 running" in line:
                break
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert "s (Slow): 1 running" in shown
    assert process.returncode == 1
    assert "Stopped." in stderr
    assert "TERMINATED" in stdout


@pytest.fixture
def bare() -> Iterator[dict[str, str]]:
    """The environment of somebody who has configured nothing but a home."""
    names = ("DATABASE_URL", "REDIS_URL", "JWT_VERIFY_KEY", "AGENTPLAT_BLOCK_MODULES", "OPENAI_API_KEY")
    with tempfile.TemporaryDirectory(prefix="agentplat-home-") as home:
        yield {**{k: v for k, v in os.environ.items() if k not in names}, "AGENTPLAT_HOME": home}


def test_without_a_platform_one_is_started_and_stopped(bare: dict[str, str]) -> None:
    done = agentplat("run", str(AGENTS / "slogans.json"), "--json", env=bare)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["platform"] == {
        "url": json.loads(done.stdout)["platform"]["url"],
        "started": True,
        "fake_llm": True,
    }
    with pytest.raises(httpx.ConnectError):
        httpx.get(json.loads(done.stdout)["platform"]["url"])


def test_two_at_once_do_not_meet(bare: dict[str, str]) -> None:
    command = [sys.executable, "-m", "agentplat", "run", str(AGENTS / "greeting.json"), "--input", "name=x"]
    both = [
        subprocess.Popen(command, env=bare, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert all("Hello, x!" in output for output in outputs)
    assert sum("is in use" in output for output in outputs) == 1


def test_a_platform_that_runs_on_the_home_is_found(bare: dict[str, str], platform: Platform) -> None:
    state = Path(bare["AGENTPLAT_HOME"]) / "platform.json"
    found = {"pid": os.getpid(), "url": platform.url, "database_url": "", "redis_url": ""}
    state.write_text(json.dumps(found))
    env = {**bare, "JWT_VERIFY_KEY": platform.settings.jwt_verify_key or ""}
    done = agentplat("run", str(AGENTS / "greeting.json"), "--input", "name=x", env=env)
    assert done.returncode == 0, done.stderr
    assert f"Using the platform that runs at {platform.url}." in done.stderr
