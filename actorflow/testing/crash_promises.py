"""What a crash may repeat, by durability: what the documentation promises, as a check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs

from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.effects import Delivery
from actorflow.executors.workflow_executor import WorkflowExecutor
from actorflow.graph.nesting import plan
from actorflow.runtime.journal import PLACES, is_of_finished
from actorflow.testing.crash_points import CrashPoint, Fault
from actorflow.testing.crash_trial import End, Handling, decoded, state_of
from actorflow.workflow import Workflow

__all__ = ["Survivors", "broken_promises", "moved_dues", "survivors_of"]


@attrs.frozen
class Survivors:
    """What is stored when a workflow is taken up again.

    Attributes:
        superstep: Of the latest checkpoint; None without one.
        kept: Deliveries of the next superstep that the journal has; not those of workflows that run inside.
        dues: When what waits for a time is due, by its key in the state.
    """

    superstep: int | None = None
    kept: Sequence[Delivery] = ()
    dues: Mapping[str, float] = attrs.Factory(dict)


async def survivors_of(storage: CheckpointStorage, workflow: Workflow) -> Survivors:
    """Read what is stored of a workflow."""
    latest = await storage.latest(workflow_id=workflow.id)
    if latest is None:
        return Survivors()
    planned = [*plan(workflow.definition, decoded(latest, workflow))]
    journal = await storage.read_journal(workflow.id, latest.id) if hasattr(storage, "read_journal") else []
    kept = [planned[entry.index % PLACES] for entry in journal if is_of_finished(entry)]
    dues = state_of(latest, workflow)[1]
    return Survivors(latest.superstep, [each.delivery for each in kept if not each.names], dues)


def moved_dues(survivors: Survivors, end: End) -> Iterator[str]:
    """Tell what was stored as due at one time and is due at another now."""
    for key, due in survivors.dues.items():
        if end.dues.get(key, due) != due:
            yield f"{key} was stored as due at {due!r}, and is due at {end.dues[key]!r}"


_REACH = {"superstep": 1, "delivery": 1, "async": 2, "exit": None}
"""How many supersteps beyond the latest checkpoint a run may have begun."""


def broken_promises(
    durability: str, point: CrashPoint, survivors: Survivors, repeated: Counter[Handling], workflow: Workflow
) -> Iterator[str]:
    """Tell which deliveries were handled again that should not have been."""
    for handling, times in repeated.items():
        path, superstep, executor_id, message = handling
        if path:
            continue  # the supersteps of a child are not in this line of checkpoints
        if isinstance(workflow.executors[executor_id], WorkflowExecutor):
            continue  # it has no handler that could do anything twice: it only hands its input in
        why = _why_not(durability, point, survivors, handling)
        if why is None and durability == "delivery" and times > workflow.executors[executor_id].concurrency:
            why = "so many were not under way"
        if why is not None:
            yield f"{executor_id} handled {message} of superstep {superstep} again: {why}"


def _why_not(durability: str, point: CrashPoint, survivors: Survivors, handling: Handling) -> str | None:
    _, superstep, executor_id, message = handling
    if survivors.superstep is None:
        return "nothing was stored, so nothing should have begun"
    reach = _REACH[durability]
    if superstep <= survivors.superstep:
        return f"superstep {survivors.superstep} was stored"
    if reach is not None and superstep > survivors.superstep + reach:
        return f"only superstep {survivors.superstep} was stored"
    kept = [(each.target_id, repr(each.value)) for each in survivors.kept]
    if superstep == survivors.superstep + 1 and (executor_id, message) in kept:
        return "the journal had it"
    if durability in {"superstep", "delivery"} and _kept_by_the_end(durability, point):
        return "it had finished, and should have been kept"
    return None


def _kept_by_the_end(durability: str, point: CrashPoint) -> bool:
    """Whether all deliveries had finished, and were stored one by one or by the run on its way out."""
    return point.operation.verb == "save" and (durability == "delivery" or point.fault is not Fault.KILL)
