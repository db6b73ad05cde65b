"""`agentplat token`."""

from datetime import timedelta
from uuid import NAMESPACE_URL, uuid5

import click

from agentplat.accounts import service as accounts
from agentplat.cli.console import out
from agentplat.infra.settings import get_settings


@click.command("token")
@click.option("--email", required=True, help="Whose token it is.")
@click.option("--user-id", help="The user's id.  [default: always the same one for an e-mail address]")
@click.option("--admin", is_flag=True, help="With the role admin.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    default=24.0,
    show_default=True,
    help="How long it is valid.",
)
def command(email: str, user_id: str | None, admin: bool, hours: float) -> None:
    """Print a token (JWT) for development, signed with this machine's key.

    Use it as `Authorization: Bearer TOKEN`. Needs JWT_VERIFY_KEY, or the AGENTPLAT_HOME that the platform uses.
    """
    out.out(development_token(email, user_id, admin=admin, hours=hours), highlight=False)


def development_token(email: str, user_id: str | None = None, *, admin: bool = False, hours: float = 24.0) -> str:
    """Signed with this machine's key. The same e-mail address is always the same user."""
    get_settings()
    user_id = user_id or str(uuid5(NAMESPACE_URL, f"mailto:{email.strip().lower()}"))
    role = "admin" if admin else "authenticated"
    return accounts.issue_token(user_id, email, role, timedelta(hours=hours))
