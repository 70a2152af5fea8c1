"""Committing a superstep: from the effects of its deliveries to the changes that make the next state.

A plain function of values, but for users' conditions, which may be asynchronous: `commit_superstep` is a generator that
yields what a condition returned and is sent its final value, like `actorflow.graph.routing.route`. What came due between
supersteps is committed by `commit_arrivals`, which asks no condition. Neither touches anything: a
condition that raises, or a message that strict mode refuses, leaves the workflow as it was.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

import attrs

from actorflow.core.effects import NO_EFFECTS, REMOVED, Finished, Output, PendingRequest, Write
from actorflow.core.merge import Reducer, merge_writes
from actorflow.core.schedule import Waiting, Wakes
from actorflow.core.snapshot import EXECUTORS, INFLIGHT, JOINS, OUTPUTS, REQUESTS, STATE, TIMERS, Changes, Snapshot
from actorflow.core.timers import Timer
from actorflow.core.value_class import value_class
from actorflow.core.values import same_value
from actorflow.errors import RequestIdError, UndeliverableMessageError
from actorflow.graph.firing import fire_due, route_later, wakes_after
from actorflow.graph.graph import Graph
from actorflow.graph.routing import Dropped, Routing, join_up, route, route_straight

__all__ = ["Result", "commit_arrivals", "commit_superstep", "drop_joins"]


@value_class(eq=False, unsafe_hash=False)
class Result:
    """What a superstep did, or what came due between two.

    Attributes:
        changes: To be committed.
        dropped: Messages that nothing took.
        requests: New requests.
        expired: Requests that are open no more: their deadline has passed.
    """

    changes: Changes
    dropped: Sequence[Dropped]
    requests: Sequence[PendingRequest] = ()
    expired: Sequence[PendingRequest] = ()


def commit_superstep(
    graph: Graph,
    snapshot: Snapshot,
    finished: Sequence[Finished],
    superstep: int,
    *,
    reducers: Mapping[str, Reducer],
    strict: bool = False,
    now: float = 0.0,
    settled: Iterable[PendingRequest] = (),
    awaited: Sequence[str] = (),
    expecting: bool = False,
) -> Generator[Any, Any, Result]:
    """Work out what a finished superstep changes.

    Args:
        graph: Routes the messages.
        snapshot: The state before it.
        finished: What its deliveries did, in canonical order.
        superstep: Its number.
        reducers: Reducers of the shared state, by key.
        strict: Whether a message that nothing took is an error.
        now: The time, in seconds since 1970 UTC: delays and deadlines count from it, and what is due by then is delivered.
        settled: Open requests that have an answer already, which no deadline overtakes; looked at when the conditions have
            been asked.
        awaited: Executors that may still send because of a workflow that runs inside them.
        expecting: Whether a deadline will wake one of those, so that the run does not end here.

    Yields:
        What a condition or selection returned; send back its final value.

    Raises:
        Exception: Whatever a condition or a reducer raised.
        RequestIdError: Two deliveries chose one request id.
        UndeliverableMessageError: Strict mode, and a message that nothing took.
    """
    changes: Changes = {}
    routing = Routing()
    writes: list[Write] = []
    outputs: list[Output] = []
    asked: list[PendingRequest] = []
    timers: list[Timer] = []
    states: dict[str, Any] = {}
    for each in finished:
        effects, source_id = each.effects, each.delivery.target_id
        if each.state_after is not REMOVED:
            states[source_id] = each.state_after
        if effects is NO_EFFECTS:
            continue
        writes.extend(effects.writes)
        outputs.extend(effects.outputs)
        asked.extend(effects.requests)
        for sent in effects.sent:
            if sent.delay:
                yield from route_later(graph, source_id, sent, now, superstep, routing, timers)
            elif not route_straight(graph, source_id, sent, routing):
                yield from route(graph, source_id, sent, routing)
    if writes:
        merged = merge_writes(snapshot.table(STATE), writes, reducers)
        changes.update({(STATE, key): value for key, value in merged.items()})
    requests = [_open(request, now) for request in asked] if asked else ()
    for request in requests:
        _add_request(changes, request)
    if timers:
        changes.update({(TIMERS, timer.name): timer for timer in timers})
    if outputs:
        changes[OUTPUTS, str(superstep)] = tuple(outputs)
    if states:
        _change_executors(changes, snapshot, states)
    fired = fire_due(snapshot, now, settled, routing, changes)
    if graph.joins or strict:
        new: list[Waiting] = [*timers, *requests]
        _settle(
            graph,
            snapshot,
            routing,
            changes,
            fired=fired,
            new=new,
            strict=strict,
            awaited=awaited,
            expecting=expecting,
        )
    changes[INFLIGHT] = tuple(routing.deliveries)
    return Result(changes, routing.dropped, requests, _requests_of(fired) if fired else ())


def commit_arrivals(
    graph: Graph,
    snapshot: Snapshot,
    now: float,
    settled: Iterable[PendingRequest] = (),
    *,
    strict: bool = False,
    awaited: Sequence[str] = (),
    expecting: bool = False,
) -> Result:
    """Work out what changes when timers and deadlines come due between supersteps: something came in from outside.

    Args:
        graph: Knows the joins.
        snapshot: The state before it.
        now: The time; what is due by then is delivered, after what is in flight.
        settled: Open requests that have an answer already.
        strict: Whether what a join lets go is an error.
        awaited: Executors that may still send because of a workflow that runs inside them.
        expecting: Whether a deadline will wake one of those, so that the run does not end here.

    Raises:
        UndeliverableMessageError: Strict mode, and a join that can never fire now.
    """
    changes: Changes = {}
    routing = Routing(list(snapshot.inflight))
    fired = fire_due(snapshot, now, settled, routing, changes)
    _settle(
        graph,
        snapshot,
        routing,
        changes,
        fired=fired,
        new=(),
        strict=strict,
        awaited=awaited,
        expecting=expecting,
    )
    changes[INFLIGHT] = tuple(routing.deliveries)
    return Result(changes, routing.dropped, expired=_requests_of(fired))


def _open(request: PendingRequest, now: float) -> PendingRequest:
    return request if request.timeout is None else attrs.evolve(request, due=now + request.timeout)


def _requests_of(fired: Sequence[Waiting]) -> list[PendingRequest]:
    return [each for each in fired if isinstance(each, PendingRequest)]


def _settle(
    graph: Graph,
    snapshot: Snapshot,
    routing: Routing,
    changes: Changes,
    *,
    fired: Sequence[Waiting],
    new: Sequence[Waiting],
    strict: bool,
    awaited: Sequence[str],
    expecting: bool,
) -> None:
    """Let joins fire, and let go what they hold if the run ends here."""
    if graph.joins:
        wakes = wakes_after(snapshot, fired, new)
        if awaited:
            wakes = wakes.copy()
            wakes.executors.update(awaited)
        _change_joins(changes, snapshot, graph, routing, wakes)
        waits = bool(new or awaited) or expecting or snapshot.schedule.timers + len(snapshot.requests) > len(fired)
        if not routing.deliveries and not waits:
            routing.dropped.extend(drop_joins(graph, snapshot, changes))
    if strict and routing.dropped:
        raise _undeliverable(routing.dropped[0])


def _add_request(changes: Changes, request: PendingRequest) -> None:
    other = changes.get((REQUESTS, request.id))
    if other is not None:  # two deliveries; within one, the context refuses it
        raise RequestIdError(
            f"executor {request.executor_id!r} asks under the request id {request.id!r} that executor "
            f"{other.executor_id!r} chose in the same superstep; give each request its own"
        )
    changes[REQUESTS, request.id] = request


def _change_executors(changes: Changes, snapshot: Snapshot, after: Mapping[str, Any]) -> None:
    for executor_id, state in after.items():
        if not same_value(snapshot.get((EXECUTORS, executor_id)), state):
            changes[EXECUTORS, executor_id] = state


def _change_joins(changes: Changes, snapshot: Snapshot, graph: Graph, routing: Routing, wakes: Wakes) -> None:
    held = dict(snapshot.table(JOINS))
    for join_id, holds in join_up(graph, held, routing, wakes.executors, wakes.arrivals).items():
        if holds or join_id in held:
            changes[JOINS, join_id] = holds or REMOVED


def drop_joins(graph: Graph, snapshot: Snapshot, changes: Changes) -> list[Dropped]:
    """Let go what joins hold, and say what it was.

    Args:
        graph: The graph.
        snapshot: What they held before `changes`.
        changes: What they hold now, where that differs; amended.
    """
    joins: Mapping[str, Any] = {
        **snapshot.table(JOINS),
        **{name: value for (table, name), value in changes.items() if table == JOINS},
    }
    dropped: list[Dropped] = []
    for join in graph.joins:
        holds = joins.get(join.id, REMOVED)
        if holds is REMOVED:
            continue
        for source in join.sources:
            dropped.extend(Dropped("join_incomplete", value, source, join.target) for value in holds.get(source, ()))
        if join.id in snapshot.table(JOINS):
            changes[JOINS, join.id] = REMOVED
        else:
            changes.pop((JOINS, join.id), None)
    return dropped


def _undeliverable(dropped: Dropped) -> UndeliverableMessageError:
    way_out = {
        "no_edge": "add an edge that can carry it, or do not send it",
        "no_such_target": "send it to an executor of this workflow",
        "type": "add a handler for it, or send another type",
        "condition": "add an edge for what no condition takes",
        "join_incomplete": "make every source send, or use wait='active'",
    }[dropped.reason]
    target = f" for {dropped.target_id!r}" if dropped.target_id else ""
    return UndeliverableMessageError(
        f"nothing took the {type(dropped.value).__name__} that executor {dropped.source_id!r} sent{target} "
        f"({dropped.reason}); {way_out}",
        reason=dropped.reason,
        source_id=dropped.source_id,
        target_id=dropped.target_id,
    )
