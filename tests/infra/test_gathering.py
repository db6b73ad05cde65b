import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from agentplat.infra.gathering import Gathering

asker: ContextVar[str] = ContextVar("asker", default="nobody")


class Doubling:
    """Doubles numbers, as often as it is let; refuses odd ones. Remembers its rounds."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.may = asyncio.Semaphore(1000)
        self.seen = ""

    async def __call__(self, items: list[int]) -> Sequence[int | Exception]:
        self.rounds.append(items)
        self.seen = asker.get()
        await self.may.acquire()
        return [ValueError(str(item)) if item % 2 else item * 2 for item in items]


async def begun(work: Doubling, rounds: int) -> None:
    async with asyncio.timeout(10):
        while len(work.rounds) < rounds:
            await asyncio.sleep(0)


async def test_who_asks_at_once_is_answered_at_once() -> None:
    work = Doubling()
    gathering = Gathering(work, 100)
    answers = await asyncio.gather(*(gathering.ask(item) for item in range(5)), return_exceptions=True)
    assert work.rounds == [[0, 1, 2, 3, 4]]
    assert answers[::2] == [0, 4, 8]
    assert [str(answer) for answer in answers[1::2]] == ["1", "3"]
    assert await gathering.ask(6) == 12
    assert work.rounds[1:] == [[6]]


async def test_who_asks_during_a_round_is_in_the_next_and_none_is_too_large() -> None:
    work = Doubling()
    work.may = asyncio.Semaphore(0)
    gathering = Gathering(work, 3)
    asked = [asyncio.create_task(gathering.ask(2))]
    await begun(work, 1)
    asked += [asyncio.create_task(gathering.ask(item)) for item in (4, 6, 8, 10)]
    for _ in range(3):
        work.may.release()
    assert await asyncio.gather(*asked) == [4, 8, 12, 16, 20]
    assert work.rounds == [[2], [4, 6, 8], [10]]


async def test_an_error_of_the_work_is_everybodys_and_not_the_next_rounds() -> None:
    rounds: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        rounds.append(items)
        if len(rounds) == 1:
            raise OSError("away")
        return items

    gathering = Gathering(work, 100)
    answers = await asyncio.gather(*(gathering.ask(item) for item in (1, 2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [OSError, OSError]
    assert await gathering.ask(3) == 3


async def test_who_gives_up_before_a_round_is_not_in_it_and_who_gives_up_in_one_ends_it_for_nobody() -> None:
    work = Doubling()
    work.may = asyncio.Semaphore(0)
    gathering = Gathering(work, 100)
    first = [asyncio.create_task(gathering.ask(item)) for item in (2, 4)]
    await begun(work, 1)
    second = [asyncio.create_task(gathering.ask(item)) for item in (6, 8)]
    await asyncio.sleep(0)
    first[0].cancel()
    second[0].cancel()
    work.may.release()
    work.may.release()
    assert await first[1] == 8
    assert await second[1] == 16
    assert work.rounds == [[2, 4], [8]]


async def test_the_work_is_done_on_nobodys_behalf() -> None:
    work = Doubling()
    asker.set("first")
    assert await Gathering(work, 100).ask(2) == 4
    assert work.seen == "nobody"


def test_a_loop_that_ends_leaves_nothing_behind() -> None:
    rounds: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        rounds.append(items)
        if items == [1]:
            await asyncio.Event().wait()
        return items

    gathering = Gathering(work, 100)

    async def left() -> None:
        asked = [asyncio.create_task(gathering.ask(1))]
        while not rounds:
            await asyncio.sleep(0)
        asked.append(asyncio.create_task(gathering.ask(2)))
        await asyncio.sleep(0)

    asyncio.run(left())
    assert asyncio.run(gathering.ask(3)) == 3
    assert rounds == [[1], [3]]


@pytest.mark.parametrize("many", [1, 250])
async def test_everybody_gets_their_own_answer(many: int) -> None:
    async def work(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return [-item for item in items]

    gathering = Gathering(work, 7)
    assert await asyncio.gather(*(gathering.ask(item) for item in range(many))) == [-item for item in range(many)]
