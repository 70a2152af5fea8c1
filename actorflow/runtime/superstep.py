"""A superstep's result: from the effects of its deliveries to the changes that commit them.

Nothing here touches the workflow: a routing function that raises, or a message that strict mode refuses, leaves it as it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping, Sequence
from typing import Any

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

_NO_QUESTION = object()


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
        ValueError: Two deliveries chose one request id.
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
            asking = route(definition.graph, slot.delivery.target_id, sent, routing)
            question = next(asking, _NO_QUESTION)
            if question is not _NO_QUESTION:  # an unconditional edge asks nothing, and is not worth a coroutine
                await _answer(asking, question)
    if writes:
        merged = merge_writes(snapshot.table(STATE), writes, definition.reducers)
        changes.update({(STATE, key): value for key, value in merged.items()})
    for request in requests:
        _add_request(changes, request)
    if outputs:
        changes[OUTPUTS, str(superstep)] = tuple(outputs)
    _change_executors(changes, snapshot, finished)
    if definition.graph.joins:
        _change_joins(changes, snapshot, definition.graph, routing, requests)
    changes[INFLIGHT] = tuple(routing.deliveries)
    if not routing.deliveries and not requests and not snapshot.requests:  # this run ends here
        routing.dropped.extend(drop_joins(definition.graph, snapshot, changes))
    if definition.strict and routing.dropped:
        raise _undeliverable(routing.dropped[0])
    return Result(changes, routing.dropped, requests)


async def _answer(asking: Generator[Any, Any, None], answer: Any) -> None:
    """Drive a routing generator from its first question on, awaiting what asynchronous conditions returned."""
    try:
        while True:
            if type(answer) is not bool and inspect.isawaitable(answer):
                try:
                    answer = await answer
                except Exception as error:  # noqa: BLE001 - the generator names the edge and raises it again
                    answer = asking.throw(error)
                    continue
            answer = asking.send(answer)
    except StopIteration:
        return


def _add_request(changes: Changes, request: PendingRequest) -> None:
    other = changes.get((REQUESTS, request.id))
    if other is not None:  # two deliveries; within one, the context refuses it
        raise ValueError(
            f"executor {request.executor_id!r} asks under the request id {request.id!r} that executor "
            f"{other.executor_id!r} chose in the same superstep; give each request its own"
        )
    changes[REQUESTS, request.id] = request


def _change_executors(changes: Changes, snapshot: Snapshot, finished: Sequence[tuple[Slot, Any]]) -> None:
    after = {slot.delivery.target_id: done.state_after for slot, done in finished if done.state_after is not REMOVED}
    for executor_id, state in after.items():
        if not same_value(snapshot.get((EXECUTORS, executor_id)), state):
            changes[EXECUTORS, executor_id] = state


def _change_joins(
    changes: Changes, snapshot: Snapshot, graph: Graph, routing: Routing, requests: Sequence[PendingRequest]
) -> None:
    held = dict(snapshot.table(JOINS))
    waiting = [request.executor_id for request in (*snapshot.requests.values(), *requests)]
    for join_id, holds in join_up(graph, held, routing, waiting).items():
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
