"""Durable actor workflows for trio."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actorflow.builder import WorkflowBuilder
    from actorflow.checkpoint.codec.upcasters import Upcaster
    from actorflow.checkpoint.encryption.storage import EncryptedStorage
    from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
    from actorflow.checkpoint.postgres.storage import PostgresCheckpointStorage as PostgresCheckpointStorage
    from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo
    from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
    from actorflow.checkpoint.storage import CheckpointStorage
    from actorflow.core.subworkflows import SubWorkflowRequest, SubWorkflowResponse
    from actorflow.core.timers import RequestTimeout
    from actorflow.durability import Durability
    from actorflow.events import WorkflowRunState
    from actorflow.executors.context import WorkflowContext
    from actorflow.executors.decorators import handler, response_handler
    from actorflow.executors.executor import Executor
    from actorflow.executors.function import executor
    from actorflow.executors.workflow_executor import WorkflowExecutor
    from actorflow.graph.edges import Case, Default
    from actorflow.policy import ExecutorFailure, RateLimit, RestartIntensity, Retry, SupervisionPolicy
    from actorflow.runtime.explanation import Explanation, HeldLease, Inbox, OpenRequest, WaitingJoin, WaitingTimer
    from actorflow.runtime.run import Run
    from actorflow.runtime.run_result import RunResult
    from actorflow.workflow import LATEST, Workflow

# PostgresCheckpointStorage is not among them: a star import must work without its extra.
__all__ = [
    "LATEST",
    "Case",
    "Checkpoint",
    "CheckpointID",
    "CheckpointInfo",
    "CheckpointStorage",
    "Default",
    "Durability",
    "EncryptedStorage",
    "Executor",
    "ExecutorFailure",
    "Explanation",
    "HeldLease",
    "InMemoryCheckpointStorage",
    "Inbox",
    "OpenRequest",
    "RateLimit",
    "RequestTimeout",
    "RestartIntensity",
    "Retry",
    "Run",
    "RunResult",
    "SqliteCheckpointStorage",
    "SubWorkflowRequest",
    "SubWorkflowResponse",
    "SupervisionPolicy",
    "Upcaster",
    "WaitingJoin",
    "WaitingTimer",
    "Workflow",
    "WorkflowBuilder",
    "WorkflowContext",
    "WorkflowExecutor",
    "WorkflowRunState",
    "executor",
    "handler",
    "response_handler",
]

_HOMES = {
    "actorflow.builder": ("WorkflowBuilder",),
    "actorflow.checkpoint.codec.upcasters": ("Upcaster",),
    "actorflow.checkpoint.encryption.storage": ("EncryptedStorage",),
    "actorflow.checkpoint.memory.storage": ("InMemoryCheckpointStorage",),
    "actorflow.checkpoint.records": ("Checkpoint", "CheckpointID", "CheckpointInfo"),
    "actorflow.checkpoint.sqlite.storage": ("SqliteCheckpointStorage",),
    "actorflow.checkpoint.storage": ("CheckpointStorage",),
    "actorflow.core.subworkflows": ("SubWorkflowRequest", "SubWorkflowResponse"),
    "actorflow.core.timers": ("RequestTimeout",),
    "actorflow.durability": ("Durability",),
    "actorflow.events": ("WorkflowRunState",),
    "actorflow.executors.context": ("WorkflowContext",),
    "actorflow.executors.decorators": ("handler", "response_handler"),
    "actorflow.executors.executor": ("Executor",),
    "actorflow.executors.function": ("executor",),
    "actorflow.executors.workflow_executor": ("WorkflowExecutor",),
    "actorflow.graph.edges": ("Case", "Default"),
    "actorflow.policy": ("ExecutorFailure", "RateLimit", "RestartIntensity", "Retry", "SupervisionPolicy"),
    "actorflow.runtime.explanation": (
        "Explanation",
        "HeldLease",
        "Inbox",
        "OpenRequest",
        "WaitingJoin",
        "WaitingTimer",
    ),
    "actorflow.runtime.run": ("Run",),
    "actorflow.runtime.run_result": ("RunResult",),
    "actorflow.workflow": ("LATEST", "Workflow"),
}
"""Where names live. Imported on use, so that `actorflow --help` does not wait for trio, nor a program for what it does not use."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = ("errors", "events", "storage", "testing")


def __getattr__(name: str) -> Any:
    """Import a public name on use, and give the internal Runner to whoever asks for it, with a warning."""
    if name in _HOME_OF:
        found = globals()[name] = getattr(importlib.import_module(_HOME_OF[name]), name)
        return found
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "PostgresCheckpointStorage":
        return _postgres_storage()
    if name == "Runner":
        return _runner()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, and those that every module has; not what this one imports to find them."""
    own = (name for name in globals() if name.startswith("__"))
    return sorted({*own, *__all__, *_ROOMS, "PostgresCheckpointStorage"})


def _postgres_storage() -> Any:
    try:
        import psycopg  # noqa: F401  # to tell a missing extra from a defect
    except ImportError as error:
        raise ImportError(
            f"PostgresCheckpointStorage needs psycopg: pip install 'actorflow[postgres]' ({error})", name="psycopg"
        ) from error
    from actorflow.checkpoint.postgres.storage import PostgresCheckpointStorage

    return PostgresCheckpointStorage


def _runner() -> Any:
    warnings.warn(
        "Runner is internal and may change at any time; run workflows with Workflow.run, stream or start",
        DeprecationWarning,
        stacklevel=3,
    )
    from actorflow.runtime.runner import Runner

    return Runner
