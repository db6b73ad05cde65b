"""How far a user has come, as the AutoGPT Platform contract has it."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct, field

# Postgres stores every character but this one.
Text = Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=10_000)]


NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class FrontendStep(StrEnum):
    """The steps that a client may report."""

    WELCOME = "WELCOME"
    USAGE_REASON = "USAGE_REASON"
    INTEGRATIONS = "INTEGRATIONS"
    AGENT_CHOICE = "AGENT_CHOICE"
    AGENT_NEW_RUN = "AGENT_NEW_RUN"
    AGENT_INPUT = "AGENT_INPUT"
    CONGRATS = "CONGRATS"
    VISIT_COPILOT = "VISIT_COPILOT"
    MARKETPLACE_VISIT = "MARKETPLACE_VISIT"
    BUILDER_OPEN = "BUILDER_OPEN"


class OnboardingStep(StrEnum):
    WELCOME = "WELCOME"
    USAGE_REASON = "USAGE_REASON"
    INTEGRATIONS = "INTEGRATIONS"
    AGENT_CHOICE = "AGENT_CHOICE"
    AGENT_NEW_RUN = "AGENT_NEW_RUN"
    AGENT_INPUT = "AGENT_INPUT"
    CONGRATS = "CONGRATS"
    VISIT_COPILOT = "VISIT_COPILOT"
    GET_RESULTS = "GET_RESULTS"
    MARKETPLACE_VISIT = "MARKETPLACE_VISIT"
    MARKETPLACE_ADD_AGENT = "MARKETPLACE_ADD_AGENT"
    MARKETPLACE_RUN_AGENT = "MARKETPLACE_RUN_AGENT"
    BUILDER_SAVE_AGENT = "BUILDER_SAVE_AGENT"
    RE_RUN_AGENT = "RE_RUN_AGENT"
    SCHEDULE_AGENT = "SCHEDULE_AGENT"
    RUN_AGENTS = "RUN_AGENTS"
    RUN_3_DAYS = "RUN_3_DAYS"
    TRIGGER_WEBHOOK = "TRIGGER_WEBHOOK"
    RUN_14_DAYS = "RUN_14_DAYS"
    RUN_AGENTS_100 = "RUN_AGENTS_100"
    BUILDER_OPEN = "BUILDER_OPEN"
    BUILDER_RUN_AGENT = "BUILDER_RUN_AGENT"


class UserOnboarding(Struct, frozen=True, kw_only=True, rename="camel"):
    user_id: str
    completed_steps: list[OnboardingStep]
    wallet_shown: bool
    notified: list[OnboardingStep]
    rewarded_for: list[OnboardingStep]
    usage_reason: str | None
    integrations: list[str]
    other_integrations: str | None
    selected_store_listing_version_id: str | None
    agent_input: dict[str, Any] | None
    onboarding_agent_execution_id: str | None
    agent_runs: int
    last_run_at: datetime | None
    consecutive_run_days: int


class UserOnboardingUpdate(Struct, frozen=True, kw_only=True, rename="camel"):
    """What is null or left out stays. `walletShown` can only become true; `notified` only grows."""

    wallet_shown: bool | None = None
    notified: list[OnboardingStep] | None = None
    usage_reason: Text | None = None
    integrations: Annotated[list[Text], Meta(max_length=1000)] | None = None
    other_integrations: Text | None = None
    selected_store_listing_version_id: Text | None = None
    agent_input: dict[str, Any] | None = None
    onboarding_agent_execution_id: Text | None = None


class State(Struct, frozen=True, kw_only=True):
    """A user's row. Runs that were accepted later than `counted_until` are not in it yet."""

    shown: UserOnboarding
    counted_until: datetime = NEVER


class ChangelogEntry(Struct, frozen=True, kw_only=True):
    version: str
    changes_summary: str
    date: datetime


class StoreAgentDetails(Struct, frozen=True, kw_only=True):
    """An agent of the marketplace."""

    store_listing_version_id: str
    slug: str
    agent_name: str
    agent_video: str
    agent_output_demo: str
    agent_image: list[str]
    creator: str
    creator_avatar: str
    sub_heading: str
    description: str
    instructions: str | None = None
    categories: list[str]
    runs: int
    rating: float
    versions: list[str]
    agent_graph_versions: list[str] = field(name="agentGraphVersions")
    agent_graph_id: str = field(name="agentGraphId")
    last_updated: datetime
    recommended_schedule_cron: str | None = None
    active_version_id: str | None = None
    has_approved_version: bool = False
    changelog: list[ChangelogEntry] | None = None
