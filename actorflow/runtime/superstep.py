"""A superstep's result: from the effects of its deliveries to the changes that commit them. Nothing here touches the
workflow: a routing function that raises, or a message that strict mode refuses, leaves it as it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from actorflow.core.effects import REMOVED, PendingRequest
from actorflow.core.merge import merge_writes
from actorflow.core.snapshot import EXECUTORS, INFLIGHT, JOINS, OUTPUTS, REQUESTS, STATE, Changes, Snapshot
from actorflow.core.values import same_value
from actorflow.errors import UndeliverableMessageError
from actorflow.graph.graph import Graph
from actorflow.graph.routing import Dropped, Routing, join_up, route
from actorflow.runtime.actor import Slot
from actorflow.runtime.definition import Definition

__all__ = ["Result", "drop_joins", "superstep_result"]

T = TypeVar("T")


@attrs.frozen(eq=False)
class Result:
    """What a superstep did.

    Attributes:
        changes: To be committed.
        dropped: Messages that nothing took.
        requests: New requests.
    """

    changes: Changes
    dropped: Sequence[Dropped]
    requests: Sequence[PendingRequest]


async def superstep_result(definition: Definition, snapshot: Snapshot, slots: Sequence[Slot], superstep: int) -> Result:
    """Work out what a finished superstep changes. Awaits only asynchronous conditions.

    Args:
        definition: Graph, reducers, strictness.
        snapshot: The state before it.
        slots: All deliveries, finished, in canonical order.
        superstep: Its number.

    Raises:
        Exception: Whatever a condition or a reducer raised.
        UndeliverableMessageError: Strict mode, and a message that nothing took.
    """
    finished = [(slot, slot.finished) for slot in slots if slot.finished is not None]
    changes: Changes = {}
    routing = Routing()
    writes, outputs, requests = [], [], []
    for slot, done in finished:
        effects = done.effects
        writes.extend(effects.writes)
        outputs.extend(effects.outputs)
        requests.extend(effects.requests)
        for sent in effects.sent:
            await _answered(route(definition.graph, slot.delivery.target_id, sent, routing))
    for key, value in merge_writes(snapshot.table(STATE), writes, definition.reducers).items():
        changes[STATE, key] = value
    for request in requests:
        changes[REQUESTS, request.id] = request
    if outputs:
        changes[OUTPUTS, str(superstep)] = tuple(outputs)
    _change_executors(changes, snapshot, finished)
    _change_joins(changes, snapshot, definition.graph, routing, requests)
    changes[INFLIGHT] = tuple(routing.deliveries)
    if not routing.deliveries and not requests and not snapshot.requests:  # this run ends here
        routing.dropped.extend(drop_joins(definition.graph, snapshot, changes))
    if definition.strict and routing.dropped:
        raise _undeliverable(routing.dropped[0])
    return Result(changes, routing.dropped, requests)


async def _answered(asking: Generator[Any, Any, T]) -> T:
    """Drive a routing generator, awaiting what asynchronous conditions returned."""
    try:
        answer = next(asking)
        while True:
            if type(answer) is not bool and inspect.isawaitable(answer):
                try:
                    answer = await answer
                except Exception as error:  # noqa: BLE001 - the generator names the edge and raises it again
                    answer = asking.throw(error)
                    continue
            answer = asking.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _change_executors(changes: Changes, snapshot: Snapshot, finished: Sequence[tuple[Slot, Any]]) -> None:
    for slot, done in finished:
        if done.state_after is not REMOVED:
            changes[EXECUTORS, slot.delivery.target_id] = done.state_after
    for section in [section for section in changes if section[0] == EXECUTORS]:
        if same_value(snapshot.get(section), changes[section]):
            del changes[section]


def _change_joins(
    changes: Changes, snapshot: Snapshot, graph: Graph, routing: Routing, requests: Sequence[PendingRequest]
) -> None:
    if not graph.joins:
        return
    held = dict(snapshot.table(JOINS))
    waiting = [request.executor_id for request in (*snapshot.requests.values(), *requests)]
    for join_id, holds in join_up(graph, held, routing, waiting).items():
        if holds or join_id in held:
            changes[JOINS, join_id] = holds or REMOVED


def drop_joins(graph: Graph, snapshot: Snapshot, changes: Changes) -> list[Dropped]:
    """Let go what joins hold (F18), and say what it was.

    Args:
        graph: The graph.
        snapshot: What they held before `changes`.
        changes: What they hold now, where that differs; amended.
    """
    joins: Mapping[str, Any] = {
        **snapshot.table(JOINS),
        **{name: value for (table, name), value in changes.items() if table == JOINS},
    }
    dropped = []
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
