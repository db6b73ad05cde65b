from piccolo.columns import Array, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table


class Onboarding(Table, tablename="onboarding"):
    """How far a user has come. Who has nothing to remember has no row."""

    user_id = Text(primary_key=True, default=None)
    completed_steps = Array(base_column=Text())
    wallet_shown = Boolean(default=False)
    notified = Array(base_column=Text())
    rewarded_for = Array(base_column=Text())
    usage_reason = Text(null=True, default=None)
    integrations = Array(base_column=Text())
    other_integrations = Text(null=True, default=None)
    selected_store_listing_version_id = Text(null=True, default=None)
    agent_input = Bytea(null=True, default=None)
    onboarding_agent_execution_id = Text(null=True, default=None)
    agent_runs = Integer(default=0)
    last_run_at = Timestamptz(null=True, default=None)
    consecutive_run_days = Integer(default=0)
    counted_until = Timestamptz()
