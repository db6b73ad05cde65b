"""Routes under /api/onboarding, as the AutoGPT Platform contract has them."""

from litestar import Router, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody

from agentplat.accounts.models import User
from agentplat.onboarding import service
from agentplat.onboarding.models import (
    FrontendStep,
    OnboardingStep,
    StoreAgentDetails,
    UserOnboarding,
    UserOnboardingUpdate,
)

CurrentUser = NamedDependency[User]


@get("/")
async def get_onboarding(user: CurrentUser) -> UserOnboarding:
    """How far you have come. Your runs are counted when you ask."""
    return await service.get(user)


@patch("/")
async def change_onboarding(data: JSONBody[UserOnboardingUpdate], user: CurrentUser) -> UserOnboarding:
    """Note what you have told. What is left out stays; `notified` only grows."""
    return await service.change(user, data)


@post("/step", status_code=200)
async def complete_onboarding_step(step: FromQuery[FrontendStep], user: CurrentUser) -> UserOnboarding:
    """Report a step as done. Some bring credits, once."""
    return await service.complete(user.id, OnboardingStep(step))


@post("/reset", status_code=200)
async def reset_onboarding(user: CurrentUser) -> UserOnboarding:
    """Begin anew. No step brings credits twice."""
    return await service.reset(user)


@get("/agents", sync_to_thread=False)
def recommend_agents() -> list[StoreAgentDetails]:
    """Up to two agents of the marketplace to begin with."""
    return service.recommended()


@get("/enabled", sync_to_thread=False)
def is_onboarding_enabled() -> bool:
    """Whether new users should be led through the steps: as soon as there are agents to recommend."""
    return service.enabled()


router = Router(
    "/api/onboarding",
    route_handlers=[
        get_onboarding,
        change_onboarding,
        complete_onboarding_step,
        reset_onboarding,
        recommend_agents,
        is_onboarding_enabled,
    ],
    tags=["onboarding"],
)
