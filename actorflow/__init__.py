"""Durable actor workflows for trio."""

from __future__ import annotations

from actorflow.builder import WorkflowBuilder
from actorflow.checkpoint.memory import InMemoryCheckpointStorage
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo
from actorflow.checkpoint.sqlite import SqliteCheckpointStorage
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.executors.context import WorkflowContext
from actorflow.executors.executor import Executor
from actorflow.executors.function import executor
from actorflow.executors.handlers import handler, response_handler
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
    "Workflow",
    "WorkflowBuilder",
    "WorkflowContext",
    "executor",
    "handler",
    "response_handler",
]
