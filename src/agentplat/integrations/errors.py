from agentplat.infra.errors import NotFound


class CredentialsUnavailable(NotFound):
    """These credentials do not exist, or belong to somebody else."""
