"""Running a blocking function in a worker thread, without a virtual clock running away from it.

trio's autojumping MockClock jumps to the next deadline whenever no task can run, and a worker thread is not a task:
a storage at work would let every timeout of the test fire at once. While a task waits in ``wait_all_tasks_blocked``
the clock does not jump, and one that waits with an infinite cushion is never woken, so such a task holds the clock for
as long as the thread works. Other tasks go on running meanwhile; only waiting for a deadline waits for the thread too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple, Unpack

import attrs
import outcome
import trio

from actorflow.clock import runs_on_virtual_time

__all__ = ["finish", "run_in_thread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def run_in_thread(fn: Callable[[Unpack[Ts]], T], *args: *Ts, limiter: trio.CapacityLimiter | None = None) -> T:
    """Run a blocking function in a worker thread and return what it returns, or raise what it raises.

    A cancellation that arrives before the thread starts raises ``Cancelled`` and the function never runs. One that
    arrives later waits: the function runs to its end and its result is returned, so the function must be bounded.

    Args:
        fn: The function.
        args: Its arguments.
        limiter: What bounds the number of threads; trio's default limiter if None.
    """
    if not runs_on_virtual_time():
        return await trio.to_thread.run_sync(fn, *args, limiter=limiter)
    return await _run_holding_clock(fn, *args, limiter=limiter)


async def _run_holding_clock(fn: Callable[[Unpack[Ts]], T], *args: *Ts, limiter: trio.CapacityLimiter | None) -> T:
    # The turn is waited for before the clock is held: who has it may be waiting for the clock.
    turn = object()
    bound = trio.to_thread.current_default_thread_limiter() if limiter is None else limiter
    await bound.acquire_on_behalf_of(turn)
    try:
        return (await _outcome_in_thread(fn, *args)).unwrap()
    finally:
        bound.release_on_behalf_of(turn)


async def _outcome_in_thread(fn: Callable[[Unpack[Ts]], T], *args: *Ts) -> outcome.Outcome[T]:
    # The function's exception crosses the nursery as a value, so that it comes out bare; the holder is shielded, so
    # that an outer cancellation ends neither the hold nor, through the nursery, the return of a finished result.
    hold = trio.CancelScope(shield=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_hold_clock, hold, name="hold the virtual clock for a thread")
        try:
            result = await trio.to_thread.run_sync(outcome.capture, fn, *args, limiter=trio.CapacityLimiter(1))
        finally:
            hold.cancel(reason="the thread is done")
    return result


async def _hold_clock(hold: trio.CancelScope) -> None:
    with hold:
        await sys.modules["trio.testing"].wait_all_tasks_blocked(math.inf)


async def finish(work: Callable[[], Awaitable[T]], *, on_cancellation: Callable[[], None]) -> T:
    """Await something to its end and return what it returns, however cancelled the caller is meanwhile.

    Args:
        work: Called once, shielded from the caller's cancellation. It must be bounded, or end soon when told.
        on_cancellation: Called once, in the event loop, when the caller is cancelled while the work goes on; may tell it
            to end soon. It must not block.
    """
    watch = _Watch(on_cancellation)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run, name="watch for a cancellation")
        with trio.CancelScope(shield=True):
            result: outcome.Outcome[T] = await outcome.acapture(work)
        watch.stop()
    return result.unwrap()


@attrs.define(eq=False)
class _Watch:
    """A task that waits to be cancelled, and then goes on waiting to be stopped: it raises nothing."""

    callback: Callable[[], None]
    task: trio.lowlevel.Task | None = None
    over: bool = False

    async def run(self) -> None:
        if self.over:
            return
        self.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._cancelled)

    def stop(self) -> None:
        self.over = True
        if self.task is not None:
            trio.lowlevel.reschedule(self.task)

    def _cancelled(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self.callback()
        return trio.lowlevel.Abort.FAILED
