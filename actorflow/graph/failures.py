"""Where failures go: edges that can carry an `ExecutorFailure`, for executors whose policy sends one.

A failure is routed by type before anything else: a condition or selection is asked about it only if some target of its group
takes failures, so that conditions written for an executor's own messages never meet one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from actorflow.core.types import compatible
from actorflow.errors import TypeCompatibilityError
from actorflow.graph.edges import EdgeGroup, FanInEdges
from actorflow.graph.graph import Graph, Node
from actorflow.policy import ExecutorFailure

__all__ = ["check_failure_routes", "may_carry", "takes_failures"]


def takes_failures(graph: Graph, source_id: str) -> bool:
    """Whether some edge of an executor leads to a target that takes an `ExecutorFailure`."""
    return any(
        _may_take(graph.nodes[target], group) for group in graph.outgoing.get(source_id, ()) for target in group.targets
    )


def _may_take(node: Node, group: EdgeGroup) -> bool:
    carried: Any = list[ExecutorFailure] if isinstance(group, FanInEdges) else ExecutorFailure
    return any(compatible(carried, taken) for taken in node.inputs.annotations)


def may_carry(graph: Graph, group: EdgeGroup, failure: ExecutorFailure) -> bool:
    """Whether some target of a group takes this failure; through a join, a list with it."""
    value = [failure] if isinstance(group, FanInEdges) else failure
    return any(graph.nodes[target].inputs.accepts(value) for target in group.targets)


def check_failure_routes(graph: Graph, own: Iterable[str], workflow_wide: Iterable[str]) -> None:
    """Refuse a policy that sends failures where nothing takes them.

    Args:
        graph: The graph.
        own: Executors whose own policy sends.
        workflow_wide: Executors for which the workflow's policy does.

    Raises:
        TypeCompatibilityError: No target of such an executor takes a failure; for a workflow's policy: of none of them.
    """
    for executor_id in own:
        if not takes_failures(graph, executor_id):
            raise TypeCompatibilityError(
                f"executor {executor_id!r} has on_failure='send', and nothing its edges lead to takes an ExecutorFailure; "
                f"add an edge to an executor with a handler for ExecutorFailure, or choose 'drop' or 'fail'"
            )
    covered = list(workflow_wide)
    if covered and not any(takes_failures(graph, executor_id) for executor_id in covered):
        raise TypeCompatibilityError(
            "the workflow's policy has on_failure='send', and no edge leads to an executor that takes an ExecutorFailure; "
            "add a handler for ExecutorFailure, or choose 'drop' or 'fail'"
        )
