"""Makes a run's events: fills in the common fields and hands them to the sink, in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
import trio

from actorflow.core.effects import PendingRequest
from actorflow.events import RequestInfoEvent, WorkflowEvent
from actorflow.runtime.stream import EventSink, Note, made

__all__ = ["Emitter"]


@attrs.define(eq=False)
class Emitter:
    """Numbers and stamps the events of one run.

    Attributes:
        run_id: The run.
        sink: Where events go.
        superstep: Number of the superstep under way.
    """

    run_id: str
    sink: EventSink
    superstep: int = 0
    _sequence: int = 0
    # Time of day, moved on by trio's clock: under a MockClock the clock's jumps show, and a set clock never does.
    _epoch: float = attrs.field(factory=lambda: time.time() - trio.current_time())
    _clock: Callable[[], float] = attrs.field(factory=lambda: trio.lowlevel.current_clock().current_time)

    def _note(self, kind: type[WorkflowEvent], fields: dict[str, Any]) -> Note:
        self._sequence += 1
        return kind, self.run_id, self._sequence, self._epoch + self._clock(), self.superstep, fields

    async def emit(self, kind: type[WorkflowEvent], **fields: Any) -> None:
        """Hand over an event of the engine's, if anybody listens. No checkpoint where there is room for it."""
        if self.sink.listening:
            note = self._note(kind, fields)
            if not self.sink.put_nowait(note):
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

    async def emit_user_event(self, event: WorkflowEvent) -> None:
        """Fill in the common fields of a user's event and hand it over."""
        self._sequence += 1
        if self.sink.listening:
            stamped = attrs.evolve(
                event,
                run_id=self.run_id,
                sequence=self._sequence,
                time=self._epoch + self._clock(),
                superstep=self.superstep,
            )
            await self.sink.put(stamped)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    def request_event(self, request: PendingRequest) -> RequestInfoEvent:
        """The event that tells of an open request."""
        self._sequence += 1
        return request_event(
            request,
            run_id=self.run_id,
            sequence=self._sequence,
            time=self._epoch + self._clock(),
            superstep=self.superstep,
        )


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
        **common,
    )
