"""A child ends when the supervisor does."""

import os
import signal

from agentplat.infra.lifeline import die_with

SUPERVISOR = "AGENTPLAT_SUPERVISOR"


def follow_supervisor() -> None:
    """For a process that `Platform` started: its pid stands in the environment, and is not passed on."""
    if pid := os.environ.pop(SUPERVISOR, None):
        die_with(int(pid), signal.SIGTERM)
