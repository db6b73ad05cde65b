"""The commands that run to an end, as processes."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from agentplat.cli.main import COMMANDS
from agentplat.infra.settings import Settings
from tests.support.processes import agentplat, environment
from tests.support.services import JWT_KEY, Servers


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="agentplat-home-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def bare(home: Path) -> dict[str, str]:
    """The environment of somebody who has configured nothing."""
    names = ("DATABASE_URL", "REDIS_URL", "JWT_VERIFY_KEY", "AGENTPLAT_BLOCK_MODULES")
    return {**{k: v for k, v in os.environ.items() if k not in names}, "AGENTPLAT_HOME": str(home / "new")}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    shown = agentplat(name, "--help", env=environment())
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"Usage: python -m agentplat {name}")


def test_help_lists_every_command() -> None:
    shown = agentplat("--help", env=environment())
    assert all(f"  {name} " in shown.stdout for name in COMMANDS)


def test_a_bad_setting_is_one_line_not_a_traceback(bare: dict[str, str]) -> None:
    refused = agentplat("doctor", env={**bare, "AGENTPLAT_PORT": "http"})
    assert refused.returncode == 1
    assert refused.stderr == "Error: AGENTPLAT_PORT='http' is not usable: expected a whole number from 1 to 65535\n"


def test_openapi_needs_nothing_and_leaves_nothing(bare: dict[str, str], home: Path) -> None:
    shown = agentplat("openapi", env=bare)
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert document["openapi"].startswith("3.")
    assert "/api/graphs" in document["paths"]
    assert list(home.iterdir()) == []


def test_migrate_on_the_embedded_database(bare: dict[str, str]) -> None:
    first = agentplat("migrate", "--check", env=bare)
    assert first.returncode == 1
    assert "missing " in first.stdout
    assert "applied " in agentplat("migrate", env=bare).stdout
    again = agentplat("migrate", "--check", env=bare)
    assert (again.returncode, again.stdout) == (0, "The database schema is up to date.\n")


def test_token_is_for_always_the_same_user(settings: Settings) -> None:
    tokens = [
        agentplat("token", "--email", email, *more, env=environment()).stdout.strip()
        for email, more in (("Ann@example.com", []), ("ann@example.com", ["--admin"]), ("bob@example.com", []))
    ]
    ann, admin, bob = (jwt.decode(token, JWT_KEY, algorithms=["HS256"], audience="authenticated") for token in tokens)
    assert ann["sub"] == admin["sub"] != bob["sub"]
    assert (ann["role"], admin["role"]) == ("authenticated", "admin")
    assert ann["email"] == "Ann@example.com"
    assert ann["exp"] - ann["iat"] == 24 * 3600


def test_doctor_finds_nothing_wrong(settings: Settings) -> None:
    shown = agentplat("doctor", env=environment())
    assert shown.returncode == 0, shown.stdout
    found = {line.split("\t")[1]: line.split("\t")[0] for line in shown.stdout.splitlines()}
    assert set(found) == {"versions", "token key", "disk", "database", "migrations", "clock", "redis", "platform"}
    assert set(found.values()) == {"ok"}


def test_doctor_names_what_is_wrong(settings: Settings, services: Servers) -> None:
    shown = agentplat(
        "doctor",
        env=environment(
            DATABASE_URL=services.database_url, REDIS_URL="redis://127.0.0.1:1/0", JWT_VERIFY_KEY="too-short"
        ),
    )
    assert shown.returncode == 1
    failed = {line.split("\t")[1] for line in shown.stdout.splitlines() if line.startswith("FAIL")}
    assert failed == {"migrations", "redis", "token key"}


def test_doctor_without_a_database(bare: dict[str, str]) -> None:
    shown = agentplat("doctor", env={**bare, "DATABASE_URL": "postgresql://127.0.0.1:1/x"})
    assert shown.returncode == 1
    assert "FAIL\tdatabase\tPostgres can't be reached" in shown.stdout


def test_doctor_before_the_first_start(bare: dict[str, str]) -> None:
    shown = agentplat("doctor", env=bare)
    assert shown.returncode == 0, shown.stdout
    assert "ok\tembedded\t" in shown.stdout


def test_blocks(settings: Settings) -> None:
    listed = agentplat("blocks", env=environment()).stdout.splitlines()
    name, _, block_id = next(line.split("\t") for line in listed if line.startswith("StoreValueBlock\t"))
    by_id, by_name = (agentplat("blocks", key, env=environment()).stdout for key in (block_id, name))
    assert by_id == by_name
    assert json.loads(by_id)["input_schema"]["properties"]
    unknown = agentplat("blocks", "NoSuchBlock", env=environment())
    assert unknown.returncode == 1
    assert "NoSuchBlock" in unknown.stderr
