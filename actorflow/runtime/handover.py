"""Handing one value at a time to the one task that waits for it: an actor's inbox, and the barrier of a superstep.

A memory channel does this too, and much more. Here the giver is never held back (there is one batch per superstep), there
is one taker, and the last thing given is a value like the others; what is left is trio's own primitive, a parked task and
the value it is woken with. Opening, closing and waking through channels was a third of what a short run cost.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar, cast

import outcome
import trio

__all__ = ["Handover"]

T = TypeVar("T")

_NOTHING: Final[Any] = object()


class Handover(Generic[T]):
    """A place for one value and one waiting task."""

    __slots__ = ("_taker", "_value")

    def __init__(self) -> None:
        self._taker: trio.lowlevel.Task | None = None
        self._value: T = _NOTHING

    def give(self, value: T) -> None:
        """Wake the waiting task with a value, or keep the value for the next that comes."""
        taker, self._taker = self._taker, None
        if taker is None:
            self._value = value
        else:
            trio.lowlevel.reschedule(taker, outcome.Value(value))

    @trio.lowlevel.enable_ki_protection
    async def take(self) -> T:
        """Wait for a value. If cancelled, none is lost."""
        if self._value is not _NOTHING:
            await trio.lowlevel.checkpoint()
            value, self._value = self._value, _NOTHING
            return value
        self._taker = trio.lowlevel.current_task()
        return cast("T", await trio.lowlevel.wait_task_rescheduled(self._leave))

    def _leave(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._taker = None
        return trio.lowlevel.Abort.SUCCEEDED
