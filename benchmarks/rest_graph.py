"""GET /api/graphs/{id} with a token, next to FastAPI with the same query and answer."""

from benchmarks.report import Result
from benchmarks.rest.comparing import NODES, against_contender


def main() -> Result:
    return against_contender(
        case="rest_graph",
        what=f"GET of a graph of {NODES} nodes, 16 connections, one server process",
        target=">= 3x, p99 no worse",
        path="/api/graphs/{graph_id}",
    )
