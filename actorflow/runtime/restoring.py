"""From a checkpoint to the state that a workflow stands on. Nothing is touched before all of it is decoded and checked."""

from __future__ import annotations

import attrs

from actorflow.checkpoint.formats import check_format
from actorflow.checkpoint.ledger import Ledger
from actorflow.checkpoint.records import Checkpoint, CheckpointID
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.effects import Delivery
from actorflow.core.snapshot import INPUTS, JOINS, RUN, TIMERS, Changes, Snapshot, inside
from actorflow.core.trials import Trials
from actorflow.errors import CheckpointNotFoundError, GraphMismatchError
from actorflow.graph.nesting import plan
from actorflow.runtime.arguments import LATEST, RunArguments
from actorflow.runtime.definition import Definition
from actorflow.runtime.journal import read_journal
from actorflow.runtime.standing import Standing
from actorflow.runtime.storing import storage_errors

__all__ = ["decode_checkpoint", "load_standing", "other_head"]


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
