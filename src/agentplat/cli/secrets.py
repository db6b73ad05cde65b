"""`agentplat secrets`."""

import click

from agentplat.accounts import service as accounts
from agentplat.cli.console import out
from agentplat.cli.database import on_database
from agentplat.infra import crypto
from agentplat.infra.crypto import DecryptionFailed
from agentplat.infra.settings import get_settings
from agentplat.integrations import service as integrations


@click.group("secrets")
def command() -> None:
    """The keys that stored secrets are sealed with."""


@command.command("new-key")
def new_key() -> None:
    """Put a new key in front of those in the home; where AGENTPLAT_SECRET_KEYS is set, print one to put there.

    Restart what is running, then run `agentplat secrets rotate`.
    """
    new = crypto.add_key(get_settings())
    out.out(new if new is not None else "A new key was put in front of the others.", highlight=False)


@command.command("rotate")
def rotate() -> None:
    """Seal everything with the first key that an older one has sealed. Works while everything runs.

    API keys and sessions move to the first key when they are next used. Who removes an older key before that ends them;
    a session is not older than 30 days.
    """
    sealed, failed = on_database(_seal_anew)
    if sealed or not failed:
        out.out(f"{sealed} secrets were sealed anew.", highlight=False)
    if waiting := on_database(accounts.count_old_keys):
        out.out(f"{waiting} API keys still need an older key, until they are next used.", highlight=False)
    if failed:
        raise DecryptionFailed("\n".join(failed))


async def _seal_anew() -> tuple[int, list[str]]:
    """How many were, and what didn't open: links that don't keep no credentials from being tried."""
    sealed, failed = 0, []
    for seal_anew in (accounts.seal_anew, integrations.seal_anew):
        try:
            sealed += await seal_anew()
        except DecryptionFailed as error:
            failed.append(error.message)
    return sealed, failed
