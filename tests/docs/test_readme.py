"""The README's sessions work as pasted, and its tables are complete."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agentplat.cli.main import COMMANDS
from agentplat.cli.supervisor import Platform
from agentplat.infra import settings as settings_module
from agentplat.infra.settings import Settings
from tests.support.processes import ROOT, environment

README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found.group(1)


def session(title: str) -> str:
    found = re.search(r"^```bash\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)
    assert found, title
    return found.group(1)


Paste = Callable[..., str]


@pytest.fixture
def paste(platform: Platform) -> Paste:
    """Runs sessions one after another in one shell. Only the address and the place of Python are exchanged."""

    def run(*titles: str) -> str:
        script = "\n".join(map(session, titles))
        assert "http://127.0.0.1:8006" in script
        assert ".venv/bin/" in script
        script = script.replace("http://127.0.0.1:8006", platform.url)
        script = script.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        env = environment(JWT_VERIFY_KEY=platform.settings.jwt_verify_key or "")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_session(paste: Paste) -> None:
    assert paste("With curl") == "{'message': ['Hello, Ada!'], 'length': [11]}\n"
    assert "`{'message': ['Hello, Ada!'], 'length': [11]}`" in README


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_api_session(paste: Paste) -> None:
    printed = paste("With curl", "The API in four requests").split()
    assert printed[-4:] == ["1", "1", "COMPLETED", "TERMINATED"]
    assert "This prints `1`, `1`, `COMPLETED` and `TERMINATED`." in README


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_websocket_session(paste: Paste) -> None:
    lines = paste("With curl", "Over the WebSocket").splitlines()[1:]
    assert re.fullmatch(r"subscribed to .+\|graph#.+\|executions", lines[0])
    assert lines[1] == "QUEUED {}"
    assert lines[-1] == "COMPLETED {'message': ['Hello, Grace!'], 'length': [13]}"


def test_every_command_is_listed() -> None:
    first_cells = re.findall(r"^\| (`.+?) \|", section("Commands"), re.MULTILINE)
    listed = {word.split()[0] for cell in first_cells for word in re.findall(r"`(.+?)`", cell)}
    assert listed == set(COMMANDS)


def test_every_setting_is_listed_with_its_default() -> None:
    rows = {}
    for line in section("Configuration").splitlines():
        if line.startswith("| `"):
            variable, default, _ = (cell.strip() for cell in line.strip("| ").split(" | ", 2))
            rows[variable.strip("`")] = default.strip("`")
    defaults = dict(zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True))
    for field, (first, *others), _parse in settings_module._VARIABLES:
        assert first in rows
        assert all(f"`{other}`" in README for other in others)
        default = defaults[field]
        if default not in (None, ()):
            assert rows[first] == (
                str(default).lower()
                if isinstance(default, bool)
                else f"{default:g}"
                if isinstance(default, float)
                else str(default)
            )
    assert len(rows) == len(settings_module._VARIABLES)
    assert all(f"`{name}`" in section("Configuration") for name in settings_module.PROVIDER_KEYS)


def test_the_two_commands_come_first() -> None:
    assert re.findall(r"^make (\w+)", README, re.MULTILINE)[:2] == ["demo", "test"]
