"""What handlers see of the run they work in: the port behind every `WorkflowContext` of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import trio

from actorflow.core.effects import Output, OutputKind
from actorflow.core.merge import Reducer
from actorflow.core.snapshot import STATE
from actorflow.errors import RequestIdError
from actorflow.events import IntermediateEvent, OutputEvent, WorkflowEvent
from actorflow.runtime.definition import Definition
from actorflow.runtime.emitter import Emitter
from actorflow.runtime.standing import Standing

__all__ = ["RunPort"]


@attrs.define(eq=False)
class RunPort:
    """One run, as its handlers see it.

    Attributes:
        definition: Reducers, and who sees whose outputs.
        standing: The committed state.
        emitter: Where outputs and events go.
        config: The mapping given to this run.
    """

    definition: Definition
    standing: Standing
    emitter: Emitter
    config: Mapping[str, Any]

    @property
    def superstep(self) -> int:
        """Number of the superstep under way."""
        return self.emitter.superstep

    @property
    def state(self) -> Mapping[str, Any]:
        """The shared state as the previous superstep left it."""
        return self.standing.snapshot.table(STATE)

    @property
    def reducers(self) -> Mapping[str, Reducer]:
        """Reducers by key."""
        return self.definition.reducers

    def output_kind(self, executor_id: str) -> OutputKind:
        """Who sees an executor's outputs."""
        return self.definition.output_kind(executor_id)

    def delivery_id(self, index: int) -> str:
        """The stable id of a delivery: the run that began its history, its superstep, its place in the canonical order."""
        mark = self.standing.snapshot.mark
        assert mark is not None
        return f"{mark.origin}-{self.superstep}-{index}"

    def check_request_id(self, request_id: str) -> None:
        """Refuse the id of a request that is open already."""
        if request_id in self.standing.snapshot.requests:
            raise RequestIdError(f"request id {request_id!r} belongs to an open request; give each request its own")

    async def stream_output(self, output: Output, attempt: int) -> None:
        """Hand an output to whoever listens."""
        if output.kind is OutputKind.HIDDEN:
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        kind = OutputEvent if output.kind is OutputKind.OUTPUT else IntermediateEvent
        await self.emitter.emit_output(kind, executor_id=output.executor_id, data=output.value, attempt=attempt)

    async def stream_event(self, event: WorkflowEvent) -> None:
        """Hand a user's event to whoever listens."""
        await self.emitter.emit_user_event(event)
