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
from actorflow.runtime.places import Places
from actorflow.runtime.standing import Standing

__all__ = ["WorkflowCore"]


@attrs.define(eq=False)
class WorkflowCore:
    """One workflow's belongings.

    Attributes:
        id: The workflow id.
        definition: The compiled definition, shared with others.
        places: Its own executors, and the workflows that run inside them.
        standing: Where it stands; replaced as a whole by a restore.
        ownership: Who may touch all this.
        status: State of the latest run.
        activity: Where to look at the run that is under way.
        holder: The executor that holds it, if it runs inside another workflow.
    """

    id: str
    definition: Definition
    places: Places
    standing: Standing
    ownership: Ownership
    status: WorkflowRunState = WorkflowRunState.IDLE
    activity: Activity | None = None
    holder: str | None = None

    @property
    def executors(self) -> Mapping[str, Executor]:
        """Its own executors, by id."""
        return self.places.top.executors

    @property
    def states(self) -> ExecutorStates:
        """The executors that keep a state, those of workflows inside among them."""
        return self.places.states
