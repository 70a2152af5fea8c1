"""How a workflow that was interrupted ended, beside how the one ended that was not: one row of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress

import attrs

from actorflow.checkpoint.records import Lease
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.runtime.leasing import acquire_lease
from actorflow.testing.census import tasks_beside_the_caller
from actorflow.testing.crash_report import CrashRow
from actorflow.testing.crash_trial import End, broken_line

__all__ = ["compared", "left_over", "let_run_out"]


def compared(
    clean: End,
    end: End,
    *,
    cells: tuple[str, str, str],
    repeated: int,
    left: Sequence[str],
    problems: Sequence[str] = (),
    every_superstep: bool,
    late: float = math.inf,
) -> CrashRow:
    """Compare how an interrupted workflow ended with how the clean one did.

    Args:
        clean: How that one ended.
        end: How this one did.
        cells: What is told of the fault: operation, moment, fault.
        repeated: How many deliveries were handled again.
        left: What is left behind.
        problems: What is wrong already.
        every_superstep: Whether each superstep has a checkpoint.
        late: By how many seconds at most a time of day may be later than that of the clean run.
    """
    turns = clean.turns[-len(end.turns) :]
    changed = sorted(key for key in {*clean.state, *end.state} if clean.state.get(key) != end.state.get(key))
    gap = broken_line(end.line, every_superstep=every_superstep)
    found = [
        *problems,
        *([f"state differs in {', '.join(changed)}"] if changed else []),
        *([f"gave {end.turns}, not {turns}"] if end.turns != turns else []),
        *([gap] if gap else []),
        *_late_dues(clean, end, late),
        *left,
    ]
    return CrashRow(
        operation=cells[0],
        moment=cells[1],
        fault=cells[2],
        status=end.turns[-1].status,
        same_state=not changed,
        same_outputs=end.turns == turns,
        repeated=repeated,
        contiguous=gap is None,
        nothing_left=not left,
        problems=tuple(found),
    )


async def left_over(
    storage: CheckpointStorage, workflow_id: str, tasks: int, *, until_it_runs_out: bool = False
) -> list[str]:
    """What a workflow that has ended left behind: tasks, beyond so many, and its lease, which is taken to see.

    Args:
        storage: Where it ran.
        workflow_id: Its id.
        tasks: How many tasks there were before.
        until_it_runs_out: Whether the storage may have kept it from giving its lease back, which then runs out.
    """
    here = tasks_beside_the_caller()
    left = [f"{len(here) - tasks} tasks are left: {', '.join(task.name for task in here)}"] if len(here) > tasks else []
    if hasattr(storage, "acquire_lease"):
        try:
            await acquire_lease(storage, workflow_id, "the sweep", wait=until_it_runs_out)
        except (CheckpointError, LeaseHeldError) as error:
            left.append(f"the lease is left: {error}")
    return left


async def let_run_out(storage: CheckpointStorage, lease: Lease | None) -> None:
    """Let a dead run's lease, where it is the current one, last no longer than to this instant."""
    if lease is not None:
        with suppress(LeaseLostError):
            await storage.renew_lease(attrs.evolve(lease, ttl=0.0))


def _late_dues(clean: End, end: End, late: float) -> Iterator[str]:
    for key in clean.dues.keys() & end.dues.keys():
        by = end.dues[key] - clean.dues[key]
        if not -_INSTANT <= by <= late + _INSTANT:
            yield f"{key} is due {by:g} s later than in the clean run; the fault accounts for {late:g} s"


_INSTANT = 1e-3
