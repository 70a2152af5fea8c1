"""The tree of workflows that one workflow is: itself, and those that run inside its executors."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from actorflow.core.snapshot import EXECUTORS, Section, Snapshot, inside
from actorflow.core.subworkflows import executor_of, is_isolated
from actorflow.executors.executor import Executor
from actorflow.executors.workflow_executor import WorkflowExecutor
from actorflow.graph.nesting import Names
from actorflow.runtime.definition import Definition
from actorflow.runtime.executor_states import ExecutorStates
from actorflow.runtime.turns import Turns

__all__ = ["Place", "Places", "is_inside", "section_at"]


@attrs.frozen(eq=False)
class Place:
    """One workflow of the tree.

    Attributes:
        names: Names of the children that lead to it; empty for the workflow at the top.
        path: The executors that nest it, outermost first, as events tell them.
        definition: What it was built from.
        executors: Its executors, by id.
        turns: Which attempts may begin.
    """

    names: Names
    path: tuple[str, ...]
    definition: Definition
    executors: Mapping[str, Executor]
    turns: Turns

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

    def forget(self, gone: Collection[Names]) -> None:
        """Let children go, and what runs inside them."""
        for names in [each for each in self._children if is_inside(each, gone)]:
            place = self._children.pop(names)
            self.states.leave(place.executors, place.state_section)

    def isolated(self) -> set[Names]:
        """The children that are for one input."""
        return {names for names in self._children if is_isolated(names[-1])}

    def forget_isolated(self) -> None:
        """Let go of every child that is for one input: the workflow stands somewhere else now."""
        self.forget(self.isolated())

    def forget_all_but(self, snapshot: Snapshot) -> None:
        """Let go of every child that is for one input and that is not part of a state (any more)."""
        self.forget({names for names in self.isolated() if snapshot.find(names) is None})

    def _make(self, names: Names) -> Place:
        parent = self.at(names[:-1])
        executor_id = executor_of(names[-1])
        holder = parent.executors[executor_id]
        assert isinstance(holder, WorkflowExecutor)
        definition, executors = holder.definition, holder.child()
        path = (*parent.path, executor_id)
        turns = Turns(executors.values(), definition.max_concurrency, parent.turns, path)
        place = Place(names, path, definition, executors, turns)
        self.states.join(place.executors, place.state_section)
        # Before its first superstep here it is given what the workflow stands on, which a checkpoint may hold already.
        self.states.mark_stale(map(place.state_section, place.executors))
        return place


def is_inside(names: Names, children: Collection[Names]) -> bool:
    """Whether a level of the tree is one of some children, or within one."""
    return any(names[:depth] in children for depth in range(1, len(names) + 1))


def section_at(names: Names, section: Section) -> Section:
    """A section of one level, as the top addresses it."""
    for child in reversed(names):
        [section] = inside(child, {section: None})
    return section
