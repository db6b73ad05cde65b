"""Accounts and keys from the command line."""

import subprocess
import sys
from collections.abc import Mapping

import pytest

from agentplat.accounts import one_time, sign_in
from agentplat.accounts import service as accounts
from agentplat.accounts.models import OneTimeKind
from agentplat.infra.db import Database
from agentplat.integrations import service as integrations
from agentplat.integrations.models import CredentialsBody
from tests.support.processes import environment

pytestmark = pytest.mark.usefixtures("redis")


def run(*arguments: str, said: str = "", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agentplat", *arguments],
        input=said,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**(env or {})),
        check=False,
    )


async def test_administrators_are_made_by_hand(db: Database) -> None:
    made = run("user", "create", "Root@example.com", "--admin", "--name", "Root", said="correct horse battery\n")
    assert made.returncode == 0, made.stderr
    session = await sign_in.by_password("root@example.com", "correct horse battery")
    assert (session.user.id, session.user.role, session.user.user_metadata) == (
        made.stdout.strip(),
        "admin",
        {"name": "Root"},
    )
    assert accounts.authenticate(session.access_token).is_admin
    again = run("user", "create", "root@example.com", said="correct horse battery\n")
    assert (again.returncode, again.stderr) == (1, "Error: User already registered\n")
    weak = run("user", "create", "other@example.com", said="short\n")
    assert (weak.returncode, weak.stderr) == (1, "Error: A password has 8 to 256 characters\n")
    assert run("user", "role", "root@example.com", "authenticated").returncode == 0
    assert (await sign_in.by_password("root@example.com", "correct horse battery")).user.role == "authenticated"
    assert run("user", "role", "nobody@example.com", "admin").returncode == 1


async def test_links_that_wait_are_shown(db: Database) -> None:
    made = run("user", "create", "ann@example.com", said="correct horse battery\n")
    await one_time.issue(made.stdout.strip(), OneTimeKind.RECOVERY, "ann@example.com")
    (line,) = run("user", "links", "ann@example.com").stdout.splitlines()
    assert line.startswith("recovery\tann@example.com\t")
    assert "http://localhost:3000?token_hash=" in line
    assert run("user", "links", "bob@example.com").stdout == ""


async def test_stored_secrets_move_to_a_new_key(db: Database) -> None:
    made = run("user", "create", "ann@example.com", said="correct horse battery\n")
    await one_time.issue(made.stdout.strip(), OneTimeKind.RECOVERY, "ann@example.com")
    await integrations.create(made.stdout.strip(), "github", CredentialsBody(api_key="s3cret"))
    (link,) = await accounts.links()
    added = run("secrets", "new-key")
    assert (added.returncode, added.stdout) == (0, "A new key was put in front of the others.\n")
    assert run("secrets", "rotate").stdout.startswith("2 secrets were sealed anew.\n")
    assert run("secrets", "rotate").stdout.startswith("0 secrets were sealed anew.")
    assert link.link in run("user", "links").stdout
    # What no key opens keeps nothing else from moving, neither of its own kind nor of another, and is named.
    await integrations.create(made.stdout.strip(), "github", CredentialsBody(id="lost", api_key="s3cret"))
    for where in ("one_time_tokens", "credentials WHERE id = 'lost'"):
        table, _, condition = where.partition(" ")
        await db.execute(f"UPDATE {table} SET sealed = overlay(sealed placing '\\x00000000'::bytea from 2) {condition}")
    run("secrets", "new-key")
    rotated = run("secrets", "rotate")
    assert rotated.returncode == 1
    assert "0 links were sealed anew, and 1 can't be:" in rotated.stderr
    assert "1 credentials were sealed anew, and 1 can't be:" in rotated.stderr
    assert f"credentials {made.stdout.strip()} lost" in rotated.stderr
    assert "s3cret" not in rotated.stderr
    printed = run("secrets", "new-key", env={"AGENTPLAT_SECRET_KEYS": "k" * 40})
    assert len(printed.stdout.strip()) >= 32
