"""Structured logs on stderr: JSON for machines, columns for a person at a terminal.

Never log tokens, credentials, node data or query strings: an event has a name and the ids that it is about.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from agentplat.infra.serving import serving
from agentplat.infra.settings import Settings

# Chatty at INFO about things that we log ourselves, or that nobody asked for. httpx would log whole URLs.
QUIET = ("asyncio", "httpx", "httpcore", "httpx2", "httpcore2", "stripe", "granian.access", "_granian")

# The default shows the variables of every frame, and among them are headers with tokens.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure_logging(settings: Settings) -> None:
    """Send our own events and everything from the standard `logging` through one formatter."""
    json_lines = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_request_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if json_lines
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Its worker warns at every end that its own upkeep was still asleep; jobs that fail are errors.
    logging.getLogger("saq").setLevel(logging.ERROR)


def _add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if served := serving.get():
        event.setdefault("request_id", served.id)
    return event


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
