"""When outcomes were recorded, told with the answers to commits that may come late, not at all, or as an error."""

import asyncio

from agentplat.engine.messages import Message, NodeEnded, NodeStarted, NodeTerminated, RunEnded
from agentplat.runs.recording import Recorded


def ended(*numbers: int) -> list[Message]:
    return [NodeStarted(99, 1), *(NodeEnded(number, 1, []) for number in numbers)]


def ticket() -> asyncio.Future[int]:
    return asyncio.get_running_loop().create_future()


async def test_each_outcome_has_the_time_of_its_commit() -> None:
    recorded, first, second, failed = Recorded(), ticket(), ticket(), ticket()
    recorded.note(ended(1, 2), first)
    recorded.note(ended(), second)
    recorded.note(ended(3), second)
    recorded.note(ended(4), failed)
    first.set_result(1000)
    second.set_result(2000)
    failed.set_exception(ValueError())
    await asyncio.sleep(0)
    last = [NodeTerminated(5, 1), *ended(6), RunEnded(2)]
    assert recorded.times(last, 5000) == {1: 1000, 2: 1000, 3: 2000, 4: 5000, 6: 5000}


async def test_what_is_under_way_counts_with_the_row_that_ends_the_run() -> None:
    recorded = Recorded()
    recorded.note(ended(1), ticket())
    assert recorded.times([], 5000) == {1: 5000}
