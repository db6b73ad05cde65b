"""The SDK's public types: every `reveal_type` and every mistake in the examples is seen as the comment says."""

import re
from pathlib import Path

from mypy import api

EXAMPLES = Path(__file__).with_name("typing_examples.py")


def test_types_that_authors_see() -> None:
    output, _, _ = api.run(["--strict", "--hide-error-context", "--no-pretty", str(EXAMPLES)])
    seen: dict[int, set[str]] = {}
    for line, kind, text in re.findall(r"typing_examples\.py:(\d+):(?:\d+:)? (note|error): (.*)", output):
        if revealed := re.search(r'Revealed type is "(?:.*\.)?(\w+)"', text):
            seen.setdefault(int(line), set()).add(revealed[1])
        elif kind == "error":
            seen.setdefault(int(line), set()).update(re.findall(r"\[([\w-]+)\]$", text))
    expected: dict[int, set[str]] = {}
    for number, line in enumerate(EXAMPLES.read_text().splitlines(), start=1):
        if comment := re.search(r"  # (?:error: )?([\w ,-]+)$", line):
            expected[number] = set(comment[1].split())
    assert expected, "no examples found"
    assert seen == expected, output
