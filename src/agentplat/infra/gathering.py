"""What costs hardly more for many than for one, done together for all who ask for it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Gathering(Generic[Item, Answer]):
    """`work` gets what was asked for since its last round began, at most `most` items, and gives their answers in the
    same order; where an answer is an exception, it is raised for who asked. What `work` raises itself, all get.

    There is one round at a time: who asks during one is in the next, so the busier, the larger the rounds, and who asks
    alone waits for nothing. `work` must therefore not wait for what one item may be held up by.
    """

    def __init__(self, work: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception]]], most: int) -> None:
        self._work = work
        self._most = most
        self._asked: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._rounds: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        """The item's answer. Who is cancelled before its round begins has asked for nothing."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._asked.append((item, answer))
        if self._rounds is None or self._rounds.done():
            # In a context of its own: the request, or the transaction, of who asks first is not that of the others.
            self._rounds = loop.create_task(self._go_round(), name="gathering", context=Context())
        return await answer

    async def _go_round(self) -> None:
        try:
            await asyncio.sleep(0)  # for what else is asked for in this turn of the loop
            while self._asked:
                taken, self._asked = self._asked[: self._most], self._asked[self._most :]
                if waiting := [(item, answer) for item, answer in taken if not answer.done()]:
                    await self._answer(waiting)
        finally:
            # Only if this was cancelled, with its loop, is there anybody left.
            for _, answer in self._asked:
                answer.cancel()
            self._asked = []

    async def _answer(self, waiting: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._work([item for item, _ in waiting])
        except asyncio.CancelledError:
            for _, future in waiting:
                future.cancel()
            raise
        except Exception as error:  # is theirs who asked, as if each had done the work alone
            answers = [error] * len(waiting)
        for (_, future), answer in zip(waiting, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
