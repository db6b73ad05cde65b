from piccolo.columns import Boolean, Integer, Text, Timestamptz
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
