from pathlib import Path

import msgspec

from benchmarks.__main__ import RESULTS, Report, save
from benchmarks.report import Figure, Result

FAST, SLOW = {"cpu": "fast"}, {"cpu": "slow"}


def measured(case: str, median: float) -> Result:
    figure = Figure(name="calls", unit="1/s", median=median, least=median, greatest=median, rounds=1)
    return Result(case=case, what="", target="", figures=[figure], baseline=figure, ratio=1.0)


def saved(path: Path) -> list[tuple[str, list[tuple[str, float]]]]:
    reports = msgspec.json.decode(path.read_bytes(), type=list[Report])
    return [
        (report.machine["cpu"], [(one.case, one.figures[0].median) for one in report.results]) for report in reports
    ]


def test_results_stay_until_they_are_measured_again_and_with_their_machine(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    save(Report(FAST, [measured("stop", 1), measured("recovery", 2)]), path)
    save(Report(SLOW, [measured("stop", 3)]), path)
    assert saved(path) == [("slow", [("stop", 3)]), ("fast", [("recovery", 2)])]
    save(Report(SLOW, [measured("recovery", 4)]), path)
    assert saved(path) == [("slow", [("recovery", 4), ("stop", 3)])]


def test_what_is_committed_can_be_read() -> None:
    assert saved(RESULTS)
