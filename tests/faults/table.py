"""The table of what was measured, as docs/faults.md has it. Rows of several campaigns add up to one."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.campaign import Report
from tests.faults.injection import FAULTS
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "faults.md"
BEGIN, END = "<!-- measured: python -m tests.faults --save -->\n", "<!-- end -->\n"
HEAD = (
    "| fault | seconds | seed | injected | runs | charges | reviews | recoveries | settled after | violations |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
)


def line_of(report: Report, seed: int) -> str:
    return (
        f"| {report.fault} | {report.seconds:.0f} | {seed} | {report.injected} | {report.runs} | {report.charges} "
        f"| {report.reviews} | {report.recoveries} | {report.recovery_seconds:.1f} s | {len(report.violations)} |\n"
    )


def machine_of(versions: str) -> str:
    """Processor, cores and versions, as one line."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    system = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    return f"{cpu}, {os.cpu_count()} cores, {system}, Python {platform.python_version()}, {versions}"


def merged(page: str, lines: dict[str, str], machine: str) -> str:
    """The page with these rows in its table, by fault. Earlier rows stay where they were measured on the same machine
    with the same versions."""
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    known = {}
    if HEAD in old and f"{machine};" in old:
        known = {row.split("|")[1].strip(): row + "\n" for row in old.partition(HEAD)[2].splitlines() if row[:1] == "|"}
    known |= lines
    rows = "".join(known[fault.name] for fault in FAULTS if fault.name in known)
    today = datetime.now(UTC)
    return f"{before}{BEGIN}\n{HEAD}{rows}\n{machine}; {today.day} {today:%B %Y}.\n\n{END}{after}"


def save(lines: dict[str, str], machine: str) -> None:
    PAGE.write_text(merged(PAGE.read_text(), lines, machine))
