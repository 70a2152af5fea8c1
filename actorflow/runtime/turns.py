"""Turns: which attempt may begin now, where an executor has a rate limit or the workflow a limit on handlers in flight.

They belong to a workflow and outlive its runs, so that a rate holds from run to run. Whoever waits for a rate waits in the
order of arrival, holds no place among the handlers in flight, and takes one only when the rate lets it begin: so no place is
held idle, and what counts is when an attempt begins, not when it could have.

A rate protects a service outside, which does not care how many children a `WorkflowExecutor` has: an executor has one rate
over all of them, those that are gone included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import attrs
import trio

from actorflow.executors.executor import Executor
from actorflow.policy import RateLimit

__all__ = ["Turn", "Turns"]


@attrs.define(eq=False)
class _Rate:
    """When the last attempts of one executor began, as far as they bear on the next."""

    limit: RateLimit
    gate: trio.Lock = attrs.Factory(trio.Lock)
    _begun: deque[float] = attrs.field(init=False)
    _clock: trio.abc.Clock | None = None

    def __attrs_post_init__(self) -> None:
        self._begun = deque(maxlen=self.limit.limit)

    async def wait(self) -> None:
        """Wait until another may begin."""
        clock = trio.lowlevel.current_clock()
        if clock is not self._clock:  # another trio run: its times cannot be compared with these
            self._clock = clock
            self._begun.clear()
        while len(self._begun) == self.limit.limit:
            remaining = self._begun[0] + self.limit.period - trio.current_time()
            if remaining <= 0:
                return
            await trio.sleep(remaining)

    def begin(self) -> None:
        """Count one that begins now."""
        self._begun.append(trio.current_time())


@attrs.define(eq=False)
class Turn:
    """The turns of one executor."""

    _in_flight: tuple[trio.CapacityLimiter, ...]
    _rate: _Rate | None

    async def begin(self) -> None:
        """Wait for a turn. If cancelled, none is taken."""
        if self._rate is None:
            await self._take_place()
            return
        await self._rate.gate.acquire()
        try:
            await self._rate.wait()
            await self._take_place()
            self._rate.begin()
        finally:
            self._rate.gate.release()

    def end(self) -> None:
        """Give the turn back, from the task that took it."""
        for limiter in self._in_flight:
            limiter.release()

    async def _take_place(self) -> None:
        taken: list[trio.CapacityLimiter] = []
        try:
            for limiter in self._in_flight:  # inside out, so that nobody who holds a place waits for one further in
                await _acquire(limiter)
                taken.append(limiter)
        except BaseException:
            for limiter in taken:
                limiter.release()
            raise


async def _acquire(limiter: trio.CapacityLimiter) -> None:
    try:
        limiter.acquire_nowait()
    except trio.WouldBlock:
        await limiter.acquire()


_Rated = tuple[tuple[str, ...], str, RateLimit]
"""An executor by its path and id, and its limit: a factory may give its children different ones."""


class Turns:
    """The turns of one workflow.

    Attributes:
        limiters: Those of handlers in flight: its own, then those of the workflows it runs inside.
        rates: Those of the whole tree of workflows.

    Args:
        executors: Its executors.
        max_concurrency: How many handlers may be in flight; None for no limit.
        outer: The turns of the workflow it runs inside, whose limit counts its handlers, too.
        path: The executors that nest it, outermost first.
    """

    def __init__(
        self,
        executors: Iterable[Executor],
        max_concurrency: int | None,
        outer: Turns | None = None,
        path: tuple[str, ...] = (),
    ) -> None:
        own = () if max_concurrency is None else (trio.CapacityLimiter(max_concurrency),)
        self.limiters: tuple[trio.CapacityLimiter, ...] = (*own, *(outer.limiters if outer is not None else ()))
        self.rates: dict[_Rated, _Rate] = outer.rates if outer is not None else {}
        self._turns = {
            each.id: Turn(self.limiters, self._rate(path, each.id, each.rate_limit))
            for each in executors
            if self.limiters or each.rate_limit is not None
        }

    def _rate(self, path: tuple[str, ...], executor_id: str, limit: RateLimit | None) -> _Rate | None:
        """The rate of an executor, the same for whatever stands in its place in another child."""
        if limit is None:
            return None
        rated = (path, executor_id, limit)
        known = self.rates.get(rated)
        if known is None:
            known = self.rates[rated] = _Rate(limit)
        return known

    def of(self, executor_id: str) -> Turn | None:
        """The turns of an executor; None if it never has to wait."""
        return self._turns.get(executor_id)
