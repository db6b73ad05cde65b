import pytest

from agentplat.runs.rules import MAX_WAIT_SECONDS, wait_seconds


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait=10", 10),
        ("wait=0", 0),
        ("wait=60", 60),
        ("wait=61", MAX_WAIT_SECONDS),
        ("wait=007", 7),
        ("wait=" + "9" * 10_000, MAX_WAIT_SECONDS),
        ("Wait = 10", 10),
        (' wait = "10" ', 10),
        ("wait=10; foo=bar", 10),
        ("respond-async, wait=10", 10),
        ('handling=lenient , return="minimal";x, wait=5', 5),
        ("wait=1, wait=2", 1),
        # Not what the RFC knows as a wait: ignored, never refused.
        ("wait", None),
        ("wait=", None),
        ("wait=soon", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=1e3", None),
        ("wait=٣", None),
        ("wait=1 2", None),
        ('wait="1', None),
        ("await=10", None),
        ("wait=soon, wait=2", None),
        (",,;=,", None),
    ],
)
def test_how_long_a_prefer_header_asks_to_wait(prefer: str | None, seconds: int | None) -> None:
    assert wait_seconds(prefer) == seconds
