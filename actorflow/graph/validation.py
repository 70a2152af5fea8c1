"""What is wrong with a graph, found before anything runs. Each check raises its own error and names the way out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from actorflow.core.types import compatible, describe
from actorflow.errors import (
    DuplicateEdgeError,
    EdgeGroupError,
    GraphConnectivityError,
    OutputDesignationError,
    SwitchCaseError,
    TypeCompatibilityError,
    UnreachableExecutorError,
)
from actorflow.graph.edges import Case, Default, EdgeGroup, FanInEdges, sources_of
from actorflow.graph.graph import Graph, Node

__all__ = ["SelfLoopWarning", "check_ends", "check_function", "check_outputs", "check_switch", "validate"]


class SelfLoopWarning(UserWarning):
    """An executor sends to itself: fine for a loop with an end, endless without one."""


def check_ends(kind: str, where: str, ends: Sequence[str]) -> None:
    """Refuse a group with fewer than two ends, or one end twice."""
    if len(ends) < 2:
        raise EdgeGroupError(f"{kind} {where} needs at least two ends, got {list(ends)}; use add_edge for one")
    doubled = sorted({end for end in ends if ends.count(end) > 1})
    if doubled:
        raise EdgeGroupError(f"{kind} {where} names {doubled} more than once; name each end once")


def check_switch(source: str, cases: Sequence[Case | Default]) -> None:
    """Refuse a switch whose Default is missing, doubled or not last, or that has no case."""
    where = f"the switch after {source!r}"
    strangers = [case for case in cases if not isinstance(case, (Case, Default))]
    if strangers:
        raise SwitchCaseError(
            f"{where} has {strangers[0]!r} among its cases; give Case(condition, target) or Default(target)"
        )
    defaults = [index for index, case in enumerate(cases) if isinstance(case, Default)]
    if not defaults:
        raise SwitchCaseError(f"{where} has no Default; end the list with Default(target)")
    if len(defaults) > 1:
        raise SwitchCaseError(f"{where} has {len(defaults)} Defaults; keep the last one only")
    if defaults[0] != len(cases) - 1:
        raise SwitchCaseError(f"{where} has its Default at position {defaults[0] + 1} of {len(cases)}; put it last")
    if len(cases) < 2:
        raise SwitchCaseError(f"{where} has no Case before its Default; add one, or use add_edge")
    for case in cases:
        if isinstance(case, Case):
            check_function("condition", f"a case of {where}", case.condition)


def check_function(what: str, where: str, function: object) -> None:
    """Refuse a condition or selection that cannot be called, before a message meets it."""
    if not callable(function):
        raise EdgeGroupError(f"the {what} of {where} is {function!r}; it must be a function of the message")


def validate(graph: Graph) -> None:
    """Check a whole graph.

    Raises:
        WorkflowValidationError: The first defect found, as its own subclass.
    """
    _check_duplicates(graph.groups)
    _check_connected(graph)
    for group in graph.groups:
        _check_types(graph, group)
    _warn_of_loops(graph)


def _pairs(group: EdgeGroup) -> list[tuple[str, str]]:
    return [(source, target) for source in sources_of(group) for target in group.targets]


def _check_duplicates(groups: Iterable[EdgeGroup]) -> None:
    seen: dict[tuple[bool, str, str], EdgeGroup] = {}
    for group in groups:
        for source, target in _pairs(group):
            # A join and a plain edge between the same two carry different things: lists, and single messages.
            other = seen.setdefault((isinstance(group, FanInEdges), source, target), group)
            if other is not group:
                raise DuplicateEdgeError(f"{group} repeats {source!r} -> {target!r} of {other}; remove one of them")


def _check_connected(graph: Graph) -> None:
    touched = {end for group in graph.groups for end in (*sources_of(group), *group.targets)}
    isolated = [node for node in graph.nodes if node not in touched and node != graph.start_id]
    if isolated:
        raise GraphConnectivityError(f"executor {isolated[0]!r} has no edge; connect it, or leave it out")
    reached = graph.reach(graph.start_id)
    lost = [node for node in graph.nodes if node not in reached]
    if lost:
        raise UnreachableExecutorError(
            f"no path leads from the start executor {graph.start_id!r} to {lost[0]!r}; add an edge to it, or leave it out"
        )


def _check_types(graph: Graph, group: EdgeGroup) -> None:
    for source, target in _pairs(group):
        sender, receiver = graph.nodes[source], graph.nodes[target]
        sent = sender.output_types
        if isinstance(group, FanInEdges):
            sent = tuple(list[kind] for kind in sent)  # type: ignore[valid-type]
        if any(compatible(kind, taken) for kind in sent for taken in receiver.inputs.annotations):
            continue
        raise TypeCompatibilityError(_mismatch(sender, receiver, sent, group))


def _mismatch(sender: Node, receiver: Node, sent: Sequence[Any], group: EdgeGroup) -> str:
    taken = " | ".join(map(describe, receiver.inputs.annotations)) or "nothing"
    if not sent:
        return (
            f"{group}: executor {sender.id!r} declares no messages to send; annotate its context as "
            f"WorkflowContext[...] with a type that {receiver.id!r} handles ({taken})"
        )
    offered = " | ".join(map(describe, sent))
    return (
        f"{group}: executor {receiver.id!r} cannot take {offered} from {sender.id!r}; it handles {taken}; "
        f"add a handler, or send another type"
    )


def _warn_of_loops(graph: Graph) -> None:
    for group in graph.groups:
        for source, target in _pairs(group):
            if source == target:
                warnings.warn(
                    f"{group} is a self-loop: executor {source!r} must stop sending at some point",
                    SelfLoopWarning,
                    stacklevel=5,  # the caller of build()
                )


def check_outputs(
    nodes: dict[str, Node],
    output_from: Sequence[str] | str | None,
    intermediate_from: Sequence[str] | str | None,
) -> tuple[frozenset[str], frozenset[str]]:
    """Work out which executors' outputs are outputs, and which intermediate; the rest are hidden.

    Args:
        nodes: All executors by id.
        output_from: Ids, "all", or None.
        intermediate_from: Ids, "all", "all_other" (all that `output_from` does not name), or None.

    Returns:
        Ids that emit outputs, ids that emit intermediate outputs.

    Raises:
        OutputDesignationError: Unknown, repeated or overlapping ids, nothing designated, or an executor that yields
            nothing.
    """
    capable = [node.id for node in nodes.values() if node.workflow_output_types]
    if output_from is None and intermediate_from is None:
        return frozenset(capable), frozenset()
    outputs = _designated("output_from", output_from, ("all",), capable, nodes)
    if intermediate_from == "all_other":
        intermediate = [node for node in capable if node not in outputs]
    else:
        intermediate = _designated("intermediate_output_from", intermediate_from, ("all", "all_other"), capable, nodes)
    if not outputs and not intermediate:
        raise OutputDesignationError(
            "output_from and intermediate_output_from designate no executor; name at least one, or leave both out"
        )
    both = sorted(set(outputs) & set(intermediate))
    if both:
        raise OutputDesignationError(f"{both} are in output_from and in intermediate_output_from; keep each in one")
    return frozenset(outputs), frozenset(intermediate)


def _designated(
    argument: str,
    given: Sequence[str] | str | None,
    words: tuple[str, ...],
    capable: list[str],
    nodes: dict[str, Node],
) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str):
        if given == "all":
            return capable
        raise OutputDesignationError(
            f"{argument}={given!r}: give {' or '.join(map(repr, words))}, or a list of executors"
        )
    ids = list(given)
    repeated = sorted({node for node in ids if ids.count(node) > 1})
    if repeated:
        raise OutputDesignationError(f"{argument} names {repeated} more than once")
    for node in ids:
        if node not in nodes:
            raise OutputDesignationError(f"{argument} names {node!r}, which is not an executor of this workflow")
        if node not in capable:
            raise OutputDesignationError(
                f"{argument} names {node!r}, which yields no outputs; annotate WorkflowContext[..., T], or leave it out"
            )
    return ids
