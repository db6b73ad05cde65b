"""What comes back on mails, as the AutoGPT Platform contract has it."""

from litestar import Router, post
from litestar.params import FromQuery, JSONBody

from agentplat.accounts import email
from agentplat.accounts.models import Done, MailEvent
from agentplat.infra.refusals import refusal


@post("/unsubscribe", status_code=200, opt={"public": True}, responses={400: refusal("The token is not good.")})
async def unsubscribe(token: FromQuery[str]) -> Done:
    """End all mails that a user can do without, by the token of a link in one of them. It may be used any number of
    times."""
    await email.unsubscribe(token)
    return Done()


@post("/", status_code=200, opt={"postmark": True}, responses={503: refusal("Postmark's token is not configured.")})
async def receive_mail_event(data: JSONBody[MailEvent]) -> Done:
    """For Postmark to call. An address that bounces counts as unverified from then on; who complains of mails, or ends
    them there, gets no more."""
    await email.receive(data)
    return Done()


router = Router("/api/email", route_handlers=[unsubscribe, receive_mail_event], tags=["email"])
