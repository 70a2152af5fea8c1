"""What belongs to one workflow for as long as it lives: its definition, its executors, where it stands, who owns it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from actorflow.events import WorkflowRunState
from actorflow.executors.executor import Executor
from actorflow.runtime.activity import Activity
from actorflow.runtime.definition import Definition
from actorflow.runtime.executor_states import ExecutorStates
from actorflow.runtime.ownership import Ownership
from actorflow.runtime.standing import Standing
from actorflow.runtime.turns import Turns

__all__ = ["WorkflowCore"]


@attrs.define(eq=False)
class WorkflowCore:
    """One workflow's belongings.

    Attributes:
        id: The workflow id.
        definition: The compiled definition, shared with others.
        executors: Its own executors, by id.
        states: Those that keep a state.
        standing: Where it stands; replaced as a whole by a restore.
        ownership: Who may touch all this.
        turns: Which attempts may begin.
        status: State of the latest run.
        activity: Where to look at the run that is under way.
    """

    id: str
    definition: Definition
    executors: Mapping[str, Executor]
    states: ExecutorStates
    standing: Standing
    ownership: Ownership
    turns: Turns
    status: WorkflowRunState = WorkflowRunState.IDLE
    activity: Activity | None = None
