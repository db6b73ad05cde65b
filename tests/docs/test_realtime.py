"""The sessions of the page on realtime work as pasted."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentplat.cli.supervisor import Platform
from tests.support.processes import ROOT, environment

PAGE = (ROOT / "docs" / "realtime.md").read_text()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_sessions_in_order(platform: Platform) -> None:
    script = "\necho --\n".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    for pasted, here in (
        ("http://127.0.0.1:8006", platform.url),
        (".venv/bin/", f"{Path(sys.executable).parent}/"),
    ):
        assert pasted in script
        script = script.replace(pasted, here)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment(JWT_VERIFY_KEY=platform.settings.jwt_verify_key or ""),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, client, curl, socket = (part.strip().splitlines() for part in done.stdout.split("--\n"))
    assert client[0] == "1 QUEUED {}"
    assert client[-1].endswith("COMPLETED {'message': ['Hello, Grace!'], 'length': [13]}")
    assert curl[:2] == ["id: 1", "event: graph_execution_event"]
    assert socket[0] == "1 graph_execution_event QUEUED"
    assert socket[-1].endswith("graph_execution_event COMPLETED")
    for lines in (client, socket):
        assert [int(line.split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    assert len(curl) == 2 * len(socket)
