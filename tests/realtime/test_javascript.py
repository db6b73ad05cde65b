"""What the page on realtime shows for browsers, executed by node, which has the same WebSocket and EventSource.

Around it stands what a page has besides: an address of its own, a token, and something that shows events.
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

SHOWN = re.findall(r"^```javascript\n(.*?)^```$", (ROOT / "docs/realtime.md").read_text(), re.MULTILINE | re.DOTALL)
# Node has both since 20.18, the first one without being asked since 22.
NODE = ("node", "--no-warnings", "--experimental-websocket", "--experimental-eventsource")
HAS_BOTH = "process.exit(typeof WebSocket === 'function' && typeof EventSource === 'function' ? 0 : 1)"
PAGE = """
const [origin, token, run] = process.argv.slice(2);
globalThis.location = new URL(origin);
const [real, Source] = [fetch, EventSource];
globalThis.fetch = (path, options) => real(new URL(path, location), options);
globalThis.EventSource = class extends Source { constructor(path) { super(new URL(path, location)); } };
let over = false;
const render = (event, data) => {
  console.log(JSON.stringify({event, data, number: last}));
  over ||= event === "graph_execution_event" && ["COMPLETED", "FAILED", "TERMINATED"].includes(data.status);
  if (over) ended();
};
"""
# Each ends by itself when its connection is closed: the stream's by the server, and for good.
OVER_HTTP = (PAGE, "const ended = () => {}; await watch(run);")
OVER_THE_SOCKET = (PAGE + "let last = 0;", "function ended() { socket.close(); }")
DRAWING = draw({"p": (SPILL, {"count": 8, "delay": 0.05}), "b": (STORE, {})}, "p.n -> b.input")


def has_both() -> bool:
    return bool(shutil.which("node")) and not subprocess.run([*NODE, "-e", HAS_BOTH], capture_output=True).returncode


@pytest.mark.skipif(not has_both(), reason="node is missing, or older than 20.18")
@pytest.mark.parametrize(("shown", "around"), list(zip(SHOWN, (OVER_HTTP, OVER_THE_SOCKET), strict=True)))
async def test_what_a_browser_would_do(shown: str, around: tuple[str, str], user: User, tmp_path: Path) -> None:
    script = tmp_path / "page.mjs"
    script.write_text("\n".join((around[0], shown, around[1])))
    graph, _ = await user.create(DRAWING)
    run = await user.start(graph)
    done = subprocess.run(  # noqa: ASYNC221 - nothing else happens here meanwhile
        [*NODE, str(script), user.url, user.token, run["id"]], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert seen == [
        {"event": one["method"], "data": one["data"], "number": one["seq"]} for one in await everything(user, run["id"])
    ]
