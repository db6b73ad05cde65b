from litestar.types import ControllerRouterHandler

from agentplat.accounts.api.sign_in import router as sign_in
from agentplat.accounts.api.users import router as users

routers: list[ControllerRouterHandler] = [users, sign_in]
