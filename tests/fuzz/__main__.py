"""`python -m tests.fuzz [--cases N] [--seed N] [--only REGEX]`: the long form of the fuzz test, on a fresh platform."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import msgspec

from agentplat.cli.supervisor import Platform
from agentplat.infra.settings import Settings
from tests.fuzz.fuzzing import Findings
from tests.fuzz.setting import Setting
from tests.support.mails import POSTMARK_TOKEN, UNSUBSCRIBE_KEY
from tests.support.processes import free_port
from tests.support.services import JWT_KEY, clear_environment
from tests.support.stripe import API_KEY, WEBHOOK_SECRET, running

MOST_SHOWN = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="in all  [default: 20000]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="REGEX", help="operations such as 'POST /api/graphs$'")
    arguments = parser.parse_args()
    clear_environment()
    os.environ["JWT_VERIFY_KEY"] = JWT_KEY
    failed = cases = 0
    with tempfile.TemporaryDirectory(prefix="agentplat-fuzz-") as home, running() as stripe:
        settings = msgspec.structs.replace(Settings.from_env(), home=Path(home), port=free_port())
        # What is not configured is refused, and what is too much as well.
        configured = {
            "LOG_LEVEL": "WARNING",
            "POSTMARK_WEBHOOK_TOKEN": POSTMARK_TOKEN,
            "UNSUBSCRIBE_SECRET_KEY": UNSUBSCRIBE_KEY,
            "ENABLE_CREDIT": "true",
            "STRIPE_API_KEY": API_KEY,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "STRIPE_BASE_URL": stripe.url,
            "AGENTPLAT_RATE_LIMIT": "0",
            "AGENTPLAT_RATE_LIMIT_SIGN_IN": "0",
        }
        with Platform(settings, fake_llm=True, quiet=True, env=configured) as platform:
            setting = Setting(platform.url, arguments.seed, stripe)
            operations = setting.fuzzer.operations(arguments.only)
            say(f"{len(operations)} operations, seed {arguments.seed}")
            again = 0
            # What few cases exhaust leaves its share to the others.
            while operations and cases < arguments.cases:
                share = -(-(arguments.cases - cases) // len(operations))
                more = []
                for operation in operations:
                    setting.renew()
                    findings = setting.fuzzer.run(operation, share, again)
                    show(findings, arguments.seed + again)
                    failed, cases = failed + findings.failed, cases + findings.cases
                    if findings.cases >= share:
                        more.append(operation)
                operations, again = more, again + 1
            setting.close()
    say(f"{cases} cases, {failed} failures")
    return int(failed > 0 or cases == 0)


def show(findings: Findings, number: int) -> None:
    statuses = " ".join(f"{status}:{count}" for status, count in sorted(findings.statuses.items()))
    say(f"{'FAILED' if findings.failed else 'ok':<7}{findings.label:<75} {findings.cases:>6}  {statuses}")
    for kind, seen in findings.failures.items():
        say(f"  {kind}, {len(seen)} times; again: --seed {number} --only '^{findings.label}$'")
        for shown in seen[:MOST_SHOWN]:
            say(f"    {shown}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
