"""When the outcomes of a run's nodes were recorded, as far as the worker that recorded them knows.

It is told with the answer to each commit, so knowing it costs no write. What an earlier worker has recorded, or what
was recorded before the run waited for a person, is not known.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from agentplat.engine.messages import Message, NodeEnded

_PENDING = 0


class Recorded:
    """Takes the rows of one run in order."""

    def __init__(self) -> None:
        self._at: dict[int, int] = {}

    def note(self, messages: Sequence[Message], ticket: asyncio.Future[int]) -> None:
        """A row with these messages is on its way; `ticket` will have the time of its commit."""
        numbers = _ended(messages)
        if numbers:
            self._at.update(dict.fromkeys(numbers, _PENDING))
            ticket.add_done_callback(partial(self._take, numbers))

    def _take(self, numbers: list[int], ticket: asyncio.Future[int]) -> None:
        if not ticket.cancelled() and ticket.exception() is None:
            self._at.update(dict.fromkeys(numbers, ticket.result()))

    def times(self, last: Sequence[Message], at: int) -> dict[int, int]:
        """By activation, in microseconds since the epoch, for the row that ends the run and has the messages `last`.

        What is not committed yet is so at the latest with that row; as its commit can't be told in it, it counts with
        the moment `at` when the row was made.
        """
        known = {number: moment or at for number, moment in self._at.items()}
        return known | dict.fromkeys(_ended(last), at)


def _ended(messages: Sequence[Message]) -> list[int]:
    return [message.activation for message in messages if type(message) is NodeEnded]
