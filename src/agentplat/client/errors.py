"""What may go wrong for a client: the platform says no, it can't be reached, or it took too long."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any


class ClientError(Exception):
    """Any of the below. `code` is for programs and stable."""

    code = "client_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refused(ClientError):
    """The platform refused the request. `problems` are the single things that are wrong, one line each."""

    def __init__(self, status: int, message: str, code: str = "refused", problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.problems = list(problems)


class ConnectionLost(ClientError):
    """Nothing answers, or the connection broke. What was asked for may have been done or not."""

    code = "connection_lost"


class GaveUp(ClientError, TimeoutError):
    """It was tried again, or waited for, until the time for that was over."""

    code = "gave_up"


def refusal(status: int, path: str, body: Any) -> Refused:
    """From the body of an error: `detail` may be a text, an object with a message, or a list of problems."""
    if not isinstance(body, dict):
        return Refused(status, f"{path} answered {status} {_phrase(status)}".rstrip())
    detail = body.get("detail")
    message = body.get("message") or (detail.get("message") if isinstance(detail, dict) else detail)
    return Refused(status, str(message), str(body.get("code", "refused")), _problems(detail))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _problems(detail: Any) -> list[str]:
    if isinstance(detail, list):
        return [f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}" for item in detail]
    if not isinstance(detail, dict):
        return []
    lines = [str(problem["message"]) for problem in detail.get("problems", ())]
    if (more := detail.get("problem_count", 0) - len(lines)) > 0:
        lines.append(f"and {more} more")
    for node_id, fields in detail.get("node_errors", {}).items():
        lines += [f"node {node_id}, {field}: {error}" for field, error in fields.items()]
    return lines
