"""The API server, assembled."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from litestar import Litestar
from litestar.config.compression import CompressionConfig
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
from agentplat.realtime.service import SERVING, STREAMED
from agentplat.server import metrics, openapi
from agentplat.server.auth import Authentication, current_user
from agentplat.server.cors import Cors
from agentplat.server.edge import Edge
from agentplat.server.errors import render
from agentplat.server.lifespan import services, socket_services
from agentplat.server.request import ApiRequest
from agentplat.server.routes import ROUTES, SOCKET_ROUTES

COMPRESSED_FROM_BYTES = 50_000
# Higher levels gain a few percent for several times the time, and compressing holds up the event loop.
COMPRESSION_LEVEL = 4

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
    return _assembled(ROUTES, services, settings or Settings.from_env())


def create_socket_app(settings: Settings | None = None) -> Litestar:
    """The event sockets and streams alone, for a process of their own."""
    return _assembled(SOCKET_ROUTES, socket_services, settings or Settings.from_env())


def _assembled(routes: list[ControllerRouterHandler], lifespan: Lifespan, settings: Settings) -> Litestar:
    app = Application(
        route_handlers=routes,
        dependencies={"user": Provide(current_user, sync_to_thread=False)},
        middleware=[Authentication()],
        exception_handlers={Exception: render},
        lifespan=[lifespan],
        request_class=ApiRequest,
        request_max_body_size=settings.max_request_bytes,
        compression_config=CompressionConfig(
            backend="gzip",
            minimum_size=COMPRESSED_FROM_BYTES,
            gzip_compress_level=COMPRESSION_LEVEL,
            # What comes in small pieces must not wait for more of them.
            exclude_opt_key=STREAMED,
        ),
        openapi_config=openapi.config(),
        logging_config=None,
    )
    app.edge = Edge(super(Application, app).__call__, Cors(settings.backend_cors_allow_origins))
    if settings.enable_metrics:
        app.register(metrics.show)
        app.edge = metrics.Measured(app.edge)
    return app
