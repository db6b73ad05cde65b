"""All routes of the API, one line per domain; and those of a process that serves the event sockets alone."""

from litestar import Router
from litestar.types import ControllerRouterHandler

from agentplat.accounts.api import routers as accounts
from agentplat.analytics.api import router as analytics
from agentplat.blocks.api import handlers as blocks
from agentplat.credits.api import router as credits
from agentplat.external.api import router as external
from agentplat.files.api import router as files
from agentplat.graphs.api import handlers as graphs
from agentplat.integrations.api import router as integrations
from agentplat.onboarding.api import router as onboarding
from agentplat.realtime.api import router as realtime
from agentplat.runs.api import delete_graph, execute_block
from agentplat.runs.api import router as runs
from agentplat.schedules.api import router as schedules
from agentplat.scoring.api import router as scoring
from agentplat.server.api import alive, external_docs, external_openapi, health, openapi, redoc

ROUTES: list[ControllerRouterHandler] = [
    health,
    openapi,
    redoc,
    external_openapi,
    external_docs,
    *accounts,
    Router("/api/blocks", route_handlers=[*blocks, execute_block], tags=["blocks"]),
    files,
    integrations,
    credits,
    Router("/api/graphs", route_handlers=[*graphs, delete_graph], tags=["graphs"]),
    runs,
    schedules,
    scoring,
    realtime,
    onboarding,
    analytics,
    external,
]
SOCKET_ROUTES: list[ControllerRouterHandler] = [alive, realtime]
