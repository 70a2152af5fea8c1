"""Durable actor workflows for trio."""

from __future__ import annotations

import warnings
from typing import Any

from actorflow.builder import WorkflowBuilder
from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.subworkflows import SubWorkflowRequest, SubWorkflowResponse
from actorflow.events import WorkflowRunState
from actorflow.executors.context import WorkflowContext
from actorflow.executors.decorators import handler, response_handler
from actorflow.executors.executor import Executor
from actorflow.executors.function import executor
from actorflow.executors.workflow_executor import WorkflowExecutor
from actorflow.graph.edges import Case, Default
from actorflow.runtime.run import Run, RunResult
from actorflow.workflow import LATEST, Workflow

__all__ = [
    "LATEST",
    "Case",
    "Checkpoint",
    "CheckpointID",
    "CheckpointInfo",
    "CheckpointStorage",
    "Default",
    "Executor",
    "InMemoryCheckpointStorage",
    "Run",
    "RunResult",
    "SqliteCheckpointStorage",
    "SubWorkflowRequest",
    "SubWorkflowResponse",
    "Workflow",
    "WorkflowBuilder",
    "WorkflowContext",
    "WorkflowExecutor",
    "WorkflowRunState",
    "executor",
    "handler",
    "response_handler",
]


def __getattr__(name: str) -> Any:
    """Give the internal Runner to whoever asks for it, with a warning."""
    if name != "Runner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "Runner is internal and may change at any time; run workflows with Workflow.run, stream or start",
        DeprecationWarning,
        stacklevel=2,
    )
    from actorflow.runtime.runner import Runner

    return Runner
