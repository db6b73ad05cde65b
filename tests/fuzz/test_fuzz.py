"""Some requests to every operation. `make fuzz` sends 20,000, to a platform of its own."""

import time

from agentplat.cli.supervisor import Platform
from tests.fuzz.setting import Setting

CASES = 6
SECONDS = 30


def test_no_answer_contradicts_the_document(platform: Platform) -> None:
    setting = Setting(platform.url, number=1)
    setting.renew()
    give_up = time.monotonic() + SECONDS
    failures, answered = {}, 0
    for operation in setting.fuzzer.operations():
        # Generating takes longer than answering: on a busy machine there are fewer cases, but some of each.
        findings = setting.fuzzer.run(operation, CASES if time.monotonic() < give_up else 2)
        answered += findings.cases
        if findings.failed:
            failures[findings.label] = {kind: seen[0] for kind, seen in findings.failures.items()}
    setting.close()
    assert failures == {}
    assert answered > 100
