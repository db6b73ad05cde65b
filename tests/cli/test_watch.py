"""`agentplat watch` as a process, in a pipe and at a terminal."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from agentplat.cli.supervisor import Platform
from agentplat.client import Client
from tests.support.client import User
from tests.support.drawing import NEG, SLOW, STORE, Drawing, draw
from tests.support.processes import agentplat, environment

SHORT = draw({"first": (STORE, {"input": 1}), "[2]": (STORE, {})}, "first.output -> [2].input")
ENDLESS = draw({"s": (SLOW, {"v": 1, "delay": 60})})


@pytest.fixture
def token(make_token: Callable[..., str]) -> str:
    return make_token("the-watcher")


@pytest.fixture
def where(platform: Platform, token: str) -> dict[str, str]:
    return environment(AGENTPLAT_URL=platform.url, AGENTPLAT_TOKEN=token, COLUMNS="100")


@pytest.fixture
def start(platform: Platform, token: str) -> Callable[[Drawing], str]:
    async def started(drawing: Drawing) -> str:
        async with User(platform.url, token) as user:
            graph, _ = await user.create(drawing)
            return str((await user.start(graph))["id"])

    return lambda drawing: asyncio.run(started(drawing))


def test_a_line_per_event(where: dict[str, str], start: Callable[[Drawing], str]) -> None:
    run_id = start(SHORT)
    done = agentplat("watch", run_id, env=where)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [int(line[0]) for line in lines] == list(range(1, len(lines) + 1))
    assert lines[0][1:] == ["run", "QUEUED"]
    assert lines[-1][1:] == ["run", "COMPLETED"]
    assert ["node", "COMPLETED", "[2]"] in [line[1:] for line in lines]
    rest = agentplat("watch", run_id, "--from", "5", env=where)
    assert rest.stdout.splitlines() == done.stdout.splitlines()[5:]


def test_json_lines_are_the_events_data(where: dict[str, str], start: Callable[[Drawing], str]) -> None:
    run_id = start(SHORT)
    done = agentplat("watch", run_id, "--json", env=where)
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["event"] for event in events} == {"graph_execution_event", "node_execution_event"}
    assert events[-1]["data"]["event_type"] == "graph_execution_update"
    assert events[-1]["data"]["status"] == "COMPLETED"


def test_a_run_that_was_stopped_has_its_own_exit_status(
    where: dict[str, str], token: str, start: Callable[[Drawing], str]
) -> None:
    run_id = start(ENDLESS)
    command = [sys.executable, "-m", "agentplat", "watch", run_id]
    with subprocess.Popen(command, env=where, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        for line in watching.stdout:
            if line.split("\t")[1:3] == ["node", "RUNNING"]:
                break
        with Client(where["AGENTPLAT_URL"], token) as client:
            client.stop(run_id)
        assert watching.stdout.read().splitlines()[-1].split("\t")[1:] == ["run", "TERMINATED"]
        assert watching.wait(20) == 3


def test_ctrl_c_ends_watching_and_not_the_run(
    where: dict[str, str], token: str, start: Callable[[Drawing], str]
) -> None:
    run_id = start(ENDLESS)
    command = [sys.executable, "-m", "agentplat", "watch", run_id]
    with subprocess.Popen(command, env=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        assert watching.stdout.readline() == "1\trun\tQUEUED\n"
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=20)
    assert (watching.returncode, errors) == (130, "")
    with Client(where["AGENTPLAT_URL"], token) as client:
        assert client.get(run_id).status in ("QUEUED", "RUNNING")
        client.stop(run_id)


def test_a_tree_at_a_terminal(where: dict[str, str], start: Callable[[Drawing], str]) -> None:
    run_id = start(draw({"good": (STORE, {"input": 1}), "bad": (NEG, {"x": -1})}))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "agentplat", "watch", run_id]
    with subprocess.Popen(command, env={**where, "TERM": "xterm"}, stdout=theirs, stderr=theirs) as watching:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65_536)
            except OSError:  # that is how the end of a terminal looks
                break
    os.close(ours)
    text = shown.decode()
    assert watching.returncode == 0
    assert "drawing" in text
    assert "COMPLETED" in text
    assert "└── " in text
    assert "1 failed" in text
    assert "raised by FailIfNegBlock" in text


def test_what_can_not_be_watched(where: dict[str, str]) -> None:
    unknown = agentplat("watch", str(uuid4()), env=where)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "No such execution" in unknown.stderr
    nobody = agentplat("watch", str(uuid4()), "--token", "nonsense", env=where)
    assert nobody.returncode == 2
    assert "--token" in nobody.stderr
    nowhere = agentplat("watch", str(uuid4()), "--url", "http://127.0.0.1:1", env=where)
    assert nowhere.returncode == 2
    assert "No platform answers at http://127.0.0.1:1" in nowhere.stderr


def test_without_a_platform_it_says_what_is_missing(where: dict[str, str]) -> None:
    where.pop("AGENTPLAT_URL")
    lost = agentplat("watch", str(uuid4()), env=where)
    assert lost.returncode == 1
    assert "AGENTPLAT_URL" in lost.stderr
