"""A worker process in virtual time: driver and journal writer of `runs/driver.py` and `runs/journal.py`.

Whatever it does can be cut off by its death, and held up by a pause. What it has sent to the database is on its way
all the same.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentplat.engine.state import FINAL
from tests.simulation.database import LEASE, Row, Write
from tests.simulation.hosted import Hosted

if TYPE_CHECKING:
    from tests.simulation.world import World

RETRY = 0.2


class Ticket:
    """Tells later whether a row was written."""

    def __init__(self) -> None:
        self.done = False
        self.held = False
        self._waiting: list[Callable[[bool], None]] = []

    def then(self, callback: Callable[[bool], None]) -> None:
        if self.done:
            callback(self.held)
        else:
            self._waiting.append(callback)

    def resolve(self, held: bool) -> None:
        self.done, self.held = True, held
        for callback in self._waiting:
            callback(held)


class Worker:
    def __init__(self, world: "World", owner: str) -> None:
        self.world = world
        self.owner = owner
        self.alive = True
        self.paused_until = 0.0
        self._closing = False
        self._hosted: dict[int, Hosted] = {}
        self._entries: list[tuple[Write, Ticket]] = []
        self._writing = False
        for upkeep in (self._renew, self._sweep, self._close_mailboxes):
            self.after(world.chance.random() * LEASE / 3, upkeep)

    def after(self, delay: float, act: Callable[..., object], *arguments: Any) -> None:
        self.world.at(self.world.now + delay, self._fire, act, arguments)

    def _fire(self, act: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        if not self.alive:
            return
        if self.world.now < self.paused_until:
            # What became due meanwhile happens in any order when the process wakes.
            self.world.at(self.paused_until + self.world.chance.random() * 0.01, self._fire, act, arguments)
        else:
            act(*arguments)

    # Faults

    def die(self) -> None:
        self.alive = False

    def pause(self, seconds: float) -> None:
        self.paused_until = self.world.now + seconds

    def close(self) -> None:
        """Told to end: lets go of its runs, writes what is waiting, gives its leases back."""
        if not self._closing:
            self._closing = True
            left = list(self._hosted)
            for hosted in list(self._hosted.values()):
                hosted.leave()
            self._release_when_written(left)

    def _release_when_written(self, run_ids: list[int]) -> None:
        if self._entries or self._writing:
            self.after(0.05, self._release_when_written, run_ids)
        else:
            self.world.database.release(run_ids, self.owner)
            self.die()

    # Driver

    def accept(self, run_id: int) -> None:
        hosted = run_id in self._hosted and self.world.rules.own_runs_are_not_claimed
        if not self._closing and not hosted:
            self.ask(lambda: self.world.database.claim(run_id, self.owner, self.world.now), self._claimed)

    def _claimed(self, row: Row | None) -> None:
        if row is None or self._closing:
            return
        if row.fence == 1:
            self._host(row, [])
        else:
            self.ask(lambda: self.world.database.segments(row.id), lambda found: self._host(row, found))

    def _host(self, row: Row, segments: list[Any]) -> None:
        if self._closing:
            return
        machine = self.world.machine(row.id)
        count = 0
        for segment in segments:
            for message in segment.messages:
                machine.feed(message)
                count += 1
        if machine.status in FINAL:
            return  # the claim's answer was so late that others have finished the run
        hosted = Hosted(self, row, machine, count)
        if (older := self._hosted.get(row.id)) and self.world.rules.own_runs_are_not_claimed:
            older.lose()
        self._hosted[row.id] = hosted
        hosted.wake()

    def let_go(self, hosted: Hosted) -> None:
        if self._hosted.get(hosted.row.id) is hosted:
            del self._hosted[hosted.row.id]

    def hear_stop(self, run_id: int) -> None:
        if hosted := self._hosted.get(run_id):
            hosted.stop()

    def hear_mail(self, run_id: int) -> None:
        if hosted := self._hosted.get(run_id):
            hosted.look_for_mail()

    def _close_mailboxes(self) -> None:
        self.after(LEASE, self._close_mailboxes)
        self.ask(self.world.database.close_left_open, lambda _: None)

    def _renew(self) -> None:
        if self._closing:
            return
        self.after(LEASE / 3, self._renew)
        mine = list(self._hosted)
        if mine:
            self.ask(
                lambda: self.world.database.renew(mine, self.owner, self.world.now),
                lambda held: self._renewed(mine, held),
            )

    def _renewed(self, mine: list[int], held: dict[int, bool]) -> None:
        for run_id in mine:
            hosted = self._hosted.get(run_id)
            if hosted is None:
                continue
            if run_id not in held:
                hosted.lose()
            elif held[run_id]:
                hosted.stop()
            elif hosted.expects_mail:
                hosted.look_for_mail()

    def _sweep(self) -> None:
        if self._closing:
            return
        self.after(LEASE / 3, self._sweep)
        self.ask(
            lambda: self.world.database.stranded(self.world.now),
            self._accept_all,
        )

    def _accept_all(self, run_ids: list[int]) -> None:
        for run_id in run_ids:
            self.accept(run_id)

    def ask(
        self,
        statement: Callable[[], Any],
        answer: Callable[[Any], object],
        otherwise: tuple[Callable[..., object], *tuple[Any, ...]] | None = None,
    ) -> None:
        """One statement: it happens at the database after a while, and is answered after another while, if ever. Where
        the answer gets lost `otherwise`, a function with arguments, is called."""
        lost = self.world.is_unlucky()

        def execute() -> None:
            found = statement()
            if not lost:
                self.after(self.world.latency(), answer, found)
            elif otherwise is not None:
                self.after(RETRY, *otherwise)

        self.world.at(self.world.now + self.world.latency(), execute)

    # Journal writer

    def submit(self, write: Write) -> Ticket:
        ticket = Ticket()
        self._entries.append((write, ticket))
        if not self._writing:
            self._writing = True
            self.after(self.world.chance.random() * 0.004, self._write)
        return ticket

    def _write(self) -> None:
        count = self.world.chance.randint(1, len(self._entries))
        batch, self._entries = self._entries[:count], self._entries[count:]
        self._send(batch)

    def _send(self, batch: list[tuple[Write, Ticket]]) -> None:
        """A commit whose answer gets lost was done, was not, or will be: it is sent again in each case."""
        world = self.world
        writes = [write for write, _ in batch]
        if world.is_unlucky():
            delays = (world.latency(), RETRY + 4 * world.latency(), None)
            if (delay := world.chance.choice(delays)) is not None:
                world.at(world.now + delay, world.database.commit, writes, self.owner)
            self.after(RETRY, self._send, batch)
            return

        def execute() -> None:
            self.after(world.latency(), self._written, batch, world.database.commit(writes, self.owner))

        world.at(world.now + world.latency(), execute)

    def _written(self, batch: list[tuple[Write, Ticket]], held: set[tuple[int, int]]) -> None:
        for write, ticket in batch:
            is_held = (write.run_id, write.fence) in held
            if is_held:
                self.world.witness.published(write)
                self.world.announce([run_id for run_id, _ in write.letters])
            ticket.resolve(is_held)
        self._writing = bool(self._entries)
        if self._writing:
            self.after(self.world.chance.random() * 0.004, self._write)
