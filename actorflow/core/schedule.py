"""What of a snapshot waits for a time, found without looking at all that waits (P10).

It is an index beside the tables: `Snapshot.apply` tells it of every timer and request that comes or goes, so it is a
function of them, and nothing of it is stored.

The heap is never popped to find what is due, only to drop what is gone: looking must not change what a commit that fails
would leave behind.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import TypeVar

import attrs

from actorflow.core.effects import Delivery, PendingRequest
from actorflow.core.timers import Timer

__all__ = ["Schedule", "Waiting", "Wakes"]

Key = TypeVar("Key", bound=Hashable)
Waiting = Timer | PendingRequest
"""What a time, or an answer, will put in flight."""


@attrs.define(eq=False)
class Wakes:
    """Whom waiting timers and open requests will wake: how many by executor, and by join and source.

    Attributes:
        executors: By the executor that gets a message or an answer.
        arrivals: By the join that gets a message and the source it is from.
    """

    executors: Counter[str] = attrs.Factory(Counter)
    arrivals: Counter[tuple[str, str]] = attrs.Factory(Counter)

    def count(self, waiting: Waiting, by: int) -> None:
        """Count something in (1) or out (-1)."""
        if isinstance(waiting, PendingRequest):
            _count(self.executors, waiting.executor_id, by)
        elif isinstance(waiting.what, Delivery):
            _count(self.executors, waiting.what.target_id, by)
        else:
            _count(self.arrivals, (waiting.what.join_id, waiting.what.source_id), by)

    def copy(self) -> Wakes:
        """The same counts, to be changed."""
        return Wakes(self.executors.copy(), self.arrivals.copy())


@attrs.define(order=True)
class _Entry:
    """A place in the heap: by due time; then timers in the order they were sent, then requests in that they were made."""

    due: float
    rank: tuple[int, int, int]
    pushed: int
    waiting: Waiting = attrs.field(order=False)
    gone: bool = attrs.field(default=False, order=False)


@attrs.define(eq=False)
class Schedule:
    """The timers and requests of one snapshot, by due time.

    Attributes:
        wakes: Whom they will wake.
        timers: How many timers wait.
    """

    wakes: Wakes = attrs.Factory(Wakes)
    timers: int = 0
    _heap: list[_Entry] = attrs.Factory(list)
    _entries: dict[tuple[str, str], _Entry] = attrs.Factory(dict)
    _pushed: int = 0

    def change(self, section: tuple[str, str], waiting: Waiting | None) -> None:
        """Note what a section holds from now on; None if nothing."""
        old = self._entries.pop(section, None)
        if old is not None:
            self._count(old.waiting, -1)
            old.gone = True
        if waiting is not None:
            self._count(waiting, 1)
            self._entries[section] = self._push(waiting)
        while self._heap and self._heap[0].gone:
            heapq.heappop(self._heap)

    def next_due(self) -> float | None:
        """When the first of them is due; None if none has a due time."""
        return self._heap[0].due if self._heap else None

    def due(self, now: float) -> list[Waiting]:
        """What is due by a time, in order; looks at no more than twice as much."""
        return [entry.waiting for entry in sorted(self._due(now, 0)) if not entry.gone]

    def _due(self, now: float, root: int) -> Iterator[_Entry]:
        todo = [root]
        while todo:
            at = todo.pop()
            if at < len(self._heap) and self._heap[at].due <= now:
                yield self._heap[at]
                todo += (2 * at + 1, 2 * at + 2)

    def _push(self, waiting: Waiting) -> _Entry:
        self._pushed += 1
        if isinstance(waiting, Timer):
            entry = _Entry(waiting.due, (0, waiting.superstep, waiting.index), self._pushed, waiting)
        else:
            due = math.inf if waiting.due is None else waiting.due
            entry = _Entry(due, (1, self._pushed, 0), self._pushed, waiting)
        if entry.due < math.inf:
            heapq.heappush(self._heap, entry)
        return entry

    def _count(self, waiting: Waiting, by: int) -> None:
        self.wakes.count(waiting, by)
        self.timers += by * isinstance(waiting, Timer)


def _count(counter: Counter[Key], key: Key, by: int) -> None:
    counter[key] += by
    if not counter[key]:
        del counter[key]
