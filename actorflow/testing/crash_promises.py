"""What a crash may repeat, by durability: what the documentation promises, as a check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import attrs

from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.executors.workflow_executor import WorkflowExecutor
from actorflow.graph.nesting import Planned, plan
from actorflow.runtime.journal import PLACES, is_of_finished
from actorflow.testing.crash_points import CrashPoint, Fault
from actorflow.testing.crash_trial import End, Handling, decoded, state_of, without_runs
from actorflow.workflow import Workflow

__all__ = ["Survivors", "broken_promises", "moved_dues", "survivors_of", "unplanned"]


@attrs.frozen
class Survivors:
    """What is stored when a workflow is taken up again.

    Attributes:
        superstep: Of the latest checkpoint; None without one.
        planned: Deliveries of the next superstep, by executor and message; not those of workflows that run inside.
        kept: How many of them the journal has.
        dues: When what waits for a time is due, by its key in the state.
    """

    superstep: int | None = None
    planned: Counter[tuple[str, str]] = attrs.Factory(Counter)
    kept: Counter[tuple[str, str]] = attrs.Factory(Counter)
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
    return Survivors(latest.superstep, _counted(planned), _counted(kept), dues)


def _counted(planned: Iterable[Planned]) -> Counter[tuple[str, str]]:
    return Counter(
        (each.delivery.target_id, without_runs(repr(each.delivery.value))) for each in planned if not each.names
    )


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
        why = _too_far(durability, survivors, superstep)
        if why is None and not _restarts(workflow, executor_id):
            why = _had_it(durability, point, survivors, handling, times, workflow.executors[executor_id].concurrency)
        if why is not None:
            yield f"{executor_id} handled {message} of superstep {superstep} again: {why}"


def unplanned(clean: Counter[Handling], handled: Counter[Handling], workflow: Workflow) -> Iterator[str]:
    """Tell what was handled that the clean run did not handle at all, such as what the journal had from before."""
    for path, superstep, executor_id, message in handled.keys() - clean.keys():
        if path or isinstance(workflow.executors[executor_id], WorkflowExecutor) or _restarts(workflow, executor_id):
            continue
        yield f"{executor_id} handled {message} of superstep {superstep}, which the clean run did not"


def _too_far(durability: str, survivors: Survivors, superstep: int) -> str | None:
    if survivors.superstep is None:
        return "nothing was stored, so nothing should have begun"
    reach = _REACH[durability]
    if superstep <= survivors.superstep:
        return f"superstep {survivors.superstep} was stored"
    if reach is not None and superstep > survivors.superstep + reach:
        return f"only superstep {survivors.superstep} was stored"
    return None


def _had_it(  # noqa: PLR0917 - all that a promise depends on
    durability: str, point: CrashPoint, survivors: Survivors, handling: Handling, times: int, at_once: int
) -> str | None:
    _, superstep, executor_id, message = handling
    alike = executor_id, message
    kept = survivors.kept[alike] if superstep == (survivors.superstep or 0) + 1 else 0
    if kept and times > survivors.planned[alike] - kept:
        return "the journal had it"
    if durability in {"superstep", "delivery"} and _kept_by_the_end(durability, point):
        return "it had finished, and should have been kept"
    return "so many were not under way" if durability == "delivery" and times > at_once else None


def _restarts(workflow: Workflow, executor_id: str) -> bool:
    """Whether an executor may be restarted: it then handles all deliveries of its superstep again, whatever was kept."""
    policy = workflow.executors[executor_id].policy or workflow._core.definition.policy  # noqa: SLF001 - the kit looks inside
    return policy is not None and policy.on_failure == "restart"


def _kept_by_the_end(durability: str, point: CrashPoint) -> bool:
    """Whether all deliveries had finished, and were stored one by one or by the run on its way out."""
    return point.operation.verb == "save" and (durability == "delivery" or point.fault is not Fault.KILL)
