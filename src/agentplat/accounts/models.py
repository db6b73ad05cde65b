"""Who is asking."""

from msgspec import Struct

ADMIN = "admin"


class User(Struct, frozen=True, kw_only=True):
    """The person or program behind a request, as its token says."""

    id: str
    email: str | None = None
    role: str = "authenticated"
    name: str | None = None

    @property
    def is_admin(self) -> bool:
        return self.role == ADMIN


# Whom everybody is when authentication is switched off. The contract fixes the id.
DEFAULT_USER = User(
    id="3e53486c-cf57-477e-ba2a-cb02dc828e1a", email="default@example.com", role=ADMIN, name="Default User"
)
