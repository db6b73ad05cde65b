"""Whose word counts for where a request comes from."""

from typing import Any

import pytest

from agentplat.infra.settings import Settings
from agentplat.server.proxies import Proxies


def proxies(trusted: str) -> Proxies:
    return Proxies(Settings.from_env({"AGENTPLAT_TRUSTED_PROXIES": trusted}).trusted_proxies)


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("192.0.2.1", None, "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.7", "10.0.0.0/8", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.2.3.4", "10.0.0.0/8", "198.51.100.7"),
        ("10.0.0.1", "made up", "10.0.0.0/8", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.0/8", "10.0.0.1"),
        ("2001:db8:1:2:3::4", None, "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", None, "", "192.0.2.1"),
        ("::ffff:10.0.0.1", "198.51.100.7", "10.0.0.0/8", "198.51.100.7"),
        (None, None, "", ""),
    ],
)
def test_addresses_are_believed_only_from_proxies_of_ours(
    peer: str | None, forwarded: str | None, trusted: str, address: str
) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    scope: Any = {"client": (peer, 1) if peer else None, "headers": headers}
    assert proxies(trusted).address(scope) == address


@pytest.mark.parametrize(
    ("scheme", "peer", "said", "secure"),
    [
        ("https", "192.0.2.1", None, True),
        ("http", "192.0.2.1", None, False),
        ("http", "192.0.2.1", "https", False),
        ("http", "10.0.0.1", "https", True),
        ("http", "::ffff:10.0.0.1", "https", True),
        ("http", "10.0.0.1", "http", False),
        ("http", "not an address", "https", False),
        ("http", None, "https", False),
    ],
)
def test_https_is_believed_only_of_proxies_of_ours(
    scheme: str, peer: str | None, said: str | None, secure: bool
) -> None:
    scope: Any = {"scheme": scheme, "client": (peer, 1) if peer else None}
    headers = {b"x-forwarded-proto": said.encode()} if said else {}
    assert proxies("10.0.0.0/8").over_https(scope, headers) == secure
