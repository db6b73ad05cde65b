"""Who is asking, and what they say about themselves."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

ADMIN = "admin"
AUTHENTICATED: Final = "authenticated"
MAX_NAME_LENGTH = 200
# As they are described. What is no address, and what is too short, has codes of its own where people sign in.
Email = Annotated[str, Meta(extra_json_schema={"extra": {"format": "email"}})]
NewPassword = Annotated[
    str, Meta(extra_json_schema={"extra": {"format": "password", "min_length": 8, "max_length": 256}})
]


class User(Struct, frozen=True, kw_only=True):
    """The person or program behind a request, as its token says."""

    id: str
    email: str | None = None
    role: str = AUTHENTICATED
    name: str | None = None
    session_id: str | None = None

    @property
    def is_admin(self) -> bool:
        return self.role == ADMIN


class Asked(Struct, frozen=True, kw_only=True):
    """A request, as it goes on record."""

    method: str
    path: str
    request_id: str


# Whom everybody is when authentication is switched off. The contract fixes the id.
DEFAULT_USER = User(
    id="3e53486c-cf57-477e-ba2a-cb02dc828e1a", email="default@example.com", role=ADMIN, name="Default User"
)


# --- accounts


class NotificationType(StrEnum):
    """The kinds of mails. Those of refunds go to administrators, whatever they prefer."""

    AGENT_RUN = "AGENT_RUN"
    ZERO_BALANCE = "ZERO_BALANCE"
    LOW_BALANCE = "LOW_BALANCE"
    BLOCK_EXECUTION_FAILED = "BLOCK_EXECUTION_FAILED"
    CONTINUOUS_AGENT_ERROR = "CONTINUOUS_AGENT_ERROR"
    DAILY_SUMMARY = "DAILY_SUMMARY"
    WEEKLY_SUMMARY = "WEEKLY_SUMMARY"
    MONTHLY_SUMMARY = "MONTHLY_SUMMARY"
    REFUND_REQUEST = "REFUND_REQUEST"
    REFUND_PROCESSED = "REFUND_PROCESSED"
    AGENT_APPROVED = "AGENT_APPROVED"
    AGENT_REJECTED = "AGENT_REJECTED"


class Account(Struct, frozen=True, kw_only=True):
    """A user's own row. The members without a column are there because clients look for them: secrets stay here."""

    id: str
    email: str | None
    email_verified: bool
    name: str | None
    created_at: datetime
    updated_at: datetime
    metadata: dict[str, Any] = {}
    integrations: str = ""
    stripe_customer_id: str | None = None
    top_up_config: dict[str, Any] | None = None
    max_emails_per_day: int
    notify_on_agent_run: bool
    notify_on_zero_balance: bool
    notify_on_low_balance: bool
    notify_on_block_execution_failed: bool
    notify_on_continuous_agent_error: bool
    notify_on_daily_summary: bool
    notify_on_weekly_summary: bool
    notify_on_monthly_summary: bool
    notify_on_agent_approved: bool
    notify_on_agent_rejected: bool
    timezone: str


class EmailBody(Struct, frozen=True, kw_only=True):
    email: Email


class Timezone(Struct, frozen=True, kw_only=True):
    """An IANA name, or `not-set` as long as the user has not told one."""

    timezone: str


class PreferencesUpdate(Struct, frozen=True, kw_only=True):
    """Only the kinds of mail that are named change, of those that a user can do without. Another address counts once
    it is verified."""

    email: Email
    preferences: dict[NotificationType, bool]
    daily_limit: Annotated[int, Meta(ge=0, le=1_000_000)]


class Preferences(Struct, frozen=True, kw_only=True):
    user_id: str
    email: str
    preferences: dict[NotificationType, bool]
    daily_limit: int
    emails_sent_today: int
    last_reset_date: datetime


# --- mails


class MailEventKind(StrEnum):
    """What Postmark tells of."""

    DELIVERY = "Delivery"
    BOUNCE = "Bounce"
    SPAM_COMPLAINT = "SpamComplaint"
    OPEN = "Open"
    CLICK = "Click"
    SUBSCRIPTION_CHANGE = "SubscriptionChange"


def _postmarks(name: str) -> str:
    """A member's name as Postmark writes it: MessageID, ReadSeconds."""
    return "".join(word.upper() if word in ("id", "os") else word.title() for word in name.split("_"))


class MailEvent(Struct, frozen=True, kw_only=True, rename=_postmarks):
    """The members of all kinds, of which `email.receive` wants those that it acts on. Postmark leaves some out, and
    sends null for others.
    """

    record_type: MailEventKind | None = None
    email: str | None = None
    recipient: str | None = None
    type_code: int | None = None
    suppress_sending: bool | None = None
    suppression_reason: str | None = None
    id: int | None = None
    type: str | None = None
    tag: str | None = None
    message_id: str | None = None
    message_stream: str | None = None
    server_id: int | None = None
    details: str | None = None
    from_: str | None = None
    subject: str | None = None
    content: str | None = None
    name: str | None = None
    description: str | None = None
    bounced_at: str | None = None
    delivered_at: str | None = None
    received_at: str | None = None
    changed_at: str | None = None
    inactive: bool | None = None
    dump_available: bool | None = None
    can_activate: bool | None = None
    first_open: bool | None = None
    read_seconds: int | None = None
    platform: str | None = None
    click_location: str | None = None
    original_link: str | None = None
    origin: str | None = None
    user_agent: str | None = None
    metadata: dict[str, str] | None = None
    os: dict[str, str] | None = None
    client: dict[str, str] | None = None
    geo: dict[str, str] | None = None


class Done(Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"


# --- signing in, as Supabase's clients know it: what they send beyond this is ignored


class Login(Struct, frozen=True, kw_only=True):
    """A user as far as signing in goes. `session_alive` is about the session that was asked for, if one was."""

    id: str
    email: str | None
    pending_email: str | None = None
    email_verified: bool = True
    name: str | None = None
    role: str | None = None
    password_hash: str | None = None
    last_sign_in_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    session_alive: bool = True


class OneTimeKind(StrEnum):
    RECOVERY = "recovery"
    EMAIL_CHANGE = "email_change"


class UserMetadata(Struct, frozen=True, kw_only=True):
    """Without a `name` the present one stays; null, or nothing to be seen, takes it away."""

    name: Annotated[str, Meta(max_length=MAX_NAME_LENGTH)] | UnsetType | None = UNSET


class SignUpBody(Struct, frozen=True, kw_only=True):
    email: Email
    password: NewPassword
    data: UserMetadata | None = None


class TokenBody(Struct, frozen=True, kw_only=True):
    """`email` and `password`, or `refresh_token`."""

    email: Email | None = None
    password: str | None = None
    refresh_token: str | None = None


class UserUpdate(Struct, frozen=True, kw_only=True):
    """Members that are left out stay."""

    email: Email | None = None
    password: NewPassword | None = None
    data: UserMetadata | None = None


class RecoverBody(Struct, frozen=True, kw_only=True):
    email: Email


class VerifyBody(Struct, frozen=True, kw_only=True):
    type: str
    token_hash: str


class AdminUserBody(Struct, frozen=True, kw_only=True):
    """`email_confirm` is ignored: addresses count from the beginning."""

    email: Email
    password: NewPassword | None = None
    email_confirm: bool = False
    role: Literal["authenticated", "admin"] = AUTHENTICATED
    user_metadata: UserMetadata | None = None


class AuthUser(Struct, frozen=True, kw_only=True):
    id: str
    aud: str
    role: str
    email: str
    new_email: str | UnsetType = UNSET
    phone: str = ""
    email_confirmed_at: datetime | None
    confirmed_at: datetime | None
    last_sign_in_at: datetime | None
    app_metadata: dict[str, Any]
    user_metadata: dict[str, Any]
    identities: list[Any] = field(default_factory=list)
    created_at: datetime
    updated_at: datetime
    is_anonymous: bool = False


class Session(Struct, frozen=True, kw_only=True):
    """`expires_in` counts seconds, `expires_at` is a Unix time in seconds."""

    access_token: str
    token_type: str = "bearer"
    expires_in: int
    expires_at: int
    refresh_token: str
    user: AuthUser


class Handover(Struct, frozen=True, kw_only=True):
    """A link that waits to be mailed."""

    kind: OneTimeKind
    address: str
    link: str
    expires_at: datetime


# --- API keys


class Permission(StrEnum):
    """What a program may do with a key."""

    IDENTITY = "IDENTITY"
    EXECUTE_GRAPH = "EXECUTE_GRAPH"
    READ_GRAPH = "READ_GRAPH"
    EXECUTE_BLOCK = "EXECUTE_BLOCK"
    READ_BLOCK = "READ_BLOCK"
    READ_STORE = "READ_STORE"
    USE_TOOLS = "USE_TOOLS"
    MANAGE_INTEGRATIONS = "MANAGE_INTEGRATIONS"
    READ_INTEGRATIONS = "READ_INTEGRATIONS"
    DELETE_INTEGRATIONS = "DELETE_INTEGRATIONS"


class ApiKeyStatus(StrEnum):
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    REVOKED = "REVOKED"


Permissions = Annotated[list[Permission], Meta(max_length=100)]


class ApiKeyBody(Struct, frozen=True, kw_only=True):
    """`expires_at` is not in the contract: without it a key is good until it is revoked."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    permissions: Permissions
    description: Annotated[str, Meta(max_length=2000)] | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class PermissionsBody(Struct, frozen=True, kw_only=True):
    permissions: Permissions


class ApiKeyInfo(Struct, frozen=True, kw_only=True):
    """A key without what makes it one. `last_used_at` is up to a minute late."""

    id: str
    user_id: str
    name: str
    description: str | None
    head: str
    tail: str
    status: ApiKeyStatus
    scopes: list[Permission]
    type: Literal["api_key"] = "api_key"
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class CreatedApiKey(Struct, frozen=True, kw_only=True):
    """`plain_text_key` is shown this one time."""

    api_key: ApiKeyInfo
    plain_text_key: str
