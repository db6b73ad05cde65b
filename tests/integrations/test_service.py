import pytest

from agentplat.integrations import service
from agentplat.sdk import ApiKeyCredentials, CredentialsMeta

OPENAI = "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(service, "get_settings", service.get_settings.__wrapped__)  # reads the variables anew
    return monkeypatch


async def test_own_key_is_offered_to_everybody(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_API_KEY", "sk-secret")
    found = await service.lookup("anybody", OPENAI)
    assert found == CredentialsMeta(id=OPENAI, provider="openai", type="api_key", title="Use Credits for OpenAI")
    credentials = await service.acquire("anybody", OPENAI)
    assert isinstance(credentials, ApiKeyCredentials)
    assert credentials.api_key.reveal() == "sk-secret"
    assert "sk-secret" not in repr(credentials)


async def test_local_server_needs_no_key(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert await service.lookup("anybody", OPENAI)


async def test_without_a_key_there_is_nothing(environment: pytest.MonkeyPatch) -> None:
    assert service.system_credentials() == {}
    assert await service.lookup("u", OPENAI) is None
    with pytest.raises(service.CredentialsUnavailable, match=f"Credentials #{OPENAI} for user #u not found"):
        await service.acquire("u", OPENAI)
