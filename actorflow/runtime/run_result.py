"""RunResult: what a run came to."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs

from actorflow.checkpoint.records import CheckpointID
from actorflow.events import RequestInfoEvent, WorkflowEvent, WorkflowRunState
from actorflow.runtime.stream import EventLog

__all__ = ["RunResult"]


@attrs.frozen(kw_only=True)
class RunResult:
    """What a run came to.

    Attributes:
        outputs: Outputs it committed since it began, in canonical order. For a resumed run, since the entry or responses
            checkpoint that began the interrupted one.
        intermediate_outputs: The same for intermediate outputs.
        requests: The requests that are open at its end.
        status: How it ended.
        supersteps: Number of supersteps committed since it began, counted like `outputs`.
        checkpoint_id: The checkpoint it ended on; None without a storage.
    """

    outputs: list[Any]
    intermediate_outputs: list[Any]
    requests: tuple[RequestInfoEvent, ...]
    status: WorkflowRunState
    supersteps: int
    checkpoint_id: CheckpointID | None
    _log: EventLog | None = attrs.field(default=None, eq=False, repr=False)

    @cached_property
    def events(self) -> list[WorkflowEvent]:
        """The events of a ``run()``; empty for a stream, which had them."""
        return [] if self._log is None else self._log.events
