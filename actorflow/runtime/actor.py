"""An actor: one executor as one task with one inbox, for the length of a run.

The task starts with the executor's first deliveries and ends when its inbox is closed; between supersteps it is parked. A
wake-up carries all of a superstep's deliveries to this executor. What becomes of a delivery is written into its `Slot`, so
no exception of a handler ever travels through a nursery.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import attrs
import trio

from actorflow.core.effects import REMOVED, Delivery, Effects, Finished, Output, Sent
from actorflow.core.snapshot import Section
from actorflow.core.values import private_copy, same_value
from actorflow.errors import ExecutorTimeoutError, MessageTypeError
from actorflow.executors.context import WorkflowContext
from actorflow.executors.executor import Executor
from actorflow.executors.handler_table import HandlerSpec, HandlerTable
from actorflow.runtime.executor_states import ExecutorStates
from actorflow.runtime.handover import Handover
from actorflow.runtime.run_port import RunPort
from actorflow.runtime.slot import Slot
from actorflow.runtime.supervision import Supervision, Supervisor, Verdict

__all__ = ["Actor", "ActorPort"]

_YIELD_EVERY = 64
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class ActorPort(Protocol):
    """Whom an actor tells how far it is."""

    @property
    def keep(self) -> Callable[[Mapping[int, Finished]], Awaitable[None]] | None:
        """Stores a delivery that has finished, before the actor's next one begins; None to store none."""
        ...

    def actor_done(self) -> None:
        """An actor finished its deliveries of this superstep."""
        ...

    def actor_failed(self) -> None:
        """An actor cannot finish its deliveries."""
        ...

    def actor_ended(self, actor: Actor) -> None:
        """An actor's task is about to end."""
        ...


@attrs.define(eq=False)
class Actor:
    """One executor at work.

    Attributes:
        executor: The user's code.
        run_port: The run, as the handler sees it.
        states: Captures the executor's own state, if it has one.
        port: Told how far it is.
        supervision: Sees its deliveries through, where a policy or a limit says so.
        stop_error: What ``on_stop`` raised.
        ended: Whether its task has ended.
    """

    executor: Executor
    run_port: RunPort
    states: ExecutorStates
    port: ActorPort
    supervision: Supervision
    stop_error: Exception | None = None
    ended: bool = False
    _inbox: Handover[list[Slot] | None] = attrs.Factory(Handover)
    _overlay: Mapping[str, Any] = _NOTHING
    _before: Any = REMOVED
    _started: bool = False
    _failed: bool = False
    _lapse: tuple[Slot, Exception] | None = None
    _table: HandlerTable = attrs.field(init=False)
    _stateful: bool = attrs.field(init=False)
    _strict: bool = attrs.field(init=False)
    _supervisor: Supervisor | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._table = self.executor.handler_table
        self._stateful = self.state_section in self.states.stateful
        self._strict = self.run_port.definition.strict
        self._supervisor = self.supervision.supervisor(self.executor, self.run_port)

    @property
    def state_section(self) -> Section:
        """Where the executor's own state is kept."""
        return self.run_port.place.state_section(self.executor.id)

    @property
    def has_hooks(self) -> bool:
        """Whether the executor is told when its task begins or ends."""
        return type(self.executor).on_start is not Executor.on_start or self._has_on_stop

    def wake(self, slots: list[Slot]) -> None:
        """Deliver a superstep's messages to the parked task."""
        self._inbox.give(slots)

    def stop(self) -> None:
        """Let the parked task end."""
        self._inbox.give(None)

    async def main(self, batch: list[Slot] | None) -> None:
        """The actor's task: `batch` now, then whatever comes into the inbox, until that is None."""
        assert batch is not None
        try:
            error = await self._start()
            if error is not None:
                batch[0].error = error
                self.port.actor_failed()
                return
            while batch is not None:
                await self._work(batch)
                del batch  # a parked actor keeps no messages alive
                batch = await self._inbox.take()
            if self._has_on_stop:
                await self._stop()
        finally:
            try:
                if self._started and self._has_on_stop:
                    with trio.move_on_after(self.run_port.definition.cleanup_grace, shield=True):
                        await self._stop()
            finally:
                self.ended = True
                self.port.actor_ended(self)

    async def _start(self) -> BaseException | None:
        """Run the hook; its error is the outcome."""
        if type(self.executor).on_start is not Executor.on_start:
            try:
                await self.executor.on_start(WorkflowContext(self.run_port, self.executor.id, self._table))
            except trio.Cancelled:
                raise
            except BaseException as error:  # noqa: BLE001 - an outcome is a value
                error.add_note(f"raised by on_start of executor {self.executor.id!r}")
                return error
        self._started = True
        self._before = await self._state_at_start() if self._stateful else REMOVED
        return None

    async def _state_at_start(self) -> Any:
        """The state before the first delivery: the committed one, or what `on_start` made of it."""
        if type(self.executor).on_start is Executor.on_start or not self._may_go_on:
            return self._committed
        return await self.states.capture(self.executor)

    async def _stop(self) -> None:
        if not (self._has_on_stop and self._started):
            return
        self._started = False  # before: a cancelled on_stop is not begun again
        try:
            await self.executor.on_stop(WorkflowContext(self.run_port, self.executor.id, self._table))
        except Exception as error:  # noqa: BLE001 - an outcome is a value
            error.add_note(f"raised by on_stop of executor {self.executor.id!r}")
            self.stop_error = error

    async def _work(self, slots: list[Slot]) -> None:
        """Handle a superstep's deliveries; from the first again, if the executor was restarted."""
        while True:
            self._overlay = _NOTHING
            self._failed = False
            if self.executor.concurrency == 1:
                await self._drain(iter(slots))
            else:
                await self._work_in_parallel(slots)
            if self._failed:
                return
            lapse, self._lapse = self._lapse, None
            if lapse is None:
                break
            if not await self._restart(slots, lapse):
                self.port.actor_failed()
                return
        self.port.actor_done()

    async def _work_in_parallel(self, slots: list[Slot]) -> None:
        queue = iter(slots)
        async with trio.open_nursery() as pool:
            for number in range(min(self.executor.concurrency, len(slots))):
                pool.start_soon(self._drain, queue, pool, name=f"actor:{self.executor.id}#{number + 1}")

    async def _drain(self, queue: Iterator[Slot], pool: trio.Nursery | None = None) -> None:
        supervisor, keep = self._supervisor, self.port.keep
        for count, slot in enumerate(queue, 1):
            known = slot.finished
            if known is not None:  # by the run that failed before; not run again
                self._take_over(known)
                continue
            if supervisor is None:
                error = await self.attempt(slot)
                if error is not None:
                    slot.note_failure(self.run_port.superstep, error)
            else:
                verdict, error = await supervisor.see_through(self, slot)
                if verdict is Verdict.RESTART:
                    self._ask_for_restart(slot, error)
            if slot.error is not None:
                self._failed = True
                self.port.actor_failed()  # at once: others of a pool may be at work for long
                return
            if self._lapse is not None:
                if pool is not None:
                    pool.cancel_scope.cancel(reason=f"executor {self.executor.id!r} is restarted")
                return
            if keep is not None and slot.finished is not None:
                await keep({slot.index: slot.finished})
            if count % _YIELD_EVERY == 0:
                await trio.lowlevel.checkpoint()

    def _ask_for_restart(self, slot: Slot, error: BaseException | None) -> None:
        """Note what the executor is to be restarted for, once all that is at work has ended: the first failure counts."""
        assert isinstance(error, Exception)
        self._lapse = self._lapse or (slot, error)

    def _take_over(self, finished: Finished) -> None:
        """The next delivery follows this one."""
        self._overlay, self._before = finished.overlay, finished.state_after

    async def attempt(self, slot: Slot, number: int = 1, limit: float | None = None) -> BaseException | None:
        """Run the handler once: what it did goes into the slot, what it raised is returned. Only Cancelled gets out.

        Args:
            slot: The delivery.
            number: Which attempt this is.
            limit: Seconds the handler may take.
        """
        run_port, executor, delivery = self.run_port, self.executor, slot.delivery
        emitter = run_port.emitter
        try:
            spec, arguments = _handler_of(self._table, executor.id, delivery)
            overlay = self._overlay if executor.concurrency == 1 else None
            ctx: WorkflowContext[Any, Any] = WorkflowContext(
                run_port,
                executor.id,
                self._table,
                spec=spec,
                delivery=delivery,
                delivery_id=slot.delivery_id,
                overlay=overlay,
                attempt=number,
            )
            await trio.lowlevel.checkpoint_if_cancelled()
            listening = emitter.sink.listening
            if listening:
                late = emitter.invoked(executor.id, slot.delivery_id, number, delivery.value)
                if late is not None:
                    await emitter.tell_late(late)
            before = private_copy(arguments) if self._strict else None
            if limit is None:
                returned: Any = await spec.call(executor, *arguments, ctx)
            else:  # one that is not done in time is cancelled and waited for; one that returns is done, however late
                with trio.CancelScope(relative_deadline=limit) as scope:
                    returned = await spec.call(executor, *arguments, ctx)
                if scope.cancelled_caught:
                    return ExecutorTimeoutError(executor.id, limit, number)
            if returned is not None or self._strict:
                _check_manners(spec, returned, before, arguments)
            effects, overlay = ctx.finish()
            state_after = await self.states.capture(executor) if self._stateful else REMOVED
            if listening:
                sent = _values(effects.sent) if effects.sent else ()
                outputs = _values(effects.outputs) if effects.outputs else ()
                late = emitter.completed(executor.id, slot.delivery_id, number, sent, outputs)
                if late is not None:
                    await emitter.tell_late(late)
            slot.finished = finished = Finished(delivery, effects, overlay, state_after)
            self._take_over(finished)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - an outcome is a value; the supervisor decides what becomes of it
            return error
        return None

    # For its supervisor.

    @property
    def _committed(self) -> Any:
        return self.run_port.standing.snapshot.get(self.state_section)

    @property
    def _has_on_stop(self) -> bool:
        return type(self.executor).on_stop is not Executor.on_stop

    @property
    def _may_go_on(self) -> bool:
        return self._supervisor is not None and self._supervisor.may_go_on

    async def put_state_back(self) -> None:
        """Give the executor the state it had before the delivery at work."""
        if self._stateful:
            await self.states.give(self.state_section, self._before)

    def nothing_done(self, slot: Slot, effects: Effects) -> Finished:
        """The delivery as one that left the executor's state and view of the shared state as they were."""
        overlay = self._overlay if self.executor.concurrency == 1 else _NOTHING
        return Finished(slot.delivery, effects, overlay, self._before)

    async def _restart(self, slots: list[Slot], lapse: tuple[Slot, Exception]) -> bool:
        """Take the executor back to its last commit, so that its deliveries are handled again. False if the run fails."""
        slot, failure = lapse
        assert self._supervisor is not None
        while self._supervisor.may_restart(slot, failure):
            for each in slots:
                each.finished = None
            await self._supervisor.tell_restart(slot, failure, slots)
            error = await self._start_again()
            if error is None:
                return True
            if not isinstance(error, Exception):
                slot.error = error
                return False
            failure = error
        return False

    async def _start_again(self) -> BaseException | None:
        await self._stop_to_restart()
        try:
            if self._stateful:
                await self.states.give(self.state_section, self._committed)
        except Exception as error:  # noqa: BLE001 - a user's hook; a start that fails is one more failure to restart for
            return error
        return await self._start()

    async def _stop_to_restart(self) -> None:
        assert self._supervisor is not None
        await self._stop()
        problem, self.stop_error = self.stop_error, None
        if problem is not None:
            await self._supervisor.warn(
                f"while executor {self.executor.id!r} was restarted, on_stop raised {problem!r}"
            )


def _handler_of(table: HandlerTable, executor_id: str, delivery: Delivery) -> tuple[HandlerSpec, tuple[Any, ...]]:
    if delivery.request is None:
        return table.find(executor_id, delivery.value), (delivery.value,)
    request = delivery.request.data
    return table.find_response(executor_id, request, delivery.value), (request, delivery.value)


def _check_manners(spec: HandlerSpec, returned: Any, before: Any, arguments: tuple[Any, ...]) -> None:
    """Refuse a handler that returned something or, in strict mode (`before` is a copy then), changed its message."""
    if returned is not None:
        raise MessageTypeError(
            f"{spec.label} returned {type(returned).__name__}: a handler returns None; send with ctx.send_message, "
            f"or yield with ctx.yield_output"
        )
    if before is not None and not same_value(before, arguments):
        raise MessageTypeError(
            f"{spec.label} changed its message in place: messages are values, shared by every executor that gets "
            f"them; change a copy"
        )


def _values(effects: Sequence[Sent | Output]) -> tuple[Any, ...]:
    return tuple([effect.value for effect in effects])
