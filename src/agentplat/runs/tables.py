"""The tables of runs, as Piccolo sees them. The migrations own the truth; a test compares the two."""

from piccolo.columns import BigInt, Boolean, Bytea, Date, DoublePrecision, Integer, Text, Timestamptz
from piccolo.table import Table


class Run(Table, tablename="runs"):
    id = Text(primary_key=True)
    user_id = Text()
    graph_id = Text()
    graph_version = Integer()
    preset_id = Text(null=True, default=None)
    parent_activation = Integer(null=True, default=None)
    depth = Integer(default=0)
    place = Integer(null=True, default=None)
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
    result_handles = Bytea(null=True, default=None)
    correctness_score = DoublePrecision(null=True, default=None)
    is_deleted = Boolean(default=False)
    is_shared = Boolean(default=False)
    share_token = Text(null=True, default=None)
    shared_at = Timestamptz(null=True, default=None)


class RunMark(Table, tablename="run_marks"):
    id = Text(primary_key=True)
    user_id = Text()
    graph_id = Text()
    rank = BigInt()
    created_at = Timestamptz()


class IdempotencyKey(Table, tablename="idempotency_keys"):
    user_id = Text(primary_key=True)
    key = Text()
    fingerprint = Bytea()
    run_id = Text()
    response = Bytea()
    created_at = Timestamptz()


class Journal(Table, tablename="journal"):
    run_id = Text(primary_key=True)
    seq = Integer()
    run_day = Date()
    fence = Integer()
    body = Bytea()
    handles = Bytea(null=True, default=None)


class Blob(Table, tablename="blobs"):
    run_id = Text(primary_key=True)
    hash = Bytea()
    body = Bytea()


class Mailbox(Table, tablename="mailboxes"):
    run_id = Text(primary_key=True)
    letters = Integer(default=0)
    parked = Boolean(default=False)


class Mail(Table, tablename="mail"):
    run_id = Text(primary_key=True)
    number = Integer()
    body = Bytea()


class NodeJob(Table, tablename="node_jobs"):
    run_id = Text(primary_key=True)
    activation = Integer()
    attempt = Integer()
    repeatable = Boolean()
    body = Bytea(null=True, default=None)
    emitted = Integer(default=0)
    claims = Integer(default=0)
    lease_until = Timestamptz(null=True, default=None)
    offered_at = Timestamptz()
    done = Boolean(default=False)


class Review(Table, tablename="reviews"):
    node_exec_id = Text(primary_key=True)
    user_id = Text()
    run_id = Text()
    activation = Integer(null=True, default=None)
    node_id = Text()
    graph_id = Text()
    graph_version = Integer()
    payload = Bytea()
    instructions = Text(null=True, default=None)
    editable = Boolean(default=True)
    status = Text(default="WAITING")
    review_message = Text(null=True, default=None)
    was_edited = Boolean(null=True, default=None)
    processed = Boolean(default=False)
    created_at = Timestamptz()
    updated_at = Timestamptz(null=True, default=None)
    reviewed_at = Timestamptz(null=True, default=None)
