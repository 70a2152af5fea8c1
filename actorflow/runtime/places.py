"""The tree of workflows that one workflow is: itself, and those that run inside its executors."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from actorflow.core.snapshot import EXECUTORS, Section, inside
from actorflow.core.subworkflows import executor_of, is_isolated
from actorflow.executors.executor import Executor
from actorflow.executors.workflow_executor import WorkflowExecutor
from actorflow.graph.nesting import Names
from actorflow.runtime.definition import Definition
from actorflow.runtime.executor_states import ExecutorStates

__all__ = ["Place", "Places"]


@attrs.frozen(eq=False)
class Place:
    """One workflow of the tree.

    Attributes:
        names: Names of the children that lead to it; empty for the workflow at the top.
        path: The executors that nest it, outermost first, as events tell them.
        definition: What it was built from.
        executors: Its executors, by id.
    """

    names: Names
    path: tuple[str, ...]
    definition: Definition
    executors: Mapping[str, Executor]

    def state_section(self, executor_id: str) -> Section:
        """Where the state of one of its executors is kept."""
        return section_at(self.names, (EXECUTORS, executor_id))


@attrs.define(eq=False)
class Places:
    """Knows the workflows of one tree; makes children when they are first asked for.

    Attributes:
        top: The workflow itself.
        states: The executors of the whole tree that keep a state.
    """

    top: Place
    states: ExecutorStates
    _children: dict[Names, Place] = attrs.Factory(dict)

    def at(self, names: Names) -> Place:
        """The workflow that names lead to."""
        if not names:
            return self.top
        known = self._children.get(names)
        if known is None:
            known = self._children[names] = self._make(names)
        return known

    def forget(self, names: Names) -> None:
        """Let a child go, and what runs inside it."""
        for each in [*self._children]:
            if each[: len(names)] == names:
                place = self._children.pop(each)
                self.states.leave(place.executors, place.state_section)

    def forget_isolated(self) -> None:
        """Let go of every child that is for one input: the workflow stands somewhere else now."""
        for names in [*self._children]:
            if names in self._children and is_isolated(names[-1]):
                self.forget(names)

    def _make(self, names: Names) -> Place:
        parent = self.at(names[:-1])
        executor_id = executor_of(names[-1])
        holder = parent.executors[executor_id]
        assert isinstance(holder, WorkflowExecutor)
        place = Place(names, (*parent.path, executor_id), holder.definition, holder.child())
        self.states.join(place.executors, place.state_section)
        # Before its first superstep here it is given what the workflow stands on, which a checkpoint may hold already.
        self.states.mark_stale(map(place.state_section, place.executors))
        return place


def section_at(names: Names, section: Section) -> Section:
    """A section of one level, as the top addresses it."""
    for child in reversed(names):
        [section] = inside(child, {section: None})
    return section
