"""What a person sees: rich at a terminal, plain lines with tabs everywhere else, errors on stderr."""

import sys
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentplat.client import ClientError, ConnectionLost, GaveUp, Refused
from agentplat.infra.errors import AppError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table at a terminal; tab-separated lines without a header in a pipe, for cut, grep and awk."""
    if not out.is_terminal:
        for row in rows:
            # Not through rich, which turns tabs into spaces.
            click.echo("\t".join(str(cell) for cell in row))
        return
    drawn = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        drawn.add_row(*(escape(str(cell)) for cell in row))
    out.print(drawn, soft_wrap=False)


def fail(error: AppError | ClientError, status: int = 1) -> NoReturn:
    """Say what went wrong, and what to do if that is known, without a traceback. Exits with `status`."""
    err.print(f"[bold red]Error:[/] {escape(str(error))}")
    for problem in problems_of(error):
        err.print(f"  {escape(problem)}")
    if hint := _hint(error):
        err.print(escape(hint))
    sys.exit(status)


def problems_of(error: AppError | ClientError) -> list[str]:
    """The single things that are wrong, beyond the message."""
    problems = error.problems if isinstance(error, Refused) else []
    return [problem for problem in problems if problem != str(error)]


def _hint(error: AppError | ClientError) -> str | None:
    if isinstance(error, AppError):
        return error.hint
    if isinstance(error, Refused) and error.status == HTTPStatus.UNAUTHORIZED:
        return "Give a token of that platform with --token or AGENTPLAT_TOKEN (`agentplat token` there prints one)."
    if isinstance(error, ConnectionLost | GaveUp):
        return "`agentplat up` starts one on this machine."
    return None
