"""The shapes of a run: as stored, as asked for, and as the contract shows it.

Members that are stored as JSON documents may hold `as_stored(document)` instead of the decoded value: the encoder
copies such bytes into the answer, so a value is encoded once in its life.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from agentplat.engine.state import Status
from agentplat.infra.paging import Pagination

NodeInputs = dict[str, dict[str, Any]]
# What a text column can hold.
PRESET_ID = r"^[^\x00]*$"
DeadlineSeconds = Annotated[int, Meta(ge=1, description="Never more than the platform allows.")]


class CredentialsMetaInput(Struct, frozen=True, kw_only=True):
    """Which credentials to use, without their secret."""

    id: str
    provider: str
    type: Literal["api_key", "oauth2", "user_password", "host_scoped"]
    title: str | None = None


class ExecuteBody(Struct, frozen=True, kw_only=True):
    """What a client sends to start a run. One that is not finished `deadline_seconds` after that is ended; this is not
    in the contract.
    """

    inputs: dict[str, Any] = {}
    credentials_inputs: dict[str, CredentialsMetaInput] = {}
    source: Literal["builder", "library", "onboarding"] | None = None
    deadline_seconds: DeadlineSeconds | None = None


class RunRequest(Struct, frozen=True, kw_only=True):
    """All that was asked for, fixed when the run was accepted. Stored as one JSON document.

    `shown` are the inputs as the contract reports them: where none were given, the values that the input nodes took
    instead. `masks` is `nodes_input_masks` with the credentials spread over the nodes; `skipped` are the nodes that
    count as completed without being executed, because their optional credentials are missing.
    """

    inputs: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    credential_inputs: dict[str, CredentialsMetaInput] = {}
    nodes_input_masks: NodeInputs = {}
    masks: NodeInputs = {}
    skipped: list[str] = []
    human_in_the_loop_safe_mode: bool = True
    sensitive_action_safe_mode: bool = False


class Timings(Struct, frozen=True, kw_only=True):
    """When the run was accepted, and how many seconds later it stood in the queue, a worker had it, its first node
    began, and it ended.

    `enqueued` is 0: the row whose commit accepts a run is its place in the queue, and what goes through Redis after
    that only wakes a worker.
    """

    accepted: datetime
    enqueued: float = 0.0
    leased: float | None
    first_node_started: float | None
    finished: float | None


class Stats(Struct, frozen=True, kw_only=True):
    """Figures of a run. Durations in seconds, `cost` in credits (1 = 1 US cent).

    Not in the contract: `timings`, and `queue_position` of a run that waits: 1 if it is the next of its user and graph.
    Both are left out of lists of runs that are going on, and of events.
    """

    cost: int = 0
    duration: float = 0
    duration_cpu_only: float = 0
    node_exec_time: float = 0
    node_exec_time_cpu_only: float = 0
    node_exec_count: int = 0
    node_error_count: int = 0
    error: str | None = None
    activity_status: str | None = None
    correctness_score: float | None = None
    timings: Timings | UnsetType = UNSET
    queue_position: int | UnsetType = UNSET


class NodeTimings(Struct, frozen=True, kw_only=True):
    """Seconds: from a node's complete input to its start, from there to its end, and until its outcome was committed.

    None for what has not happened. `recorded` is known of runs that are final, where no other worker recorded it; the
    outcomes in the row that ends the run count as recorded when that row was made.
    """

    waited: float | None
    executed: float | None
    recorded: float | None


class NodeExecution(Struct, frozen=True, kw_only=True):
    """The contract's NodeExecutionResult: one activation of one node. `timings` is not in it, nor in events."""

    user_id: str
    graph_id: str
    graph_version: int
    graph_exec_id: str
    node_exec_id: str
    node_id: str
    block_id: str
    status: Status
    input_data: dict[str, Any]
    output_data: dict[str, list[Any]]
    add_time: datetime
    queue_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    timings: NodeTimings | UnsetType = UNSET


class RunMeta(Struct, frozen=True, kw_only=True):
    """The contract's GraphExecutionMeta. Lists have null for what the run was asked for with, where that is large."""

    id: str
    user_id: str
    graph_id: str
    graph_version: int
    inputs: dict[str, Any] | None
    credential_inputs: dict[str, CredentialsMetaInput] | None
    nodes_input_masks: NodeInputs | None
    preset_id: str | None
    status: Status
    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_shared: bool = False
    share_token: str | None = None
    stats: Stats | None


class StartedRun(RunMeta, frozen=True, kw_only=True):
    """The contract's GraphExecutionMeta; with outputs where the answer waited for the end of the run."""

    outputs: dict[str, list[Any]] | UnsetType = UNSET


class Accepted(Struct, frozen=True, kw_only=True):
    """A run that was started, or, if `replayed`, one that the same request has started before."""

    run: StartedRun
    replayed: bool = False


class Run(RunMeta, frozen=True, kw_only=True):
    """The contract's GraphExecution."""

    inputs: dict[str, Any]
    outputs: dict[str, list[Any]]


class RunWithNodes(Run, frozen=True, kw_only=True):
    """The contract's GraphExecutionWithNodes."""

    node_executions: list[NodeExecution]


class RunPage(Struct, frozen=True, kw_only=True):
    """The contract's GraphExecutionsPaginated."""

    executions: list[RunMeta]
    pagination: Pagination


class ShareRequest(Struct, frozen=True, kw_only=True):
    """Nothing can be chosen (yet)."""


class ShareResponse(Struct, frozen=True, kw_only=True):
    """The page of the web frontend that shows the run to everybody, and the secret in its address."""

    share_url: str
    share_token: str


class SharedRun(Struct, frozen=True, kw_only=True):
    """The contract's SharedExecutionResponse: all that is shown of a run to whoever has its token."""

    id: str
    graph_name: str
    graph_description: str | None
    status: Status
    created_at: datetime
    outputs: dict[str, list[Any]]


MAX_BULK = 500


class BulkStart(ExecuteBody, frozen=True, kw_only=True):
    """One run to be. Without a version it is of the active one; the key is what `Idempotency-Key` is elsewhere."""

    graph_id: str
    graph_version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    preset_id: Annotated[str, Meta(pattern=PRESET_ID)] | None = None
    # Unlike a header, this could end with a line break, which `$` alone lets pass.
    idempotency_key: Annotated[str, Meta(pattern=r"^[ -~]{1,255}$(?!\n)")] | None = None

    @property
    def body(self) -> ExecuteBody:
        return ExecuteBody(**{name: getattr(self, name) for name in ExecuteBody.__struct_fields__})


class BulkStarts(Struct, frozen=True, kw_only=True):
    runs: Annotated[list[BulkStart], Meta(min_length=1, max_length=MAX_BULK)]


class BulkIds(Struct, frozen=True, kw_only=True):
    ids: Annotated[list[str], Meta(min_length=1, max_length=MAX_BULK)]


class BulkRead(BulkIds, frozen=True, kw_only=True):
    """`outputs` has those of final runs sent along."""

    outputs: bool = False


class BulkError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the body of the answer would be, had this been asked alone."""

    code: str
    message: str
    detail: Any
    hint: str | None = None


class BulkResult(Struct, frozen=True, kw_only=True):
    """What came of one item: the status that asking for it alone would be answered with, and a run or an error.

    `replayed` says that an earlier request under the same key has started the run.
    """

    status: int
    run: StartedRun | None = None
    error: BulkError | None = None
    replayed: bool = False


class BulkResults(Struct, frozen=True, kw_only=True):
    """In the order of the request."""

    results: list[BulkResult]


class RunRow(Struct, frozen=True, kw_only=True):
    """A run as stored. JSON documents are bytes; `stats`, `outputs` and `node_executions` exist once it is final."""

    id: str
    user_id: str
    graph_id: str
    graph_version: int
    preset_id: str | None
    parent_id: str | None
    status: Status
    request: bytes
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    deadline: datetime
    stop_requested_at: datetime | None
    fence: int
    is_shared: bool
    share_token: str | None
    stats: bytes | None
    outputs: bytes | None
    node_executions: bytes | None
    root_id: str = ""
    parent_activation: int | None = None
    depth: int = 0
    place: int | None = None


class Segment(Struct, frozen=True, kw_only=True):
    """Consecutive messages of one run, as one journal row holds them. `seq` is the number of the first one, from 1."""

    run_id: str
    seq: int
    body: bytes


def as_stored(document: bytes) -> Any:
    """A JSON document in place of the value that it encodes."""
    return Raw(document)


class Activity(Struct, frozen=True, kw_only=True):
    """What a user has started in a span of time: `quarters` are the quarters of an hour in which, in order.

    `repeated` says whether one of the graphs was started more than once, then or at any other time.
    """

    runs: int
    last_at: datetime | None
    quarters: list[datetime]
    repeated: bool
