"""`agentplat user`."""

import sys
from typing import Literal

import click

from agentplat.accounts import service as accounts
from agentplat.accounts.models import AdminUserBody, UserMetadata
from agentplat.cli.console import out, table
from agentplat.cli.database import on_database

Role = Literal["authenticated", "admin"]


@click.group("user")
def command() -> None:
    """Accounts of people who sign in here. Works on DATABASE_URL, or on the embedded Postgres."""


@command.command("create")
@click.argument("email")
@click.option("--name", help="What to call them.")
@click.option("--admin", is_flag=True, help="With the role admin.")
def create(email: str, name: str | None, admin: bool) -> None:
    """Make an account. The password is asked for, or read from the first line of standard input."""
    password = (
        click.prompt("Password", hide_input=True, confirmation_prompt=True)
        if sys.stdin.isatty()
        else sys.stdin.readline().rstrip("\r\n")
    )
    role: Role = "admin" if admin else "authenticated"
    body = AdminUserBody(email=email, password=password, role=role, user_metadata=UserMetadata(name=name))
    made = on_database(lambda: accounts.create_user(accounts.SERVICE, body))
    out.out(made.id, highlight=False)


@command.command("role")
@click.argument("email")
@click.argument("role", type=click.Choice(["admin", "authenticated"]))
def role(email: str, role: Role) -> None:
    """Say whether somebody is an administrator. It counts from their next token on, within an hour."""
    out.out(on_database(lambda: accounts.set_role(email, role)), highlight=False)


@command.command("links")
@click.argument("email", required=False)
def links(email: str | None) -> None:
    """Print the links that wait to be mailed: new passwords, new addresses. Whoever has one is that user."""
    found = on_database(lambda: accounts.links(email))
    table(
        ("For", "Address", "Until", "Link"),
        [(one.kind, one.address, one.expires_at.isoformat(timespec="seconds"), one.link) for one in found],
    )
