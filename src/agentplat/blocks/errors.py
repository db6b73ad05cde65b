from agentplat.infra.errors import BadRequest, ConfigError, NotAllowed, NotFound


class BlockNotFound(NotFound):
    """There is no such block."""


class BlockDisabled(NotAllowed):
    """This block is disabled on this installation."""


class BlockExecutionFailed(BadRequest):
    """The block could not be executed."""


class BlockModuleBroken(ConfigError):
    """A module of blocks could not be loaded."""
