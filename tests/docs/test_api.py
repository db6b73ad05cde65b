"""The sessions of the API tour work as pasted, and print what the text says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentplat.cli.supervisor import Platform
from tests.support.processes import ROOT, environment

TOUR = (ROOT / "docs" / "api.md").read_text()
# What each of its sessions is for, in order.
SESSIONS = (
    "set up",
    "outputs",
    "waited",
    "once",
    "other",
    "both",
    "reviewed",
    "stopped",
    "many",
    "found",
    "shared",
    "limits",
    "scheduled",
    "errors",
    "headers",
    "unchanged",
    "kept",
    "signed",
    "program",
    "credentials",
    "uploaded",
    "paying",
)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_sessions_in_order(platform: Platform) -> None:
    script = "\necho --\n".join(re.findall(r"^```bash\n(.*?)^```$", TOUR, re.MULTILINE | re.DOTALL))
    for pasted, here in (
        ("http://127.0.0.1:8006", platform.url),
        (".venv/bin/", f"{Path(sys.executable).parent}/"),
    ):
        assert pasted in script
        script = script.replace(pasted, here)
    settings = platform.settings
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment(JWT_VERIFY_KEY=settings.jwt_verify_key or "", DATABASE_URL=settings.database_url or ""),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = dict(zip(SESSIONS, (part.strip() for part in done.stdout.split("--\n")), strict=True))
    assert f"prints `{said['outputs']}`" in TOUR
    assert f"prints `{said['waited']}`" in TOUR
    assert said["once"].splitlines() == ["1", "idempotency-replayed: true"]
    assert said["other"] == "idempotency_key_reused"
    assert said["both"] == "COMPLETED"
    assert f"prints `{said['reviewed'].splitlines()[-1]}`" in TOUR
    assert said["stopped"] == "TERMINATED"
    assert [f"`{line}`" in TOUR for line in said["many"].splitlines()] == [True, True]
    assert said["found"].splitlines()[0] == "1"
    assert "'total_items': 4" in said["found"]
    assert said["shared"].splitlines() == ["TERMINATED", "share_not_found"]
    assert said["limits"].splitlines() == ["QUEUED", "3600"]
    first, second, paused, resumed, history, wrong = said["scheduled"].splitlines()
    assert (first, second, paused, resumed) == ("30 2 * * *", "0 9 * * mon-fri", "True", "False")
    assert history == '{"firings":[],"next_before":null}'
    assert wrong == "cron: Bad minute"
    assert "'loc': ['header', 'Idempotency-Key']" in said["errors"]
    assert sorted(line.rstrip("0123456789") for line in said["headers"].splitlines()) == [
        "server-timing: total;dur=",
        "x-request-id: tour-",
    ]
    assert f"prints `{said['unchanged']}`" in TOUR
    assert said["signed"].splitlines() == ["bearer", "3600"]
    assert said["program"].splitlines() == ["200", "Missing required permission: IDENTITY"]
    assert said["paying"].splitlines() == ["500", "500", "payments_not_configured"]
    assert said["credentials"] == "**********"
    assert said["uploaded"] == "a,b"
    assert said["kept"] == "expired idempotency keys\t0\twould be dropped"
