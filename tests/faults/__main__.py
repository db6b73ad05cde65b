"""`python -m tests.faults [--seconds N] [--seed N] [--fault NAME …]`: the long form of the fault tests."""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from agentplat.infra.settings import get_settings
from tests.faults.campaign import Report, campaign, say, started, table
from tests.faults.injection import FAULTS
from tests.support.services import JWT_KEY, clear_environment

MOST_SHOWN = 20


def main() -> int:
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="per fault  [default: 300]")
    parser.add_argument("--pause", type=float, default=10.0, help="of what is paused, in seconds  [default: 10]")
    parser.add_argument("--rate", type=float, default=8.0, help="runs started per second  [default: 8]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", choices=names, help="only this one; may be repeated")
    arguments = parser.parse_args()
    clear_environment()
    os.environ |= {"JWT_VERIFY_KEY": JWT_KEY, "AGENTPLAT_BLOCK_MODULES": "tests.support.blocks"}
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="agentplat-faults-") as home, started(get_settings(), Path(home)) as one:
        for fault in FAULTS:
            if arguments.fault and fault.name not in arguments.fault:
                continue
            report = asyncio.run(
                campaign(one, fault, arguments.seconds, arguments.seed, rate=arguments.rate, pause=arguments.pause)
            )
            reports.append(report)
            say(table([report]).splitlines()[-1])
            for violation in report.violations[:MOST_SHOWN]:
                say(f"    {violation}")
    say("\n" + table(reports))
    return int(any(report.violations for report in reports))


if __name__ == "__main__":
    sys.exit(main())
