"""What of credentials may be seen, and what a block gets of them."""

from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import structs
from msgspec.structs import replace

from agentplat.integrations.errors import MembersMissing, SecretMasked
from agentplat.integrations.models import (
    ApiKeyEntry,
    CredentialsBody,
    CredentialsSummary,
    Entry,
    HostEntry,
    OAuth2Entry,
    PasswordEntry,
    ProgramCredentialsBody,
)
from agentplat.sdk import (
    ApiKeyCredentials,
    Credentials,
    HostCredentials,
    OAuth2Credentials,
    PasswordCredentials,
    Secret,
)

_TYPES: dict[str, type[Entry]] = {
    "api_key": ApiKeyEntry,
    "oauth2": OAuth2Entry,
    "user_password": PasswordEntry,
    "host_scoped": HostEntry,
}
# The contract's answers have members for secrets, so something has to stand there.
MASK = "**********"


def entry(credentials_id: str, provider: str, body: CredentialsBody | ProgramCredentialsBody) -> Entry:
    """The credentials that a request is about. What belongs to other types is left out."""
    made = _TYPES[body.type]
    wanted = [one for one in structs.fields(made) if one.name not in ("id", "provider")]
    members = {one.name: getattr(body, one.name) for one in wanted}
    if missing := [one.name for one in wanted if one.required and members[one.name] is None]:
        raise MembersMissing.of(missing)
    found = made(id=credentials_id, provider=provider, **members)
    for place, text in _secrets(found):
        if text == MASK:
            # Who sends back what was shown to them would make the mask the secret.
            raise SecretMasked.at("body", *place)
    return found


def summary(entry: Entry) -> CredentialsSummary:
    """What is kept in clear: the user name of a login is no secret, the one beside a password is."""
    return CredentialsSummary(
        id=entry.id,
        provider=entry.provider,
        type=entry.__struct_config__.tag,  # type: ignore[arg-type]
        title=entry.title,
        scopes=list(entry.scopes) if isinstance(entry, OAuth2Entry) else None,
        username=entry.username if isinstance(entry, OAuth2Entry) else None,
        host=entry.host if isinstance(entry, HostEntry) else None,
    )


def masked(entry: Entry) -> Entry:
    """The same without its secrets."""
    match entry:
        case ApiKeyEntry():
            return replace(entry, api_key=MASK)
        case OAuth2Entry():
            return replace(entry, access_token=MASK, refresh_token=entry.refresh_token and MASK)
        case PasswordEntry():
            return replace(entry, username=MASK, password=MASK)
        case HostEntry():
            return replace(entry, headers=dict.fromkeys(entry.headers, MASK))


def _secrets(entry: Entry) -> Iterator[tuple[tuple[str, ...], str | None]]:
    match entry:
        case ApiKeyEntry():
            yield ("api_key",), entry.api_key
        case OAuth2Entry():
            yield ("access_token",), entry.access_token
            yield ("refresh_token",), entry.refresh_token
        case PasswordEntry():
            yield ("username",), entry.username
            yield ("password",), entry.password
        case HostEntry():
            for name, text in entry.headers.items():
                yield ("headers", name), text


def for_block(entry: Entry) -> Credentials:
    match entry:
        case ApiKeyEntry():
            return ApiKeyCredentials(
                id=entry.id,
                provider=entry.provider,
                title=entry.title,
                api_key=Secret(entry.api_key),
                expires_at=None if entry.expires_at is None else datetime.fromtimestamp(entry.expires_at, UTC),
            )
        case OAuth2Entry():
            return OAuth2Credentials(
                id=entry.id,
                provider=entry.provider,
                title=entry.title,
                access_token=Secret(entry.access_token),
                scopes=tuple(entry.scopes),
                username=entry.username,
            )
        case PasswordEntry():
            return PasswordCredentials(
                id=entry.id,
                provider=entry.provider,
                title=entry.title,
                username=Secret(entry.username),
                password=Secret(entry.password),
            )
        case HostEntry():
            return HostCredentials(
                id=entry.id,
                provider=entry.provider,
                title=entry.title,
                host=entry.host,
                headers={name: Secret(text) for name, text in entry.headers.items()},
            )
