"""Credentials and providers, as the AutoGPT Platform contract has them. Secrets go in and never come out."""

from typing import Annotated

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter

from agentplat.accounts.models import User
from agentplat.infra.refusals import refusal
from agentplat.integrations import service
from agentplat.integrations.models import (
    NAME,
    ConfirmationNeeded,
    CredentialsBody,
    CredentialsDeleted,
    CredentialsSummary,
    Entry,
    ProviderConstants,
    ProviderExample,
    ProviderNames,
)

CurrentUser = NamedDependency[User]
Provider = Annotated[str, PathParameter(pattern=NAME)]
CredentialsId = FromPath[str]
PUBLIC = {"public": True}
TAKEN = refusal("The id is taken, or there are too many.")
MISSING = refusal("There are no such credentials.")


@get("/credentials")
async def list_credentials(user: CurrentUser) -> list[CredentialsSummary]:
    """Your credentials, and after them the platform's own, which you may use."""
    return await service.list_(user.id)


@get("/{provider:str}/credentials")
async def list_credentials_of_provider(provider: Provider, user: CurrentUser) -> list[CredentialsSummary]:
    """The same for one provider."""
    return await service.list_(user.id, provider)


@post("/{provider:str}/credentials", responses={409: TAKEN})
async def create_credentials(provider: Provider, data: JSONBody[CredentialsBody], user: CurrentUser) -> Entry:
    """Keep credentials. The answer, as every other, has asterisks in place of secrets."""
    return await service.create(user.id, provider, data)


@get("/{provider:str}/credentials/{cred_id:str}", responses={404: MISSING})
async def get_credentials(provider: Provider, cred_id: CredentialsId, user: CurrentUser) -> Entry:
    """Credentials of yours without their secrets."""
    return await service.get(user.id, provider, cred_id)


@delete("/{provider:str}/credentials/{cred_id:str}", status_code=200, responses={404: MISSING})
async def delete_credentials(
    provider: Provider, cred_id: CredentialsId, user: CurrentUser, force: FromQuery[bool] = False
) -> CredentialsDeleted | ConfirmationNeeded:
    """Delete credentials of yours. Runs that still need them fail at their next node that does."""
    return await service.delete(user.id, provider, cred_id, force)


@get("/providers", opt=PUBLIC, sync_to_thread=False)
def list_providers() -> list[str]:
    """The names of all providers, in order."""
    return service.provider_names()


@get("/providers/system", opt=PUBLIC, sync_to_thread=False)
def list_system_providers() -> list[str]:
    """The providers that a platform may have credentials of its own for."""
    return service.system_providers()


@get("/providers/names", opt=PUBLIC, sync_to_thread=False)
def get_provider_names() -> ProviderNames:
    """All providers once more, for generated clients."""
    return ProviderNames(providers=service.provider_names())


@get("/providers/constants", opt=PUBLIC, sync_to_thread=False)
def get_provider_constants() -> ProviderConstants:
    """All providers by names of constants, for generated clients."""
    return ProviderConstants(PROVIDER_NAMES={name.upper(): name for name in service.provider_names()})


@get("/providers/enum-example", opt=PUBLIC, sync_to_thread=False)
def get_provider_example() -> ProviderExample:
    """One provider, for generated clients."""
    return ProviderExample(provider="openai")


router = Router(
    "/api/integrations",
    route_handlers=[
        list_credentials,
        list_credentials_of_provider,
        create_credentials,
        get_credentials,
        delete_credentials,
        list_providers,
        list_system_providers,
        get_provider_names,
        get_provider_constants,
        get_provider_example,
    ],
    tags=["integrations"],
)
