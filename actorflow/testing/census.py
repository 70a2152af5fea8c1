"""The census: what is still alive once a piece of work says that it is over.

No registry is kept for it: open channels and borrowed limiter tokens are found by walking the objects that the
garbage collector tracks. So what counts as left is what somebody can still reach; an end of a channel that was
dropped unclosed, and that nothing refers to any more, is memory already returned and not reported.

A census holds on to what it lists, so that an object made later cannot be mistaken for one that was there before.
"""

from __future__ import annotations

__all__ = [
    "Census",
    "LimiterToken",
    "census",
    "empty_house",
    "left_since",
    "take_census",
    "tasks_beside_the_caller",
    "young_heap",
]

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import compress, repeat
from operator import is_
from types import TracebackType
from typing import Any, TypeAlias

import attrs
import trio
import trio.testing

from actorflow.testing.schedules import family
from actorflow.testing.trio_internals import AnyChannel, is_closed

_Holder: TypeAlias = AnyChannel | trio.CapacityLimiter
# Python 3.12 freezes some hundred objects when it starts, other versions none.
_FROZEN_BY_PYTHON = gc.get_freeze_count()
_KINDS = (trio.MemorySendChannel, trio.MemoryReceiveChannel, trio.CapacityLimiter)


@attrs.frozen(eq=False)
class LimiterToken:
    """One seat of a capacity limiter and who sits on it.

    Attributes:
        limiter: The limiter.
        borrower: The task, or whatever object it was acquired on behalf of.
    """

    limiter: trio.CapacityLimiter
    borrower: object

    @property
    def key(self) -> tuple[int, int]:
        """Who and where, by identity: a borrower's own ``__eq__`` has no say."""
        return id(self.limiter), id(self.borrower)

    def __str__(self) -> str:
        borrower = f"task {self.borrower.name!r}" if isinstance(self.borrower, trio.lowlevel.Task) else self.borrower
        return f"limiter token held by {borrower} ({self.limiter.borrowed_tokens}/{self.limiter.total_tokens} borrowed)"


@attrs.frozen(eq=False)
class Census:
    """What is alive inside a trio run at one moment, or what one moment has more than another.

    Attributes:
        tasks: Tasks of the run, without the caller, those waiting for it, and trio's system tasks.
        threads: Worker threads that are busy.
        channels: Ends of memory channels that are open.
        limiter_tokens: Borrowed seats of capacity limiters; those of the default thread limiter count as threads.
    """

    tasks: tuple[trio.lowlevel.Task, ...] = ()
    threads: int = 0
    channels: tuple[AnyChannel, ...] = ()
    limiter_tokens: tuple[LimiterToken, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is listed."""
        return not (self.tasks or self.threads or self.channels or self.limiter_tokens)

    @property
    def entries(self) -> tuple[str, ...]:
        """One readable line for each thing listed."""
        return (
            *(f"task {task.name!r}" for task in self.tasks),
            *([f"{self.threads} busy worker thread(s)"] if self.threads else []),
            *map(_describe_channel, self.channels),
            *map(str, self.limiter_tokens),
        )

    def since(self, before: Census) -> Census:
        """List what is here and was not there ``before``, by identity."""
        tasks, channels = set(map(id, before.tasks)), set(map(id, before.channels))
        tokens = {token.key for token in before.limiter_tokens}
        return Census(
            tasks=tuple(task for task in self.tasks if id(task) not in tasks),
            threads=max(0, self.threads - before.threads),
            channels=tuple(channel for channel in self.channels if id(channel) not in channels),
            limiter_tokens=tuple(token for token in self.limiter_tokens if token.key not in tokens),
        )

    def __str__(self) -> str:
        return "; ".join(self.entries) or "nothing"


def census() -> Census:
    """Count what is alive in this trio run, and open anywhere in this process.

    Returns:
        The census, taken at once: no task runs meanwhile.

    Raises:
        RuntimeError: Called outside a trio run.
    """
    return take_census()


@attrs.define(eq=False)
class empty_house:  # noqa: N801 - used like a function: ``with empty_house():``
    """Demand that a block leaves nothing behind.

        async with empty_house():
            await workflow.run("trio")

    The plain ``with`` counts at the very end of the block. ``async with`` first lets what is on its way out leave:
    it waits until every other task is blocked, for at most five seconds, and a cancellation does not cut that short. A
    block that raises keeps its exception, and what was left becomes a note on it.

    Raises:
        AssertionError: Something was left; the text lists it by name.
    """

    _before: Census = attrs.field(factory=Census, init=False)

    def __enter__(self) -> None:
        self._before = take_census()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = left_since(self._before)
        if left.empty:
            return
        text = "left behind:" + "".join(f"\n  {entry}" for entry in left.entries)
        if error is None:
            raise AssertionError(text)
        error.add_note(text)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            with trio.move_on_after(5, shield=True):  # whoever never rests is counted as it is
                await trio.testing.wait_all_tasks_blocked()
        self.__exit__(kind, error, trace)


def take_census(elders: Iterable[_Holder] = ()) -> Census:
    """Take a census of the tracked objects and of ``elders``, which the collector no longer lists."""
    holders = [*elders, *_holders()]
    spared = trio.to_thread.current_default_thread_limiter()
    limiters = [holder for holder in holders if isinstance(holder, trio.CapacityLimiter) and holder is not spared]
    return Census(
        tasks=tasks_beside_the_caller(),
        # A thread abandoned on cancel is in the limiter only, one with a limiter of its own in the count only.
        threads=max(spared.borrowed_tokens, trio.testing.active_thread_count()),
        channels=tuple(
            holder for holder in holders if not isinstance(holder, trio.CapacityLimiter) and not is_closed(holder)
        ),
        limiter_tokens=tuple(
            LimiterToken(limiter, borrower) for limiter in limiters for borrower in limiter.statistics().borrowers
        ),
    )


def left_since(before: Census, elders: Iterable[_Holder] = ()) -> Census:
    """List what was left since ``before``, and can still be reached."""
    if take_census(elders).since(before).empty:
        return Census()
    # Only garbage caught in a reference cycle makes a difference here, and whether the collector has come by must
    # not. The first count is gone by now: it would keep alive what it lists.
    gc.collect()
    return take_census(elders).since(before)


@contextmanager
def young_heap() -> Iterator[tuple[_Holder, ...]]:
    """Set the objects of this moment aside, so that each census walks only those made later.

    A sweep takes hundreds of censuses, and the walk costs milliseconds in a process of ordinary size. Channels and
    limiters of this moment are handed out, to be given to ``take_census``.
    """
    if gc.get_freeze_count() > _FROZEN_BY_PYTHON:
        yield ()  # somebody else froze the heap and relies on it: walk what they left
        return
    elders = tuple(_holders())
    gc.freeze()
    try:
        yield elders
    finally:
        gc.unfreeze()


def _holders() -> list[Any]:
    # By exact type, not isinstance: that would run the ``__class__`` of every proxy object in the process. And in
    # few, long C calls: a tuple that another thread is just building must not grow while this list refers to it.
    things = gc.get_objects()
    return [thing for kind in _KINDS for thing in compress(things, map(is_, map(type, things), repeat(kind)))]


def tasks_beside_the_caller() -> tuple[trio.lowlevel.Task, ...]:
    """Tasks of this trio run, without the caller, those waiting for it, and trio's system tasks."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    waiting_for_us = set(_line_of(trio.lowlevel.current_task()))
    # The root task opens one nursery for callbacks, one for system tasks, and innermost the one of the main task.
    found: list[trio.lowlevel.Task] = []
    for main in root.child_nurseries[-1].child_tasks:
        found += (task for task in family(main) if task not in waiting_for_us)
    return tuple(found)


def _line_of(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    while task.parent_nursery is not None:
        task = task.parent_nursery.parent_task
        yield task


def _describe_channel(channel: AnyChannel) -> str:
    end = "send" if isinstance(channel, trio.MemorySendChannel) else "receive"
    now = channel.statistics()
    return (
        f"open {end} channel ({now.current_buffer_used} of {now.max_buffer_size} buffered, {now.open_send_channels} "
        f"send and {now.open_receive_channels} receive ends open, {now.tasks_waiting_send} tasks waiting to send and "
        f"{now.tasks_waiting_receive} to receive)"
    )
