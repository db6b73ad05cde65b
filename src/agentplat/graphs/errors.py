"""What is refused about graphs. `detail` is an object with `message`: that is where clients look for the text."""

from typing import Any

from agentplat.engine.compile import Problem
from agentplat.infra.errors import BadRequest, NotAllowed, NotFound

# A client shows a few problems at most; a generated graph may have a hundred thousand.
MAX_PROBLEMS_SHOWN = 100

NodeErrors = dict[str, dict[str, str]]


class GraphNotFound(NotFound):
    """There is no such graph, or not in that version"""

    def __init__(self, graph_id: str, version: int | None = None) -> None:
        # The text is the contract's, which does not name the version.
        hint = None if version is None else f"Version {version} of it was asked for."
        super().__init__(f"Graph #{graph_id} not found.", hint=hint)


class GraphNotInLibrary(NotAllowed):
    """The graph is not in your library"""

    code = "graph_not_in_library"


class GraphIdMismatch(BadRequest):
    """The graph id in the body is not the one in the path"""

    code = "graph_id_mismatch"


class GraphInvalid(BadRequest):
    """The graph can't be saved. The message is the first problem; `detail.problems` has them all, up to a limit."""

    code = "invalid_graph"

    def __init__(self, problems: list[Problem]) -> None:
        message = problems[0].message
        detail: dict[str, Any] = {
            "type": "invalid_graph",
            "message": message,
            "problems": problems[:MAX_PROBLEMS_SHOWN],
            "problem_count": len(problems),
        }
        super().__init__(message, detail=detail, hint="Correct the graph and save it again.")
        self.problems = problems


class GraphNotRunnable(BadRequest):
    """A run can't start because of how nodes are filled in. `detail.node_errors` says what by node and pin."""

    code = "validation_error"

    def __init__(self, node_errors: NodeErrors) -> None:
        issues = sum(len(fields) for fields in node_errors.values())
        message = f"Graph validation failed: {issues} issues on {len(node_errors)} nodes"
        detail = {"type": "validation_error", "message": message, "node_errors": node_errors}
        super().__init__(message, detail=detail)
        self.node_errors = node_errors

    def __str__(self) -> str:
        lines = [super().__str__()]
        for node_id, fields in self.node_errors.items():
            lines.append(f"  {node_id}:")
            lines += [f"    {field}: {error}" for field, error in fields.items()]
        return "\n".join(lines)
