import json
import logging

import msgspec
import pytest

from agentplat.sdk import ApiKeyCredentials, Context, HostCredentials, PasswordCredentials, Secret

TEXT = "hunter2"
CREDENTIALS = [
    ApiKeyCredentials(id="1", provider="p", api_key=Secret(TEXT)),
    PasswordCredentials(id="2", provider="p", username=Secret(TEXT), password=Secret(TEXT)),
    HostCredentials(id="3", provider="p", host="h", headers={"x-key": Secret(TEXT)}),
]


@pytest.mark.parametrize("credentials", CREDENTIALS, ids=lambda credentials: type(credentials).__name__)
def test_secrets_show_themselves_nowhere(credentials: object, caplog: pytest.LogCaptureFixture) -> None:
    context = Context(user_id="u", credentials={"credentials": credentials})  # type: ignore[dict-item]
    logging.getLogger("test").error("%s %r %s", credentials, context, [credentials])
    assert TEXT not in caplog.text
    assert "***" in caplog.text
    for encode in (msgspec.json.encode, json.dumps):
        with pytest.raises(TypeError):
            encode(credentials)


def test_secret_is_told_on_request() -> None:
    secret = Secret(TEXT)
    assert secret.reveal() == TEXT
    assert secret == Secret(TEXT) != Secret("other")
    assert bool(secret)
    assert not Secret("")
