"""The compiled graph: what the runtime asks while a workflow runs. Made once per definition, shared by its workflows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs

from actorflow.core.dispatch import TypeDispatch
from actorflow.core.joins import Join
from actorflow.graph.edges import Edge, EdgeGroup, FanInEdges, sources_of

__all__ = ["Graph", "Node", "Straight"]


@attrs.frozen
class Node:
    """An executor as the graph sees it.

    Attributes:
        id: The executor's id.
        type_name: Stable name of its type; part of the signature.
        inputs: What it handles.
        output_types: What it may send.
        workflow_output_types: What it may yield as outputs of the workflow.
        response_types: (request, response) type pairs it can be answered with.
    """

    id: str
    type_name: str
    inputs: TypeDispatch
    output_types: tuple[Any, ...]
    workflow_output_types: tuple[Any, ...]
    response_types: tuple[tuple[Any, Any], ...] = ()


@attrs.frozen(eq=False)
class Straight:
    """The way of an executor's messages where there is one and nobody has to be asked: a single edge without a condition.

    Attributes:
        target: Where it leads.
        inputs: What is handled there.
        source_ids: The executor alone, as deliveries name it.
    """

    target: str
    inputs: TypeDispatch
    source_ids: tuple[str, ...]


@attrs.frozen(eq=False, slots=False)
class Graph:
    """Executors and edges, in declared order.

    Attributes:
        start_id: The executor that gets the input.
        nodes: Executors by id.
        groups: Edge groups, in declared order, which is part of the canonical order of deliveries.
    """

    start_id: str
    nodes: Mapping[str, Node]
    groups: tuple[EdgeGroup, ...]

    @cached_property
    def outgoing(self) -> Mapping[str, tuple[EdgeGroup, ...]]:
        """Edge groups by source, in declared order."""
        by_source: dict[str, list[EdgeGroup]] = {}
        for group in self.groups:
            for source in sources_of(group):
                by_source.setdefault(source, []).append(group)
        return {source: tuple(groups) for source, groups in by_source.items()}

    @cached_property
    def straight(self) -> Mapping[str, Straight]:
        """The executors whose messages have one way to go, and it."""
        return {
            source: Straight(group.target, self.nodes[group.target].inputs, (source,))
            for source, (group, *others) in self.outgoing.items()
            if isinstance(group, Edge) and group.always and not others
        }

    @cached_property
    def joins(self) -> tuple[Join, ...]:
        """Fan-in joins, in declared order."""
        return tuple(group.join for group in self.groups if isinstance(group, FanInEdges))

    @cached_property
    def targets(self) -> Mapping[str, tuple[str, ...]]:
        """Direct successors by executor."""
        return {
            source: tuple(dict.fromkeys(target for group in groups for target in group.targets))
            for source, groups in self.outgoing.items()
        }

    @cached_property
    def _reach(self) -> dict[str, frozenset[str]]:
        return {}

    def reach(self, start: str) -> frozenset[str]:
        """An executor and every executor its messages can lead to."""
        known = self._reach.get(start)
        if known is None:
            known = self._reach[start] = frozenset(self._walk(start))
        return known

    def _walk(self, start: str) -> set[str]:
        seen = {start}
        todo = [start]
        while todo:
            for target in self.targets.get(todo.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return seen
