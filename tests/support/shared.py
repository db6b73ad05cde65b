"""What the contract was written down in, where it lies beside the checkout. Tests that need it skip elsewhere."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the contract's material is not beside this checkout")


def agent_files() -> list[Path]:
    return sorted((SHARED / "agents").glob("*.json"))
