"""What proxies in front of this server say of a request, as far as they are ours."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from litestar.types import HTTPScope

from agentplat.infra.settings import Network

Address = IPv4Address | IPv6Address


class Proxies:
    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks

    def address(self, scope: HTTPScope) -> str:
        """Who a stranger is: the nearest address that is no proxy of ours. Networks of IPv6 count as one."""
        client = scope.get("client")
        given = [client[0]] if client else []
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        given += reversed(forwarded.decode("latin-1").split(",")) if forwarded else []
        address = ""
        for text in given:
            if (found := _parsed(text)) is None:
                break
            address = str(found if found.version == 4 else ip_network((found, 64), strict=False))
            if not self._are_ours(found):
                break
        return address

    def over_https(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> bool:
        """Whether the client speaks HTTPS, with this server or with the proxy that it came through."""
        if scope["scheme"] == "https":
            return True
        if headers.get(b"x-forwarded-proto") != b"https" or not (client := scope.get("client")):
            return False
        peer = _parsed(client[0])
        return peer is not None and self._are_ours(peer)

    def _are_ours(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _parsed(text: str) -> Address | None:
    try:
        found = ip_address(text.strip())
    except ValueError:
        return None
    # How sockets of IPv6 show clients of IPv4: all of them would be one network.
    return getattr(found, "ipv4_mapped", None) or found
