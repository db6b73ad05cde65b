"""Blocks that are given secrets, and tell of them only what can't be turned back."""

import hashlib

from agentplat.sdk import (
    ApiKeyCredentials,
    Block,
    BlockError,
    Category,
    Context,
    Credentials,
    CredentialsMeta,
    HostCredentials,
    OAuth2Credentials,
    Outputs,
    OutputSchema,
    Schema,
    credentials,
    field,
)

VAULT = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a40"
VAULT_APART = "7b0f5a3e-1c7d-4a52-9d0e-0d9f3c1e5a41"


def fingerprint(*secrets: str) -> str:
    return hashlib.sha256("|".join(secrets).encode()).hexdigest()


def _secrets(given: Credentials) -> list[str]:
    if isinstance(given, ApiKeyCredentials):
        return [given.api_key.reveal()]
    if isinstance(given, OAuth2Credentials):
        return [given.access_token.reveal()]
    if isinstance(given, HostCredentials):
        return [one.reveal() for one in given.headers.values()]
    return [given.username.reveal(), given.password.reveal()]


class VaultBlock(Block):
    """Emits a fingerprint of the secrets that it was given."""

    id = VAULT
    categories = (Category.BASIC,)

    class Input(Schema):
        v: str = field(default="", description="`fail` to fail instead.")
        credentials: CredentialsMeta = credentials(
            providers=("vault",), types=("api_key", "oauth2", "user_password", "host_scoped")
        )

    class Output(OutputSchema):
        seen: str = field(description="The fingerprint.")

    async def run(self, input: Input, ctx: Context) -> Outputs:
        given = ctx.credentials["credentials"]
        if input.v == "fail":
            raise BlockError(f"{given!r} did not work")
        yield "seen", fingerprint(*_secrets(given))


class VaultApartBlock(VaultBlock):
    """The same in a process of its own."""

    id = VAULT_APART
    isolated = True
