"""Giving up what a workflow has not finished, in itself and in those that run inside it."""

from __future__ import annotations

from actorflow.core.effects import REMOVED, Delivery
from actorflow.core.snapshot import CHILDREN, INFLIGHT, INPUTS, TIMERS, Changes, Snapshot, inside
from actorflow.core.subworkflows import executor_of, is_isolated
from actorflow.core.timers import Timer
from actorflow.graph.committing import drop_joins
from actorflow.graph.nesting import Names, Scheme, all_requests, is_asking
from actorflow.graph.routing import Dropped

__all__ = ["abandon", "discard"]


def abandon(scheme: Scheme, snapshot: Snapshot, names: Names = ()) -> tuple[Changes, list[tuple[Names, Dropped]]]:
    """Let go of what is in flight, of timers and of what joins hold; open requests stay, with the children that asked.

    Args:
        scheme: The definition's.
        snapshot: What is given up.
        names: Where it is.

    Returns:
        What this changes, addressed from there, and what is lost by it.
    """
    changes: Changes = {}
    lost = [_discarded(delivery) for delivery in snapshot.inflight]
    if snapshot.inflight:
        changes[INFLIGHT] = ()
    lost += drop_joins(scheme.graph, snapshot, changes)
    for turn, given in snapshot.table(INPUTS).items():
        lost.append(Dropped("discarded", given.value, None, given.executor_id))
        changes[INPUTS, turn] = REMOVED
    for name, timer in snapshot.timers.items():
        lost.append(_discarded_timer(scheme, timer))
        changes[TIMERS, name] = REMOVED
    dropped = [(names, each) for each in lost]
    for child, inner in snapshot.children.items():
        nested = scheme.children[executor_of(child)].scheme
        inner_changes, inner_dropped = abandon(nested, inner, (*names, child))
        dropped += inner_dropped
        if is_isolated(child) and not is_asking(nested, inner):
            dropped += discard(inner, (*names, child))
            changes.update(inside(child, dict.fromkeys(inner.sections(), REMOVED)))
            changes[CHILDREN, child] = REMOVED
        else:
            changes.update(inside(child, inner_changes))
    return changes, dropped


def _discarded_timer(scheme: Scheme, timer: Timer) -> Dropped:
    what = timer.what
    if isinstance(what, Delivery):
        return _discarded(what)
    target_id = next((join.target for join in scheme.graph.joins if join.id == what.join_id), None)
    return Dropped("discarded", what.value, what.source_id, target_id)


def discard(snapshot: Snapshot, names: Names) -> list[tuple[Names, Dropped]]:
    """Tell of the open requests of a workflow that is let go, and of those that run inside it."""
    return [
        (each.names, Dropped("discarded", each.request.data, each.request.executor_id, None))
        for each in all_requests(snapshot, names)
    ]


def _discarded(delivery: Delivery) -> Dropped:
    source = delivery.source_ids[0] if len(delivery.source_ids) == 1 else None
    return Dropped("discarded", delivery.value, source, delivery.target_id)
