"""Credits, as the AutoGPT Platform contract has them. One credit is one US cent."""

from datetime import datetime
from typing import Annotated, Any

from litestar import MediaType, Request, Response, Router, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.credits import history, payments, refunds, service, webhook
from agentplat.credits.errors import UnknownUser, ValueInvalid
from agentplat.credits.models import (
    AddCredits,
    AddUserCreditsResponse,
    AutoTopUpConfig,
    CheckoutUrl,
    RefundRequest,
    RequestTopUp,
    TransactionHistory,
    TransactionType,
    UserHistoryResponse,
)
from agentplat.infra.ids import new_id
from agentplat.infra.refusals import refusal

CurrentUser = NamedDependency[User]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        pattern=r"^[ -~]{1,255}$",
        description="Any text of 1 to 255 printable ASCII characters, new for each grant that is wanted: the same key"
        " gives the same user nothing again, for ever.",
    ),
]
# So that nobody's mistake is larger than what anything here is worth.
MOST_GRANTED = 2**31 - 1
LONGEST_COMMENT = 2000
# A text as an answer is sent as it is, so this one is JSON already.
SETTINGS_UPDATED = '"Auto top-up settings updated"'


NO_PAYMENTS = {
    409: refusal("Payments are not set up on this server."),
    503: refusal("Stripe can't be reached."),
}
DECLINED = refusal("There is no card, or none was accepted.")
NOT_COVERED = refusal("The balance does not cover what is to be taken.")
REUSED = refusal("The key was used for another amount.")
ODD_PAGE = refusal("The page is not from 1 on, or its size not from 1 to 1000.")
ADMINS_ONLY = refusal("Only administrators may do this.")


@get("/")
async def get_balance(user: CurrentUser) -> dict[str, int]:
    """What you may still spend."""
    return {"credits": await service.balance(user.id)}


@post("/", status_code=200, responses={**NO_PAYMENTS, 400: refusal("This is no amount that can be bought.")})
async def request_top_up(data: JSONBody[RequestTopUp], user: CurrentUser) -> CheckoutUrl:
    """Begin to buy credits. The answer is where to pay; the credits are there once that is done."""
    return CheckoutUrl(checkout_url=await payments.top_up(user, data.credit_amount))


@patch("/", status_code=200, responses=NO_PAYMENTS)
async def fulfil_top_up(user: CurrentUser) -> Response[None]:
    """Have a look whether you have paid: for a page that you come back to before Stripe has told."""
    await payments.fulfil(user.id)
    return Response(None)


@get("/auto-top-up")
async def get_auto_top_up(user: CurrentUser) -> AutoTopUpConfig:
    """When credits are bought by themselves."""
    return await payments.auto_top_up(user.id)


@post(
    "/auto-top-up",
    status_code=200,
    media_type=MediaType.JSON,
    responses={
        **NO_PAYMENTS,
        400: DECLINED,
        409: refusal("Your card is being charged already, or payments are not set up on this server."),
    },
)
async def set_auto_top_up(data: JSONBody[AutoTopUpConfig], user: CurrentUser) -> str:
    """Say when credits are to be bought by themselves. Your card is charged at once if your balance is below the
    threshold, else it is only checked. An amount of 0 switches it off, and needs no card."""
    await payments.set_auto_top_up(user, data)
    return SETTINGS_UPDATED


@get("/manage", responses=NO_PAYMENTS)
async def get_portal(user: CurrentUser) -> dict[str, str]:
    """The address of the page where you see your invoices and change your cards."""
    return {"url": await payments.portal(user)}


@get("/transactions", responses={400: refusal("The limit is not from 1 to 1000.")})
async def list_transactions(
    user: CurrentUser,
    transaction_time: FromQuery[datetime | None] = None,
    transaction_type: FromQuery[str | None] = None,
    transaction_count_limit: FromQuery[int] = 100,
) -> TransactionHistory:
    """What moved your balance before `transaction_time`, newest first; all that one run has cost is one entry. Entries
    of one millisecond stay together, so a page may have a few more than asked for."""
    return await history.of_user(user.id, transaction_time, transaction_type, transaction_count_limit)


@post(
    "/{transaction_key:str}/refund",
    status_code=200,
    responses={
        **NO_PAYMENTS,
        400: refusal("Nothing of it is left to be refunded."),
        404: refusal("There is no such top-up."),
        409: refusal("Stripe refuses it, or payments are not set up on this server."),
    },
)
async def refund_top_up(transaction_key: FromPath[str], data: JSONBody[dict[str, str]], user: CurrentUser) -> int:
    """Ask for a top-up's money back, with a `reason`. The answer is how many cents go back: 0 where too many of the
    credits were spent, so that a person has to decide."""
    return await refunds.request(user.id, transaction_key, data)


@get("/refunds")
async def list_refunds(user: CurrentUser) -> list[RefundRequest]:
    """Your requests for refunds, newest first, at most 100."""
    return await refunds.list_(user.id)


@post(
    "/stripe_webhook",
    status_code=200,
    opt={"public": True},
    responses={
        **NO_PAYMENTS,
        400: refusal("Stripe has not signed this, or not lately; or this server does not know what it signs with."),
    },
)
async def receive_stripe_event(request: Request[Any, Any, Any]) -> Response[None]:
    """For Stripe to call."""
    await webhook.receive(await request.body(), request.headers.get("stripe-signature", ""))
    return Response(None)


@post(
    "/admin/add_credits",
    status_code=200,
    guards=[accounts.admins_only],
    responses={400: NOT_COVERED, 403: ADMINS_ONLY, 404: refusal("There is no such user."), 409: REUSED},
)
async def add_credits(
    data: JSONBody[AddCredits], user: CurrentUser, idempotency_key: IdempotencyKey = None
) -> AddUserCreditsResponse:
    """Give a user credits, or take some with a negative amount, never below zero. For administrators."""
    if not -MOST_GRANTED <= data.amount <= MOST_GRANTED or data.amount == 0:
        raise ValueInvalid(f"expected a number other than 0, at most {MOST_GRANTED}", "body", "amount")
    if len(data.comments) > LONGEST_COMMENT:
        raise ValueInvalid(f"expected at most {LONGEST_COMMENT} characters", "body", "comments")
    if not accounts.is_user_id(data.user_id):
        raise UnknownUser
    key = f"ADMIN-{user.id}-{idempotency_key}" if idempotency_key else new_id()
    balance = await service.grant_by_admin(user.id, data.user_id, data.amount, data.comments, key)
    return AddUserCreditsResponse(new_balance=balance, transaction_key=key)


@get("/admin/users_history", guards=[accounts.admins_only], responses={400: ODD_PAGE, 403: ADMINS_ONLY})
async def list_users_history(
    search: FromQuery[str | None] = None,
    page: FromQuery[int] = 1,
    page_size: FromQuery[int] = 20,
    transaction_filter: FromQuery[TransactionType | None] = None,
) -> UserHistoryResponse:
    """Everybody's ledger, newest first; of users whose id, address or name contains `search`. For administrators."""
    return await history.of_all(transaction_filter, search, page, page_size)


router = Router(
    "/api/credits",
    route_handlers=[
        get_balance,
        request_top_up,
        fulfil_top_up,
        get_auto_top_up,
        set_auto_top_up,
        get_portal,
        list_transactions,
        refund_top_up,
        list_refunds,
        receive_stripe_event,
        add_credits,
        list_users_history,
    ],
    tags=["credits"],
)
