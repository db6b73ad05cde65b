from litestar.types import ControllerRouterHandler

from agentplat.accounts.api.users import router as users

routers: list[ControllerRouterHandler] = [users]
