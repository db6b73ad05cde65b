from agentplat.infra.errors import Conflict, Invalid, NotFound, TooLarge


class CredentialsUnavailable(NotFound):
    """These credentials do not exist, or belong to somebody else."""


class CredentialsExist(Conflict):
    """There are credentials with this id already"""

    code = "credentials_exist"


class TooManyCredentials(Conflict):
    """You have as many credentials as there may be. Delete some."""

    code = "too_many_credentials"


class CredentialsTooLarge(TooLarge):
    """These credentials are larger than any that a provider gives out"""


class SecretMasked(Invalid):
    """This is what is shown in place of a secret, not a secret"""

    @classmethod
    def at(cls, *loc: str) -> "SecretMasked":
        return cls(detail=[{"type": "value_error", "loc": list(loc), "msg": cls.__doc__}])


class MembersMissing(Invalid):
    """Members are missing that this type of credentials has"""

    @classmethod
    def of(cls, names: list[str]) -> "MembersMissing":
        return cls(detail=[{"type": "missing", "loc": ["body", one], "msg": "This field is required"} for one in names])


class ProviderUnknown(NotFound):
    """There is no such provider"""

    code = "provider_unknown"
