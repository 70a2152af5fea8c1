"""Makes a run's events: fills in the common fields and hands them to the sink, in order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import trio

from actorflow.checkpoint.records import CheckpointInfo
from actorflow.core.effects import PendingRequest
from actorflow.errors import CheckpointError
from actorflow.events import (
    CheckpointFailedEvent,
    CheckpointSavedEvent,
    ExecutorCompletedEvent,
    ExecutorInvokedEvent,
    MessageDroppedEvent,
    RequestInfoEvent,
    WorkflowEvent,
)
from actorflow.graph.routing import Dropped
from actorflow.runtime.stream import EventSink, Note, made

__all__ = ["Emitter", "request_event"]

_INVOKED = ("executor_id", "delivery_id", "attempt", "data")
_COMPLETED = ("executor_id", "delivery_id", "attempt", "sent", "outputs")


@attrs.define(eq=False)
class _Numbering:
    """What the events of one run are numbered and stamped with, whatever workflow of the tree they tell of."""

    superstep: int = 0
    counter: Iterator[int] = attrs.Factory(lambda: itertools.count(1))
    # Time of day, moved on by trio's clock: under a MockClock the clock's jumps show, and a set clock never does.
    epoch: float = attrs.field(factory=lambda: time.time() - trio.current_time())
    clock: Callable[[], float] = attrs.field(factory=lambda: trio.lowlevel.current_clock().current_time)

    def time(self) -> float:
        """The time of day."""
        return self.epoch + self.clock()


@attrs.define(eq=False)
class Emitter:
    """Numbers and stamps the events of one run.

    Attributes:
        run_id: The run.
        sink: Where events go.
        told: The events that told of requests, by request id; outlives the run.
        path: The executors that nest the workflow this tells of, outermost first.
        in_haste: Whether to tell of saves only what there is room for: the run is on its way out, for a bounded time,
            and a consumer that does not read must not use it up.
    """

    run_id: str
    sink: EventSink
    told: dict[str, RequestInfoEvent] = attrs.Factory(dict)
    in_haste: bool = False
    path: tuple[str, ...] = ()
    _numbering: _Numbering = attrs.Factory(_Numbering)

    @property
    def superstep(self) -> int:
        """Number of the superstep under way."""
        return self._numbering.superstep

    @superstep.setter
    def superstep(self, number: int) -> None:
        self._numbering.superstep = number

    def _note(self, kind: type[WorkflowEvent], fields: Mapping[str, Any]) -> Note:
        numbering = self._numbering
        time = numbering.epoch + numbering.clock()
        head = (kind, self.run_id, next(numbering.counter), time, numbering.superstep, self.path, tuple(fields))
        return (*head, *fields.values()) if fields else head

    def now(self) -> float:
        """The time that an event made now would bear."""
        return self._numbering.time()

    async def emit(self, kind: type[WorkflowEvent], **fields: Any) -> None:
        """Hand over an event of the engine's, if anybody listens. No checkpoint where there is room for it."""
        if self.sink.listening:
            note = self._note(kind, fields)
            if not self.sink.put_nowait(note):
                await self.tell_late(note)

    # What every delivery tells of itself: the same without a coroutine and without a mapping; the sink is known to listen.

    def invoked(self, executor_id: str, delivery_id: str, attempt: int, data: Any) -> Note | None:
        """Tell that an attempt begins.

        Returns:
            What there was no room for, to be given to `tell_late` at once; nearly always None.
        """
        numbering = self._numbering
        note = (
            ExecutorInvokedEvent, self.run_id, next(numbering.counter), numbering.epoch + numbering.clock(),
            numbering.superstep, self.path, _INVOKED, executor_id, delivery_id, attempt, data,
        )  # fmt: skip
        return None if self.sink.put_nowait(note) else note

    def completed(
        self, executor_id: str, delivery_id: str, attempt: int, sent: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> Note | None:
        """Tell that an attempt succeeded.

        Returns:
            As `invoked`.
        """
        numbering = self._numbering
        note = (
            ExecutorCompletedEvent, self.run_id, next(numbering.counter), numbering.epoch + numbering.clock(),
            numbering.superstep, self.path, _COMPLETED, executor_id, delivery_id, attempt, sent, outputs,
        )  # fmt: skip
        return None if self.sink.put_nowait(note) else note

    async def tell_late(self, note: Note) -> None:
        """Hand over an event that there was no room for, once there is."""
        await self.sink.put(made(note))

    async def emit_output(self, kind: type[WorkflowEvent], **fields: Any) -> None:
        """Hand over an event of a handler's doing. A checkpoint, so that a loop of outputs can be cancelled."""
        if self.sink.listening:
            await self.sink.put(made(self._note(kind, fields)))
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    def emit_nowait(self, kind: type[WorkflowEvent], **fields: Any) -> bool:
        """Hand over an event of the engine's if there is room."""
        return not self.sink.listening or self.sink.put_nowait(self._note(kind, fields))

    async def emit_user_event(self, event: WorkflowEvent, delivery_id: str | None) -> None:
        """Fill in the common fields of a user's event and hand it over."""
        sequence = next(self._numbering.counter)
        if self.sink.listening:
            stamped = attrs.evolve(
                event,
                run_id=self.run_id,
                sequence=sequence,
                path=self.path,
                time=self.now(),
                superstep=self.superstep,
                delivery_id=delivery_id,
            )
            await self.sink.put(stamped)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def tell_dropped(self, dropped: Sequence[Dropped]) -> None:
        """Tell of messages that nothing took."""
        for each in dropped:
            await self.emit(
                MessageDroppedEvent,
                reason=each.reason,
                message=each.value,
                source_id=each.source_id,
                target_id=each.target_id,
            )

    async def tell_requests(self, requests: Sequence[PendingRequest]) -> None:
        """Tell of open requests."""
        for request in requests:
            event = self.told[request.id] = request_event(
                request,
                run_id=self.run_id,
                sequence=next(self._numbering.counter),
                path=self.path,
                time=self.now(),
                superstep=self.superstep,
            )
            if self.sink.listening:
                await self.sink.put(event)

    async def saved(self, info: CheckpointInfo) -> None:
        """Tell that a checkpoint is in the storage."""
        await self._tell_of_save(CheckpointSavedEvent, checkpoint_id=info.id, parent_id=info.parent_id)

    async def save_failed(self, error: CheckpointError) -> None:
        """Tell that a checkpoint could not be written."""
        await self._tell_of_save(CheckpointFailedEvent, error=error)

    async def _tell_of_save(self, kind: type[WorkflowEvent], **fields: Any) -> None:
        if self.in_haste:
            self.emit_nowait(kind, **fields)
        else:
            await self.emit(kind, **fields)

    def inside(self, path: tuple[str, ...]) -> Emitter:
        """Tells of a workflow that runs inside, through the same sink and with the same count."""
        return Emitter(self.run_id, self.sink, self.told, path=path, numbering=self._numbering)

    def request_event(self, request: PendingRequest, path: tuple[str, ...] = ()) -> RequestInfoEvent:
        """The event that told of an open request."""
        told = self.told.get(request.id)
        return told or request_event(request, run_id=self.run_id, superstep=self.superstep, path=path)


def request_event(request: PendingRequest, **common: Any) -> RequestInfoEvent:
    """An open request as the event that tells of it.

    Args:
        request: The request.
        common: Values of the common fields.
    """
    return RequestInfoEvent(
        executor_id=request.executor_id,
        request_id=request.id,
        data=request.data,
        response_type=request.response_type,
        due=request.due,
        **common,
    )
