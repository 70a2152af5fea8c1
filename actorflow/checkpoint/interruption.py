"""Stopping work in a thread from the event loop, as long as it can be undone.

The event loop asks; a second thread cancels what the first one has under way at that moment, and goes on until it has
stopped: a request that came while nothing was under way would be lost otherwise. The work passes a point of no return,
after which it can no longer be stopped, only waited for. Nothing is cancelled after that point, nor after the block that
can be cancelled has ended: both wait for a cancelling that is just being done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import attrs
import outcome
import trio

from actorflow.threads import finish, run_in_thread

__all__ = ["Interrupted", "Interruption", "run_interruptibly"]

T = TypeVar("T")

_AGAIN = 0.02


class Interrupted(Exception):  # noqa: N818  # an outcome, as Cancelled is, that reaches no user
    """The work was stopped and has changed nothing."""


@attrs.define(eq=False)
class Interruption:
    """Whether one piece of work in a thread shall stop.

    Attributes:
        asked: Whether it was asked to.
        passed: Whether it has passed its point of no return.
    """

    asked: bool = attrs.field(default=False, init=False)
    passed: bool = attrs.field(default=False, init=False)
    _cancel: Callable[[], object] | None = attrs.field(default=None, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _over: threading.Event = attrs.field(factory=threading.Event, init=False)

    def ask(self) -> None:
        """Have the work stopped; called in the event loop, and never blocks."""
        if not self.asked and not self._over.is_set():
            self.asked = True
            trio.lowlevel.start_thread_soon(self._keep_cancelling, _ignore, "stop the work of a storage")

    def run(self, work: Callable[[Interruption], T]) -> outcome.Outcome[T]:
        """Do the work in this thread; it cannot be stopped any more when this returns."""
        try:
            return outcome.capture(work, self)
        finally:
            self._over.set()

    @contextmanager
    def cancelling_by(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Say how what is under way within the block is cancelled; called in the thread that works.

        Args:
            cancel: Called in another thread, any number of times; raises nothing.

        Raises:
            Interrupted: It was asked to stop before the block began.
        """
        with self._lock:
            self.check()
            self._cancel = cancel
        try:
            yield
        finally:
            with self._lock:
                self._cancel = None

    def check(self) -> None:
        """Stop here if it was asked to.

        Raises:
            Interrupted: It was.
        """
        if self.asked:
            raise Interrupted

    def pass_point_of_no_return(self) -> None:
        """From here on the work is finished, and waited for.

        Raises:
            Interrupted: It was asked to stop before.
        """
        with self._lock:
            self.check()
            self._cancel = None
            self.passed = True
            self._over.set()

    def _keep_cancelling(self) -> None:
        while not self._over.is_set():
            with self._lock:
                if self._cancel is not None:
                    self._cancel()
            self._over.wait(_AGAIN)


def _ignore(_result: object) -> None:
    """Nobody waits for the thread that cancels."""


async def run_interruptibly(work: Callable[[Interruption], T], *, limiter: trio.CapacityLimiter) -> T:
    """Do work in a worker thread and return what it returns, or raise what it raises.

    A cancellation stops it unless it has passed its point of no return; if it was stopped, it has changed nothing, and
    ``Cancelled`` is raised.

    Args:
        work: Raises Interrupted, having changed nothing, when it was stopped.
        limiter: What bounds the number of threads.
    """
    while True:
        async with limiter:
            interruption = Interruption()
            in_thread = partial(run_in_thread, interruption.run, work, limiter=trio.CapacityLimiter(1))
            result = await finish(in_thread, on_cancellation=interruption.ask)
        try:
            return result.unwrap()
        except Interrupted:
            await trio.lowlevel.checkpoint_if_cancelled()
