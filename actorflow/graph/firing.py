"""Timers at a commit: a delayed message becomes timers, and what is due by now becomes deliveries."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from actorflow.core.effects import REMOVED, Delivery, PendingRequest, Sent
from actorflow.core.schedule import Waiting, Wakes
from actorflow.core.snapshot import REQUESTS, TIMERS, Changes, Snapshot
from actorflow.core.timers import Arrival, RequestTimeout, Timer
from actorflow.graph.graph import Graph
from actorflow.graph.routing import Routing, route

__all__ = ["fire_due", "route_later", "wakes_after"]


def route_later(  # noqa: PLR0917 - the arguments of `route`, and when
    graph: Graph, source_id: str, sent: Sent, now: float, superstep: int, into: Routing, timers: list[Timer]
) -> Generator[Any, Any, None]:
    """Route a delayed message at once: conditions are asked now, and what nothing takes is dropped now.

    Args:
        graph: The graph.
        source_id: The executor that sent it.
        sent: The message.
        now: The time its delay counts from.
        superstep: The superstep that sent it.
        into: Collects what nothing took.
        timers: Collects what will be delivered.

    Yields:
        What a condition or selection returned; send back its final value.
    """
    routing = Routing(dropped=into.dropped)
    yield from route(graph, source_id, sent, routing)
    what: list[Delivery | Arrival] = [*routing.deliveries]
    what += [Arrival(join_id, source_id, value) for join_id, by in routing.arrivals.items() for value in by[source_id]]
    timers += [Timer(now + sent.delay, superstep, index, each) for index, each in enumerate(what, len(timers))]


def fire_due(
    snapshot: Snapshot, now: float, settled: Iterable[PendingRequest], routing: Routing, changes: Changes
) -> list[Waiting]:
    """Put in flight what is due by now, after what is there, in order of due time.

    Args:
        snapshot: Has the timers and requests.
        now: The time.
        settled: Requests that have an answer already: it was first.
        routing: Collects deliveries, and arrivals at joins.
        changes: Collects what is no longer waiting.

    Returns:
        What fired.
    """
    first = snapshot.schedule.next_due()
    if first is None or first > now:  # nearly always
        return []
    due = snapshot.schedule.due(now)
    answered = {id(request) for request in settled}  # children of one executor may ask under the same id
    fired: list[Waiting] = []
    for each in due:
        if isinstance(each, Timer):
            changes[TIMERS, each.name] = REMOVED
            _put(each.what, routing)
        elif id(each) in answered:
            continue
        else:
            changes[REQUESTS, each.id] = REMOVED
            timeout = RequestTimeout(each.id, each.timeout or 0.0)
            routing.deliveries.append(Delivery(each.executor_id, timeout, (), each))
        fired.append(each)
    return fired


def _put(what: Delivery | Arrival, routing: Routing) -> None:
    if isinstance(what, Delivery):
        routing.deliveries.append(what)
    else:
        routing.arrive(what.join_id, what.source_id, what.value)


def wakes_after(snapshot: Snapshot, fired: Iterable[Waiting], new: Iterable[Waiting]) -> Wakes:
    """Whom timers and open requests will wake, once a commit has taken place.

    Args:
        snapshot: The state before it.
        fired: What it takes away.
        new: What it adds.
    """
    wakes = snapshot.schedule.wakes.copy()
    for each in fired:
        wakes.count(each, -1)
    for each in new:
        wakes.count(each, 1)
    return wakes
