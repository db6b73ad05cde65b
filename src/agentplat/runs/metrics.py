"""What happens to runs, in numbers. Counted where it is on record: after the commit, once per run and not per node."""

from collections import Counter as Tally
from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from agentplat.engine.machine import RunMachine
from agentplat.engine.state import FINAL, Status
from agentplat.infra.metrics import BUCKETS
from agentplat.runs.models import Timings

ACCEPTED = Counter("agentplat_runs_accepted", "Runs that were accepted.")
STARTED = Counter("agentplat_runs_started", "Runs that a worker took for the first time.")
RECOVERED = Counter("agentplat_runs_recovered", "Runs that nobody looked after and the sweep of a worker found.")
LEASES_LOST = Counter("agentplat_leases_lost", "Runs that a worker let go of because another one may have them.")
HOSTED = Gauge("agentplat_runs_hosted", "Runs that this worker has under way.", multiprocess_mode="livesum")
CREDITS = Counter("agentplat_credits_charged", "Prices of node executions that were paid. Fees are not in it.")

JOURNAL_ROWS = Counter("agentplat_journal_rows", "Journal rows that were committed.")
JOURNAL_BYTES = Counter("agentplat_journal_bytes", "Bytes of messages in committed journal rows.")
JOURNAL_COMMIT = Histogram("agentplat_journal_commit_seconds", "Commits of the journal.", buckets=BUCKETS)
UNPUBLISHED = Counter("agentplat_records_unpublished", "Committed journal rows that could not be published as events.")

_ended = Counter("agentplat_runs_finished", "Runs that became final.", ["status"])
_nodes = Counter("agentplat_node_executions", "Node executions of finished runs.", ["status"])
_seconds = Counter(
    "agentplat_node_seconds",
    "Where the time of those node executions went, all together: waited for a start, executed, recorded.",
    ["phase"],
)
_phases = Histogram(
    "agentplat_run_phase_seconds",
    "Where the time of finished runs went: accepted to leased (queued), to the first start of a node (beginning), to"
    " the end (working), and all of it (whole).",
    ["phase"],
    buckets=BUCKETS,
)
# Made before the first event, so that a rate is known from the first one on.
ENDED = {status: _ended.labels(status.lower()) for status in FINAL}
_NODES = {status: _nodes.labels(status.lower()) for status in (*FINAL, Status.INCOMPLETE)}
_WAITED, _EXECUTED, _RECORDED = (_seconds.labels(phase) for phase in ("waited", "executed", "recorded"))
_QUEUED, _BEGINNING, _WORKING, _WHOLE = (_phases.labels(phase) for phase in ("queued", "beginning", "working", "whole"))


def run_ended(machine: RunMachine, timings: Timings, recorded: Mapping[int, int]) -> None:
    """Count a run whose end was committed. `recorded` has the times when outcomes were, by activation."""
    ENDED[machine.status].inc()
    for status, number in Tally([act.status for act in machine.activations]).items():
        if status in _NODES:
            _NODES[status].inc(number)
    waited = executed = kept = 0
    for act in machine.activations:
        if act.started_at is not None:
            waited += max(0, act.started_at - (act.queued_at or act.started_at))
            if act.ended_at is not None:
                executed += max(0, act.ended_at - act.started_at)
                kept += max(0, recorded.get(act.number, act.ended_at) - act.ended_at)
    _WAITED.inc(waited / 1e6)
    _EXECUTED.inc(executed / 1e6)
    _RECORDED.inc(kept / 1e6)
    leased, began, finished = timings.leased, timings.first_node_started, timings.finished
    if leased is not None:
        _QUEUED.observe(leased)
    if leased is not None and began is not None:
        _BEGINNING.observe(max(0.0, began - leased))
    if finished is not None:
        _WHOLE.observe(finished)
        if began is not None:
            _WORKING.observe(max(0.0, finished - began))
