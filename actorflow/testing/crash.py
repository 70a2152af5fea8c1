"""Crash a workflow at every operation of its storage, resume it from the bytes that survive, and compare.

Theory of a round: a storage that notes its operations is given to a run, and strikes at one of them (see `crash_points`).
What survives is taken as bytes at that instant, or when the run has ended by itself; everything else is thrown away. Then a
fresh workflow over a fresh storage, opened over those bytes alone, goes on to the end. Each round is a trio run of its own
under a virtual clock and the same seed, so a hang costs nothing and a round can be replayed alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import attrs
import trio

from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.durability import Durability
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.runtime.leasing import acquire_lease
from actorflow.testing.census import tasks_beside_the_caller
from actorflow.testing.crash_media import CrashableMemory, CrashableStorage
from actorflow.testing.crash_points import CrashPoint, Fault, Operation, points_of
from actorflow.testing.crash_promises import broken_promises, survivors_of
from actorflow.testing.crash_report import CrashReport, CrashRow
from actorflow.testing.crash_storage import FaultingStorage
from actorflow.testing.crash_trial import Answers, Diary, End, Scenario, broken_line, play, take_up
from actorflow.testing.schedules import play as play_seeded
from actorflow.workflow import Workflow

__all__ = ["compared", "crash_everywhere", "left_over"]

BytesT = TypeVar("BytesT")
_PATIENCE = 60.0


def crash_everywhere(
    make_workflow: Callable[[], Workflow],
    message: Any,
    *,
    storage: Callable[[], CrashableStorage[Any]] = CrashableMemory,
    durability: Durability = "superstep",
    answers: Answers | None = None,
    config: Mapping[str, Any] | None = None,
    faults: Sequence[Literal["kill", "error", "hang"]] = ("kill", "error", "hang"),
    seed: int = 0,
) -> CrashReport:
    """Provoke every fault at every operation of a workflow's storage, resume each time, and compare with a clean run.

        crash_everywhere(build, "trio", durability="async").raise_if_broken()

    A fault strikes *before* an operation, *after* it (the storage did it and the run never hears), or in the middle of a
    write (*torn*: a power cut; only for storages that can be torn). It is a *kill* (nothing more of the run reaches the
    storage), an *error* (the storage raises OSError), or a *hang* (the storage never answers and the run is cancelled a
    virtual minute later). After the resume, committed state, outputs, open requests and status must equal those of the
    clean run, the checkpoints be one line without a gap, no task and no lease be left, and no delivery have been handled
    again but those that the durability allows.

    Handlers must be deterministic, and what they keep or yield must not hold times of day or random values. Under
    ``checkpoint_failures="warn"`` a lost checkpoint is a gap, so such a workflow is no subject for this; nor is one that ends
    with an open request that has a deadline, or whose timers race with its supersteps, since a resume comes later.

    Args:
        make_workflow: Makes a workflow with fresh executors, and always the same id. A storage that it has is not used.
        message: Its input.
        storage: Makes a fresh place for the bytes: `CrashableMemory`, `CrashableSqlite`, or one of your own.
        durability: Of every run.
        answers: Answers requests: a function of the request's event, sync or async, or a mapping from its data. Without it
            a run that asks ends there.
        config: Given to every run.
        faults: Those wanted.
        seed: The schedule all rounds are played under.

    Returns:
        The report; ask it with `ok` or `raise_if_broken`.

    Raises:
        ValueError: `make_workflow` makes a new id each time, or gives one object every time.
        RuntimeError: Called from inside a trio run.
        Exception: What the clean run raised.
    """
    scenario = Scenario(
        make_workflow=make_workflow, message=message, answers=answers, config=config, durability=durability
    )
    scenario.check()
    return _Sweep(scenario, storage, seed).run([Fault(each) for each in faults])


@attrs.frozen
class _Clean:
    """The run that was not cut off."""

    end: End
    handled: Counter[Any]
    operations: Sequence[Operation]
    tears: int


@attrs.frozen
class _Sweep(Generic[BytesT]):
    scenario: Scenario
    storage: Callable[[], CrashableStorage[BytesT]]
    seed: int

    def run(self, faults: Sequence[Fault]) -> CrashReport:
        clean = play_seeded(self._clean, self.seed, timeout=1e9)
        points = points_of(clean.operations, clean.tears, faults)
        return CrashReport(tuple(self._play(clean, point) for point in points))

    def _play(self, clean: _Clean, point: CrashPoint) -> CrashRow:
        async def played() -> CrashRow:
            return await self._round(clean, point)

        try:
            return play_seeded(played, self.seed, timeout=1e9)
        except Exception as error:  # noqa: BLE001 - what comes of a fault is what the table is about
            return _row_of(point, error)

    async def _clean(self) -> _Clean:
        medium = self.storage()
        try:
            storage, diary, workflow = FaultingStorage(medium), Diary(), self.scenario.make_workflow()
            turns = await play(self.scenario, workflow, storage.as_storage, diary, {"message": self.scenario.message})
            operations = [*storage.operations]
            end = await End.of(turns, workflow, storage.as_storage)
            return _Clean(end, diary.handled, operations, medium.tears)
        finally:
            medium.close()

    async def _round(self, clean: _Clean, point: CrashPoint) -> CrashRow:
        medium = self.storage()
        tasks = len(tasks_beside_the_caller())
        try:
            storage, before, resumed = FaultingStorage(medium, point), Diary(), Diary()
            problems = [*await self._interrupted(storage, before)]
            bytes_left = medium.snapshot() if storage.survivors is None else storage.survivors
            over = medium.reopen(bytes_left)
            workflow = self.scenario.make_workflow()
            survivors = await survivors_of(over, workflow)
            turns = await take_up(self.scenario, workflow, over, resumed)
            end = await End.of(turns, workflow, over)
            left = await left_over(over, workflow.id, tasks)
        finally:
            medium.close()
        twice = _repeated(clean.handled, before.handled, resumed.handled)
        problems += broken_promises(self.scenario.durability, point, survivors, twice, workflow)
        problems += _lost(clean.handled, before.handled, resumed.handled)
        if gone := {*storage.acknowledged} - {info.id for info in end.line}:
            problems.append(f"{len(gone)} checkpoints are gone that the run was told are stored")
        row = compared(
            clean.end,
            end,
            cells=(str(point.operation), point.moment, point.fault),
            repeated=twice.total(),
            left=left,
            problems=problems,
            every_superstep=self.scenario.durability != "exit",
        )
        return attrs.evolve(row, resumed_from=survivors.superstep)

    async def _interrupted(self, storage: FaultingStorage[BytesT], diary: Diary) -> Iterator[str]:
        """Run into the fault; tells what came of it that should not have."""
        scope = trio.CancelScope()

        def killed() -> None:
            diary.close()
            scope.cancel(reason="crash_everywhere: killed")

        def hung() -> None:
            scope.deadline = trio.current_time() + _PATIENCE

        storage.killed, storage.hung = killed, hung
        raised: Exception | None = None
        with scope:
            try:
                how = {"message": self.scenario.message}
                await play(self.scenario, self.scenario.make_workflow(), storage.as_storage, diary, how)
            except (CheckpointError, LeaseLostError):
                pass  # so a run ends that its storage failed; what it left is looked at next
            except Exception as error:  # noqa: BLE001 - told in the row
                raised = error
        wrong = [] if raised is None else [f"the interrupted run raised {raised!r}"]
        return iter(wrong if storage.struck else [*wrong, "the run never came to this operation"])


def compared(
    clean: End,
    end: End,
    *,
    cells: tuple[str, str, str],
    repeated: int,
    left: Sequence[str],
    problems: Sequence[str] = (),
    every_superstep: bool,
) -> CrashRow:
    """Compare how an interrupted workflow ended with how the clean one did."""
    turns = clean.turns[-len(end.turns) :]
    changed = sorted(key for key in {*clean.state, *end.state} if clean.state.get(key) != end.state.get(key))
    gap = broken_line(end.line, every_superstep=every_superstep)
    found = [
        *problems,
        *([f"state differs in {', '.join(changed)}"] if changed else []),
        *([f"gave {end.turns}, not {turns}"] if end.turns != turns else []),
        *([gap] if gap else []),
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
    """What a workflow that has ended left behind: tasks, beyond so many, and its lease.

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
            keeper = await acquire_lease(storage, workflow_id, "the sweep", wait=until_it_runs_out)
        except (CheckpointError, LeaseHeldError) as error:
            left.append(f"the lease is left: {error}")
        else:
            assert keeper is not None
            await keeper.release()
    return left


def _repeated(clean: Counter[Any], before: Counter[Any], resumed: Counter[Any]) -> Counter[Any]:
    both = before.keys() & resumed.keys()
    return +Counter({key: before[key] + resumed[key] - max(clean[key], before[key]) for key in both})


def _lost(clean: Counter[Any], before: Counter[Any], resumed: Counter[Any]) -> Iterator[str]:
    missing = clean - (before + resumed)
    if missing:
        yield f"never handled: {', '.join(map(str, missing))}"


def _row_of(point: CrashPoint, error: Exception) -> CrashRow:
    return CrashRow(
        operation=str(point.operation),
        moment=point.moment,
        fault=point.fault,
        status=None,
        same_state=False,
        same_outputs=False,
        repeated=0,
        contiguous=False,
        nothing_left=False,
        problems=(f"the resume failed: {error!r}",),
    )
