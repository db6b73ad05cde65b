"""Facts reach who listens, and nothing that goes wrong there reaches who tells."""

from msgspec import Struct

from agentplat.events import facts


class Told(Struct, frozen=True):
    number: int


class NeverHeard(Struct, frozen=True):
    number: int


async def test_who_listens_hears_each_fact_once() -> None:
    heard: list[int] = []

    async def fail(fact: Told) -> None:
        raise RuntimeError

    async def hear(fact: Told) -> None:
        heard.append(fact.number)

    facts.listen(Told, fail)
    for _ in range(2):
        facts.listen(Told, hear)
    await facts.tell(Told(1))
    await facts.tell(NeverHeard(2))
    await facts.tell(Told(3))
    assert heard == [1, 3]
