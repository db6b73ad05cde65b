"""Keys for programs, as the AutoGPT Platform contract has them, with an expiry and a way back from suspension."""

from litestar import Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from agentplat.accounts import api_keys
from agentplat.accounts.models import ApiKeyBody, ApiKeyInfo, CreatedApiKey, PermissionsBody, User
from agentplat.infra.refusals import refusal

CurrentUser = NamedDependency[User]
KeyId = FromPath[str]
REVOKED = refusal("The key was revoked.")
FULL = refusal("There are too many keys.")
# What a new key can do, its owner is answerable for.
IN_PERSON = {"in_person": True}


@post("/", status_code=200, opt=IN_PERSON, responses={409: FULL})
async def create_api_key(data: JSONBody[ApiKeyBody], user: CurrentUser) -> CreatedApiKey:
    """Make a key. The answer is the only place where it is ever shown."""
    return await api_keys.create(user, data)


@get("/")
async def list_api_keys(user: CurrentUser) -> list[ApiKeyInfo]:
    """Your keys, newest first, with those that were revoked."""
    return await api_keys.list_(user)


@get("/{key_id:str}")
async def get_api_key(key_id: KeyId, user: CurrentUser) -> ApiKeyInfo:
    """One key."""
    return await api_keys.get(user, key_id)


@delete("/{key_id:str}", status_code=200)
async def revoke_api_key(key_id: KeyId, user: CurrentUser) -> ApiKeyInfo:
    """Revoke a key, for ever."""
    return await api_keys.revoke(user, key_id)


@post("/{key_id:str}/suspend", status_code=200, responses={409: REVOKED})
async def suspend_api_key(key_id: KeyId, user: CurrentUser) -> ApiKeyInfo:
    """Have a key refused until it is resumed."""
    return await api_keys.suspend(user, key_id)


@post("/{key_id:str}/resume", status_code=200, opt=IN_PERSON, responses={409: REVOKED})
async def resume_api_key(key_id: KeyId, user: CurrentUser) -> ApiKeyInfo:
    """Make a suspended key good again."""
    return await api_keys.resume(user, key_id)


@put("/{key_id:str}/permissions", opt=IN_PERSON, responses={409: REVOKED})
async def set_api_key_permissions(key_id: KeyId, data: JSONBody[PermissionsBody], user: CurrentUser) -> ApiKeyInfo:
    """Say anew what a key is good for."""
    return await api_keys.set_permissions(user, key_id, data)


router = Router(
    "/api/api-keys",
    route_handlers=[
        create_api_key,
        list_api_keys,
        get_api_key,
        revoke_api_key,
        suspend_api_key,
        resume_api_key,
        set_api_key_permissions,
    ],
    tags=["api-keys"],
)
