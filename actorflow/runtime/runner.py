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

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import trio

from actorflow.checkpoint.records import CheckpointKind
from actorflow.core.snapshot import Snapshot
from actorflow.core.subworkflows import LocatedRequest, path_of
from actorflow.errors import (
    RunEndedError,
)
from actorflow.events import (
    StartedEvent,
    StatusEvent,
    SuperstepCompletedEvent,
    SuperstepStartedEvent,
    WarningEvent,
    WorkflowRunState,
)
from actorflow.graph.tree_commit import commit_tree, commit_tree_arrivals
from actorflow.graph.tree_result import TreeResult
from actorflow.runtime.activity import Activity
from actorflow.runtime.actor_group import ActorGroup
from actorflow.runtime.answers import Answers
from actorflow.runtime.arguments import RunArguments
from actorflow.runtime.asking import answered
from actorflow.runtime.cleanup import CleanupWatch
from actorflow.runtime.emitter import Emitter
from actorflow.runtime.ending import EndEvent, end_events, leaf, result_of
from actorflow.runtime.explaining import explain, left_over
from actorflow.runtime.explanation import Explanation
from actorflow.runtime.journal import Journal
from actorflow.runtime.keeping import Keeping
from actorflow.runtime.leasing import LeaseKeeper
from actorflow.runtime.limits import SuperstepLimits
from actorflow.runtime.logs import log_superstep
from actorflow.runtime.opening import Opening, answer_changes, requests_of
from actorflow.runtime.recorder import GRACE, Recorder
from actorflow.runtime.run_core import RunCore
from actorflow.runtime.run_port import Ports
from actorflow.runtime.run_result import RunResult
from actorflow.runtime.supervision import Supervision
from actorflow.runtime.tree import Tree
from actorflow.runtime.unwinding import unwind
from actorflow.runtime.waiting import Waiting
from actorflow.runtime.workflow_core import WorkflowCore

__all__ = ["Runner"]


class Runner:
    """Drives one run of a workflow that it owns.

    Args:
        core: The workflow.
        run: What it shares with the caller's handle.
        arguments: What the caller gave.
        opening: How the run begins.
        wait_for_responses: Whether to stay, when idle with open requests, for `Run.respond`.
        lease: The storage's grant to write, if the storage grants any.
    """

    def __init__(
        self,
        core: WorkflowCore,
        run: RunCore,
        arguments: RunArguments,
        opening: Opening,
        *,
        wait_for_responses: bool,
        lease: LeaseKeeper | None = None,
    ) -> None:
        self._core = core
        self._definition = core.definition
        self._standing = core.standing
        self._run = run
        self._opening = opening
        self._arguments = arguments
        self._lease = lease
        self._emitter = Emitter(run.id, run.sink, core.standing.told)
        self._ports = Ports(core.places, core.standing, self._emitter, MappingProxyType(dict(arguments.config)))
        self._tree = Tree(core, self._ports)
        keeps_each = arguments.durability == "delivery"
        self._keeping = keeping = Keeping(core, self._emitter, self._fail)
        self._supervision = Supervision(core.standing, keeping.keep)
        self._actors = ActorGroup(core.states, self._ports.at, self._supervision, keeping.keep if keeps_each else None)
        keeping.actors = self._actors
        self._limits = SuperstepLimits(core)
        self._cleanup: CleanupWatch | None = None
        self._answers = Answers()
        self._waiting = Waiting(core.definition, self._answers, wait_for_responses, lease)
        self._nursery: trio.Nursery | None = None
        self._recorder: Recorder | None = None
        self._idle = opening.idle
        self._cancelled = False
        self._completed = False
        self._failure: BaseException | None = None
        self._activity = Activity(self._actors, self._waiting, self._emitter, lease)
        run.control = self

    # The run from beginning to end.

    @trio.lowlevel.enable_ki_protection
    async def drive(self) -> None:
        """Run to idle, failure or cancellation; the outcome goes into the `Run`.

        Raises only what comes from outside: Cancelled. Then, too, every task of the run has ended, the workflow stands on
        its last committed superstep, and the `Run` has its result.
        """
        self._core.activity = self._activity
        outside = True  # until the nursery has closed by itself, a cancellation from outside is passing through
        try:
            await self._work()
            outside = False
        finally:
            self._gather_failures(outside=outside)
            try:
                if not self._completed or self._failure is not None:
                    with trio.move_on_after(GRACE, shield=True):
                        await unwind(self._keeping, self._actors, self._failure)
            except trio.Cancelled:
                raise
            except BaseException as error:  # Ctrl-C, or a hook that asks the process to end: it wins over any failure
                self._failure = error
                if outside:
                    raise
            finally:  # whatever becomes of the way back, the run has an end
                self._conclude()
                if outside:
                    self._announce_end_nowait()
        try:
            await self._announce_end()
        finally:
            self._let_go()

    async def _work(self) -> None:
        """The nursery of the run: opened here, closed when this returns."""
        passing: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._cancelled:
                    nursery.cancel_scope.cancel(reason=f"run {self._run.id} was cancelled")
                try:
                    await self._body(nursery)
                except trio.Cancelled:
                    self._watch_cleanup(nursery)
                    raise
                except BaseException as error:  # noqa: BLE001 - an outcome is a value; raised to the caller at the end
                    self._fail(error)
        except BaseExceptionGroup as group:
            passing = self._sort(group)
        finally:
            self._nursery = None
        if passing is None:
            return
        try:  # bare, as trio itself would raise it, and only here: the group would be its context
            raise passing
        finally:
            del passing  # its traceback leads to this frame, which must not lead back to it

    def _sort(self, group: BaseExceptionGroup[BaseException]) -> BaseException | None:
        """Fail of what the nursery raised; returns the cancellation from outside, if one is passing through."""
        outside, rest = group.split(trio.Cancelled)
        if rest is not None:
            self._fail(leaf(rest))
        return None if outside is None else leaf(outside)

    async def _body(self, nursery: trio.Nursery) -> None:
        if self._lease is not None:
            nursery.start_soon(self._lease.renew, self._fail, name=f"lease of run {self._run.id}")
        await self._announce()
        recorder = await self._open(nursery)
        while await self._superstep_or_answers(nursery):
            pass
        self._answers.closed = True
        if self._actors.failed:
            self._watch_cleanup(nursery)
            nursery.cancel_scope.cancel(reason=f"superstep {self._emitter.superstep} of run {self._run.id} failed")
            return
        self._actors.stop()
        await recorder.close()
        if self._lease is not None:
            self._lease.stop_renewing()
        self._completed = True

    def _fail(self, error: BaseException) -> None:
        """The run failed of something else than a handler: end it."""
        self._answers.closed = True
        if self._failure is None:
            self._failure = error
        if self._nursery is not None:
            self._watch_cleanup(self._nursery)
            self._nursery.cancel_scope.cancel(reason=f"run {self._run.id} failed: {error!r}")

    async def _announce(self) -> None:
        self._core.status = WorkflowRunState.IN_PROGRESS
        self._emitter.superstep = self._opening.superstep
        await self._emitter.emit(StartedEvent)
        await self._emitter.emit(StatusEvent, status=WorkflowRunState.IN_PROGRESS)
        if self._opening.restored:
            await self._tree.tell_requests(self._requests.values())

    async def _open(self, nursery: trio.Nursery) -> Recorder:
        standing, arguments, opening = self._standing, self._arguments, self._opening
        lease = self._lease.lease if self._lease is not None else None
        parent = None
        if arguments.storage is not None:
            parent = await standing.parent_in(arguments.storage, self._definition)
            if hasattr(arguments.storage, "write_journal"):
                self._keeping.journal = Journal(arguments.storage, self._core.id, self._definition.codec, lease)
        self._recorder = self._keeping.recorder = recorder = Recorder(
            standing=standing,
            definition=self._definition,
            workflow_id=self._core.id,
            run_id=self._run.id,
            storage=arguments.storage,
            lease=lease,
            durability=arguments.durability,
            port=self._emitter,
            start_soon=nursery.start_soon,
            parent_id=parent,
        )
        if opening.changes is not None:
            await recorder.commit(opening.changes, opening.superstep, opening.kind, opens=True)
        if opening.kind is CheckpointKind.ENTRY and opening.changes is not None:
            standing.finished = {}
            standing.trials = standing.trials.next_superstep(lambda names: self._snapshot.find(names) is not None)
        await self._warn_of_a_second_root()
        leftovers, standing.leftovers = standing.leftovers, []
        await self._tree.tell_dropped([*leftovers, *opening.dropped])
        return recorder

    async def _warn_of_a_second_root(self) -> None:
        if self._opening.other_head is not None:
            await self._emitter.emit(
                WarningEvent,
                message=f"workflow id {self._core.id!r} has checkpoints, the latest {self._opening.other_head!r}, and "
                f"this run does not go on from them; to go on, give checkpoint_id=LATEST first",
            )

    # Supersteps, and answers between them.

    async def _superstep_or_answers(self, nursery: trio.Nursery) -> bool:
        """Do the next thing; False if there is none, or if a superstep failed."""
        if self._answers:
            await self._commit_answers()
        elif self._snapshot.has_deliveries and not self._idle:
            return await self._superstep(nursery)
        elif self._waiting.is_due(self._snapshot, idle=self._idle):
            await self._commit_arrivals(self._waiting.clock.now())
        elif self._waiting.stays(self._snapshot, idle=self._idle):
            await self._wait()
        else:
            return False
        return True

    async def _superstep(self, nursery: trio.Nursery) -> bool:
        """Deliver all, wait for all, commit all. False if it failed."""
        snapshot, actors, emitter, recorder = self._snapshot, self._actors, self._emitter, self._recorder
        assert recorder is not None
        superstep = emitter.superstep = snapshot.superstep + 1
        self._activity.since = self._waiting.clock.steady()
        slots = self._tree.slots()
        self._limits.count(slots)
        actors.slots = slots
        await emitter.emit(SuperstepStartedEvent)
        if self._definition.children:
            await self._tree.prepare()
        if self._standing.finished or self._standing.trials:
            await self._keeping.take_up()
        if self._definition.children:
            await self._tree.hand_in(actors.slots)
        if actors.failed or not await actors.work(nursery):
            return False
        now, settled = self._waiting.clock.now(), self._answers.settled.values()
        result = await answered(
            commit_tree(self._definition, snapshot, actors.done, superstep, now=now, settled=settled)
        )
        if result.expired:
            self._answers.expire(result.expired)
        if self._standing.trials:
            gone = {each.names for each in result.completed if each.is_gone}
            result.changes.update(self._supervision.restart_changes(gone))
        await recorder.commit(result.changes, superstep, CheckpointKind.SUPERSTEP)
        self._supervision.end_superstep()
        actors.slots = ()
        if result.completed or result.dropped or result.requests:
            await self._tell_of_commit(result)
        await emitter.emit(SuperstepCompletedEvent)
        log_superstep(self._core.id, self._run.id, superstep)
        return True

    def respond(self, request_id: str, value: Any) -> None:
        """Check an answer and keep it for the next superstep boundary."""
        if self._answers.closed or self._cancelled or self._actors.failed:
            raise RunEndedError(f"run {self._run.id!r} is ending; give responses= to the next run")
        self._answers.give(self._requests, request_id, value)

    async def _commit_answers(self) -> None:
        assert self._recorder is not None
        self._idle = False
        changes = answer_changes(self._snapshot, self._answers.take())
        await self._recorder.commit(changes, self._snapshot.superstep, CheckpointKind.RESPONSES)
        self._limits.renew()

    async def _wait(self) -> None:
        """Sleep until an answer is given or something is due, which is then committed."""
        assert self._recorder is not None
        await self._recorder.catch_up()
        asks = self._waiting.asks(self._snapshot)
        if asks:
            await self._change_status(WorkflowRunState.IN_PROGRESS_PENDING_REQUESTS)
        now = await self._waiting.sleep(self._snapshot)
        if asks:
            await self._change_status(WorkflowRunState.IN_PROGRESS)
        if not self._answers:
            await self._commit_arrivals(now)

    async def _commit_arrivals(self, now: float) -> None:
        """Commit that timers and deadlines are due: no superstep, but a fact that a resume stands on."""
        assert self._recorder is not None
        self._idle = False
        snapshot, answers = self._snapshot, self._answers
        result = await answered(commit_tree_arrivals(self._definition, snapshot, now, settled=answers.settled.values()))
        answers.expire(result.expired)
        await self._recorder.commit(result.changes, snapshot.superstep, CheckpointKind.RESPONSES)
        await self._tell_of_commit(result)

    async def _tell_of_commit(self, result: TreeResult) -> None:
        if result.completed:
            self._actors.stop_inside(self._tree.forget(result.completed))
        if result.dropped:
            await self._tree.tell_dropped(result.dropped)
        if result.requests:
            await self._tree.tell_requests(result.requests)
        if result.completed:
            await self._tree.tell_completed(result.completed)

    async def _change_status(self, status: WorkflowRunState) -> None:
        self._core.status = status
        self._run.status = status
        await self._emitter.emit(StatusEvent, status=status)

    # The end.

    def cancel(self) -> None:
        """Cancel the run from inside: its tasks end, and `drive` returns."""
        if self._actors.failed:
            return  # it has failed already, and ends by itself
        self._cancelled = True
        if self._nursery is not None:
            self._watch_cleanup(self._nursery)
            self._nursery.cancel_scope.cancel(reason=f"run {self._run.id} was cancelled")

    def explain(self) -> Explanation:
        """Say what the run waits for."""
        return explain(self._core)

    def _watch_cleanup(self, nursery: trio.Nursery) -> None:
        """From here on, actors that take long to end are reported."""
        if self._cleanup is None and self._actors.at_work:
            grace = self._definition.cleanup_grace
            self._cleanup = CleanupWatch(self._actors, self._emitter, self._core.id, grace)
            self._cleanup.begin(nursery)

    def _gather_failures(self, *, outside: bool) -> None:
        """Find what the run failed of, unless the runner itself failed; what handlers raise while cancelled is no failure."""
        if self._failure is None and not self._cancelled and not outside:
            actors = self._actors
            self._failure = actors.first_error() if actors.failed else next(iter(actors.stop_errors), None)

    def _conclude(self) -> None:
        """Decide how the run ended. Plain code: nothing can come between."""
        recorder = self._recorder
        if recorder is not None and recorder.unsaved:  # the grace of the way back ran out
            recorder.abandon_unsaved()
        if self._actors.slots:
            self._standing.finished = self._keeping.finished_here()
        self._core.states.mark_stale(self._actors.changed_by_stop)
        self._core.places.forget_all_but(self._snapshot)
        told = self._standing.told
        for closed in told.keys() - self._requests.keys():
            del told[closed]
        status = self._final_status()
        self._core.status = status
        self._core.activity = None
        failure = None if status is WorkflowRunState.CANCELLED else self._failure
        self._run.end(self._result(status), failure, left_over(self._core))

    def _final_status(self) -> WorkflowRunState:
        if self._failure is not None:
            return WorkflowRunState.FAILED
        if not self._completed:
            return WorkflowRunState.CANCELLED
        return WorkflowRunState.IDLE_WITH_PENDING_REQUESTS if self._requests else WorkflowRunState.IDLE

    async def _announce_end(self) -> None:
        for kind, fields in self._end_events():
            await self._emitter.emit(kind, **fields)

    def _announce_end_nowait(self) -> None:
        """Tell what there is room for: the caller's task is cancelled and cannot wait for a consumer."""
        for kind, fields in self._end_events():
            self._emitter.emit_nowait(kind, **fields)
        self._let_go()

    def _let_go(self) -> None:
        """End the stream, and forget what knows the runner: a run that has ended is no cyclic garbage."""
        self._run.sink.close()
        self._actors.dismiss()
        self._actors.slots = ()
        self._keeping.dismiss()
        self._recorder = None
        self._failure = None

    def _end_events(self) -> Iterator[EndEvent]:
        lost = self._answers.lost(self._requests)
        return end_events(self._actors.failed, lost, self._failure, self._core.status)

    def _result(self, status: WorkflowRunState) -> RunResult:
        head = self._standing.head_id if self._arguments.storage is not None else None
        requests = [self._emitter.request_event(each.request, path_of(each.names)) for each in self._requests.values()]
        return result_of(self._snapshot, requests, self._emitter.sink, status, head)

    @property
    def _requests(self) -> Mapping[str, LocatedRequest]:
        return requests_of(self._definition, self._snapshot)

    @property
    def _snapshot(self) -> Snapshot:
        return self._standing.snapshot
