"""How a run begins: from a caller's arguments to the state it starts on. Nothing is touched before all of it is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from actorflow.checkpoint.formats import check_format
from actorflow.checkpoint.ledger import Ledger
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointKind
from actorflow.checkpoint.storage import CheckpointStorage, is_storage
from actorflow.coercion.answers import coerce
from actorflow.core.effects import REMOVED, Delivery, PendingRequest
from actorflow.core.snapshot import (
    INFLIGHT,
    INPUTS,
    JOINS,
    OUTPUTS,
    REQUESTS,
    RUN,
    TIMERS,
    Changes,
    RunMark,
    Snapshot,
    inside,
)
from actorflow.core.subworkflows import LocatedRequest, SubWorkflowResponse, executor_of, path_of
from actorflow.core.trials import Trials
from actorflow.core.types import compile_type, describe
from actorflow.durability import Durability
from actorflow.errors import (
    CheckpointNotFoundError,
    GraphMismatchError,
    MessageTypeError,
    RequestNotFoundError,
    ResponseTypeError,
)
from actorflow.graph.abandoning import abandon
from actorflow.graph.nesting import Names, Nesting, all_requests, open_requests, plan
from actorflow.graph.routing import Dropped
from actorflow.runtime.definition import Definition
from actorflow.runtime.journal import read_journal
from actorflow.runtime.places import section_at
from actorflow.runtime.standing import Standing
from actorflow.runtime.storing import storage_errors

__all__ = [
    "LATEST",
    "UNSET",
    "Latest",
    "Opening",
    "RunArguments",
    "answer_changes",
    "check_answer",
    "check_input",
    "decode_checkpoint",
    "discarded",
    "fresh_changes",
    "load_standing",
    "other_head",
    "requests_of",
    "responses_run_changes",
]


Located = tuple[Names, Dropped]
"""A message that nothing took, and where in the tree of workflows."""

Answer = tuple[LocatedRequest, Any]
"""An answer, and the request it is for."""


class Latest:
    """The type of `LATEST`."""

    def __repr__(self) -> str:
        return "LATEST"


class _Unset:
    def __repr__(self) -> str:
        return "..."


LATEST: Final = Latest()
"""``checkpoint_id=LATEST``: the latest checkpoint of this workflow's id; without a storage, where the workflow stands."""

UNSET: Final = _Unset()
"""The default of ``message``: None may be a message."""


@attrs.frozen(kw_only=True)
class RunArguments:
    """What ``run``, ``stream`` and ``start`` were given.

    Attributes:
        message: The input.
        responses: Answers by request id.
        checkpoint_id: Where to take up.
        storage: Where to write; already the workflow's default if the caller gave none.
        durability: When to write.
        config: For the handlers; never stored.
        wait: Whether to queue for ownership.
    """

    message: Any
    responses: Mapping[str, Any] | None
    checkpoint_id: CheckpointID | str | Latest | None
    storage: CheckpointStorage | None
    durability: Durability
    config: Mapping[str, Any]
    wait: bool

    def check(self, definition: Definition) -> None:
        """Refuse what contradicts itself, and an input the start executor cannot take.

        Raises:
            ValueError: Contradictory or missing arguments.
            MessageTypeError: Wrong type of input.
        """
        given = self.message is not UNSET
        if given and self.responses is not None:
            raise ValueError("give a message or responses, not both")
        if given and self.checkpoint_id is not None:
            raise ValueError("a checkpoint is resumed without a message; leave out message, or checkpoint_id")
        if not given and self.responses is None and self.checkpoint_id is None:
            raise ValueError("nothing to run: give a message, responses, or a checkpoint_id")
        if self.checkpoint_id is not None and not isinstance(self.checkpoint_id, (str, Latest)):
            raise ValueError(
                f"checkpoint_id is the id of a checkpoint or LATEST, not {type(self.checkpoint_id).__name__}; give .id"
            )
        if self.responses is not None and not isinstance(self.responses, Mapping):
            raise ValueError(f"responses is a mapping of request ids to answers, not {type(self.responses).__name__}")
        if self.checkpoint_id is not None and self.checkpoint_id is not LATEST and self.storage is None:
            raise ValueError(
                f"checkpoint_id={self.checkpoint_id!r} needs a storage to load from; give checkpoint_storage here or "
                f"to the builder"
            )
        if not isinstance(self.config, Mapping):
            raise ValueError(  # noqa: TRY004 - as for every contradictory argument
                f"config is a mapping for the handlers, not {type(self.config).__name__}"
            )
        if self.storage is not None and not is_storage(self.storage):
            raise ValueError(
                f"checkpoint_storage is a CheckpointStorage, not {type(self.storage).__name__}; for a file give "
                f"SqliteCheckpointStorage(path)"
            )
        if given:
            start = definition.graph.nodes[definition.graph.start_id]
            if not start.inputs.accepts(self.message):
                taken = " | ".join(map(describe, start.inputs.annotations))
                raise MessageTypeError(
                    f"the start executor {start.id!r} cannot take {type(self.message).__name__}; it handles {taken}"
                )


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


async def load_standing(
    arguments: RunArguments, definition: Definition, workflow_id: str, standing: Standing
) -> Standing:
    """The standing to take up: the present one, or one read from a checkpoint. Changes nothing.

    Raises:
        CheckpointNotFoundError: There is nothing to take up.
        GraphMismatchError: The checkpoint was made by a graph that routes differently.
        CodecError: The checkpoint cannot be decoded.
        CheckpointError: The storage failed.
    """
    if arguments.storage is None:
        if standing.snapshot.mark is None:
            raise CheckpointNotFoundError(
                f"workflow {workflow_id!r} has not run yet and has no storage: there is nothing to take up; give a message, "
                f"or checkpoint_storage"
            )
        return standing
    checkpoint = await _read(arguments, workflow_id)
    if arguments.checkpoint_id is LATEST and standing.head_id == checkpoint.id and standing.is_stored:
        planned = [*plan(definition, standing.snapshot)]
        kept = await read_journal(
            arguments.storage, workflow_id, checkpoint.id, planned, codec=definition.codec, trials=standing.trials
        )
        standing.finished = {**kept, **standing.finished}
        return standing
    snapshot = decode_checkpoint(definition, checkpoint)
    is_branch = checkpoint.workflow_id != workflow_id
    ledger = Ledger.of_checkpoint(definition.codec, checkpoint.contents, standalone=is_branch)
    if is_branch:  # another history: its deliveries are others, and so are their ids
        marks = _marks_of_branch(snapshot, workflow_id)
        snapshot.apply(marks)
        ledger.skip(marks)
    finished, trials = {}, Trials()
    if arguments.checkpoint_id is LATEST:  # an explicit checkpoint is taken as it was committed
        planned = [*plan(definition, snapshot)]
        finished = await read_journal(
            arguments.storage, workflow_id, checkpoint.id, planned, codec=definition.codec, trials=trials
        )
    return Standing(
        snapshot=snapshot,
        head=checkpoint,
        storage=arguments.storage,
        ledger=ledger,
        finished=finished,
        trials=trials,
    )


def decode_checkpoint(definition: Definition, checkpoint: Checkpoint) -> Snapshot:
    """The state a checkpoint holds.

    Raises:
        GraphMismatchError: It was made by a graph that routes differently.
        CheckpointError: It was written in a format that this version does not know.
        CodecError: It cannot be decoded.
    """
    check_format(checkpoint, "resume")
    if not definition.may_restore(checkpoint.graph_signature):
        raise GraphMismatchError(
            f"checkpoint {checkpoint.id!r} of workflow {checkpoint.workflow_name!r} was made by a graph with signature "
            f"{checkpoint.graph_signature}, this one has {definition.signature}: executors, edges or conditions differ; "
            f"resume it with the graph that made it; if classes of messages were renamed, declare "
            f"WorkflowBuilder(upcasters=[Upcaster('OldName', to=NewClass)]); if nothing that is stored can go astray, "
            f"restores=[{checkpoint.graph_signature!r}]"
        )
    snapshot = definition.codec.decode(checkpoint.contents, checkpoint.superstep)
    if checkpoint.graph_signature != definition.signature:
        _check_belongs(checkpoint, snapshot, definition)
    return snapshot


def _check_belongs(checkpoint: Checkpoint, snapshot: Snapshot, definition: Definition) -> None:
    """Refuse what an earlier graph left for executors and joins that this one does not have."""
    addressed = {each.target_id for each in snapshot.inflight}
    addressed.update(each.executor_id for each in snapshot.requests.values())
    joins = {*snapshot.table(JOINS)}
    for timer in snapshot.table(TIMERS).values():
        if isinstance(timer.what, Delivery):
            addressed.add(timer.what.target_id)
        else:
            joins.add(timer.what.join_id)
    unknown = sorted(addressed - definition.graph.nodes.keys())
    unknown += sorted(joins - {join.id for join in definition.graph.joins})
    if unknown:
        raise GraphMismatchError(
            f"checkpoint {checkpoint.id!r} of workflow {checkpoint.workflow_name!r} holds something for "
            f"{', '.join(map(repr, unknown))}, which this graph does not have; resume it with the graph that made it"
        )


def _marks_of_branch(snapshot: Snapshot, workflow_id: str) -> Changes:
    marks: Changes = {}
    if snapshot.mark is not None:
        marks[RUN] = snapshot.mark.branched(workflow_id)
    for turn, waiting in snapshot.table(INPUTS).items():
        marks[INPUTS, turn] = attrs.evolve(waiting, origin=f"{waiting.origin}@{workflow_id}")
    for child, inner in snapshot.children.items():
        marks.update(inside(child, _marks_of_branch(inner, workflow_id)))
    return marks


async def other_head(storage: CheckpointStorage | None, workflow_id: str, standing: Standing) -> CheckpointID | None:
    """The latest checkpoint of a workflow id, for a workflow that stands on none of its own."""
    if storage is None or standing.head is not None:
        return None
    with storage_errors(f"the checkpoints of workflow {workflow_id!r} could not be listed"):
        headers = await storage.list(workflow_id=workflow_id, limit=1)
    return headers[0].id if headers else None


async def _read(arguments: RunArguments, workflow_id: str) -> Checkpoint:
    assert arguments.storage is not None
    with storage_errors(f"the checkpoint of workflow {workflow_id!r} could not be read"):
        if isinstance(arguments.checkpoint_id, str):
            return await arguments.storage.load(arguments.checkpoint_id)
        latest = await arguments.storage.latest(workflow_id=workflow_id)
    if latest is None:
        raise CheckpointNotFoundError(
            f"workflow {workflow_id!r} has no checkpoint in {arguments.storage!r}; give a message to begin, or build(id=...) "
            f"with the id of the workflow that has"
        )
    return latest
