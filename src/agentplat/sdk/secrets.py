"""Credentials as a block sees them."""

from datetime import datetime
from typing import Final, final

from msgspec import Struct


@final
class Secret:
    """Text that shows itself only when asked by name, never in a log line, a traceback or a repr."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text: Final = text

    def reveal(self) -> str:
        """The text itself. Pass it straight to where it is needed."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)


class CredentialsMeta(Struct, frozen=True, kw_only=True):
    """A reference to credentials, as it stands in a node's input: no secret in it."""

    id: str
    provider: str
    type: str
    title: str | None = None


class ApiKeyCredentials(Struct, frozen=True, kw_only=True, tag_field="type", tag="api_key"):
    """A key that stands for its owner."""

    id: str
    provider: str
    api_key: Secret
    title: str | None = None
    expires_at: datetime | None = None


class OAuth2Credentials(Struct, frozen=True, kw_only=True, tag_field="type", tag="oauth2"):
    """An access token, refreshed before a block gets it."""

    id: str
    provider: str
    access_token: Secret
    scopes: tuple[str, ...] = ()
    username: str | None = None
    title: str | None = None


class PasswordCredentials(Struct, frozen=True, kw_only=True, tag_field="type", tag="user_password"):
    """A user name and its password."""

    id: str
    provider: str
    username: Secret
    password: Secret
    title: str | None = None


class HostCredentials(Struct, frozen=True, kw_only=True, tag_field="type", tag="host_scoped"):
    """Headers for requests to one host, or to all hosts below it when it starts with `*.`."""

    id: str
    provider: str
    host: str
    headers: dict[str, Secret]
    title: str | None = None


Credentials = ApiKeyCredentials | OAuth2Credentials | PasswordCredentials | HostCredentials
