import signal
import socket

import httpx
import pytest

from agentplat.cli.supervisor import Platform, check_port, free_port, interruptible, reachable_host
from agentplat.infra.errors import ConfigError


def test_the_whole_platform_answers(platform: Platform, base_url: str, ws_url: str) -> None:
    assert httpx.get(f"{base_url}/health").json() == {"status": "healthy"}
    assert ws_url == f"ws://127.0.0.1:{platform.settings.port}/ws"
    assert [child.name for child in platform.children] == ["fake-llm", "server", "worker"]
    assert platform.child("worker").ready


def test_a_free_port_is_accepted_and_a_taken_one_named() -> None:
    check_port("127.0.0.1", free_port())
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} .* is taken"):
            check_port("127.0.0.1", port)


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(ConfigError, match=r"203\.0\.113\.1"):
        check_port("203.0.113.1", free_port())


@pytest.mark.parametrize(
    ("listened_on", "expected"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.1", "10.0.0.1"), ("name", "name")],
)
def test_where_a_listener_is_reached(listened_on: str, expected: str) -> None:
    assert reachable_host(listened_on) == expected


def test_only_the_first_signal_interrupts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned = False
    with interruptible():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
            cleaned = True
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) is before
