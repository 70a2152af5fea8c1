"""How a run's end is told: its result, and its last events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from actorflow.checkpoint.records import CheckpointID
from actorflow.core.effects import OutputKind
from actorflow.core.snapshot import Snapshot
from actorflow.core.subworkflows import LocatedRequest, path_of
from actorflow.events import (
    ExecutorFailedEvent,
    FailedEvent,
    MessageDroppedEvent,
    RequestInfoEvent,
    StatusEvent,
    WorkflowEvent,
    WorkflowRunState,
)
from actorflow.runtime.run_result import RunResult
from actorflow.runtime.slot import Slot
from actorflow.runtime.stream import EventLog, EventSink

__all__ = ["EndEvent", "end_events", "leaf", "result_of"]

EndEvent = tuple[type[WorkflowEvent], dict[str, Any]]
"""An event to be made: its kind and the kind's own fields."""


def result_of(
    snapshot: Snapshot,
    requests: Sequence[RequestInfoEvent],
    sink: EventSink,
    status: WorkflowRunState,
    checkpoint_id: CheckpointID | None,
) -> RunResult:
    """What a run came to.

    Args:
        snapshot: Where it ended.
        requests: The open requests, as the events that told of them.
        sink: Where its events went.
        status: How it ended.
        checkpoint_id: The checkpoint it ended on, if it had a storage.
    """
    outputs, mark = snapshot.outputs, snapshot.mark
    return RunResult(
        outputs=[output.value for output in outputs if output.kind is OutputKind.OUTPUT],
        intermediate_outputs=[output.value for output in outputs if output.kind is OutputKind.INTERMEDIATE],
        requests=tuple(requests),
        status=status,
        log=sink if isinstance(sink, EventLog) else None,
        supersteps=snapshot.superstep - (mark.begun_at if mark else 0),
        checkpoint_id=checkpoint_id,
    )


def end_events(
    failed: Sequence[Slot],
    lost: Sequence[tuple[LocatedRequest, Any]],
    failure: BaseException | None,
    status: WorkflowRunState,
) -> Iterator[EndEvent]:
    """The last events of a run.

    Args:
        failed: Deliveries that failed, in canonical order.
        lost: Answers that were taken and not committed; their requests are open still.
        failure: What the run raises.
        status: How it ended.
    """
    for slot in failed:
        told: dict[str, Any] = {"executor_id": slot.delivery.target_id, "error": slot.error, "attempt": slot.attempt}
        told["delivery_id"] = slot.delivery_id
        yield ExecutorFailedEvent, told | ({"path": slot.place.path} if slot.place.path else {})
    for located, value in lost:
        target_id, path = located.request.executor_id, path_of(located.names)
        dropped = {"reason": "discarded", "message": value, "source_id": None, "target_id": target_id}
        yield MessageDroppedEvent, dropped | ({"path": path} if path else {})
    if failure is not None:
        yield FailedEvent, {"error": failure}
    yield StatusEvent, {"status": status}


def leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain exception of a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
