"""What a process counts, in the text form that Prometheus reads.

A package that counts something declares it beside the code that counts, as a module-level `Counter`, `Gauge` or
`Histogram` of prometheus_client, named `agentplat_…`, and takes labelled children once and not per event: looking one
up costs several times what counting does. No label has values that users make: every combination is kept for ever.

Several server processes share one port, so a scrape reaches any of them. Each then keeps its numbers in files of one
folder, and any of them can tell the sum of all.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from agentplat.infra.errors import ConfigError

CONTENT_TYPE = "text/plain; version=0.0.4"
# Seconds. From a statement on a warm database to a run with a slow model.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

# prometheus_client reads it when it is imported, so it is imported late here.
_SHARED = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_by_processes() -> Iterator[None]:
    """Have the processes that are started in the block count together. This one must not count itself."""
    folder = tempfile.mkdtemp(prefix="agentplat-metrics-")
    os.environ[_SHARED] = folder
    try:
        yield
    finally:
        del os.environ[_SHARED]
        shutil.rmtree(folder, ignore_errors=True)


def exposition(gauges: Iterable[tuple[str, str, float]] = ()) -> bytes:
    """Everything that was counted, and `gauges` (name, meaning, value) that are true right now."""
    from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = REGISTRY
    if _SHARED in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry) + b"".join(
        f"# HELP {name} {meaning}\n# TYPE {name} gauge\n{name} {value:g}\n".encode() for name, meaning, value in gauges
    )


def serve(host: str, port: int) -> None:
    """Answer scrapes of this process in a thread of its own, for as long as the process lives."""
    from prometheus_client import start_http_server

    try:
        start_http_server(port, host)
    except OSError as error:
        raise ConfigError(
            f"Metrics can't be shown at {host}:{port}: {error.strerror}",
            hint="Choose another port with AGENTPLAT_WORKER_METRICS_PORT or --metrics-port.",
        ) from error
