"""`python -m tests.faults [--only NAME …] [--seconds N] [--seed N] [--save]`: the long form of the fault tests."""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from agentplat.infra.settings import get_settings
from tests.faults.campaign import campaign, say, started
from tests.faults.injection import FAULTS
from tests.faults.table import HEAD, line_of, machine_of, save
from tests.support.services import BLOCK_MODULES, JWT_KEY, clear_environment

MOST_SHOWN = 20


def main() -> int:
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"these faults: {', '.join(names)}")
    parser.add_argument("--seconds", type=float, default=300.0, help="per fault  [default: 300]")
    parser.add_argument("--pause", type=float, default=10.0, help="of what is paused, in seconds  [default: 10]")
    parser.add_argument("--rate", type=float, default=8.0, help="runs started per second  [default: 8]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", action="store_true", help="put the rows into the table of docs/faults.md")
    arguments = parser.parse_args()
    clear_environment()
    os.environ |= {"JWT_VERIFY_KEY": JWT_KEY, "AGENTPLAT_BLOCK_MODULES": BLOCK_MODULES}
    lines: dict[str, str] = {}
    violations = 0
    with tempfile.TemporaryDirectory(prefix="agentplat-faults-") as home, started(get_settings(), Path(home)) as one:
        say(HEAD)
        for fault in FAULTS:
            if arguments.only and fault.name not in arguments.only:
                continue
            report = asyncio.run(
                campaign(one, fault, arguments.seconds, arguments.seed, rate=arguments.rate, pause=arguments.pause)
            )
            lines[fault.name] = line_of(report, arguments.seed)
            violations += len(report.violations)
            say(lines[fault.name])
            for violation in report.violations[:MOST_SHOWN]:
                say(f"    {violation}\n")
            if arguments.save:
                save(lines, machine_of(report.versions))
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
