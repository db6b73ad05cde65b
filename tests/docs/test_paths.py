"""Documents are about this repository as it is: what they name exists, and decisions have one form."""

import re
from pathlib import Path

import pytest

from tests.support.processes import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
# In backticks, with a slash or a file's ending, and without anything that makes it a command, an URL or a pattern.
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:md|py|toml|txt|json))`")
BASES = (ROOT, ROOT / "src" / "agentplat")


def named_paths(document: Path) -> list[str]:
    return PATH.findall(document.read_text())


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_path_exists(document: Path) -> None:
    bases = (*BASES, document.parent)
    missing = [path for path in named_paths(document) if not any((base / path).exists() for base in bases)]
    assert missing == []


def test_paths_are_found_at_all() -> None:
    assert len(named_paths(ROOT / "ARCHITECTURE.md")) > 30


def test_decisions_are_numbered_without_holes() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("document", DECISIONS, ids=name)
def test_decisions_have_one_form_and_fit_on_a_page(document: Path) -> None:
    text = document.read_text()
    assert text.startswith(f"# {int(document.name[:4])}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "Alternatives"]
    assert len(text.splitlines()) <= 60
