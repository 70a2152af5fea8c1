"""One round of a crash sweep: a run that a fault cuts off, and the one that goes on from what it left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import attrs
import trio
import trio.testing

from actorflow.checkpoint.records import Lease
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError, LeaseLostError
from actorflow.testing.census import tasks_beside_the_caller
from actorflow.testing.crash_compare import compared, left_over, let_run_out
from actorflow.testing.crash_media import CrashableStorage
from actorflow.testing.crash_points import CrashPoint, Operation
from actorflow.testing.crash_promises import broken_promises, moved_dues, survivors_of, unplanned
from actorflow.testing.crash_report import CrashRow
from actorflow.testing.crash_storage import FaultingStorage
from actorflow.testing.crash_trial import Diary, End, Scenario, play

__all__ = ["Clean", "Round", "Stretch"]

BytesT = TypeVar("BytesT")


@attrs.frozen
class Stretch(Generic[BytesT]):
    """Where the runs begin that are struck.

    Attributes:
        name: What its operations are called by.
        start: The bytes that there are; None for a storage with nothing in it.
        began: The virtual time.
        lease: What the run had that left these bytes.
    """

    name: str = ""
    start: BytesT | None = None
    began: float = 0.0
    lease: Lease | None = None

    async def open(self, medium: CrashableStorage[BytesT]) -> CheckpointStorage:
        """Open the storage that a run of this stretch begins with, at the time it begins."""
        await trio.sleep(self.began)
        if self.start is None:
            return medium.open()
        storage = medium.reopen(self.start)
        await let_run_out(storage, self.lease)
        return storage


@attrs.frozen
class Clean:
    """A run that was not cut off.

    Attributes:
        end: How it ended.
        handled: What it handled.
        operations: What it asked of its storage.
    """

    end: End
    handled: Counter[Any]
    operations: tuple[Operation, ...]


@attrs.frozen
class Round(Generic[BytesT]):
    """What is played, over what, from where.

    Attributes:
        scenario: What.
        medium: Over what.
        stretch: From where.
        downtime: Virtual seconds for which a hang is borne, and from a kill, or any end that leaves a lease, to the resume.
    """

    scenario: Scenario
    medium: CrashableStorage[BytesT]
    stretch: Stretch[BytesT]
    downtime: float

    @property
    def _how(self) -> dict[str, Any]:
        return self.scenario.how(is_begun=self.stretch.start is not None)

    async def clean(self) -> Clean:
        """Play it to the end."""
        storage, diary = FaultingStorage(self.medium, await self.stretch.open(self.medium)), Diary()
        workflow = self.scenario.make_workflow()
        turns = await play(self.scenario, workflow, storage.as_storage, diary, self._how)
        operations = tuple(storage.operations)
        return Clean(await End.of(turns, workflow, storage.inner), diary.handled, operations)

    async def after(self, point: CrashPoint) -> Stretch[BytesT]:
        """Play it until it is killed at a point, to go on from there."""
        storage = FaultingStorage(self.medium, await self.stretch.open(self.medium), point)
        await self._interrupted(storage, Diary())
        assert storage.survivors is not None
        assert storage.struck is not None
        return Stretch("resume ", storage.survivors, storage.struck + self.downtime, storage.lease)

    async def struck(self, clean: Clean, point: CrashPoint) -> CrashRow:
        """Play it into a fault, and to the end from what is left; compare."""
        tasks = len(tasks_beside_the_caller())
        storage = FaultingStorage(self.medium, await self.stretch.open(self.medium), point)
        before, resumed = Diary(), Diary()
        problems = [*await self._interrupted(storage, before)]
        over = self.medium.reopen(self.medium.snapshot() if storage.survivors is None else storage.survivors)
        workflow = self.scenario.make_workflow()
        survivors = await survivors_of(over, workflow)
        if storage.lease is not None and self.downtime < storage.lease.ttl:
            await let_run_out(over, storage.lease)
        late = trio.current_time() - self.stretch.began
        how = self.scenario.how(is_begun=survivors.superstep is not None)
        turns = await play(self.scenario, workflow, over, resumed, how)
        end = await End.of(turns, workflow, over)
        left = await left_over(over, workflow.id, tasks)
        twice = _repeated(clean.handled, before.handled, resumed.handled)
        problems += broken_promises(self.scenario.durability, point, survivors, twice, workflow)
        problems += _lost(clean.handled, before.handled, resumed.handled)
        problems += unplanned(clean.handled, before.handled + resumed.handled, workflow)
        problems += moved_dues(survivors, end)
        if gone := {*storage.acknowledged} - {info.id for info in end.line}:
            problems.append(f"{len(gone)} checkpoints are gone that the run was told are stored")
        row = compared(
            clean.end,
            end,
            cells=(f"{self.stretch.name}{point.operation}", point.moment, point.fault),
            repeated=twice.total(),
            left=left,
            problems=problems,
            every_superstep=self.scenario.durability != "exit",
            late=late,
        )
        return attrs.evolve(row, resumed_from=survivors.superstep)

    async def _interrupted(self, storage: FaultingStorage[BytesT], diary: Diary) -> Iterator[str]:
        """Run into the fault; tells what came of it that should not have."""
        scope = trio.CancelScope()

        def killed() -> None:
            diary.close()
            scope.cancel(reason="crash_everywhere: killed")

        async def hung() -> None:
            if self.downtime:
                scope.deadline = trio.current_time() + self.downtime
                return
            await trio.testing.wait_all_tasks_blocked()  # what can go on goes on first, and no time passes
            scope.cancel(reason="crash_everywhere: the storage hangs")

        storage.killed, storage.hung = killed, hung
        raised: Exception | None = None
        with scope:
            try:
                await play(self.scenario, self.scenario.make_workflow(), storage.as_storage, diary, self._how)
            except (CheckpointError, LeaseLostError):
                pass  # so a run ends that its storage failed; what it left is looked at next
            except Exception as error:  # noqa: BLE001 - told in the row
                raised = error
        if storage.lease is not None:  # nobody gave it back
            await trio.sleep(self.downtime)
        wrong = [] if raised is None else [f"the interrupted run raised {raised!r}"]
        return iter(wrong if storage.struck is not None else [*wrong, "the run never came to this operation"])


def _repeated(clean: Counter[Any], before: Counter[Any], resumed: Counter[Any]) -> Counter[Any]:
    both = before.keys() & resumed.keys()
    return +Counter({key: before[key] + resumed[key] - max(clean[key], before[key]) for key in both})


def _lost(clean: Counter[Any], before: Counter[Any], resumed: Counter[Any]) -> Iterator[str]:
    missing = clean - (before + resumed)
    if missing:
        yield f"never handled: {', '.join(map(str, missing))}"
