"""Committing a superstep of a workflow and of those that run inside its executors, as one.

What a child yielded becomes a message (or an output) of the executor it runs inside, after the messages of the parent's
own deliveries and in the order of the children. `actorflow.graph.children` has how inputs wait for their turn.

Like `actorflow.graph.committing`, a plain function of values, but for users' conditions.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any

from actorflow.core.effects import Finished, PendingRequest
from actorflow.core.snapshot import Snapshot
from actorflow.core.subworkflows import LocatedRequest, path_of
from actorflow.errors import RequestIdError
from actorflow.graph.committing import Result, commit_superstep
from actorflow.graph.level import Level
from actorflow.graph.nesting import Names, Scheme
from actorflow.graph.tree_result import Step, TreeResult

__all__ = ["commit_tree", "commit_tree_arrivals"]


def commit_tree(
    scheme: Scheme,
    snapshot: Snapshot,
    done: Mapping[Names, Sequence[Finished]],
    superstep: int,
    *,
    now: float = 0.0,
    settled: Collection[PendingRequest] = (),
) -> Generator[Any, Any, TreeResult]:
    """Work out what a finished superstep changes.

    Args:
        scheme: The definition's.
        snapshot: The state before it.
        done: What its deliveries did, in canonical order, by level.
        superstep: Its number.
        now: The time, in seconds since 1970 UTC; see `actorflow.graph.committing.commit_superstep`.
        settled: Open requests that have an answer already, likewise.

    Yields:
        What a condition or selection returned; send back its final value.

    Raises:
        Exception: As `actorflow.graph.committing.commit_superstep`.
    """
    if not scheme.children:
        result = yield from commit_superstep(
            scheme.graph,
            snapshot,
            done.get((), ()),
            superstep,
            reducers=scheme.reducers,
            strict=scheme.strict,
            now=now,
            settled=settled,
        )
        return _alone(result)
    touched = {names[:depth] for names in done for depth in range(len(names) + 1)} | {*_due(snapshot, now)}
    return (yield from _commit(scheme, snapshot, Step(done, touched, now, settled), superstep))


def commit_tree_arrivals(
    scheme: Scheme, snapshot: Snapshot, now: float, settled: Collection[PendingRequest] = ()
) -> Generator[Any, Any, TreeResult]:
    """Work out what changes when timers and deadlines come due between supersteps.

    Args:
        scheme: The definition's.
        snapshot: The state before it.
        now: The time; what is due by then is delivered.
        settled: Open requests that have an answer already.

    Yields:
        Nothing that has to be waited for.

    Raises:
        UndeliverableMessageError: As `actorflow.graph.committing.commit_arrivals`.
    """
    step = Step({}, {*_due(snapshot, now)}, now, settled, is_superstep=False)
    return (yield from _commit(scheme, snapshot, step, snapshot.superstep))


def _alone(result: Result) -> TreeResult:
    """What a workflow that holds none did: what `_commit` comes down to, at a third of its cost."""
    total = TreeResult(result.changes)
    if result.dropped or result.requests or result.expired:
        total.dropped = [((), each) for each in result.dropped]
        total.requests = [LocatedRequest((), each) for each in result.requests]
        total.expired = [*result.expired]
    return total


def _commit(scheme: Scheme, snapshot: Snapshot, step: Step, superstep: int) -> Generator[Any, Any, TreeResult]:
    total = TreeResult()
    level = Level(scheme, snapshot, (), total)
    yield from level.commit(step, superstep)
    _refuse_twins(level.requests)
    total.changes = level.changes
    total.requests = level.requests
    return total


def _due(snapshot: Snapshot, now: float, names: Names = ()) -> Iterator[Names]:
    """The levels that something is due in, or in a level below."""
    due = snapshot.next_due()
    if due is not None and due <= now:
        yield names
        for child, inner in snapshot.children.items():
            yield from _due(inner, now, (*names, child))


def _refuse_twins(requests: Sequence[LocatedRequest]) -> None:
    asked: dict[str, LocatedRequest] = {}
    for each in requests:
        other = asked.setdefault(each.request.id, each)
        if other is not each:
            first, second = ("/".join((*path_of(one.names), one.request.executor_id)) for one in (other, each))
            raise RequestIdError(
                f"executors {first!r} and {second!r} ask under one request id, {each.request.id!r}, in the same superstep; "
                f"give each request its own"
            )
