"""Credentials as users hand them in and see them again.

The secrets in these structs are plain text, because that is what JSON has. They live from the request to the sealed
row, and from there to the block's `Secret`; they don't show themselves in a repr, so not in a log either.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Kind = Literal["api_key", "oauth2", "user_password", "host_scoped"]

# Names that stand in paths, logs and settings. None begins with a dot: `..` in a path is another path. `$` alone would
# let a line break pass that is the last character.
NAME = r"^[A-Za-z0-9_:-][A-Za-z0-9_.:-]{0,99}$(?!\n)"
Line = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
SecretText = Annotated[str, Meta(min_length=1, max_length=20_000, extra_json_schema={"extra": {"format": "password"}})]
HeaderName = Annotated[str, Meta(max_length=200, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$(?!\n)")]
HeaderValue = Annotated[str, Meta(max_length=20_000, pattern=r"^[^\x00\r\n]*$(?!\n)")]
Host = Annotated[str, Meta(min_length=1, max_length=260, pattern=r"^[A-Za-z0-9.*:\[\]_-]+$(?!\n)")]
# Unix seconds, as far as there are dates for them.
Moment = Annotated[int, Meta(ge=0, le=253_402_300_799)]
CredentialsId = Annotated[str, Meta(max_length=100, pattern=rf"^$(?!\n)|{NAME}")]
UserName = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]


class _Secrets(Struct, frozen=True, kw_only=True):
    """The members of all types, of which `rules.entry` wants those of one."""

    api_key: SecretText | None = None
    expires_at: Moment | None = None
    access_token: SecretText | None = None
    access_token_expires_at: Moment | None = None
    refresh_token: SecretText | None = None
    refresh_token_expires_at: Moment | None = None
    scopes: list[Line] | None = None
    metadata: dict[str, Any] = {}
    username: UserName | None = None
    password: SecretText | None = None
    host: Host | None = None
    headers: dict[HeaderName, HeaderValue] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"


class CredentialsBody(_Secrets, frozen=True, kw_only=True):
    """`id` may be chosen; else one is made. The provider in the path is the one that counts."""

    type: Kind = "api_key"
    id: CredentialsId = ""
    provider: str = ""
    title: Line | None = None


class ProgramCredentialsBody(_Secrets, frozen=True, kw_only=True):
    """What a program may hand in: nothing that somebody has to sign in for."""

    type: Literal["api_key", "user_password", "host_scoped"] = "api_key"
    title: Line


class _Entry(Struct, frozen=True, kw_only=True, tag_field="type"):
    """Credentials of one type, as they are kept, and as they are shown with masks in place of secrets."""

    id: str
    provider: str
    title: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, provider={self.provider!r}, ***)"


class ApiKeyEntry(_Entry, frozen=True, kw_only=True, tag="api_key"):
    api_key: str
    expires_at: int | None = None


class OAuth2Entry(_Entry, frozen=True, kw_only=True, tag="oauth2"):
    access_token: str
    scopes: list[str]
    username: str | None = None
    access_token_expires_at: int | None = None
    refresh_token: str | None = None
    refresh_token_expires_at: int | None = None
    metadata: dict[str, Any] = {}


class PasswordEntry(_Entry, frozen=True, kw_only=True, tag="user_password"):
    username: str
    password: str


class HostEntry(_Entry, frozen=True, kw_only=True, tag="host_scoped"):
    """`host` is a host name, or `*.example.com` for that domain and all below it."""

    host: str
    headers: dict[str, str] = {}


Entry = ApiKeyEntry | OAuth2Entry | PasswordEntry | HostEntry


class CredentialsSummary(Struct, frozen=True, kw_only=True):
    """Which credentials there are. `username` is the account's of a login; `host` is where headers are sent."""

    id: str
    provider: str
    type: Kind
    title: str | None
    scopes: list[str] | None
    username: str | None
    host: str | None


class CredentialsDeleted(Struct, frozen=True, kw_only=True):
    """`revoked` says whether the provider was told as well; null where there is nothing to tell."""

    deleted: bool = True
    revoked: bool | None


class ConfirmationNeeded(Struct, frozen=True, kw_only=True):
    """Something still works with these credentials; `force` deletes them all the same."""

    deleted: bool = False
    need_confirmation: bool = True
    message: str


class ProviderNames(Struct, frozen=True, kw_only=True):
    providers: list[str]


class ProviderConstants(Struct, frozen=True, kw_only=True):
    PROVIDER_NAMES: dict[str, str]


class ProviderExample(Struct, frozen=True, kw_only=True):
    provider: str


class ProviderInfo(Struct, frozen=True, kw_only=True):
    """What a provider's credentials may be."""

    name: str
    supports_oauth: bool = False
    supports_api_key: bool = False
    supports_user_password: bool = False
    supports_host_scoped: bool = False
    default_scopes: list[str] = []
