"""A user's own account, as the AutoGPT Platform contract has it."""

from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from agentplat.accounts import users
from agentplat.accounts.models import Account, EmailBody, Preferences, PreferencesUpdate, Timezone, User
from agentplat.infra.refusals import refusal

CurrentUser = NamedDependency[User]
TAKEN = refusal("The address belongs to another account.")


@post("/", status_code=200)
async def get_or_create_user(user: CurrentUser) -> Account:
    """Your account; the first call makes it. The token has to name an e-mail address."""
    return await users.get_or_create(user)


@post("/email", status_code=200, responses={409: TAKEN})
async def change_user_email(data: JSONBody[str | EmailBody], user: CurrentUser) -> dict[str, str]:
    """Ask for another e-mail address, given as a JSON string or as the member of an object: the AutoGPT Platform's own
    client does both. The old address counts until the new one is verified."""
    return {"email": await users.change_said_email(user, data)}


@get("/timezone")
async def get_user_timezone(user: CurrentUser) -> Timezone:
    """Your time zone, `not-set` as long as you have not told one."""
    return await users.timezone(user)


@post("/timezone", status_code=200)
async def set_user_timezone(data: JSONBody[Timezone], user: CurrentUser) -> Timezone:
    """Tell your time zone by its IANA name."""
    return await users.set_timezone(user, data)


@get("/preferences")
async def get_user_preferences(user: CurrentUser) -> Preferences:
    """Which mails you want."""
    return await users.preferences(user)


@post("/preferences", status_code=200, responses={409: TAKEN})
async def change_user_preferences(data: JSONBody[PreferencesUpdate], user: CurrentUser) -> Preferences:
    """Say which mails you want; kinds that are left out stay. Another address counts once it is verified."""
    return await users.change_preferences(user, data)


router = Router(
    "/api/auth/user",
    route_handlers=[
        get_or_create_user,
        change_user_email,
        get_user_timezone,
        set_user_timezone,
        get_user_preferences,
        change_user_preferences,
    ],
    tags=["auth"],
)
