"""One schedule: a few runs, a few workers, one database, a queue, and everything that may go wrong, from one seed."""

import heapq
import random
from collections.abc import Callable
from itertools import count
from typing import Any

from agentplat.engine.activation import Activation, StartNode
from agentplat.engine.machine import RunMachine
from agentplat.engine.messages import Message, NodeEnded, NodeStarted, RunBegan, RunEnded
from agentplat.engine.state import FINAL, IllegalTransition
from tests.simulation.database import LEASE, Database, Row, Rules, Write
from tests.simulation.graphs import LEVELS, Graph, emitted, random_graphs
from tests.simulation.hosted import seen_of
from tests.simulation.worker import Worker

RUNS, WORKERS = 2, 3
# Faults happen until then; all runs must be final long before the end.
CALM_AFTER, END = 8.0, 120.0
STEP_LIMIT = 200_000


class Witness:
    """Sees what the outside world sees, when it happens. `problems` are breaches that no journal shows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.problems: list[str] = []
        self.executions: dict[tuple[int, int], int] = {}
        # What reviewers were told is decided.
        self.told: dict[tuple[int, int], bool] = {}
        self._known: dict[tuple[int, int], Any] = {}

    def executed(self, row: Row, act: Activation) -> None:
        """A block that isn't inline begins. `act.number` stands for its idempotency key."""
        key = (row.id, act.number)
        if not act.node.spec.pure:
            self.executions[key] = self.executions.get(key, 0) + 1
            if not any(
                type(message) is NodeStarted and message.activation == act.number
                for segment in self._database.journal[row.id].values()
                for message in segment.messages
            ):
                self.problems.append(f"run {row.id}: the effect of {act.number} came before its start was committed")
            if self._known.setdefault(key, (act.node.id, act.data)) != (act.node.id, act.data):
                self.problems.append(f"run {row.id}: the key of {act.number} stands for two different effects")

    def published(self, write: Write) -> None:
        stored = self._database.journal[write.run_id].get(write.seq)
        if stored is None or stored.messages != write.messages:
            self.problems.append(f"run {write.run_id}: message {write.seq} was published and is not recorded")


class World:
    def __init__(self, seed: int, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.chance = random.Random(seed)
        self.graphs = random_graphs(self.chance)
        self.now = 0.0
        self.database = Database(self.rules)
        self.witness = Witness(self.database)
        self.faults = 0
        self._luck = self.chance.choice((0.0, 0.02, 0.1))
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = count()
        self._workers = [Worker(self, f"w{number}") for number in range(WORKERS)]
        for _ in range(RUNS):
            self.at(self.chance.random(), self._arrive)
        if len(self.graphs) == LEVELS:
            self.at(self.chance.random(), self._look_at_reviews)
        for _ in range(self.chance.randint(0, 8)):
            self.at(self.chance.uniform(0.0, CALM_AFTER), self._break_something)

    # Time and luck

    def at(self, moment: float, act: Callable[..., object], *arguments: Any) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), act, arguments))

    def latency(self) -> float:
        """Of one way to the database: mostly short, sometimes longer than a lease."""
        slow = self.now < CALM_AFTER and self.chance.random() < self._luck / 4
        return self.chance.random() * (1.5 * LEASE if slow else 0.01)

    def is_unlucky(self) -> bool:
        return self.now < CALM_AFTER and self.chance.random() < self._luck

    def run(self) -> None:
        """Until all runs are final and everybody who slept through it has been awake."""
        for _ in range(STEP_LIMIT):
            self.now, _, act, arguments = heapq.heappop(self._events)
            if self.now > END or (self.now > CALM_AFTER + 2 * LEASE and self._is_over()):
                return
            try:
                act(*arguments)
            except IllegalTransition as error:
                self.witness.problems.append(f"a journal can't be replayed or continued: {error}")
                return
        self.witness.problems.append(f"still busy after {STEP_LIMIT} steps")

    def _is_over(self) -> bool:
        rows, mailboxes = self.database.rows, self.database.mailboxes
        accepted = sum(row.parent is None for row in rows) == RUNS
        return accepted and not mailboxes and all(row.status in FINAL for row in rows)

    # What happens to the platform

    def machine(self, run_id: int) -> RunMachine:
        return RunMachine(self.graph_of(run_id).plan, int(self.database.rows[run_id].created_at * 1e6))

    def graph_of(self, run_id: int) -> Graph:
        return self.graphs[self.database.rows[run_id].level]

    def _arrive(self) -> None:
        run_id = self.database.insert(self.now)
        self._offer(run_id)
        if self.chance.random() < 0.1:
            self.at(self.now + self.chance.random() * 3, self.stop, run_id)

    def start_below(self, row: Row, activation: int) -> None:
        self._offer(self.database.insert_child(row, activation, self.now))

    def _offer(self, run_id: int) -> None:
        """A run is accepted. Its job comes once, twice or never."""
        for _ in range(self.chance.choice((0, 1, 1, 1, 2))):
            self.at(self.now + self.chance.random() * 0.3, self._deliver, run_id)

    def announce(self, run_ids: list[int]) -> None:
        """There is mail for these runs. Their holders hear of it, or don't; those that nobody holds may be offered."""
        for run_id in run_ids:
            for worker in self._workers:
                if self.chance.random() < 0.8:
                    worker.after(self.latency(), worker.hear_mail, run_id)
            if self.database.rows[run_id].lease_until is None:
                self._offer(run_id)

    def _look_at_reviews(self) -> None:
        """People answer some of what waits; now and then two at once, who may disagree."""
        waiting = [key for key, review in self.database.reviews.items() if review.approved is None]
        for run_id, activation in waiting:
            if self.now < CALM_AFTER and self.chance.random() < 0.3:
                continue  # not today
            for _ in range(self.chance.choice((1, 1, 2))):
                self.at(self.now + self.latency(), self._answer, run_id, activation, self.chance.random() < 0.6)
        self.at(self.now + self.chance.random() * 0.5, self._look_at_reviews)

    def _answer(self, run_id: int, activation: int, approved: bool) -> None:
        if self.database.answer(run_id, activation, approved):
            self.witness.told[run_id, activation] = approved
            self.announce([run_id])

    def _deliver(self, run_id: int) -> None:
        self.chance.choice(self._workers).accept(run_id)

    def stop(self, run_id: int) -> None:
        for one in self.database.request_stop(run_id):
            for worker in self._workers:
                if self.chance.random() < 0.8:
                    worker.after(self.latency(), worker.hear_stop, one)

    def _break_something(self) -> None:
        self.faults += 1
        worker = self.chance.choice(self._workers)
        kind = self.chance.random()
        if kind < 0.4:
            worker.pause(self.chance.uniform(0.2, 3.0) * LEASE)
            return
        if kind < 0.85:
            worker.die()
        else:
            worker.close()
        place = self._workers.index(worker)
        self.at(self.now + self.chance.random() * 2, self._replace, place, f"{worker.owner}'")

    def _replace(self, place: int, owner: str) -> None:
        if not self._workers[place].alive:
            self._workers[place] = Worker(self, owner)
        elif self._workers[place].owner != owner:
            self.at(self.now + 0.5, self._replace, place, owner)

    def undisturbed(self) -> Any:
        """What the same graph does when nothing ever goes wrong, with one node after another."""
        machine = RunMachine(self.graphs[0].plan, 0)
        waiting: list[Activation] = []
        message: Message = RunBegan(1)
        while True:
            waiting += [command.activation for command in machine.feed(message) if isinstance(command, StartNode)]
            if not waiting:
                machine.feed(RunEnded(1))
                return seen_of(machine)
            act = waiting.pop(0)
            assert act.data is not None
            outputs, error = emitted(act.node.spec.id, act.data)
            message = NodeEnded(act.number, 1, outputs, error, 1)
