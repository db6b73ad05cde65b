from piccolo.columns import Array, BigInt, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table


class Users(Table, tablename="users"):
    """`id` is the auth provider's; the row appears with the first request that carries it.

    No two have the same `email`, whatever its case. `pending_email` is asked for, and counts once it is verified.
    """

    id = Text(primary_key=True, default=None)
    email = Text(null=True, default=None)
    email_verified = Boolean(default=True)
    pending_email = Text(null=True, default=None)
    name = Text(null=True, default=None)
    timezone = Text(default="not-set")
    max_emails_per_day = Integer(default=3)
    notify_on_agent_run = Boolean(default=True)
    notify_on_zero_balance = Boolean(default=True)
    notify_on_low_balance = Boolean(default=True)
    notify_on_block_execution_failed = Boolean(default=True)
    notify_on_continuous_agent_error = Boolean(default=True)
    notify_on_daily_summary = Boolean(default=True)
    notify_on_weekly_summary = Boolean(default=True)
    notify_on_monthly_summary = Boolean(default=True)
    notify_on_agent_approved = Boolean(default=True)
    notify_on_agent_rejected = Boolean(default=True)
    created_at = Timestamptz()
    updated_at = Timestamptz()


class Logins(Table, tablename="logins"):
    """Users who sign in here rather than with somebody else's tokens."""

    user_id = Text(primary_key=True, default=None)
    password_hash = Text(null=True, default=None)
    role = Text(default="authenticated")
    last_sign_in_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


class Sessions(Table, tablename="sessions"):
    """One sign-in on one device: a family of refresh tokens, of which `generation` numbers the one that counts."""

    id = Text(primary_key=True, default=None)
    user_id = Text()
    generation = Integer(default=1)
    rotated_at = Timestamptz()
    expires_at = Timestamptz()
    revoked_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


class OneTimeTokens(Table, tablename="one_time_tokens"):
    """What proves that somebody reads the mails of an address. `sealed` is the token, for whoever mails it."""

    hash = Bytea(primary_key=True, default=None)
    user_id = Text()
    kind = Text()
    address = Text()
    sealed = Bytea()
    redirect_to = Text()
    created_at = Timestamptz()
    expires_at = Timestamptz()


class Impersonations(Table, tablename="impersonations"):
    """Requests of administrators who acted as somebody else. Rows outlive the users that they name."""

    id = BigInt(primary_key=True, default=None)
    admin_id = Text()
    admin_email = Text(null=True, default=None)
    user_id = Text()
    method = Text()
    path = Text()
    request_id = Text()
    created_at = Timestamptz()


class ApiKeys(Table, tablename="api_keys"):
    """Keys for programs. `hash` is a keyed hash of the whole key, with the id of its own key in front."""

    id = Text(primary_key=True, default=None)
    user_id = Text()
    name = Text()
    description = Text(null=True, default=None)
    head = Text()
    tail = Text()
    hash = Bytea()
    status = Text(default="ACTIVE")
    permissions = Array(base_column=Text())
    created_at = Timestamptz()
    expires_at = Timestamptz(null=True, default=None)
    last_used_at = Timestamptz(null=True, default=None)
    revoked_at = Timestamptz(null=True, default=None)
