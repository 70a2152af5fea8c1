"""Crash a workflow at every operation of its storage, resume it from the bytes that survive, and compare.

Theory of a round: a storage that notes its operations is given to a run, and strikes at one of them (see `crash_points`).
What survives is taken as bytes at that instant, or when the run has ended by itself; everything else is thrown away. Then a
fresh workflow over a fresh storage, opened over those bytes alone, goes on to the end. Each round is a trio run of its own
under a virtual clock and the same seed, so a hang costs nothing and a round can be replayed alone.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Generic, Literal, TypeVar

import attrs

from actorflow.durability import Durability
from actorflow.testing.crash_compare import compared, left_over
from actorflow.testing.crash_media import CrashableMemory, CrashableStorage
from actorflow.testing.crash_points import CrashPoint, Fault, Moment, points_of
from actorflow.testing.crash_report import CrashReport, CrashRow
from actorflow.testing.crash_round import Clean, Round, Stretch
from actorflow.testing.crash_trial import Answers, Scenario
from actorflow.testing.schedules import play as play_seeded
from actorflow.workflow import Workflow

__all__ = ["compared", "crash_everywhere", "left_over"]

BytesT = TypeVar("BytesT")
T = TypeVar("T")


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
    downtime: float = 0.0,
) -> CrashReport:
    """Provoke every fault at every operation of a workflow's storage, resume each time, and compare with a clean run.

        crash_everywhere(build, "trio", durability="async").raise_if_broken()

    A fault strikes *before* an operation, *after* it (the storage did it and the run never hears), or in the middle of a
    write (*torn*: half of it reaches the disk; only for storages that can be torn). It is a *kill* (nothing more of the run
    reaches the storage), an *error* (the storage raises), or a *hang* (the storage never answers, and the run is cancelled).
    A run that resumes is struck as well, after a kill halfway through the first: in what it reads, and the first thing it
    writes.

    After the resume, committed state, outputs, open requests and status must equal those of the clean run, the checkpoints
    be one line without a gap, no task and no lease be left, and no delivery have been handled again but those that the
    durability allows. A due time that was stored must be what it was; one that was not may be later by no more than the run
    had lasted.

    No virtual time passes between fault and resume, and what a dead run leaves of its lease is cut short, so that timers fire
    in the order in which they would have. With a `downtime` they are overdue when the resume comes, and it may be another.

    Handlers must be deterministic, and what they keep or yield must not hold times of day or random values. Two kinds of
    workflow are no subject for this. Under ``checkpoint_failures="warn"`` a lost checkpoint is a gap. And where a handler takes
    time, one that is handled again takes it again: a timer that is due meanwhile may then rightly come first.

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
        downtime: Virtual seconds for which a hang is borne, and from a kill to the resume. With 0 a hang is cut off as soon as
            nothing else can go on.

    Returns:
        The report; ask it with `ok` or `raise_if_broken`.

    Raises:
        ValueError: `make_workflow` makes a new id each time, or gives one object every time; `downtime` is no time.
        RuntimeError: Called from inside a trio run.
        Exception: What the clean run raised.
    """
    scenario = Scenario(
        make_workflow=make_workflow, message=message, answers=answers, config=config, durability=durability
    )
    scenario.check()
    if not 0 <= downtime < math.inf:
        raise ValueError(f"downtime is {downtime!r}; it is seconds, from 0")
    return _Sweep(scenario, storage, downtime, seed).run([Fault(each) for each in faults])


@attrs.frozen
class _Sweep(Generic[BytesT]):
    scenario: Scenario
    storage: Callable[[], CrashableStorage[BytesT]]
    downtime: float
    seed: int

    def run(self, faults: Sequence[Fault]) -> CrashReport:
        first = Stretch[BytesT]()
        clean = self._play(first, lambda each: each.clean())
        return CrashReport((*self._rows(first, clean, faults), *self._resumes(first, clean, faults)))

    def _rows(self, stretch: Stretch[BytesT], clean: Clean, faults: Sequence[Fault]) -> Iterator[CrashRow]:
        with closing(self.storage()) as medium:
            tears, fails_halfway = medium.tears, hasattr(medium, "failing")
        for point in points_of(clean.operations, tears, faults, fails_halfway=fails_halfway):
            try:
                yield self._play(stretch, lambda each, point=point: each.struck(clean, point))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - what comes of a fault is what the table is about
                yield _row_of(f"{stretch.name}{point.operation}", point, error)

    def _resumes(self, first: Stretch[BytesT], clean: Clean, faults: Sequence[Fault]) -> Iterator[CrashRow]:
        """Strike a run that resumes, up to the first thing it writes; from there on it is a run like any other."""
        saves = [operation for operation in clean.operations if operation.verb == "save"]
        if len(saves) < 2 or not faults:
            return
        point = CrashPoint(saves[len(saves) // 2], Moment.BEFORE, Fault.KILL)
        try:
            second = self._play(first, lambda each: each.after(point))
            resumed = self._play(second, lambda each: each.clean())
        except Exception as error:  # noqa: BLE001 - as above
            yield _row_of(str(point.operation), point, error)
            return
        writes = [number for number, each in enumerate(resumed.operations, 1) if each.verb in {"save", "write_journal"}]
        opening = resumed.operations[: writes[0]] if writes else resumed.operations
        struck = tuple(each for each in opening if each.verb != "acquire_lease")  # which the first run has had struck
        yield from self._rows(second, attrs.evolve(resumed, operations=struck), faults)

    def _play(self, stretch: Stretch[BytesT], what: Callable[[Round[BytesT]], Awaitable[T]]) -> T:
        with closing(self.storage()) as medium:
            one = Round(self.scenario, medium, stretch, self.downtime)
            return play_seeded(lambda: what(one), self.seed, timeout=1e9)


def _row_of(operation: str, point: CrashPoint, error: Exception) -> CrashRow:
    return CrashRow(
        operation=operation,
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
