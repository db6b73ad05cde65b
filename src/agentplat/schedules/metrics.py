"""What schedulers do, in numbers. Counted after the commit."""

from prometheus_client import Counter, Histogram

from agentplat.infra.metrics import BUCKETS
from agentplat.schedules.models import FiringRow, Outcome

_firings = Counter("agentplat_schedule_firings", "Firings of schedules: started, failed or skipped.", ["outcome"])
# Made before the first event, so that a rate is known from the first one on.
_FIRINGS = {outcome: _firings.labels(outcome.lower()) for outcome in Outcome}
_LAG = Histogram(
    "agentplat_schedule_lag_seconds",
    "From the time for which a run was scheduled to its being started, downtime in between included.",
    buckets=BUCKETS,
)


def fired(firing: FiringRow) -> None:
    _FIRINGS[firing.outcome].inc()
    if firing.outcome is Outcome.STARTED:
        _LAG.observe(max(0.0, (firing.fired_at - firing.scheduled_at).total_seconds()))
