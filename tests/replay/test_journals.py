"""Old runs must stay what they were: an engine that reads their journals differently fails here.

A journal is replaced only together with the decision that changed the engine: `python -m tests.replay.record`.
"""

from pathlib import Path
from typing import get_args

import pytest

from agentplat.engine.messages import Message, NodeReleased, NodeStarted, RunAborted, decode
from agentplat.engine.state import FINAL
from tests.replay.history import JOURNALS, read, seen_of

PATHS = sorted(JOURNALS.glob("*.json"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_an_old_journal_gives_the_same_run(path: Path) -> None:
    history = read(path)
    machine = history.replay()
    assert machine.status in FINAL
    assert seen_of(machine) == history.seen


def test_the_journals_cover_what_matters() -> None:
    histories = [read(path) for path in PATHS]
    messages = [message for one in histories for _, body in one.rows for message in decode(bytes(body))]
    assert {type(message) for message in messages} == set(get_args(Message))
    assert any(message.cost for message in messages if isinstance(message, NodeStarted)), "nothing was paid"
    assert any(message.activation for message in messages if isinstance(message, RunAborted)), "nobody ran dry"
    assert any(message.data for message in messages if isinstance(message, NodeReleased)), "nothing was edited"
    assert {one.seen.status for one in histories} == {"COMPLETED", "FAILED", "TERMINATED"}
    assert any(len({fence for fence, _ in one.rows}) > 1 for one in histories), "no run was recovered"
    assert any(link.is_static for one in histories for link in one.links)
    assert any(one.masks for one in histories)
    assert any(one.skipped for one in histories)
    assert any(one.seen.error_count for one in histories)
