"""What the page on realtime shows for browsers, executed by node, which has the same WebSocket and EventSource.

Around it stands what a page has besides: a platform, a token, and something that shows events.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.realtime.test_resuming import everything
from tests.support.client import User
from tests.support.drawing import SPILL, STORE, draw
from tests.support.processes import ROOT

OVER_HTTP, OVER_THE_SOCKET = re.findall(
    r"^```javascript\n(.*?)^```$", (ROOT / "docs/realtime.md").read_text(), re.MULTILINE | re.DOTALL
)
# Node has both since 20.18, the first one without being asked since 22.
NODE = ("node", "--no-warnings", "--experimental-websocket", "--experimental-eventsource")
HAS_BOTH = "process.exit(typeof WebSocket === 'function' && typeof EventSource === 'function' ? 0 : 1)"
# `%s` is followed by what is shown. Whoever uses it brings `tell`.
PAGE = """
let over = false;
const render = (event, data) => {
  tell({event, data, number: last});
  over ||= event === "graph_execution_event" && ["COMPLETED", "FAILED", "TERMINATED"].includes(data.status);
};
%s
watch(run);
"""
SCRIPT = """
const [server, token, run] = process.argv.slice(2);
const tell = (what) => console.log(JSON.stringify(what));
"""
DRAWING = draw({"p": (SPILL, {"count": 8, "delay": 0.05}), "b": (STORE, {})}, "p.n -> b.input")


def has_both() -> bool:
    return bool(shutil.which("node")) and not subprocess.run([*NODE, "-e", HAS_BOTH], capture_output=True).returncode


async def expected(user: User, run_id: str) -> list[dict[str, Any]]:
    """All that a page has to be told of a run that is over."""
    return [
        {"event": one["method"], "data": one["data"], "number": one["seq"]} for one in await everything(user, run_id)
    ]


@pytest.mark.skipif(not has_both(), reason="node is missing, or older than 20.18")
@pytest.mark.parametrize("shown", [OVER_HTTP, OVER_THE_SOCKET], ids=["http", "socket"])
async def test_what_a_browser_would_do(shown: str, user: User, tmp_path: Path) -> None:
    """It ends by itself, since nothing is left open once the run is over."""
    script = tmp_path / "page.mjs"
    script.write_text(SCRIPT + PAGE % shown)
    graph, _ = await user.create(DRAWING)
    run = await user.start(graph)
    done = subprocess.run(  # noqa: ASYNC221 - nothing else happens here meanwhile
        [*NODE, str(script), user.url, user.token, run["id"]], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert seen == await expected(user, run["id"])
