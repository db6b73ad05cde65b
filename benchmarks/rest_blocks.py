"""GET /api/blocks with a token, compressed as browsers ask for it, next to FastAPI with the same answer."""

from benchmarks.report import Result
from benchmarks.rest.comparing import against_contender


def main() -> Result:
    return against_contender(
        case="rest_blocks",
        what="GET of all blocks, gzip, 16 connections, one server process",
        target=">= 20x",
        path="/api/blocks",
        Accept_Encoding="gzip",
    )
