"""What the event streams count. Processes that share a port tell the sum of all."""

from prometheus_client import Counter, Gauge, Histogram

SOCKETS = Gauge("agentplat_sockets", "Open event sockets and event streams.", multiprocess_mode="livesum")
SUBSCRIPTIONS = Gauge(
    "agentplat_subscriptions", "Subscriptions of all open sockets and streams.", multiprocess_mode="livesum"
)
DELIVERED = Counter("agentplat_events_delivered_total", "Events that were sent to clients.")
DROPPED = Counter("agentplat_events_dropped_total", "Events that a client was too slow for.")
GAPS = Counter("agentplat_gaps_total", "How often a client was told that it missed events of a run.")
LAG = Histogram(
    "agentplat_event_lag_seconds",
    "From the publication of a journal row, right after its commit, until events of it were sent to a client.",
    buckets=(0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
