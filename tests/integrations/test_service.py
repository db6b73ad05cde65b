import pytest

from agentplat.integrations import service
from agentplat.integrations.models import CredentialsSummary
from agentplat.sdk import ApiKeyCredentials

OPENAI = "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(service, "get_settings", service.get_settings.__wrapped__)  # reads the variables anew
    return monkeypatch


async def test_own_key_is_offered_to_everybody(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_API_KEY", "sk-secret")
    found = await service.find("anybody", [OPENAI])
    title = "Use Credits for OpenAI"
    assert found[OPENAI] == CredentialsSummary(
        id=OPENAI, provider="openai", type="api_key", title=title, scopes=None, username=None, host=None
    )
    credentials = await service.acquire("anybody", OPENAI)
    assert isinstance(credentials, ApiKeyCredentials)
    assert credentials.api_key.reveal() == "sk-secret"
    assert "sk-secret" not in repr(credentials)


async def test_local_server_needs_no_key(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert await service.find("anybody", [OPENAI])


@pytest.mark.usefixtures("db")
async def test_without_a_key_there_is_only_what_needs_none(environment: pytest.MonkeyPatch) -> None:
    assert [one.provider for one in await service.list_("u")] == ["ollama"]
    assert await service.find("u", [OPENAI]) == {}
    with pytest.raises(service.CredentialsUnavailable, match=f"Credentials #{OPENAI} for user #u not found"):
        await service.acquire("u", OPENAI)
