"""Credentials: which there are, and handing them to a block."""

from collections.abc import Mapping

from agentplat.infra.settings import get_settings
from agentplat.integrations.errors import CredentialsUnavailable
from agentplat.sdk import ApiKeyCredentials, Credentials, CredentialsMeta, Secret

__all__ = ["SYSTEM_IDS", "CredentialsUnavailable", "acquire", "lookup", "system_credentials"]

# Fixed by the AutoGPT Platform contract: agents and prices refer to an installation's own keys by these ids.
SYSTEM_IDS: Mapping[str, str] = {"openai": "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a"}
# Servers that only speak OpenAI's language rarely want a key, but its client insists on one.
_NO_KEY = "unused"


def system_credentials() -> Mapping[str, ApiKeyCredentials]:
    """The installation's own credentials by id. Every user may use them."""
    settings = get_settings()
    if not (settings.openai_api_key or settings.openai_base_url):
        return {}
    key = Secret(settings.openai_api_key or _NO_KEY)
    openai_id = SYSTEM_IDS["openai"]
    title = "Use Credits for OpenAI"
    return {openai_id: ApiKeyCredentials(id=openai_id, provider="openai", api_key=key, title=title)}


async def lookup(user_id: str, credentials_id: str) -> CredentialsMeta | None:
    """What kind of credentials these are, without their secret."""
    found = system_credentials().get(credentials_id)
    if found is None:
        return None
    return CredentialsMeta(id=found.id, provider=found.provider, type="api_key", title=found.title)


async def acquire(user_id: str, credentials_id: str) -> Credentials:
    """The credentials themselves. Any number of nodes may use them at once."""
    found = system_credentials().get(credentials_id)
    if found is None:
        raise CredentialsUnavailable(f"Credentials #{credentials_id} for user #{user_id} not found")
    return found
