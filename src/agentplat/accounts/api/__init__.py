from litestar.types import ControllerRouterHandler

from agentplat.accounts.api.api_keys import router as api_keys
from agentplat.accounts.api.email import router as email
from agentplat.accounts.api.sign_in import router as sign_in
from agentplat.accounts.api.users import router as users

routers: list[ControllerRouterHandler] = [users, api_keys, sign_in, email]
