"""The tables of runs, as Piccolo sees them. The migrations own the truth; a test compares the two."""

from piccolo.columns import Boolean, Bytea, Date, Integer, Text, Timestamptz
from piccolo.table import Table


class Run(Table, tablename="runs"):
    id = Text(primary_key=True)
    user_id = Text()
    graph_id = Text()
    graph_version = Integer()
    preset_id = Text(null=True, default=None)
    parent_id = Text(null=True, default=None)
    root_id = Text()
    status = Text()
    request = Bytea()
    created_at = Timestamptz()
    started_at = Timestamptz(null=True, default=None)
    ended_at = Timestamptz(null=True, default=None)
    deadline = Timestamptz()
    stop_requested_at = Timestamptz(null=True, default=None)
    lease_owner = Text(null=True, default=None)
    lease_until = Timestamptz(null=True, default=None)
    fence = Integer(default=0)
    stats = Bytea(null=True, default=None)
    outputs = Bytea(null=True, default=None)
    node_executions = Bytea(null=True, default=None)
    is_deleted = Boolean(default=False)
    is_shared = Boolean(default=False)
    share_token = Text(null=True, default=None)
    shared_at = Timestamptz(null=True, default=None)


class Journal(Table, tablename="journal"):
    run_id = Text(primary_key=True)
    seq = Integer()
    run_day = Date()
    fence = Integer()
    body = Bytea()
