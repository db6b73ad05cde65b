"""Signing in, as Supabase's clients do it (the part of GoTrue that they use), under /auth/v1."""

from typing import Annotated, Any, Literal

from litestar import Response, Router, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from agentplat.accounts import service as accounts
from agentplat.accounts import sign_in, signing
from agentplat.accounts.errors import CredentialsInvalid, FlowUnknown, RefreshTokenUnknown
from agentplat.accounts.models import (
    AdminUserBody,
    AuthUser,
    RecoverBody,
    Session,
    SignUpBody,
    TokenBody,
    User,
    UserUpdate,
    VerifyBody,
)
from agentplat.infra.refusals import refusal
from agentplat.infra.settings import get_settings

CurrentUser = NamedDependency[User]
# By another name than the request's own `scope`.
Sessions = Annotated[sign_in.Scope, QueryParameter(name="scope")]
WRONG = refusal("The password, or the refresh token, is wrong.")
SPENT = refusal("The link is invalid, was used already, or has expired.")
ELSEWHERE = refusal("This way of signing in is not offered here.")
TAKEN = refusal("The address belongs to another account.")
UNFIT = refusal("The body does not have the expected form, the password is too weak, or the account can't be made.")
# Who has no token yet is known by an address.
PUBLIC = {"public": True, "by_address": True}
SERVICE_KEY = {"service_key": True}


@post("/signup", status_code=200, opt=PUBLIC, responses={404: ELSEWHERE, 422: UNFIT})
async def sign_up(data: JSONBody[SignUpBody]) -> Session:
    """Make an account and sign in to it. Of `data` only `name` is kept."""
    return await sign_in.sign_up(data)


@post("/token", status_code=200, opt=PUBLIC, responses={400: WRONG, 404: ELSEWHERE})
async def get_token(
    data: JSONBody[TokenBody], grant_type: FromQuery[Literal["password", "refresh_token", "pkce"]]
) -> Session:
    """Sign in with a password, or go on with a refresh token, which is replaced by the one in the answer."""
    if grant_type == "password":
        if data.email is None or data.password is None:
            raise CredentialsInvalid
        return await sign_in.by_password(data.email, data.password)
    if grant_type == "refresh_token":
        if data.refresh_token is None:
            raise RefreshTokenUnknown
        return await sign_in.refresh(data.refresh_token)
    raise FlowUnknown


@get("/user")
async def get_user(user: CurrentUser) -> AuthUser:
    """Who you are. 403 with the code `session_not_found` once your session is over."""
    return await sign_in.get(user)


@put("/user", opt={"in_person": True}, responses={409: TAKEN, 422: UNFIT})
async def update_user(data: JSONBody[UserUpdate], user: CurrentUser) -> AuthUser:
    """Change your password, which ends all your other sessions, your name, or your address, once it is verified."""
    return await sign_in.update(user, data)


@post("/logout", status_code=204, opt={"in_person": True})
async def log_out(user: CurrentUser, sessions: Sessions = "global") -> None:
    """End this session, the others, or all of them. Access tokens are good until they expire."""
    await sign_in.sign_out(user, sessions)


@post("/recover", status_code=200, opt=PUBLIC, responses={404: ELSEWHERE})
async def recover(data: JSONBody[RecoverBody], redirect_to: FromQuery[str | None] = None) -> dict[str, Any]:
    """Have a link made for setting a new password. The answer is the same whether or not anybody has the address."""
    await sign_in.recover(data.email, redirect_to)
    return {}


@post("/verify", status_code=200, opt=PUBLIC, responses={403: SPENT, 404: ELSEWHERE, 409: TAKEN, 422: UNFIT})
async def verify(data: JSONBody[VerifyBody]) -> Session | AuthUser:
    """Redeem the token of a link, of the type `recovery` or `email_change`. It works once."""
    return await sign_in.verify(data)


@post("/admin/users", status_code=200, opt=SERVICE_KEY, guards=[accounts.admins_only], responses={422: UNFIT})
async def create_user_as_admin(data: JSONBody[AdminUserBody], user: CurrentUser) -> AuthUser:
    """Make an account. For administrators and the service-role key."""
    return await sign_in.create_user(user, data)


@get("/admin/users/{user_id:str}", opt=SERVICE_KEY, guards=[accounts.admins_only])
async def get_user_as_admin(user_id: FromPath[str], user: CurrentUser) -> AuthUser:
    """One user. For administrators and the service-role key."""
    return await sign_in.get_user(user, user_id)


@get("/.well-known/jwks.json", opt=PUBLIC, sync_to_thread=False)
def get_jwks() -> Response[dict[str, Any]]:
    """The public key that tokens can be checked with; none where one secret signs and checks."""
    return Response({"keys": signing.jwks(get_settings())}, headers={"Cache-Control": "public, max-age=600"})


router = Router(
    "/auth/v1",
    route_handlers=[
        sign_up,
        get_token,
        get_user,
        update_user,
        log_out,
        recover,
        verify,
        create_user_as_admin,
        get_user_as_admin,
        get_jwks,
    ],
    tags=["sign-in"],
)
