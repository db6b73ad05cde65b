"""Rows of several campaigns add up to one table."""

from tests.faults.campaign import Report
from tests.faults.table import BEGIN, END, line_of, merged

PAGE = f"before\n{BEGIN}{END}after\n"


def line(fault: str, runs: int) -> dict[str, str]:
    report = Report(
        fault=fault,
        seconds=5,
        injected=2,
        runs=runs,
        charges=3,
        reviews=4,
        recoveries=5,
        recovery_seconds=1.25,
        versions="",
        violations=[],
    )
    return {fault: line_of(report, 7)}


def test_rows_are_added_and_replaced_in_the_order_of_the_faults() -> None:
    page = merged(PAGE, line("worker killed", 11), "machine")
    page = merged(page, line("none", 22), "machine")
    page = merged(page, line("worker killed", 33), "machine")
    rows = [row for row in page.splitlines() if row.startswith("|")][2:]
    assert rows == [
        "| none | 5 | 7 | 2 | 22 | 3 | 4 | 5 | 1.2 s | 0 |",
        "| worker killed | 5 | 7 | 2 | 33 | 3 | 4 | 5 | 1.2 s | 0 |",
    ]
    assert page.startswith(f"before\n{BEGIN}")
    assert page.endswith(f"{END}after\n")


def test_rows_of_another_machine_are_not_kept() -> None:
    page = merged(PAGE, line("worker killed", 11), "machine")
    assert "worker killed" not in merged(page, line("none", 22), "another")
