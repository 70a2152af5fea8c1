"""What a run tells its observers: one frozen class per kind of event, made for ``match``.

A run emits `StartedEvent`, `StatusEvent`, then for each superstep `SuperstepStartedEvent`, the executors' events,
`CheckpointSavedEvent` (with a storage) and `SuperstepCompletedEvent`, and at last a `StatusEvent`. A failed run emits
one `ExecutorFailedEvent` for each attempt that failed, then `FailedEvent`, then `StatusEvent`.

`to_json` and `from_json` carry every event over a wire; `actorflow.event_json.standins` tells how values are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, TypeVar, final

import attrs

from actorflow.event_json.form import EventForm
from actorflow.event_json.standins import Opaque, OpaqueError

__all__ = [
    "CheckpointFailedEvent",
    "CheckpointSavedEvent",
    "ExecutorCompletedEvent",
    "ExecutorFailedEvent",
    "ExecutorInvokedEvent",
    "ExecutorRetryingEvent",
    "FailedEvent",
    "IntermediateEvent",
    "MessageDroppedEvent",
    "Opaque",
    "OpaqueError",
    "OutputEvent",
    "RequestInfoEvent",
    "StartedEvent",
    "StatusEvent",
    "SuperstepCompletedEvent",
    "SuperstepStartedEvent",
    "UnknownEvent",
    "WarningEvent",
    "WorkflowEvent",
    "WorkflowRunState",
    "from_json",
    "to_json",
]

_T = TypeVar("_T", bound="type[WorkflowEvent]")


class WorkflowRunState(StrEnum):
    """Where a workflow's latest run is."""

    IDLE = "IDLE"
    IN_PROGRESS = "IN_PROGRESS"
    IN_PROGRESS_PENDING_REQUESTS = "IN_PROGRESS_PENDING_REQUESTS"
    IDLE_WITH_PENDING_REQUESTS = "IDLE_WITH_PENDING_REQUESTS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@attrs.frozen(kw_only=True)
class WorkflowEvent:
    """The base of all events, and of users' own.

    Subclass it (``@attrs.frozen(kw_only=True)``, with a ``type``) and pass instances to ``ctx.add_event``; the runtime
    fills in the common fields.

    Attributes:
        run_id: The run that emitted it.
        sequence: 1, 2, 3, ... within the run, in the order of emission.
        time: When it was emitted, in seconds since 1970 UTC by the clock of the trio run.
        superstep: The superstep it belongs to; 0 before the first.
        path: The executors that nest the emitting workflow, outermost first.
        delivery_id: The delivery it is about, as ``ctx.delivery_id`` names it; None where it is about none. No two deliveries
            of a tree of workflows share one, so that it says which outputs a failure or a retry makes void.
    """

    type: ClassVar[str] = "event"

    run_id: str = ""
    sequence: int = 0
    time: float = 0.0
    superstep: int = 0
    path: tuple[str, ...] = ()
    delivery_id: str | None = None


RUNTIME_KINDS: dict[str, type[WorkflowEvent]] = {}
"""The runtime's own kinds by their wire name; users cannot emit these."""


def _own(cls: _T) -> _T:
    RUNTIME_KINDS[cls.type] = cls
    return final(cls)


@_own
@attrs.frozen(kw_only=True)
class StartedEvent(WorkflowEvent):
    """A run has begun."""

    type: ClassVar[str] = "started"


@_own
@attrs.frozen(kw_only=True)
class StatusEvent(WorkflowEvent):
    """The run entered a state.

    Attributes:
        status: The state.
    """

    type: ClassVar[str] = "status"

    status: WorkflowRunState


@_own
@attrs.frozen(kw_only=True)
class SuperstepStartedEvent(WorkflowEvent):
    """A superstep's messages are about to be delivered."""

    type: ClassVar[str] = "superstep_started"


@_own
@attrs.frozen(kw_only=True)
class SuperstepCompletedEvent(WorkflowEvent):
    """A superstep's effects are committed."""

    type: ClassVar[str] = "superstep_completed"


@_own
@attrs.frozen(kw_only=True)
class ExecutorInvokedEvent(WorkflowEvent):
    """An executor begins to handle a delivery: whatever was streamed for that delivery before is void.

    Attributes:
        executor_id: The executor.
        data: The message.
        attempt: 1 for the first attempt.
    """

    type: ClassVar[str] = "executor_invoked"

    executor_id: str
    data: Any = None
    attempt: int = 1


@_own
@attrs.frozen(kw_only=True)
class ExecutorCompletedEvent(WorkflowEvent):
    """An executor handled a delivery; its effects take place when the superstep commits.

    Attributes:
        executor_id: The executor.
        sent: The messages it sent.
        outputs: The outputs it yielded, hidden ones included.
        attempt: The attempt that succeeded.
    """

    type: ClassVar[str] = "executor_completed"

    executor_id: str
    sent: tuple[Any, ...] = ()
    outputs: tuple[Any, ...] = ()
    attempt: int = 1


@_own
@attrs.frozen(kw_only=True)
class ExecutorFailedEvent(WorkflowEvent):
    """An attempt at a delivery failed: what it streamed is void.

    An `ExecutorRetryingEvent` follows if another is to be made; if not, the failure does what the policy says.

    Attributes:
        executor_id: The executor.
        error: The handler's exception.
        attempt: The attempt.
    """

    type: ClassVar[str] = "executor_failed"

    executor_id: str
    error: BaseException
    attempt: int = 1


@_own
@attrs.frozen(kw_only=True)
class ExecutorRetryingEvent(WorkflowEvent):
    """An attempt failed and another will be made; outputs streamed by the failed attempt are void.

    What is void is whatever was streamed so far for the deliveries that `voids` names: the one that is tried again or, when the
    executor was restarted, all it had in this superstep. No `RunResult` ever has it.

    Attributes:
        executor_id: The executor.
        attempt: The attempt that will be made.
        delay: Seconds until then.
        error: Why the one before it failed.
        restarted: Whether the executor is restarted, and handles the deliveries of this superstep again from the first.
        voids: Ids of the deliveries whose outputs and events up to here are void.
    """

    type: ClassVar[str] = "executor_retrying"

    executor_id: str
    attempt: int
    delay: float
    error: BaseException
    restarted: bool = False
    voids: tuple[str, ...] = ()


@_own
@attrs.frozen(kw_only=True)
class MessageDroppedEvent(WorkflowEvent):
    """Nothing took a message.

    Attributes:
        reason: no_edge, no_such_target, type, condition, join_incomplete or discarded.
        message: The message.
        source_id: The executor that sent it; None for the input of a run.
        target_id: The executor it was meant for, where one is known.
    """

    type: ClassVar[str] = "message_dropped"

    reason: str
    message: Any
    source_id: str | None = None
    target_id: str | None = None


@_own
@attrs.frozen(kw_only=True)
class OutputEvent(WorkflowEvent):
    """An output of the workflow, streamed as it is made.

    Attributes:
        executor_id: The executor that yielded it.
        data: The value.
        attempt: The attempt that made it.
    """

    type: ClassVar[str] = "output"

    executor_id: str
    data: Any
    attempt: int = 1


@_own
@attrs.frozen(kw_only=True)
class IntermediateEvent(WorkflowEvent):
    """An intermediate output: progress for an observer, not a result.

    Attributes:
        executor_id: The executor that yielded it.
        data: The value.
        attempt: The attempt that made it.
    """

    type: ClassVar[str] = "intermediate"

    executor_id: str
    data: Any
    attempt: int = 1


@_own
@attrs.frozen(kw_only=True)
class RequestInfoEvent(WorkflowEvent):
    """An executor asks the outside world.

    Attributes:
        executor_id: The executor that asks.
        request_id: What to answer to.
        data: The request.
        response_type: The type an answer must have.
        due: When the request expires, in seconds since 1970 UTC; None if it does not.
    """

    type: ClassVar[str] = "request_info"

    executor_id: str
    request_id: str
    data: Any
    response_type: Any
    due: float | None = None


@_own
@attrs.frozen(kw_only=True)
class CheckpointSavedEvent(WorkflowEvent):
    """A checkpoint is in the storage.

    Attributes:
        checkpoint_id: The checkpoint.
        parent_id: The checkpoint its state was derived from.
    """

    type: ClassVar[str] = "checkpoint_saved"

    checkpoint_id: str
    parent_id: str | None = None


@_own
@attrs.frozen(kw_only=True)
class CheckpointFailedEvent(WorkflowEvent):
    """A checkpoint could not be written.

    Attributes:
        error: The storage's error.
    """

    type: ClassVar[str] = "checkpoint_failed"

    error: BaseException


@_own
@attrs.frozen(kw_only=True)
class WarningEvent(WorkflowEvent):
    """Something an operator should know that is no error.

    Attributes:
        message: What it is.
    """

    type: ClassVar[str] = "warning"

    message: str


@_own
@attrs.frozen(kw_only=True)
class FailedEvent(WorkflowEvent):
    """The run failed; the same exception is raised to its caller.

    Attributes:
        error: The exception.
    """

    type: ClassVar[str] = "failed"

    error: BaseException


@final
@attrs.frozen(kw_only=True)
class UnknownEvent(WorkflowEvent):
    """Stands in for a user's event whose class the reader of a text was not given; `to_json` writes the text again.

    Attributes:
        kind: Its ``type``.
        type_name: Its class, where the text names one.
        fields: Its own fields.
    """

    type: ClassVar[str] = "unknown"

    kind: str
    type_name: str | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


_FORM = EventForm(WorkflowEvent, RUNTIME_KINDS, UnknownEvent, (WorkflowRunState,))


def to_json(event: WorkflowEvent) -> str:
    """Write an event as a JSON object: ``type``, the common fields, the kind's own. It works for every value.

    Plain JSON values are written as they are, all others in a tagged form that a person can read.

    Args:
        event: Any event.

    Raises:
        TypeError: It is no event.
    """
    return _FORM.write(event)


def from_json(text: str | bytes, types: Iterable[Any] = ()) -> WorkflowEvent:
    """Read an event.

    Builtin values, builtin exceptions and those of `actorflow.errors` come back exactly. So do instances and types of the
    classes given; without its class an instance comes back as an `Opaque`, an exception as an `OpaqueError`, an event as
    an `UnknownEvent`. What could only be written by its repr is an `Opaque` too. No constructor runs, nothing is imported.

    Args:
        text: What `to_json` wrote.
        types: Classes that values may have, and users' own kinds of event.

    Raises:
        EventFormatError: The text is not the JSON of an event.
        ValueError: Two of the types have one name, or one is no class.
        TypeError: The text is neither str nor bytes.
    """
    event: WorkflowEvent = _FORM.read(text, types)
    return event
