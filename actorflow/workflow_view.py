"""What a workflow tells of itself; nothing here runs it or waits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from actorflow.checkpoint.records import Checkpoint, CheckpointID
from actorflow.core.subworkflows import path_of
from actorflow.events import RequestInfoEvent, WorkflowRunState
from actorflow.executors.executor import Executor
from actorflow.graph.nesting import request_types
from actorflow.runtime.definition import Definition
from actorflow.runtime.emitter import request_event
from actorflow.runtime.explaining import explain
from actorflow.runtime.explanation import Explanation
from actorflow.runtime.opening import requests_of
from actorflow.runtime.ownership import RunToken
from actorflow.runtime.restoring import decode_checkpoint
from actorflow.runtime.workflow_core import WorkflowCore

__all__ = ["WorkflowView"]


class WorkflowView:
    """The part of a `actorflow.Workflow` that looks: what it is made of, where it stands, what it waits for."""

    def __init__(self, core: WorkflowCore) -> None:
        self._core = core

    def explain(self) -> Explanation:
        """Say what the workflow waits for, or what its last run left: a plain call, at any time."""
        return explain(self._core)

    @property
    def name(self) -> str:
        """Name of the definition."""
        return self._core.definition.name

    @property
    def description(self) -> str | None:
        """What it is for."""
        return self._core.definition.description

    @property
    def id(self) -> str:
        """The durable identity whose checkpoints form one lineage."""
        return self._core.id

    @property
    def status(self) -> WorkflowRunState:
        """State of the latest run; IDLE before the first."""
        return self._core.status

    @property
    def graph_signature(self) -> str:
        """What a checkpoint must match to be restored here."""
        return self._core.definition.signature

    @property
    def input_types(self) -> tuple[Any, ...]:
        """Types of message the start executor takes."""
        graph = self._core.definition.graph
        return graph.nodes[graph.start_id].inputs.annotations

    @property
    def output_types(self) -> tuple[Any, ...]:
        """Types of output its runs may yield."""
        definition = self._core.definition
        kinds = (kind for id_ in definition.outputs for kind in definition.graph.nodes[id_].workflow_output_types)
        return tuple(dict.fromkeys(kinds))

    @property
    def executors(self) -> Mapping[str, Executor]:
        """Its executors by id."""
        return MappingProxyType(dict(self._core.executors))

    @property
    def pending_requests(self) -> Mapping[str, RequestInfoEvent]:
        """Open requests by id, in the order they were made."""
        snapshot = self._core.standing.snapshot
        run_id = snapshot.mark.origin if snapshot.mark else ""
        told = self._core.standing.told
        events = {
            id_: told.get(id_)
            or request_event(each.request, run_id=run_id, superstep=snapshot.superstep, path=path_of(each.names))
            for id_, each in requests_of(self._core.definition, snapshot).items()
        }
        return MappingProxyType(events)

    @property
    def request_types(self) -> tuple[tuple[Any, Any], ...]:
        """(request, response) type pairs its runs may ask for."""
        return tuple(request_types(self._core.definition))

    @property
    def head(self) -> CheckpointID | None:
        """The checkpoint its state stands on; None if it was derived from none."""
        return self._core.standing.head_id

    @property
    def stored_types(self) -> tuple[Any, ...]:
        """Every type that its stored values may have, as annotated; what the tools of a storage take as ``types``."""
        return self._core.definition.annotations

    def check_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Decode all of a checkpoint, as taking it up would, and let the result go; for ``storage.fsck(check=...)``.

        Raises:
            GraphMismatchError: It was made by another graph.
            CheckpointError: It cannot be decoded (CodecError), or was written in a later format.
        """
        decode_checkpoint(self._core.definition, checkpoint)

    # As part of another workflow.

    @property
    def definition(self) -> Definition:
        """What it was built from."""
        return self._core.definition

    @property
    def holder(self) -> str | None:
        """The executor of another workflow that it runs inside, if any."""
        return self._core.holder

    def be_held_by(self, executor_id: str) -> None:
        """Belong to an executor for good: it is not run by itself any more. For `WorkflowExecutor`.

        Raises:
            WorkflowBusyError: A run of its own is under way.
        """
        token = RunToken(f"executor {executor_id!r}")
        self._core.ownership.acquire_nowait(token)
        self._core.ownership.release(token)
        self._core.holder = executor_id
