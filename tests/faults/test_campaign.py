"""Every kind of fault, a few times under load. The long form of the same is `make faults`."""

from collections.abc import Iterator

import pytest

from agentplat.cli.supervisor import Platform
from agentplat.infra.settings import Settings
from tests.faults.campaign import campaign, started
from tests.faults.injection import FAULTS, Fault

pytestmark = pytest.mark.xdist_group("faults")

SECONDS = 3.5
PAUSE = 3.0


@pytest.fixture(scope="module")
def breakable(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with started(settings, tmp_path_factory.mktemp("faults")) as platform:
        yield platform


@pytest.mark.parametrize("fault", FAULTS[1:], ids=lambda fault: fault.name)
async def test_nothing_is_lost(breakable: Platform, fault: Fault) -> None:
    report = await campaign(breakable, fault, SECONDS, seed=1, pause=PAUSE)
    assert report.violations == []
    assert report.injected
    assert report.runs
