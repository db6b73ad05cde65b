"""What clients see while everything between them and the journal breaks. The long form is part of `make faults`."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from agentplat.cli.supervisor import Platform
from agentplat.infra.settings import Settings
from tests.faults.campaign import started
from tests.faults.sockets import judge, watched
from tests.faults.viewers import Saw

pytestmark = pytest.mark.xdist_group("faults")

SECONDS, CLIENTS = 7.0, 40
EXPECTED = ["a", "b", "c", "d"]
RIGHT = Saw(run_id="r", numbers=[1, 2, 3, 4], digests=["a", "b", "c", "d"], drops={}, errors=[])


@pytest.fixture
def breakable(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with started(settings, tmp_path_factory.mktemp("sockets")) as platform:
        yield platform


async def test_every_client_sees_every_event_once_and_in_order(breakable: Platform) -> None:
    report = await watched(breakable, SECONDS, CLIENTS, restarts=2, seed=1)
    assert report.violations == []
    assert report.runs > 3
    assert report.drops["reset"]
    assert report.drops["half-open"]
    assert report.drops["clean close"]


def test_what_is_right_is_not_found_wrong() -> None:
    assert judge(EXPECTED, RIGHT) == []


@pytest.mark.parametrize(
    ("numbers", "digests"),
    [
        ([1, 2, 4], ["a", "b", "d"]),
        ([1, 2, 2, 3, 4], ["a", "b", "b", "c", "d"]),
        ([1, 3, 2, 4], ["a", "c", "b", "d"]),
        ([2, 3, 4], ["b", "c", "d"]),
        ([1, 2, 3], ["a", "b", "c"]),
        ([1, 2, 3, 4, 5], ["a", "b", "c", "d", "e"]),
        ([1, 2, 3, 4], ["a", "b", "x", "d"]),
        ([], []),
    ],
    ids=["hole", "repeat", "order", "late beginning", "early end", "too much", "content", "nothing"],
)
def test_each_kind_of_breach_is_found(numbers: list[int], digests: list[str]) -> None:
    assert judge(EXPECTED, replace(RIGHT, numbers=numbers, digests=digests))


def test_an_error_is_a_breach() -> None:
    assert judge(EXPECTED, replace(RIGHT, errors=["No such execution"]))
