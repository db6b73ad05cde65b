"""Fetching addresses that users give, without becoming their way into this network.

The check sits where connections are opened, not where URLs are read: every redirect passes it, and the address that was
checked is the address that is connected to, so a name cannot resolve differently a moment later.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2
import httpx2

_MAX_REDIRECTS = 10
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
# Reach IPv4 hosts through a translator, or stood for them once, so they may lead to a private one.
_TRANSLATED = tuple(ipaddress.ip_network(one) for one in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
# Public by its number, and in Azure the machine's own host.
_CLOUD_HOST = ipaddress.ip_address("168.63.129.16")

# Whether an address, as text, may be connected to.
MayReach = Callable[[str], bool]


class FetchFailed(Exception):
    """The address could not be fetched."""


class _GuardedBackend(httpcore2.AnyIOBackend):
    def __init__(self, may_reach: MayReach) -> None:
        super().__init__()
        self._may_reach = may_reach

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        address = await _checked_address(host, port, self._may_reach)
        return await super().connect_tcp(address, port, timeout, local_address, socket_options)


def is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # What stands for an IPv4 address leads there.
        if (embedded := ip.ipv4_mapped or ip.sixtofour) is not None:
            ip = embedded
        elif ip.is_site_local or any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast and ip != _CLOUD_HOST


async def fetch(url: str, *, max_bytes: int, may_reach: MayReach = is_public) -> bytes:
    """The body behind an http(s) URL. Raises `FetchFailed` with a text that names the cause."""
    transport = httpx2.AsyncHTTPTransport(trust_env=False)
    # httpx2 has no parameter for it, httpcore2 does.
    transport._pool = httpcore2.AsyncConnectionPool(
        ssl_context=httpx2.create_ssl_context(), network_backend=_GuardedBackend(may_reach)
    )
    client = httpx2.AsyncClient(
        transport=transport, trust_env=False, follow_redirects=True, max_redirects=_MAX_REDIRECTS, timeout=_TIMEOUT
    )
    try:
        async with client, client.stream("GET", url) as response:
            if response.is_error:
                raise FetchFailed(f"{url[:200]} answered {response.status_code} {response.reason_phrase}")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise FetchFailed(f"File too large: more than {max_bytes} bytes")
            return bytes(body)
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        raise FetchFailed(f"{url[:200]} cannot be fetched: {str(error) or type(error).__name__}") from error


async def _checked_address(host: str, port: int, may_reach: MayReach) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore2.ConnectError(f"the host {host} is not known") from error
    addresses = [str(entry[4][0]) for entry in found]
    # One private address among public ones is a trick, not a service.
    if not addresses or not all(may_reach(address) for address in addresses):
        raise httpcore2.ConnectError(f"the host {host} is not on the public internet")
    return addresses[0]
