"""`python -m benchmarks [CASE …] [--save]`: each case in a fresh process; `--save` writes results/latest.json."""

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.report import Result, machine

MAIN = ("engine_chain", "run_latency", "throughput", "durability", "recovery", "scaling", "stop")
REST = ("rest_graph", "rest_blocks", "rest_execute", "rest_edge", "list_executions")
SOCKETS = ("socket_fanout", "socket_latency", "socket_idle", "socket_stalled", "socket_servers")
CASES = (*MAIN, *REST, *SOCKETS)
GROUPS = {"sockets": SOCKETS, "rest": REST}
RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, *GROUPS, []], metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--save", action="store_true", help="write the results beside the code")
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        result: Result = importlib.import_module(f"benchmarks.{arguments.one}").main()
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        return 0
    facts = machine()
    say(f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}, Python {facts['python']}")
    say(", ".join(f"{name} {number}" for name, number in facts["packages"].items()))
    results = []
    asked = [case for name in arguments.cases for case in GROUPS.get(name, (name,))]
    for case in asked or CASES:
        output = subprocess.run(
            [sys.executable, "-m", "benchmarks", "--one", case], stdout=subprocess.PIPE, check=True
        ).stdout
        results.append(msgspec.json.decode(output.splitlines()[-1], type=Result))
        show(results[-1])
    if arguments.save:
        save(Report(facts, results))
        say(f"\nwritten to {RESULTS.name}")
    return 0


class Report(Struct):
    machine: dict[str, Any]
    results: list[Result]


def save(report: Report, path: Path = RESULTS) -> None:
    """Of each case the newest results, and with them the machine and versions that they are of."""
    path.parent.mkdir(exist_ok=True)
    reports = msgspec.json.decode(path.read_bytes(), type=list[Report]) if path.exists() else []
    measured = {one.case for one in report.results}
    for before in reports:
        before.results = [one for one in before.results if one.case not in measured]
    if (same := next((one for one in reports if one.machine == report.machine), None)) is not None:
        reports.remove(same)
        report.results = sorted([*same.results, *report.results], key=lambda one: CASES.index(one.case))
    reports = [report, *(one for one in reports if one.results)]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(reports), indent=2) + b"\n")


def show(result: Result) -> None:
    say(f"\n{result.case}: {result.what}  (target: {result.target})")
    for one in [*result.figures, result.baseline]:
        spread = f"  ({one.least:,.1f} to {one.greatest:,.1f}, {one.rounds} rounds)" if one.rounds > 1 else ""
        label = f"baseline: {one.name}" if one is result.baseline else one.name
        say(f"  {label:<42} {one.median:>12,.1f} {one.unit}{spread}")
    say(f"  {'ratio':<42} {result.ratio:>12,.1f}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
