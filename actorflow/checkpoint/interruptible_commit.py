"""Group commit of work that can be stopped and undone: a caller that is cancelled need not wait for its batch.

A batch is interrupted as a whole, before its commit was sent: nothing of it has happened then. Whoever was cancelled
leaves, and the rest is performed again. A cancellation that comes too late is waited out, and the work counts as done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import outcome
import trio

from actorflow.checkpoint.group_commit import GroupCommit, Job
from actorflow.checkpoint.interruption import Interrupted, Interruption
from actorflow.threads import finish

__all__ = ["InterruptibleGroupCommit"]

ContextT = TypeVar("ContextT")
T = TypeVar("T")


class InterruptibleGroupCommit(GroupCommit[ContextT]):
    """Performs jobs of concurrent callers in batches, one batch at a time.

    Args:
        perform: Called in a worker thread with the jobs of a batch and what may interrupt it; returns an outcome for
            each, in their order, or raises Interrupted having changed nothing.
        limiter: Bounds the worker threads.
    """

    def __init__(
        self,
        perform: Callable[[Sequence[Callable[[ContextT], Any]], Interruption], list[outcome.Outcome[Any]]],
        limiter: trio.CapacityLimiter,
    ) -> None:
        super().__init__(self._perform_at_once, limiter)
        self._perform_interruptibly = perform
        self._interruption = Interruption()

    async def submit(self, work: Callable[[ContextT], T]) -> T:
        """Have a job performed and return its result, or raise its exception.

        A cancellation withdraws the job as long as its commit was not sent. After that the call waits for the outcome
        and returns it; the cancellation arrives at the caller's next checkpoint.
        """
        while True:
            try:
                return await super().submit(work)
            except Interrupted:
                await trio.lowlevel.checkpoint_if_cancelled()

    def _perform_at_once(self, works: Sequence[Callable[[ContextT], Any]]) -> list[outcome.Outcome[Any]]:
        return self._interruption.run(partial(self._perform_interruptibly, works)).unwrap()

    def _withdraw_taken(self, job: Job[ContextT]) -> None:
        job.withdrawn = True
        self._interruption.ask()

    async def _lead(self, job: Job[ContextT]) -> None:
        self._led = True
        await finish(partial(super()._lead, job), on_cancellation=partial(self._withdraw_taken, job))

    async def _perform_batch(self, batch: list[Job[ContextT]]) -> None:
        leader = next(job for job in batch if job.task is trio.lowlevel.current_task())
        while not await self._performed(batch):
            if leader.withdrawn:
                self._queue[:0] = [job for job in batch if not job.withdrawn]
            for job in _withdrawn_from(batch):
                job.result = outcome.Error(Interrupted())
                if job is not leader:
                    trio.lowlevel.reschedule(job.task)
            if leader.withdrawn:
                batch[:] = [leader]
                return

    async def _performed(self, batch: list[Job[ContextT]]) -> bool:
        self._interruption = Interruption()
        if any(job.withdrawn for job in batch):
            return False
        try:
            await super()._perform_batch(batch)
        except Interrupted:
            return False
        return True


def _withdrawn_from(batch: list[Job[ContextT]]) -> list[Job[ContextT]]:
    withdrawn = [job for job in batch if job.withdrawn]
    batch[:] = [job for job in batch if not job.withdrawn]
    return withdrawn
