"""The acceptance examples A1 to A21 of the AutoGPT Platform's execution semantics, as data.

Each is run twice: by the bare engine (`tests/engine/test_acceptance.py`) and end to end through API, queue and
database (`tests/acceptance/test_end_to_end.py`).
"""

from tests.acceptance.branches import BRANCHES
from tests.acceptance.flow import FLOW
from tests.acceptance.values import VALUES

EXAMPLES = [*FLOW, *VALUES, *BRANCHES]
