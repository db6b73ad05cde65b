"""The API server, assembled."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.types import (
    ControllerRouterHandler,
    HTTPScope,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Receive,
    Scope,
    Send,
)

from agentplat.infra.settings import Settings
from agentplat.onboarding import service as onboarding
from agentplat.realtime.service import SERVING
from agentplat.server import metrics, openapi
from agentplat.server.auth import Authentication, current_user
from agentplat.server.cors import Cors
from agentplat.server.edge import Edge
from agentplat.server.errors import render
from agentplat.server.lifespan import LIMITS, services, socket_services
from agentplat.server.limits import Limits
from agentplat.server.proxies import Proxies
from agentplat.server.request import ApiRequest
from agentplat.server.routes import ROUTES, SOCKET_ROUTES

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


class Application(Litestar):
    """Litestar inside its edge."""

    edge: Callable[[HTTPScope, Receive, Send], Awaitable[None]]

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self.edge(scope, receive, send)  # type: ignore[arg-type]
            return
        await super().__call__(scope, receive, send)
        routed = cast("dict[str, Any]", scope)
        if connection := routed.get("state", {}).get(SERVING):
            # Not by its route: what that and all around it hold would be a third of an idle socket's memory. The server
            # keeps the scope, of which nothing is needed any more.
            routed.clear()
            await connection.serve(receive, send)


def create_app(settings: Settings | None = None) -> Litestar:
    """Needs no service and no key: those are the lifespan's."""
    onboarding.listen()
    return _assembled(ROUTES, services, settings or Settings.from_env())


def create_socket_app(settings: Settings | None = None) -> Litestar:
    """The event sockets and streams alone, for a process of their own."""
    return _assembled(SOCKET_ROUTES, socket_services, settings or Settings.from_env())


def _assembled(routes: list[ControllerRouterHandler], lifespan: Lifespan, settings: Settings) -> Litestar:
    limits, proxies = Limits(settings), Proxies(settings.trusted_proxies)
    app = Application(
        route_handlers=routes,
        dependencies={"user": Provide(current_user, sync_to_thread=False)},
        middleware=[Authentication(limits, proxies)],
        exception_handlers={Exception: render},
        lifespan=[lifespan],
        request_class=ApiRequest,
        request_max_body_size=settings.max_request_bytes,
        openapi_config=openapi.config(),
        logging_config=None,
        # The lifespan gives it Redis.
        state=State({LIMITS: limits}),
    )
    counts = metrics.Counts() if settings.enable_metrics else None
    if counts is not None:
        app.register(metrics.show)
    cors = Cors(settings.backend_cors_allow_origins)
    app.edge = Edge(super(Application, app).__call__, cors, proxies, settings.request_seconds, counts)
    return app
