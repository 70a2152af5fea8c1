"""Group commit: whoever finds nobody at work does the work of all who wait.

A caller queues its job. If nobody leads, it leads: it takes what is queued, performs it in one worker thread, wakes
the others with their own outcomes, and hands the lead to one that queued meanwhile. There is no thread and no task that
outlives the calls, and nothing to start or to stop.

Invariants:

- A job is queued, or taken by exactly one batch. Only a queued one can be withdrawn; its caller then gets ``Cancelled``.
- While anything is queued, somebody leads or has been woken to lead. A task that was woken can no longer be cancelled
  out of its wait, and a leader awaits nothing that a cancellation could interrupt, so the lead is never lost.
- An outcome is a value: an exception in one job is raised in its own caller only.

`InterruptibleGroupCommit` can also withdraw a job that a batch has taken, where the work can be undone as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import attrs
import outcome
import trio

from actorflow.errors import InternalError
from actorflow.threads import run_in_thread

__all__ = ["GroupCommit", "Job"]

ContextT = TypeVar("ContextT")
T = TypeVar("T")


@attrs.define(eq=False)
class Job(Generic[ContextT]):
    """One piece of work and who waits for it.

    Attributes:
        work: What is to be done.
        task: Who waits.
        result: What came of it; None until it is done.
        withdrawn: Whether the caller was cancelled after a batch had taken it.
    """

    work: Callable[[ContextT], Any]
    task: trio.lowlevel.Task
    result: outcome.Outcome[Any] | None = None
    withdrawn: bool = False


class GroupCommit(Generic[ContextT]):
    """Performs jobs of concurrent callers in batches, one batch at a time.

    Args:
        perform: Called in a worker thread with the jobs of a batch; returns an outcome for each, in their order. It
            must be bounded in time, because it is never abandoned.
        limiter: Bounds the worker threads.
    """

    def __init__(
        self,
        perform: Callable[[Sequence[Callable[[ContextT], Any]]], list[outcome.Outcome[Any]]],
        limiter: trio.CapacityLimiter,
    ) -> None:
        self._perform = perform
        self._limiter = limiter
        self._run: trio.lowlevel.TrioToken | None = None
        self._queue: list[Job[ContextT]] = []
        self._led = False
        self._crowded = False

    async def submit(self, work: Callable[[ContextT], T]) -> T:
        """Have a job performed and return its result, or raise its exception.

        A cancellation that arrives while the job is queued withdraws it. Once a batch has taken it the call waits for
        the outcome and returns it; the cancellation arrives at the caller's next checkpoint.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._forget_other_runs()
        job = Job(work, trio.lowlevel.current_task())
        self._queue.append(job)
        if self._led:
            await self._wait(job)
        if job.result is None:
            await self._lead(job)
        return cast("outcome.Outcome[T]", job.result).unwrap()

    def _forget_other_runs(self) -> None:
        # A trio.run that was torn down by an internal error unwinds nothing: its leader would lead for ever.
        run = trio.lowlevel.current_trio_token()
        if self._run is not run:
            self._run, self._queue, self._led, self._crowded = run, [], False, False

    async def _wait(self, job: Job[ContextT]) -> None:
        def withdraw(_raise_cancel: object) -> trio.lowlevel.Abort:
            if job in self._queue:
                self._queue.remove(job)
                return trio.lowlevel.Abort.SUCCEEDED
            self._withdraw_taken(job)
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(withdraw)

    def _withdraw_taken(self, job: Job[ContextT]) -> None:
        """Called, once, when the caller of a job that a batch has taken is cancelled: here it is waited for."""

    async def _lead(self, job: Job[ContextT]) -> None:
        self._led = True
        batch: list[Job[ContextT]] = []
        try:
            with trio.CancelScope(shield=True):
                if self._crowded:
                    # Those the last batch woke are about to queue again: let them join this one. One tick would do
                    # only half of the time, as trio runs what is due in one tick in either order.
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    await trio.lowlevel.cancel_shielded_checkpoint()
                batch, self._queue = self._queue, batch
                await self._perform_batch(batch)
        finally:
            if job in self._queue:  # interrupted from outside trio before the batch was taken
                self._queue.remove(job)
            self._crowded = len(batch) > 1
            self._wake(batch)
            self._hand_over()

    async def _perform_batch(self, batch: list[Job[ContextT]]) -> None:
        results = await run_in_thread(self._perform, [job.work for job in batch], limiter=self._limiter)
        for taken, result in zip(batch, results, strict=True):
            taken.result = result

    def _wake(self, batch: list[Job[ContextT]]) -> None:
        leader = trio.lowlevel.current_task()
        for job in batch:
            if job.result is None:
                job.result = outcome.Error(InternalError("a batch of writes ended without an outcome for this one"))
            if job.task is not leader:
                trio.lowlevel.reschedule(job.task)

    def _hand_over(self) -> None:
        self._led = bool(self._queue)
        if self._queue:
            trio.lowlevel.reschedule(self._queue[0].task)
