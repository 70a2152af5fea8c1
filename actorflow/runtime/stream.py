"""Event sinks: where a run's events go. Bounded everywhere (P11), and free where nobody listens."""

from __future__ import annotations

from typing import Any, Protocol

import attrs
import trio

from actorflow.events import OutputEvent, WorkflowEvent

__all__ = ["EventChannel", "EventLog", "EventSink", "NoSink", "Note", "OutputChannel", "made"]

_YIELD_EVERY = 64

Note = tuple[Any, ...]
"""An event yet to be made: kind, run id, sequence, time, superstep, path, names of the kind's own fields, then their values.

One flat tuple: a run of ten thousand deliveries keeps twice as many, and each object in them is one more for the collector."""


def made(note: Note) -> WorkflowEvent:
    """The event that was noted."""
    kind, run_id, sequence, time, superstep, path, names, *values = note
    fields = {"path": path, **dict(zip(names, values, strict=True))}  # a run's end tells of children, with their path
    event: WorkflowEvent = kind(run_id=run_id, sequence=sequence, time=time, superstep=superstep, **fields)
    return event


class EventSink(Protocol):
    """Takes a run's events, in order."""

    @property
    def listening(self) -> bool:
        """Whether anybody will see an event: if not, it need not be made."""
        ...

    async def put(self, event: WorkflowEvent) -> None:
        """Take an event, waiting for room. If cancelled, the event may be lost."""
        ...

    def put_nowait(self, note: Note) -> bool:
        """Take what the engine tells if there is room, and say whether there was."""
        ...

    def close(self) -> None:
        """No more events will come."""
        ...


@attrs.define(eq=False)
class NoSink:
    """For callers that only wait for the result."""

    listening: bool = attrs.field(default=False, init=False)

    async def put(self, event: WorkflowEvent) -> None:
        """Let the event go."""

    def put_nowait(self, note: Note) -> bool:  # noqa: ARG002
        """Let the event go."""
        return True

    def close(self) -> None:
        """Do nothing."""


@attrs.define(eq=False)
class EventLog:
    """Keeps the events of one ``run()`` for its result.

    What the engine tells stays a note until somebody looks: noting costs a third of making, and most callers never look.
    """

    _kept: list[WorkflowEvent | Note] = attrs.Factory(list)
    listening: bool = attrs.field(default=True, init=False)

    @property
    def events(self) -> list[WorkflowEvent]:
        """The events so far."""
        return [made(each) if isinstance(each, tuple) else each for each in self._kept]

    async def put(self, event: WorkflowEvent) -> None:
        """Keep the event; now and then let other tasks run, so that a handler's output loop cannot starve them."""
        self._kept.append(event)
        if len(self._kept) % _YIELD_EVERY:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()

    def put_nowait(self, note: Note) -> bool:
        """Keep the note."""
        self._kept.append(note)
        return True

    def close(self) -> None:
        """Do nothing."""


@attrs.define(eq=False)
class EventChannel:
    """Sends events through a bounded memory channel; a full one holds the run back.

    A consumer that closed its end has left: its events go nowhere from then on, and the run goes on.

    Attributes:
        receiver: The consumer's end.
        abandoned: Whether the consumer reads no more, though its end is open: nobody waits for room then.
    """

    _sender: trio.MemorySendChannel[WorkflowEvent]
    receiver: trio.MemoryReceiveChannel[WorkflowEvent]
    listening: bool = attrs.field(default=True, init=False)
    abandoned: bool = attrs.field(default=False, init=False)

    @classmethod
    def of_size(cls, buffer: int) -> EventChannel:
        """A channel that holds `buffer` unread events."""
        return cls(*trio.open_memory_channel[WorkflowEvent](buffer))

    async def put(self, event: WorkflowEvent) -> None:
        """Send the event, waiting for room."""
        try:
            self._sender.send_nowait(event)
        except trio.WouldBlock:
            if not self.abandoned:
                await self._put_when_there_is_room(event)
        except trio.BrokenResourceError:
            self.listening = False
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _put_when_there_is_room(self, event: WorkflowEvent) -> None:
        try:
            await self._sender.send(event)
        except trio.BrokenResourceError:
            self.listening = False

    def put_nowait(self, note: Note) -> bool:
        """Make the event and send it if there is room."""
        try:
            self._sender.send_nowait(made(note))
        except trio.WouldBlock:
            return False
        except trio.BrokenResourceError:
            self.listening = False
        return True

    def close(self) -> None:
        """End the consumer's iteration, once it has read what is there."""
        self._sender.close()

    def detach(self) -> None:
        """Let unread and future events go: close the consumer's end."""
        self.listening = False
        self.receiver.close()


@attrs.define(eq=False)
class OutputChannel(trio.abc.ReceiveChannel[Any]):
    """A view of a run's event channel that passes the workflow's own output values and lets the rest go.

    It reads the same channel as ``run.events``: use one of the two.
    """

    _events: trio.MemoryReceiveChannel[WorkflowEvent]

    async def receive(self) -> Any:
        """Wait for the next output value. If cancelled, no output is lost.

        Raises:
            trio.EndOfChannel: The run has ended.
        """
        while True:
            event = await self._events.receive()
            if isinstance(event, OutputEvent) and not event.path:
                return event.data

    def close(self) -> None:
        """Stop listening."""
        self._events.close()

    async def aclose(self) -> None:
        """Stop listening."""
        self._events.close()
        await trio.lowlevel.checkpoint()
