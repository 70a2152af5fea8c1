"""Workflow: what users run."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import trio

from actorflow.checkpoint.records import CheckpointID, CheckpointKind
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.durability import Durability, checked_durability
from actorflow.errors import WorkflowBusyError
from actorflow.events import WorkflowRunState
from actorflow.runtime.arguments import LATEST, UNSET, Latest, RunArguments
from actorflow.runtime.claim import Claim
from actorflow.runtime.opening import (
    Opening,
    check_answer,
    discarded,
    fresh_changes,
    requests_of,
    responses_run_changes,
)
from actorflow.runtime.ownership import RunToken
from actorflow.runtime.restoring import load_standing, other_head
from actorflow.runtime.run import Run
from actorflow.runtime.run_core import RunCore
from actorflow.runtime.run_result import RunResult
from actorflow.runtime.runner import Runner
from actorflow.runtime.standing import Standing
from actorflow.runtime.workflow_core import WorkflowCore
from actorflow.workflow_view import WorkflowView

__all__ = ["LATEST", "Workflow"]

_NO_CONFIG: Mapping[str, Any] = MappingProxyType({})
_BUFFER = 64


class Workflow(WorkflowView):
    """One workflow: its executors, its state, and the ways to run it. Made by `WorkflowBuilder.build`.

    One run at a time owns it. Its state goes from run to run until `reset`.
    """

    def __init__(self, core: WorkflowCore, storage: CheckpointStorage | None) -> None:
        super().__init__(core)
        self._storage = storage

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r} id={self.id!r} {self.status.value}>"

    @trio.lowlevel.enable_ki_protection
    async def run(
        self,
        message: Any = UNSET,
        *,
        responses: Mapping[str, Any] | None = None,
        checkpoint_id: CheckpointID | str | Latest | None = None,
        checkpoint_storage: CheckpointStorage | None = None,
        durability: Durability | None = None,
        config: Mapping[str, Any] | None = None,
        wait: bool = False,
    ) -> RunResult:
        """Run until nothing is left to do.

        If cancelled, every actor has ended when Cancelled comes out, and the workflow stands on its last committed
        superstep.

        Args:
            message: The input, for the start executor. A message XOR responses; not together with a checkpoint_id.
            responses: Answers by request id; checked before anything is touched. An empty mapping does nothing.
            checkpoint_id: Take up this checkpoint first; `LATEST` is the latest of this workflow's id, or without a
                storage where the workflow stands.
            checkpoint_storage: For this run alone; the builder's otherwise.
            durability: When commits are stored: "superstep" (the default: before the next superstep starts), "async"
                (while it runs), "exit" (when the run ends), "delivery" (like "superstep", and what each delivery did
                before its actor's next one).
            config: For the handlers, as ``ctx.config``; never stored.
            wait: Queue until the workflow is free, instead of being refused.

        Raises:
            WorkflowBusyError: Another run owns the workflow.
            LeaseHeldError: Another workflow or process advances this id in the storage.
            LeaseLostError: Another process has taken the id over, after this one could not renew its lease in time.
            ValueError: Contradictory arguments.
            MessageTypeError: The start executor cannot take the message.
            RequestNotFoundError: An answer to no open request.
            ResponseTypeError: An answer of the wrong type.
            CheckpointNotFoundError: Nothing to take up.
            GraphMismatchError: The checkpoint was made by another graph.
            CheckpointError: The storage failed.
            ConvergenceError: The superstep limit was reached.
            Exception: Whatever a handler raised, as itself.
        """
        arguments = self._arguments(
            message, responses, checkpoint_id, checkpoint_storage, durability, config, wait=wait
        )
        run = RunCore.logged(uuid.uuid4().hex)
        async with self._claim(run, arguments) as claim:
            runner = await self._runner(run, arguments, claim, wait_for_responses=False)
            await runner.drive()
        try:
            if run.failure is not None:
                run.raise_failure()
            return run.ended_result()
        finally:
            del run, runner, claim  # the failure's traceback leads to this frame, which must not lead back to it

    @asynccontextmanager
    @trio.lowlevel.enable_ki_protection
    async def stream(
        self,
        message: Any = UNSET,
        *,
        responses: Mapping[str, Any] | None = None,
        checkpoint_id: CheckpointID | str | Latest | None = None,
        checkpoint_storage: CheckpointStorage | None = None,
        durability: Durability | None = None,
        config: Mapping[str, Any] | None = None,
        wait: bool = False,
        buffer: int | None = _BUFFER,
        wait_for_responses: bool = False,
    ) -> AsyncIterator[Run]:
        """Run while the block reads the run's events.

        Leaving the block, in any way, ends the run: its actors are cancelled and waited for, and the very next
        statement can start another. If the run failed, its exception is raised on leaving the block, unless the block
        raises one of its own or `Run.wait` raised it before.

        Args:
            message: As for `run`, like the other arguments.
            responses: See `run`.
            checkpoint_id: See `run`.
            checkpoint_storage: See `run`.
            durability: See `run`.
            config: See `run`.
            wait: See `run`.
            buffer: How many unread events hold the run back; None for no event channel.
            wait_for_responses: Stay, when only open requests are left, for answers by `Run.respond`.

        Raises:
            Exception: As `run` does.
        """
        arguments = self._arguments(
            message, responses, checkpoint_id, checkpoint_storage, durability, config, wait=wait
        )
        run = RunCore.streamed(uuid.uuid4().hex, buffer)
        left: BaseException | None = None
        try:
            async with self._owned(run, arguments, wait_for_responses=wait_for_responses) as (runner, claim):
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_drive, runner, claim, name=f"run:{run.id}")
                        try:
                            yield Run(run)
                        except BaseException as error:  # noqa: ASYNC103 - kept in `left`, and raised when the nursery has closed
                            if _is_cancellation(error):
                                raise
                            left = error  # a nursery would wrap it in a group; it is raised as itself below
                        finally:
                            # Before the consumer's end closes: a runner parked in a send must meet Cancelled, not a
                            # broken channel.
                            run.about_to_leave()
                            nursery.cancel_scope.cancel(reason=f"the block of run {run.id} was left")
                finally:
                    run.leave()
        finally:
            try:
                if left is not None:
                    raise left  # also when the run's task was cancelled from outside: Cancelled must not replace it
            finally:
                del left  # its traceback leads to this frame, which must not lead back to it
        del runner, claim  # a failure's traceback, too, leads here
        if run.failure is not None:
            run.raise_failure()

    @trio.lowlevel.enable_ki_protection
    async def start(
        self,
        message: Any = UNSET,
        *,
        responses: Mapping[str, Any] | None = None,
        checkpoint_id: CheckpointID | str | Latest | None = None,
        checkpoint_storage: CheckpointStorage | None = None,
        durability: Durability | None = None,
        config: Mapping[str, Any] | None = None,
        wait: bool = False,
        buffer: int | None = _BUFFER,
        wait_for_responses: bool = False,
        task_status: trio.TaskStatus[Run] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run in the caller's nursery: ``run = await nursery.start(workflow.start, message)``.

        Read ``run.events``, or give ``buffer=None``: events that nobody reads hold the run back once the buffer is full. An
        exception of the run goes to whoever is in `Run.wait`, else to the nursery. Cancelling the nursery cancels the run:
        every actor has ended when the nursery has, and the workflow stands on its last committed superstep.

        Args:
            message: As for `run`, like the other arguments.
            responses: See `run`.
            checkpoint_id: See `run`.
            checkpoint_storage: See `run`.
            durability: See `run`.
            config: See `run`.
            wait: See `run`.
            buffer: See `stream`.
            wait_for_responses: See `stream`.
            task_status: Given by ``nursery.start``, which returns the `Run` as soon as the workflow is owned.

        Raises:
            Exception: As `run` does.
        """
        arguments = self._arguments(
            message, responses, checkpoint_id, checkpoint_storage, durability, config, wait=wait
        )
        run = RunCore.streamed(uuid.uuid4().hex, buffer)
        async with self._owned(run, arguments, wait_for_responses=wait_for_responses) as (runner, _):
            task_status.started(Run(run))
            await runner.drive()
        del runner  # the failure's traceback leads to this frame
        if run.failure is not None:
            run.raise_failure()

    async def reset(self) -> None:
        """Go back to the state of a workflow that never ran. Its checkpoints stay where they are.

        What this discards is reported by the next run. If cancelled, executors whose hooks had not run yet are put back
        by the next run.

        Raises:
            WorkflowBusyError: A run owns the workflow.
        """
        self._check_free()
        core = self._core
        token = RunToken("reset")
        core.ownership.acquire_nowait(token)
        try:
            await core.states.remember_initial()
            leftovers = discarded(core.definition, core.standing.snapshot)
            core.places.forget_isolated()
            core.standing = Standing(leftovers=[*core.standing.leftovers, *leftovers])
            core.status = WorkflowRunState.IDLE
            core.states.mark_stale(core.states.stateful)
            problems = await core.states.roll_back(core.standing.snapshot)
        finally:
            core.ownership.release(token)
        if problems:
            raise problems[0]

    # How a run begins.

    def _check_free(self) -> None:
        if not trio.lowlevel.in_trio_run():
            raise RuntimeError(
                f"workflow {self.id!r} runs within trio only: trio.run(workflow.run, message); this is another event loop"
            )
        if self._core.holder is not None:
            raise WorkflowBusyError(self.id, None, holder=self._core.holder)

    def _arguments(  # noqa: PLR0917 - private; its three callers pass on what they were given, in their own order
        self,
        message: Any,
        responses: Mapping[str, Any] | None,
        checkpoint_id: CheckpointID | str | Latest | None,
        checkpoint_storage: CheckpointStorage | None,
        durability: Durability | None,
        config: Mapping[str, Any] | None,
        *,
        wait: bool,
    ) -> RunArguments:
        arguments = RunArguments(
            message=message,
            responses=responses,
            checkpoint_id=checkpoint_id,
            storage=checkpoint_storage if checkpoint_storage is not None else self._storage,
            durability=checked_durability(durability),
            config=_NO_CONFIG if config is None else config,
            wait=wait,
        )
        self._check_free()
        arguments.check(self._core.definition)
        return arguments

    @asynccontextmanager
    @trio.lowlevel.enable_ki_protection
    async def _owned(
        self, run: RunCore, arguments: RunArguments, *, wait_for_responses: bool
    ) -> AsyncIterator[tuple[Runner, Claim]]:
        began = False
        try:
            async with self._claim(run, arguments) as claim:
                runner = await self._runner(run, arguments, claim, wait_for_responses=wait_for_responses)
                began = True
                yield runner, claim
        finally:
            if not began:
                run.never_began()

    def _claim(self, run: RunCore, arguments: RunArguments) -> Claim:
        return Claim(self._core.ownership, run.id, arguments.storage, arguments.wait)

    async def _runner(self, run: RunCore, arguments: RunArguments, claim: Claim, *, wait_for_responses: bool) -> Runner:
        opening = await self._open(run, arguments)
        return Runner(self._core, run, arguments, opening, wait_for_responses=wait_for_responses, lease=claim.lease)

    async def _open(self, run: RunCore, arguments: RunArguments) -> Opening:
        core = self._core
        await core.states.remember_initial()
        if core.states.stale:
            await core.states.put_back(core.standing.snapshot, sorted(core.states.stale))
        if arguments.message is not UNSET:
            changes, dropped = fresh_changes(core.definition, core.standing.snapshot, arguments.message, run.id)
            other = await other_head(arguments.storage, core.id, core.standing)
            return Opening(changes=changes, kind=CheckpointKind.ENTRY, dropped=dropped, other_head=other)
        standing = core.standing
        if arguments.checkpoint_id is not None:
            standing = await load_standing(arguments, core.definition, core.id, standing)
        requests = requests_of(core.definition, standing.snapshot)
        answers = [
            check_answer(requests, request_id, value) for request_id, value in (arguments.responses or {}).items()
        ]
        if standing is not core.standing:
            core.places.forget_isolated()  # made again, from what they committed, when they are next at work
            await core.states.put_back(standing.snapshot, [*core.states.stateful])
            standing.leftovers = core.standing.leftovers
            core.standing = standing
        return Opening(
            changes=responses_run_changes(standing.snapshot, answers, run.id) if answers else None,
            superstep=standing.snapshot.superstep,
            kind=CheckpointKind.RESPONSES,
            restored=arguments.checkpoint_id is not None,
            idle=not answers and arguments.checkpoint_id is None,
        )


@trio.lowlevel.enable_ki_protection
async def _drive(runner: Runner, claim: Claim) -> None:
    """Drive a streamed run, and give the workflow back as soon as it has ended, though the block may go on."""
    try:
        await runner.drive()
    finally:
        await claim.release()  # noqa: ASYNC102 - shielded and bounded where it waits at all


def _is_cancellation(error: BaseException) -> bool:
    """Whether an exception is, or holds, one that only the scope or generator it belongs to may catch."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_cancellation, error.exceptions))
    return isinstance(error, (trio.Cancelled, GeneratorExit))
