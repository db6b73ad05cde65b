"""A bounded cache that forgets what was used longest ago. For values that never change under their key."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRU(Generic[K, V]):
    """`capacity` counts what the weights given to `put` count: entries by default, bytes where they differ in size."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.weight = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        self.pop(key)
        if weight > self.capacity:
            return
        self._entries[key] = (value, weight)
        self.weight += weight
        while self.weight > self.capacity:
            _, (_, freed) = self._entries.popitem(last=False)
            self.weight -= freed

    def pop(self, key: K) -> None:
        if entry := self._entries.pop(key, None):
            self.weight -= entry[1]

    def clear(self) -> None:
        self._entries.clear()
        self.weight = 0
