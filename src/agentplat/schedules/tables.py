from piccolo.columns import Bytea, Integer, Text, Timestamptz
from piccolo.table import Table


class Schedules(Table, tablename="schedules"):
    """`next_run_at` is when it is due, null while it is paused. `request` is the JSON of inputs and credentials."""

    id = Text(primary_key=True, default=None)
    user_id = Text()
    graph_id = Text()
    graph_version = Integer()
    name = Text()
    cron = Text()
    timezone = Text()
    missed_runs = Text()
    request = Bytea()
    next_run_at = Timestamptz(null=True, default=None)
    last_scheduled_at = Timestamptz(null=True, default=None)
    last_run_id = Text(null=True, default=None)
    last_outcome = Text(null=True, default=None)
    pause_reason = Text(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()


class ScheduleFirings(Table, tablename="schedule_firings"):
    """What became of each time for which a schedule was due; (schedule_id, scheduled_at) is the key."""

    schedule_id = Text(primary_key=True, default=None)
    scheduled_at = Timestamptz()
    fired_at = Timestamptz()
    outcome = Text()
    run_id = Text(null=True, default=None)
    code = Text(null=True, default=None)
    error = Text(null=True, default=None)
