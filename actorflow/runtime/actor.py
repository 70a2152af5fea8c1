"""An actor: one executor as one task with one inbox, for the length of a run.

The task starts with the executor's first deliveries and ends when its inbox is closed; between supersteps it is parked. A
wake-up carries all of a superstep's deliveries to this executor. What becomes of a delivery is written into its `Slot`, so
no exception of a handler ever travels through a nursery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import attrs
import trio

from actorflow.core.effects import REMOVED, Delivery, Finished, Output, Sent
from actorflow.core.snapshot import Section
from actorflow.core.values import private_copy, same_value
from actorflow.errors import MessageTypeError
from actorflow.events import ExecutorCompletedEvent, ExecutorInvokedEvent
from actorflow.executors.context import WorkflowContext
from actorflow.executors.executor import Executor
from actorflow.executors.handler_table import HandlerSpec, HandlerTable
from actorflow.runtime.executor_states import ExecutorStates
from actorflow.runtime.handover import Handover
from actorflow.runtime.places import Place
from actorflow.runtime.run_port import RunPort

__all__ = ["Actor", "ActorPort", "Slot"]

STOP_GRACE = 5.0
"""Seconds that ``on_stop`` gets when the run failed or was cancelled."""

_YIELD_EVERY = 64
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@attrs.define(eq=False)
class Slot:
    """One delivery of a superstep, and what became of it.

    Attributes:
        index: Its place in the canonical order, over the whole tree of workflows.
        delivery: The delivery.
        place: The workflow it is for.
        number: Its place in the canonical order of that workflow.
        finished: Its effects, once its handler has returned.
        error: What its handler raised.
    """

    index: int
    delivery: Delivery
    place: Place
    number: int
    finished: Finished | None = None
    error: BaseException | None = None


class ActorPort(Protocol):
    """Whom an actor tells how far it is."""

    async def delivery_finished(self, slot: Slot) -> None:
        """An actor finished one delivery; its next one waits for this."""
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
        stop_error: What ``on_stop`` raised.
    """

    executor: Executor
    run_port: RunPort
    states: ExecutorStates
    port: ActorPort
    stop_error: Exception | None = None
    _inbox: Handover[list[Slot] | None] = attrs.Factory(Handover)
    _overlay: Mapping[str, Any] = _NOTHING
    _failed: bool = False
    _table: HandlerTable = attrs.field(init=False)
    _stateful: bool = attrs.field(init=False)
    _strict: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._table = self.executor.handler_table
        self._stateful = self.state_section in self.states.stateful
        self._strict = self.run_port.definition.strict

    @property
    def state_section(self) -> Section:
        """Where the executor's own state is kept."""
        return self.run_port.place.state_section(self.executor.id)

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
            if await self._start(batch[0]):
                await self._serve(batch)
        finally:
            self.port.actor_ended(self)

    async def _serve(self, batch: list[Slot] | None) -> None:
        stopped = False
        try:
            while batch is not None:
                await self._work(batch)
                del batch  # a parked actor keeps no messages alive
                batch = await self._inbox.take()
            stopped = True  # before: a cancelled on_stop is not begun again
            await self._stop()
        finally:
            if not stopped:
                with trio.move_on_after(STOP_GRACE, shield=True):
                    await self._stop()

    async def _start(self, first: Slot) -> bool:
        if type(self.executor).on_start is Executor.on_start:
            return True
        try:
            await self.executor.on_start(WorkflowContext(self.run_port, self.executor.id, self._table))
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - an outcome is a value
            error.add_note(f"raised by on_start of executor {self.executor.id!r}")
            first.error = error
            self.port.actor_failed()
            return False
        return True

    async def _stop(self) -> None:
        if type(self.executor).on_stop is Executor.on_stop:
            return
        try:
            await self.executor.on_stop(WorkflowContext(self.run_port, self.executor.id, self._table))
        except Exception as error:  # noqa: BLE001 - an outcome is a value
            error.add_note(f"raised by on_stop of executor {self.executor.id!r}")
            self.stop_error = error

    async def _work(self, slots: list[Slot]) -> None:
        self._overlay = _NOTHING
        self._failed = False
        if self.executor.concurrency == 1:
            await self._drain(iter(slots))
        else:
            await self._work_in_parallel(slots)
        if not self._failed:
            self.port.actor_done()

    async def _work_in_parallel(self, slots: list[Slot]) -> None:
        queue = iter(slots)
        async with trio.open_nursery() as pool:
            for number in range(min(self.executor.concurrency, len(slots))):
                pool.start_soon(self._drain, queue, name=f"actor:{self.executor.id}#{number + 1}")

    async def _drain(self, queue: Iterator[Slot]) -> None:
        for count, slot in enumerate(queue, 1):
            if slot.finished is not None:  # by the run that failed before; not run again
                self._overlay = slot.finished.overlay
                continue
            await self._handle(slot)
            if slot.error is not None:
                self._failed = True
                self.port.actor_failed()  # at once: others of a pool may be at work for long
                return
            await self.port.delivery_finished(slot)
            if count % _YIELD_EVERY == 0:
                await trio.lowlevel.checkpoint()

    async def _handle(self, slot: Slot) -> None:
        """Run the handler; its outcome goes into the slot. Only Cancelled gets out."""
        run_port, executor, delivery = self.run_port, self.executor, slot.delivery
        emitter = run_port.emitter
        try:
            spec, arguments = _handler_of(self._table, executor.id, delivery)
            overlay = self._overlay if executor.concurrency == 1 else None
            ctx: WorkflowContext[Any, Any] = WorkflowContext(
                run_port, executor.id, self._table, spec=spec, delivery=delivery, index=slot.number, overlay=overlay
            )
            await trio.lowlevel.checkpoint_if_cancelled()
            listening = emitter.sink.listening
            if listening:
                await emitter.emit(ExecutorInvokedEvent, executor_id=executor.id, data=delivery.value)
            await self._call(spec, arguments, ctx)
            effects, self._overlay = ctx.finish()
            state_after = await self.states.capture(executor) if self._stateful else REMOVED
            if listening:
                sent, outputs = _values(effects.sent), _values(effects.outputs)
                await emitter.emit(ExecutorCompletedEvent, executor_id=executor.id, sent=sent, outputs=outputs)
            slot.finished = Finished(delivery, effects, self._overlay, state_after)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - an outcome is a value; the runner decides what becomes of it
            error.add_note(
                f"raised by executor {'/'.join((*run_port.place.path, executor.id))!r} in superstep {run_port.superstep}, handling a "
                f"message of type {type(delivery.value).__name__}"
            )
            slot.error = error

    async def _call(self, spec: HandlerSpec, arguments: tuple[Any, ...], ctx: WorkflowContext[Any, Any]) -> None:
        before = private_copy(arguments) if self._strict else arguments
        returned: Any = await spec.call(self.executor, *arguments, ctx)
        if returned is not None:
            raise MessageTypeError(
                f"{spec.label} returned {type(returned).__name__}: a handler returns None; send with ctx.send_message, "
                f"or yield with ctx.yield_output"
            )
        if self._strict and not same_value(before, arguments):
            raise MessageTypeError(
                f"{spec.label} changed its message in place: messages are values, shared by every executor that gets "
                f"them; change a copy"
            )


def _handler_of(table: HandlerTable, executor_id: str, delivery: Delivery) -> tuple[HandlerSpec, tuple[Any, ...]]:
    if delivery.request is None:
        return table.find(executor_id, delivery.value), (delivery.value,)
    request = delivery.request.data
    return table.find_response(executor_id, request, delivery.value), (request, delivery.value)


def _values(effects: Sequence[Sent | Output]) -> tuple[Any, ...]:
    return tuple([effect.value for effect in effects]) if effects else ()
