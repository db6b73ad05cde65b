from collections.abc import Iterator

import pytest

from agentplat.integrations import service
from agentplat.integrations.models import CredentialsSummary
from agentplat.sdk import ApiKeyCredentials
from tests.support.switches import environment_of

OPENAI = "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a"


@pytest.fixture
def without_keys() -> Iterator[None]:
    with environment_of(OPENAI_API_KEY="", OPENAI_BASE_URL=""):
        yield


async def test_own_key_is_offered_to_everybody() -> None:
    with environment_of(OPENAI_API_KEY="sk-secret", OPENAI_BASE_URL=""):
        found = await service.find("anybody", [OPENAI])
        credentials = await service.acquire("anybody", OPENAI)
    title = "Use Credits for OpenAI"
    assert found[OPENAI] == CredentialsSummary(
        id=OPENAI, provider="openai", type="api_key", title=title, scopes=None, username=None, host=None
    )
    assert isinstance(credentials, ApiKeyCredentials)
    assert credentials.api_key.reveal() == "sk-secret"
    assert "sk-secret" not in repr(credentials)


async def test_local_server_needs_no_key() -> None:
    with environment_of(OPENAI_API_KEY="", OPENAI_BASE_URL="http://127.0.0.1:1/v1"):
        assert await service.find("anybody", [OPENAI])


@pytest.mark.usefixtures("db", "without_keys")
async def test_without_a_key_there_is_only_what_needs_none() -> None:
    assert [one.provider for one in await service.list_("u")] == ["ollama"]
    assert await service.find("u", [OPENAI]) == {}
    with pytest.raises(service.CredentialsUnavailable, match=f"Credentials #{OPENAI} for user #u not found"):
        await service.acquire("u", OPENAI)
