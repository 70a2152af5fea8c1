"""How a run begins: the first commit of a message or of answers, and what an answer must be to be one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from actorflow.checkpoint.records import CheckpointID, CheckpointKind
from actorflow.coercion.answers import coerce
from actorflow.core.effects import REMOVED, Delivery, PendingRequest
from actorflow.core.snapshot import INFLIGHT, OUTPUTS, REQUESTS, RUN, Changes, RunMark, Snapshot
from actorflow.core.subworkflows import LocatedRequest, SubWorkflowResponse, executor_of, path_of
from actorflow.core.types import compile_type, describe
from actorflow.errors import RequestNotFoundError, ResponseTypeError
from actorflow.graph.abandoning import abandon
from actorflow.graph.nesting import Names, Nesting, all_requests, open_requests
from actorflow.graph.routing import Dropped
from actorflow.runtime.definition import Definition
from actorflow.runtime.places import section_at

__all__ = [
    "Opening",
    "answer_changes",
    "check_answer",
    "check_input",
    "discarded",
    "fresh_changes",
    "requests_of",
    "responses_run_changes",
]


Located = tuple[Names, Dropped]
"""A message that nothing took, and where in the tree of workflows."""

Answer = tuple[LocatedRequest, Any]
"""An answer, and the request it is for."""


@attrs.define(eq=False, kw_only=True)
class Opening:
    """The first commit of a run, and what to tell of it.

    Attributes:
        changes: What it changes; None if the run goes on as it stands.
        superstep: The number it bears.
        kind: Its kind of checkpoint.
        dropped: What it lets go.
        restored: Whether a checkpoint was taken up.
        other_head: The latest checkpoint of this workflow id, if the run does not go on from it though it could have.
        idle: Whether the run does nothing: it was given no answer to deliver, and nothing to take up.
    """

    changes: Changes | None = None
    superstep: int = 0
    kind: CheckpointKind = CheckpointKind.ENTRY
    dropped: Sequence[Located] = ()
    restored: bool = False
    other_head: CheckpointID | None = None
    idle: bool = False


def fresh_changes(
    definition: Definition, snapshot: Snapshot, message: Any, run_id: str
) -> tuple[Changes, list[Located]]:
    """The entry of a fresh message: it abandons what was in flight, timers, and what joins held; open requests stay."""
    changes = _without_outputs(snapshot)
    abandoned, dropped = abandon(definition, snapshot)
    changes.update(abandoned)
    changes[INFLIGHT] = (Delivery(definition.graph.start_id, message),)
    changes[RUN] = RunMark(run_id, 0)
    return changes, dropped


def discarded(definition: Definition, snapshot: Snapshot) -> list[Located]:
    """All unfinished work of a snapshot, for a reset: messages in flight, timers, what joins hold, open requests."""
    changes, dropped = abandon(definition, snapshot)
    left = [
        (each.names, Dropped("discarded", each.request.data, each.request.executor_id, None))
        for each in all_requests(snapshot)
        if section_at(each.names, (REQUESTS, each.request.id)) not in changes
    ]
    return [*dropped, *left]


def _without_outputs(snapshot: Snapshot) -> Changes:
    return {(OUTPUTS, name): REMOVED for name in snapshot.table(OUTPUTS)}


def requests_of(definition: Definition, snapshot: Snapshot) -> Mapping[str, LocatedRequest]:
    """The requests that may be answered from outside, by id, those of workflows that run inside among them."""
    if not definition.children:
        return {id_: LocatedRequest((), request) for id_, request in snapshot.requests.items()}
    return {each.request.id: each for each in open_requests(definition, snapshot)}


def check_answer(requests: Mapping[str, LocatedRequest], request_id: str, value: Any) -> tuple[LocatedRequest, Any]:
    """Match an answer to its request.

    Returns:
        The request, and the answer as a value of the declared type.

    Raises:
        RequestNotFoundError: No such request is open.
        ResponseTypeError: The answer does not fit.
    """
    located = requests.get(request_id)
    if located is None:
        raise RequestNotFoundError(request_id, tuple(requests))
    return located, _fitting(located, value)


def _fitting(located: LocatedRequest, value: Any) -> Any:
    """An answer as a value of the type that a request declares.

    Raises:
        ResponseTypeError: It does not fit.
    """
    request = located.request
    if compile_type(request.response_type).matches(value):
        return value
    try:
        return coerce(value, request.response_type)
    except ValueError as error:
        raise ResponseTypeError(f"{_answered_by(path_of(located.names), request, value)}: {error}") from error


def _answered_by(path: tuple[str, ...], request: PendingRequest, value: Any) -> str:
    return (
        f"request {request.id!r} of executor {'/'.join((*path, request.executor_id))!r} is answered by "
        f"{describe(request.response_type)}, not {type(value).__name__}"
    )


def check_input(nesting: Nesting, path: tuple[str, ...], snapshot: Snapshot, value: Any) -> None:
    """Refuse an answer that an executor which holds a workflow cannot hand on. Any other message it can.

    Where the request had a deadline, an answer that finds it open no more is nobody's mistake: the commit reports it as dropped.

    Args:
        nesting: How it holds it.
        path: The executors that nest it, outermost first, and at last the executor itself.
        snapshot: The state of the workflow that the executor is in.
        value: What was delivered to it.

    Raises:
        RequestNotFoundError: The child has no such request open.
        ResponseTypeError: The answer is not of the type that the child declared.
    """
    if nesting.propagates or not isinstance(value, SubWorkflowResponse):
        return
    child, *names = value.child.split(":")
    is_ours = executor_of(child) == path[-1]
    inner = snapshot.children.get(child) if is_ours else None
    asking = open_requests(nesting.scheme, inner) if inner is not None else ()
    requests = {each.request.id: each.request for each in asking if each.names == tuple(names)}
    request = requests.get(value.request_id)
    if request is None or not value.is_for(request):
        if is_ours and value.due is not None:
            return
        raise RequestNotFoundError(value.request_id, tuple(requests))
    if not compile_type(request.response_type).matches(value.value):
        within = (*path, *path_of(names))
        raise ResponseTypeError(f"{_answered_by(within, request, value.value)}; respond with one")


def answer_changes(snapshot: Snapshot, answers: Sequence[Answer]) -> Changes:
    """Take answered requests away and put their answers in flight, after what is there."""
    changes: Changes = {INFLIGHT: snapshot.inflight}
    for located, value in answers:
        request, inflight = located.request, section_at(located.names, INFLIGHT)
        changes[section_at(located.names, (REQUESTS, request.id))] = REMOVED
        before = changes.get(inflight, snapshot.get(inflight))
        answer = Delivery(request.executor_id, value, (), request)
        changes[inflight] = (answer,) if before is REMOVED else (*before, answer)
        child = snapshot.find(located.names)
        if located.names and child is not None and child.mark is not None:  # each turn has its own limit
            changes[section_at(located.names, RUN)] = RunMark(child.mark.origin, child.superstep)
    return changes


def responses_run_changes(snapshot: Snapshot, answers: Sequence[Answer], run_id: str) -> Changes:
    """The opening of a run that answers: outputs are counted anew from here.

    Its deliveries get ids of its own, so that two branches that answer differently never share one; except where
    deliveries are in flight, which keep the ids they had.
    """
    mark = snapshot.mark
    origin = mark.origin if mark is not None and snapshot.inflight else run_id
    changes = _without_outputs(snapshot) | answer_changes(snapshot, answers)
    changes[RUN] = RunMark(origin, snapshot.superstep)
    for names in {located.names for located, _ in answers if located.names}:
        child = snapshot.find(names)
        if child is not None and not child.inflight:
            changes[section_at(names, RUN)] = RunMark(f"{run_id}-{':'.join(names)}", child.superstep)
    return changes
