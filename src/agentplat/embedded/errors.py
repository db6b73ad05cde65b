"""Why the embedded services did not start, in words that say what to do."""

from agentplat.infra.errors import ConfigError


class EmbeddedError(ConfigError):
    """The embedded services could not be started."""

    code = "embedded_services"


class HomeInUse(EmbeddedError):
    """Another process runs its services in this directory."""

    code = "home_in_use"
