"""Routing: from messages to the next superstep's deliveries, in canonical order.

`route` is a generator that yields what users' conditions returned and is sent the final values, so it never waits.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from typing import Any

import attrs

from actorflow.core.effects import Delivery, Sent
from actorflow.core.joins import Held, fire_joins
from actorflow.graph.edges import EdgeGroup, FanInEdges
from actorflow.graph.failures import may_carry
from actorflow.graph.graph import Graph
from actorflow.policy import ExecutorFailure

__all__ = ["Dropped", "Routing", "join_up", "route", "route_straight"]


@attrs.frozen
class Dropped:
    """A message that nothing took.

    Attributes:
        reason: no_edge, no_such_target, type, condition, join_incomplete or discarded.
        value: The message.
        source_id: The executor that sent it; None for the input of a run.
        target_id: The executor it was meant for, where one is known.
    """

    reason: str
    value: Any
    source_id: str | None
    target_id: str | None


@attrs.define(eq=False)
class Routing:
    """Where a superstep's messages went.

    Attributes:
        deliveries: For the next superstep, in canonical order.
        arrivals: What arrived at joins, by join id and source.
        dropped: What nothing took.
    """

    deliveries: list[Delivery] = attrs.Factory(list)
    arrivals: dict[str, dict[str, list[Any]]] = attrs.Factory(dict)
    dropped: list[Dropped] = attrs.Factory(list)

    def arrive(self, join_id: str, source_id: str, value: Any) -> None:
        """Put a message into a join."""
        self.arrivals.setdefault(join_id, {}).setdefault(source_id, []).append(value)


def route_straight(graph: Graph, source_id: str, sent: Sent, into: Routing) -> bool:
    """Route a message that has one way to go and may go it; False leaves everything to `route`.

    What most messages do: `route`, a generator with every case in it, was 5% of what one costs in a pool.
    """
    way, value = graph.straight.get(source_id), sent.value
    if way is None or sent.target_id is not None or type(value) is ExecutorFailure or not way.inputs.accepts(value):
        return False
    into.deliveries.append(Delivery(way.target, value, way.source_ids))
    return True


def route(graph: Graph, source_id: str, sent: Sent, into: Routing) -> Generator[Any, Any, None]:
    """Route one message: edge groups in declared order, targets in declared order within each.

    Args:
        graph: The graph.
        source_id: The executor that sent it.
        sent: The message.
        into: Collects the result.

    Yields:
        What a condition or selection returned; send back its final value.
    """
    value, aim = sent.value, sent.target_id
    taken = False
    reason = "no_such_target" if aim is not None and aim not in graph.nodes else "no_edge"
    for group in graph.outgoing.get(source_id, ()):
        if aim is not None and aim not in group.targets:
            continue
        if type(value) is ExecutorFailure and not may_carry(graph, group, value):
            reason = "type"
            continue
        chosen = group.targets if group.always else (yield from _choose(group, value))
        if aim is not None:
            chosen = (aim,) if aim in chosen else ()
        if not chosen and reason != "type":
            reason = "condition"
        for target in chosen:
            if isinstance(group, FanInEdges):
                into.arrive(group.join.id, source_id, value)
                taken = True
            elif graph.nodes[target].inputs.accepts(value):
                into.deliveries.append(Delivery(target, value, (source_id,)))
                taken = True
            else:
                reason = "type"
    if not taken:
        into.dropped.append(Dropped(reason, value, source_id, aim or _only_target(graph, source_id)))


def _choose(group: EdgeGroup, value: Any) -> Generator[Any, Any, Sequence[str]]:
    try:
        return (yield from group.choose(value))
    except Exception as error:
        error.add_note(f"raised by the function of {group}, for a message of type {type(value).__name__}")
        raise


def _only_target(graph: Graph, source_id: str) -> str | None:
    targets = graph.targets.get(source_id, ())
    return targets[0] if len(targets) == 1 else None


def join_up(
    graph: Graph,
    held: dict[str, Held],
    routing: Routing,
    waiting: Iterable[str],
    coming: Collection[tuple[str, str]] = (),
) -> dict[str, Held]:
    """Add arrivals to what joins hold, fire those that can fire, and deliver their lists.

    Args:
        graph: The graph.
        held: What each join holds after the previous superstep.
        routing: This superstep's routing; firings are appended to its deliveries.
        waiting: Executors that an open request or timer will wake.
        coming: Join id and source of every message that a timer will bring to a join.

    Returns:
        What each join that changed holds now; empty for one that fired.
    """
    changed: dict[str, Held] = {}
    for join_id, arrived in routing.arrivals.items():
        before = held.get(join_id, {})
        changed[join_id] = {
            **before,
            **{source: (*before.get(source, ()), *values) for source, values in arrived.items()},
        }
    now = {**held, **changed}
    live = [*(delivery.target_id for delivery in routing.deliveries), *waiting]
    for firing in fire_joins(graph.joins, now, live, graph.reach, coming):
        changed[firing.join.id] = {}
        _deliver_list(graph, firing.join.target, firing.values, firing.source_ids, routing)
    return changed


def _deliver_list(graph: Graph, target: str, values: list[Any], source_ids: tuple[str, ...], routing: Routing) -> None:
    if graph.nodes[target].inputs.accepts(values):
        routing.deliveries.append(Delivery(target, values, source_ids))
    else:
        routing.dropped.append(Dropped("type", values, source_ids[0] if len(source_ids) == 1 else None, target))
