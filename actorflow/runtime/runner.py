"""The runner: supervisor of one run.

It drives supersteps inside one nursery, decides what a failure does, and owns the checkpoint lineage while the run lasts.

Invariants:

* Every task of a run (actors, a save in the background) lives in the run's nursery, and the run's end is decided after
  that nursery has closed. So nothing a run started outlives it, and FAILED is announced when nothing of it runs any more.
* Outcomes of handlers are values in slots. The only exceptions in the nursery's body are the runner's own: a condition
  that raised, a save that failed, the superstep limit.
* A superstep changes the workflow in `Recorder.commit` alone, whose adoption of a stored commit has no checkpoint in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog
import trio

from actorflow.checkpoint.records import CheckpointInfo, CheckpointKind
from actorflow.core.effects import REMOVED, Output, OutputKind, PendingRequest
from actorflow.core.merge import Reducer
from actorflow.core.snapshot import STATE, Snapshot
from actorflow.errors import CheckpointError, ConvergenceError
from actorflow.events import (
    CheckpointFailedEvent,
    CheckpointSavedEvent,
    ExecutorFailedEvent,
    FailedEvent,
    IntermediateEvent,
    MessageDroppedEvent,
    OutputEvent,
    StartedEvent,
    StatusEvent,
    SuperstepCompletedEvent,
    SuperstepStartedEvent,
    WarningEvent,
    WorkflowEvent,
    WorkflowRunState,
)
from actorflow.graph.routing import Dropped
from actorflow.runtime.actor import Actor, Slot
from actorflow.runtime.emitter import Emitter
from actorflow.runtime.handover import Handover
from actorflow.runtime.house import House
from actorflow.runtime.opening import Opening, RunArguments, answer_changes, check_answer
from actorflow.runtime.recorder import GRACE, Recorder
from actorflow.runtime.run import Run, RunResult
from actorflow.runtime.standing import Finished
from actorflow.runtime.stream import EventLog
from actorflow.runtime.superstep import superstep_result

__all__ = ["Runner"]

_log = structlog.get_logger("actorflow")


class Runner:
    """Drives one run of a workflow that it owns.

    Args:
        house: The workflow.
        run: The caller's handle.
        arguments: What the caller gave.
        opening: How the run begins.
        wait_for_responses: Whether to stay, when idle with open requests, for `Run.respond`.
    """

    def __init__(
        self, house: House, run: Run, arguments: RunArguments, opening: Opening, *, wait_for_responses: bool
    ) -> None:
        self._house = house
        self._definition = house.definition
        self._standing = house.standing
        self._run = run
        self._opening = opening
        self._wait_for_responses = wait_for_responses
        self._arguments = arguments
        self._sink = run.sink
        self._emitter = Emitter(run.id, run.sink)
        self.emit = self._emitter.emit  # hands an event of the engine to whoever listens
        self._nursery: trio.Nursery | None = None
        self._actors: dict[str, Actor] = {}
        self._slots: Sequence[Slot] = ()
        self._busy_actors = 0
        self._barrier: Handover[None] = Handover()
        self._answers: list[tuple[PendingRequest, Any]] = []
        self._answered = trio.Event()
        self._cancelled = False
        self._completed = False
        self._logs = structlog.is_configured()
        self._unwinding = False
        self._idle = opening.idle
        self._answerable = True
        self._limit = 0
        self._failure: BaseException | None = None
        self._recorder: Recorder | None = None
        run.attach(self)

    # The run from beginning to end.

    @trio.lowlevel.enable_ki_protection
    async def drive(self) -> None:
        """Run to idle, failure or cancellation; the outcome goes into the `Run`.

        Raises only what comes from outside: Cancelled. Then, too, every task of the run has ended, the workflow stands on
        its last committed superstep, and the `Run` has its result.
        """
        outside = True  # until the nursery has closed by itself, a cancellation from outside is passing through
        try:
            await self._work()
            outside = False
        finally:
            self._gather_failures(outside=outside)
            if not self._completed or self._failure is not None:
                with trio.move_on_after(GRACE, shield=True):
                    await self._unwind()
            self._conclude()
            if outside:
                self._announce_end_nowait()
            self._actors.clear()  # they know the runner, as the recorder does: without this the run would be cyclic garbage
            self._recorder = None
        await self._announce_end()
        self._run.sink.close()

    async def _announce(self) -> None:
        self._house.status = WorkflowRunState.IN_PROGRESS
        self._emitter.superstep = self._opening.superstep
        await self.emit(StartedEvent)
        await self.emit(StatusEvent, status=WorkflowRunState.IN_PROGRESS)
        if self._opening.restored:
            await self._tell_requests(list(self._snapshot.requests.values()))

    async def _work(self) -> None:
        """The nursery of the run: opened here, closed when this returns."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._cancelled:
                    nursery.cancel_scope.cancel(reason=f"run {self._run.id} was cancelled")
                try:
                    await self._body(nursery)
                except trio.Cancelled:
                    raise
                except BaseException as error:  # noqa: BLE001 - an outcome is a value; raised to the caller at the end
                    self._fail(error)
        except BaseExceptionGroup as group:
            outside, rest = group.split(trio.Cancelled)
            if rest is not None:
                self._fail(_leaf(rest))
            if outside is not None:  # bare, as trio itself would raise it
                raise _leaf(outside) from None
        finally:
            self._nursery = None

    async def _body(self, nursery: trio.Nursery) -> None:
        await self._announce()
        recorder = await self._open(nursery)
        while await self._superstep_or_answers(nursery):
            pass
        self._answerable = False
        if any(slot.error is not None for slot in self._slots):
            nursery.cancel_scope.cancel(reason=f"superstep {self.superstep} of run {self._run.id} failed")
            return
        for actor in self._actors.values():
            actor.stop()
        await recorder.close()
        self._completed = True

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason=f"run {self._run.id} failed: {error!r}")

    async def _open(self, nursery: trio.Nursery) -> Recorder:
        standing, arguments = self._standing, self._arguments
        parent = None
        if arguments.storage is not None:
            parent = await standing.parent_in(arguments.storage, self._definition)
        self._recorder = recorder = Recorder(
            standing=standing,
            definition=self._definition,
            workflow_id=self._house.id,
            run_id=self._run.id,
            storage=arguments.storage,
            durability=arguments.durability,
            port=self,
            start_soon=nursery.start_soon,
            parent_id=parent,
        )
        opening = self._opening
        if opening.changes is not None:
            await recorder.commit(opening.changes, opening.superstep, opening.kind, opens=True)
        if opening.kind is CheckpointKind.ENTRY and opening.changes is not None:
            standing.finished = {}
        self._limit = self._snapshot.superstep + self._definition.max_supersteps
        leftovers, standing.leftovers = standing.leftovers, []
        await self._tell_dropped([*leftovers, *opening.dropped])
        return recorder

    async def _superstep_or_answers(self, nursery: trio.Nursery) -> bool:
        """Do the next thing; False if there is none."""
        if self._answers:
            await self._commit_answers()
        elif self._snapshot.inflight and not self._idle:
            return await self._superstep(nursery)
        elif self._wait_for_responses and self._snapshot.requests:
            await self._wait_for_answers()
        else:
            return False
        return True

    # One superstep.

    async def _superstep(self, nursery: trio.Nursery) -> bool:
        """Deliver all, wait for all, commit all. False if it failed."""
        snapshot = self._snapshot
        if snapshot.superstep >= self._limit:
            waiting = tuple(dict.fromkeys(delivery.target_id for delivery in snapshot.inflight))
            raise ConvergenceError(self._house.id, self._definition.max_supersteps, waiting)
        superstep = self._emitter.superstep = snapshot.superstep + 1
        await self.emit(SuperstepStartedEvent)
        self._slots = [Slot(index, delivery) for index, delivery in enumerate(snapshot.inflight)]
        if self._standing.finished:
            await self._take_up_finished()
        self._deliver(nursery)
        await self._barrier.take()
        if self._busy_actors:  # it opened early: one has failed
            return False
        result = await superstep_result(self._definition, snapshot, self._slots, superstep)
        assert self._recorder is not None
        await self._recorder.commit(result.changes, superstep, CheckpointKind.SUPERSTEP)
        self._slots = ()
        if result.dropped:
            await self._tell_dropped(result.dropped)
        if result.requests:
            await self._tell_requests(result.requests)
        await self.emit(SuperstepCompletedEvent)
        if self._logs:
            _log.debug("superstep", workflow=self._house.id, run=self._run.id, superstep=superstep)
        return True

    async def _take_up_finished(self) -> None:
        """Take over what this superstep had finished when it did not commit."""
        finished, self._standing.finished = self._standing.finished, {}
        for slot in self._slots:
            slot.finished = finished.get(slot.index)
        for executor_id, state in _states_after(self._slots).items():
            await self._house.states.give(executor_id, state)

    def _deliver(self, nursery: trio.Nursery) -> None:
        batches: dict[str, list[Slot]] = {}
        for slot in self._slots:
            batches.setdefault(slot.delivery.target_id, []).append(slot)
        self._busy_actors = len(batches)
        for executor_id, slots in batches.items():
            actor = self._actors.get(executor_id)
            if actor is not None:
                actor.wake(slots)
                continue
            actor = self._actors[executor_id] = Actor(self._house.executors[executor_id], self, self._house.states)
            nursery.start_soon(actor.main, slots, name=f"actor:{executor_id}")

    def actor_done(self) -> None:
        """An actor finished its deliveries; the last one opens the barrier."""
        self._busy_actors -= 1
        if not self._busy_actors:
            self._barrier.give(None)

    def actor_failed(self) -> None:
        """An actor cannot finish its deliveries: the superstep is lost, so the barrier opens at once."""
        self._barrier.give(None)

    # Answers given while the run goes on.

    def respond(self, request_id: str, value: Any) -> None:
        """Check an answer and keep it for the next superstep boundary."""
        if not self._answerable:  # an answer that is taken is committed, so what comes too late is refused
            raise RuntimeError(f"run {self._run.id!r} is ending; give responses= to the next run")
        answered = {request.id for request, _ in self._answers}
        unanswered = {id_: each for id_, each in self._snapshot.requests.items() if id_ not in answered}
        self._answers.append(check_answer(unanswered, request_id, value))
        self._answered.set()

    async def _commit_answers(self) -> None:
        answers, self._answers = self._answers, []
        self._idle = False
        changes = answer_changes(self._snapshot, answers)
        assert self._recorder is not None
        await self._recorder.commit(changes, self._snapshot.superstep, CheckpointKind.RESPONSES)
        self._limit = self._snapshot.superstep + self._definition.max_supersteps  # each turn has its own limit (F09)

    async def _wait_for_answers(self) -> None:
        self._answered = trio.Event()
        await self._change_status(WorkflowRunState.IN_PROGRESS_PENDING_REQUESTS)
        if not self._answers:
            await self._answered.wait()
        await self._change_status(WorkflowRunState.IN_PROGRESS)

    async def _change_status(self, status: WorkflowRunState) -> None:
        self._house.status = status
        self._run.enter(status)
        await self.emit(StatusEvent, status=status)

    # The end.

    def cancel(self) -> None:
        """Cancel the run from inside: its tasks end, and `drive` returns."""
        if any(slot.error is not None for slot in self._slots):
            return  # it has failed already, and ends by itself
        self._cancelled = True
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason=f"run {self._run.id} was cancelled")

    async def _unwind(self) -> None:
        """Bring the workflow back to its last committed superstep; runs shielded, for a bounded time."""
        self._unwinding = True
        problems: list[BaseException] = [error for error in self._stop_errors() if error is not self._failure]
        states = self._house.states
        # Before anything can take up the grace; and those that were only given what they had finished are among them.
        states.mark_stale([*self._actors, *(slot.delivery.target_id for slot in self._slots)])
        if self._recorder is not None:
            try:
                await self._recorder.close()
            except CheckpointError as error:
                problems.append(error)
        problems += await states.roll_back(self._snapshot)
        for problem in problems:
            told = "; ".join([repr(problem), *getattr(problem, "__notes__", ())])
            if self._failure is not None and problem is not self._failure:
                self._failure.add_note(f"while the workflow went back to its last committed superstep: {told}")
            self._emitter.emit_nowait(WarningEvent, message=f"while going back to the last superstep: {told}")

    def _gather_failures(self, *, outside: bool) -> None:
        """Find what the run failed of, unless the runner itself failed; what handlers raise while cancelled is no failure."""
        failed = [slot for slot in self._slots if slot.error is not None]
        if self._failure is None and not self._cancelled and not outside:
            self._failure = _first_error(failed) if failed else next(iter(self._stop_errors()), None)

    def _stop_errors(self) -> list[Exception]:
        return [actor.stop_error for actor in self._actors.values() if actor.stop_error is not None]

    def _conclude(self) -> None:
        """Decide how the run ended. Plain code: nothing can come between."""
        recorder = self._recorder
        if recorder is not None and recorder.unsaved:  # the grace of `_unwind` ran out
            recorder.abandon_unsaved()
        if self._slots:
            self._standing.finished = self._finished_here()
        status = self._final_status()
        self._house.status = status
        self._run.end(self._make_result(status), None if status is WorkflowRunState.CANCELLED else self._failure)

    def _finished_here(self) -> dict[int, Finished]:
        """What is finished of the deliveries the workflow stands before; it may have gone on, or back, since they began."""
        inflight = dict(enumerate(self._snapshot.inflight))
        return {
            slot.index: slot.finished
            for slot in self._slots
            if slot.finished is not None and inflight.get(slot.index) is slot.delivery
        }

    def _final_status(self) -> WorkflowRunState:
        if self._failure is not None:
            return WorkflowRunState.FAILED
        if not self._completed:
            return WorkflowRunState.CANCELLED
        return WorkflowRunState.IDLE_WITH_PENDING_REQUESTS if self._snapshot.requests else WorkflowRunState.IDLE

    def _make_result(self, status: WorkflowRunState) -> RunResult:
        snapshot = self._snapshot
        outputs = snapshot.outputs
        sink = self._sink
        mark = snapshot.mark
        return RunResult(
            outputs=[output.value for output in outputs if output.kind is OutputKind.OUTPUT],
            intermediate_outputs=[output.value for output in outputs if output.kind is OutputKind.INTERMEDIATE],
            requests=tuple(self._emitter.request_event(request) for request in snapshot.requests.values()),
            status=status,
            log=sink if isinstance(sink, EventLog) else None,
            supersteps=snapshot.superstep - (mark.begun_at if mark else 0),
            checkpoint_id=self._standing.head_id if self._arguments.storage is not None else None,
        )

    async def _announce_end(self) -> None:
        for kind, fields in self._end_events():
            await self.emit(kind, **fields)

    def _announce_end_nowait(self) -> None:
        """Tell what there is room for: the caller's task is cancelled and cannot wait for a consumer."""
        for kind, fields in self._end_events():
            self._emitter.emit_nowait(kind, **fields)
        self._run.sink.close()

    def _end_events(self) -> Iterator[tuple[type[WorkflowEvent], dict[str, Any]]]:
        for slot in self._slots:
            if slot.error is not None:
                yield ExecutorFailedEvent, {"executor_id": slot.delivery.target_id, "error": slot.error}
        if self._failure is not None:
            yield FailedEvent, {"error": self._failure}
        yield StatusEvent, {"status": self._house.status}

    # Telling.

    async def _tell_dropped(self, dropped: Sequence[Dropped]) -> None:
        for each in dropped:
            await self.emit(
                MessageDroppedEvent,
                reason=each.reason,
                message=each.value,
                source_id=each.source_id,
                target_id=each.target_id,
            )

    async def _tell_requests(self, requests: Sequence[PendingRequest]) -> None:
        for request in requests:
            if self.listening:
                await self._sink.put(self._emitter.request_event(request))

    async def saved(self, info: CheckpointInfo) -> None:
        """A checkpoint is in the storage."""
        await self._tell_of_save(CheckpointSavedEvent, checkpoint_id=info.id, parent_id=info.parent_id)

    async def save_failed(self, error: CheckpointError) -> None:
        """A checkpoint could not be written."""
        await self._tell_of_save(CheckpointFailedEvent, error=error)

    async def _tell_of_save(self, kind: type[WorkflowEvent], **fields: Any) -> None:
        if self._unwinding:  # shielded: a consumer that does not read must not use up the grace
            self._emitter.emit_nowait(kind, **fields)
        else:
            await self.emit(kind, **fields)

    # What contexts and actors see.

    @property
    def _snapshot(self) -> Snapshot:
        return self._standing.snapshot

    @property
    def config(self) -> Mapping[str, Any]:
        """The mapping given to this run."""
        return self._arguments.config

    @property
    def superstep(self) -> int:
        """Number of the superstep under way."""
        return self._emitter.superstep

    @property
    def state(self) -> Mapping[str, Any]:
        """The shared state as the previous superstep left it."""
        return self._snapshot.table(STATE)

    @property
    def reducers(self) -> Mapping[str, Reducer]:
        """Reducers by key."""
        return self._definition.reducers

    @property
    def strict(self) -> bool:
        """Whether a message changed in place is an error."""
        return self._definition.strict

    @property
    def listening(self) -> bool:
        """Whether anybody will see an event."""
        return self._sink.listening

    def output_kind(self, executor_id: str) -> OutputKind:
        """Who sees an executor's outputs."""
        return self._definition.output_kind(executor_id)

    def delivery_id(self, index: int) -> str:
        """The stable id of a delivery: the run that began its history, its superstep, its place in the canonical order."""
        mark = self._snapshot.mark
        assert mark is not None
        return f"{mark.origin}-{self.superstep}-{index}"

    def check_request_id(self, request_id: str) -> None:
        """Refuse the id of a request that is open already."""
        if request_id in self._snapshot.requests:
            raise ValueError(f"request id {request_id!r} belongs to an open request; give each request its own")

    async def stream_output(self, output: Output, attempt: int) -> None:
        """Hand an output to whoever listens."""
        if output.kind is OutputKind.HIDDEN:
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        kind = OutputEvent if output.kind is OutputKind.OUTPUT else IntermediateEvent
        await self._emitter.emit_output(kind, executor_id=output.executor_id, data=output.value, attempt=attempt)

    async def stream_event(self, event: WorkflowEvent) -> None:
        """Hand a user's event to whoever listens."""
        await self._emitter.emit_user_event(event)


def _states_after(slots: Sequence[Slot]) -> dict[str, Any]:
    """The state that finished deliveries left each stateful executor in."""
    return {
        slot.delivery.target_id: slot.finished.state_after
        for slot in slots
        if slot.finished is not None and slot.finished.state_after is not REMOVED
    }


def _first_error(failed: Sequence[Slot]) -> BaseException:
    """The error to raise when handlers failed: the first in canonical order; the others are named in its notes."""
    first = failed[0].error
    assert first is not None
    for slot in failed[1:]:
        first.add_note(f"executor {slot.delivery.target_id!r} failed in the same superstep: {slot.error!r}")
    return first


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain exception of a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
