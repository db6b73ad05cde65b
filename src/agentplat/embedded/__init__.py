"""Postgres and Valkey from wheels, for a machine that has neither: started, watched and stopped by one process."""

from agentplat.embedded.errors import EmbeddedError, HomeInUse
from agentplat.embedded.services import EmbeddedServices, Urls

__all__ = ["EmbeddedError", "EmbeddedServices", "HomeInUse", "Urls"]
