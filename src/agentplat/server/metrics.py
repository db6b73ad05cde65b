"""Requests in numbers, and the page that shows everything this server counts. Both only with `ENABLE_METRICS`."""

from collections.abc import Callable

from litestar import Response, get
from litestar.types import HTTPScope
from prometheus_client import Counter, Histogram

from agentplat.infra import metrics
from agentplat.runs import service as runs
from agentplat.server.auth import PUBLIC

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What is neither asked of our routes nor worth a line each.
NO_ROUTE = "none"

_requests = Counter("agentplat_http_requests", "Requests that were answered.", ["method", "handler", "status"])
_durations = Histogram(
    "agentplat_http_request_duration_seconds",
    "From a request to the end of its answer, waiting that was asked for in it.",
    ["method", "handler"],
    buckets=metrics.BUCKETS,
)

Counting = tuple[Callable[[], None], Callable[[float], None]]


class Counts:
    """Counts requests. The children of the metrics are looked up once per route."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], Counting] = {}

    def count(self, scope: HTTPScope, status: int, seconds: float) -> None:
        # Routing has put the template there: one line per route, whatever ids are in the paths.
        method = scope["method"]
        key = method if method in METHODS else "other", scope.get("path_template") or NO_ROUTE, status // 100
        count, observe = self._known.get(key) or self._learn(key)
        count()
        observe(seconds)

    def _learn(self, key: tuple[str, str, int]) -> Counting:
        method, handler, status = key
        counting = _requests.labels(method, handler, f"{status}xx").inc, _durations.labels(method, handler).observe
        return self._known.setdefault(key, counting)


@get(["/metrics", "/external-api/metrics"], opt={PUBLIC: True}, include_in_schema=False)
async def show() -> Response[bytes]:
    """For Prometheus. Without a token, as scrapers have none: it tells numbers, and nobody's data."""
    return Response(metrics.exposition(await runs.gauges()), media_type=metrics.CONTENT_TYPE)
