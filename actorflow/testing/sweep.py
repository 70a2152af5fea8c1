"""Cancel a scenario before every one of its task steps: the proof that a cancellation leaves nothing behind.

A cancellation strikes between two steps of some task, so for one schedule there are only as many places as steps,
and all of them can be tried. Theory of a round k: an instrument counts the steps of the scenario's tasks and cancels
the scope around the scenario just before step k. Step 1 is before its first line. A task that was woken with
something in hand (a seat, an item) keeps it and meets the cancellation at its next checkpoint, as trio promises: so
"granted, then cancelled" is among the places tried. Rounds go on until k is past the end, each in a trio run of its own under the same seed, so that a round can be replayed alone.
"""

from __future__ import annotations

__all__ = ["Leak", "LeakError", "SweepReport", "cancel_everywhere"]

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, overload

import attrs
import trio

from actorflow.testing.census import left_since, take_census, young_heap
from actorflow.testing.schedules import play

W = TypeVar("W")


@attrs.frozen
class Leak:
    """What one round left behind.

    Attributes:
        seed: The scheduling seed of the round.
        step: The step before which the scenario was cancelled; 0 when it was not.
        left: One line for each thing left.
    """

    seed: int
    step: int
    left: tuple[str, ...]

    def __str__(self) -> str:
        place = f"cancelled before step {self.step}" if self.step else "not cancelled at all"
        return f"{place}, seed {self.seed}: {'; '.join(self.left)}"


@attrs.frozen
class SweepReport:
    """What a sweep went through.

    Attributes:
        seeds: The schedules that were swept.
        steps: How many places the scenario was cancelled at, over all seeds.
        cancelled: How many of these rounds ended by the cancellation; the others came to their end in spite of it.
        leaks: The rounds that left something behind.
    """

    seeds: tuple[int, ...]
    steps: int = 0
    cancelled: int = 0
    leaks: tuple[Leak, ...] = ()

    def __str__(self) -> str:
        schedules = f"{len(self.seeds)} schedule{'s' if len(self.seeds) != 1 else ''}"
        rounds = f"{self.steps} steps over {schedules}, {self.cancelled} rounds ended by the cancellation"
        leaks = "".join(f"\n  {leak}" for leak in self.leaks[:_SHOWN])
        more = f"\n  and {len(self.leaks) - _SHOWN} more" if len(self.leaks) > _SHOWN else ""
        return f"{rounds}, {len(self.leaks)} rounds left something behind{':' if leaks else ''}{leaks}{more}"


class LeakError(AssertionError):
    """A scenario left tasks, threads, channels or limiter tokens behind.

    Attributes:
        report: The sweep as far as it came.
    """

    def __init__(self, report: SweepReport) -> None:
        self.report = report
        first = report.leaks[0]
        super().__init__(f"{report}\nreplay the first with {_replay(first.seed, first.step)}")


@overload
def cancel_everywhere(
    scenario: Callable[[], Awaitable[object]],
    *,
    check: Callable[[], object] | None = None,
    seed: int = 0,
    seeds: Iterable[int] | None = None,
    only: int | None = None,
    max_steps: int = 10_000,
    where: Callable[[trio.lowlevel.Task], bool] | None = None,
) -> SweepReport: ...


@overload
def cancel_everywhere(
    scenario: Callable[[W], Awaitable[object]],
    *,
    setup: Callable[[], Awaitable[W]] | Callable[[], W],
    check: Callable[[W], object] | None = None,
    seed: int = 0,
    seeds: Iterable[int] | None = None,
    only: int | None = None,
    max_steps: int = 10_000,
    where: Callable[[trio.lowlevel.Task], bool] | None = None,
) -> SweepReport: ...


def cancel_everywhere(
    scenario: Callable[..., Awaitable[object]],
    *,
    setup: Callable[[], Any] | None = None,
    check: Callable[..., object] | None = None,
    seed: int = 0,
    seeds: Iterable[int] | None = None,
    only: int | None = None,
    max_steps: int = 10_000,
    where: Callable[[trio.lowlevel.Task], bool] | None = None,
) -> SweepReport:
    """Run a scenario again and again, cancelled before each of its task steps in turn.

    After each round, still inside trio, nothing may be left that was not there before it (tasks, busy threads, open
    channels, borrowed limiter tokens; what ``setup`` made is not counted), and then ``check`` looks at whatever else
    must hold. The scenario is run once uncancelled first, so that a broken scenario shows as itself.

        async def scenario(workflow: Workflow) -> None:
            await workflow.run("trio")

        async def check(workflow: Workflow) -> None:
            await workflow.run("trio")          # usable again, whatever happened

        cancel_everywhere(scenario, setup=build_workflow, check=check, seeds=scheduling_seeds())

    Args:
        scenario: An async function; it is given what ``setup`` made, or nothing without ``setup``.
        setup: Makes what one round works on, afresh for each round; sync or async.
        check: Called after each round with the same value (nothing without ``setup``), sync or async; it raises
            when an invariant does not hold.
        seed: The schedule to sweep under.
        seeds: Several schedules, instead of ``seed``.
        only: Play this one round alone, to replay a failure; 0 is the uncancelled one.
        max_steps: When a scenario takes more steps than this, it is taken for one that never ends.
        where: Count only steps of the tasks for which this is true, e.g. those of one actor.

    Returns:
        The report; it has no leaks.

    Raises:
        LeakError: Rounds left something behind (an AssertionError). All rounds are played first, unless one fails
            otherwise; then that failure is the cause.
        ValueError: The scenario takes more than ``max_steps`` steps, or fewer than ``only``.
        Exception: What the scenario or ``check`` raised, with a note that names the step and the seed.
    """
    chosen = (seed,) if seeds is None else tuple(seeds)
    if not chosen or not (only is None or 0 <= only <= max_steps):
        raise ValueError(f"nothing to sweep: seeds={chosen!r}, only={only!r}, max_steps={max_steps}")
    with young_heap() as elders:
        sweep = _Sweep(scenario, setup, check, max_steps, where, elders, SweepReport(chosen))
        sweep.run(only)
    return sweep.report


@attrs.define(eq=False)
class _Striker(trio.abc.Instrument):
    """Counts the steps of one task's family, and cancels the scope just before the chosen one."""

    scope: trio.CancelScope
    step: int
    max_steps: int
    where: Callable[[trio.lowlevel.Task], bool] | None
    main: trio.lowlevel.Task = attrs.field(factory=trio.lowlevel.current_task)
    seen: int = 0
    fault: Exception | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.fault is not None or not self._counts(task):
            return
        self.seen += 1
        if self.seen == self.step:
            self.scope.cancel(reason=f"cancel_everywhere: before step {self.step}, of task {task.name!r}")
        elif self.seen > self.max_steps and not self.step:
            self._fail(ValueError(f"still going after {self.max_steps} steps; give a scenario that ends, or max_steps"))

    def _counts(self, task: trio.lowlevel.Task) -> bool:
        if not _descends(task, self.main):
            return False
        try:
            return self.where is None or self.where(task)
        except Exception as error:  # noqa: BLE001 - kept and raised by the round: trio would only log it
            self._fail(error)
            return False

    def _fail(self, fault: Exception) -> None:
        self.fault = fault
        self.scope.cancel(reason=f"cancel_everywhere: {fault}")


@attrs.define(eq=False)
class _Sweep:
    scenario: Callable[..., Awaitable[object]]
    setup: Callable[[], Any] | None
    check: Callable[..., object] | None
    max_steps: int
    where: Callable[[trio.lowlevel.Task], bool] | None
    elders: tuple[Any, ...]
    report: SweepReport

    def run(self, only: int | None) -> None:
        try:
            for seed in self.report.seeds:
                self._run_seed(seed, only)
        except Exception as error:
            if not self.report.leaks:
                raise
            # An earlier leak is the likelier culprit, e.g. a seat that is never free again and so a deadlock.
            raise LeakError(self.report) from error
        if self.report.leaks:
            raise LeakError(self.report)

    def _run_seed(self, seed: int, only: int | None) -> None:
        if only is not None:
            if not self._play(seed, only):
                raise ValueError(f"only={only}: under seed {seed} the scenario ends before that step")
            return
        self._play(seed, 0)
        step = 1
        while self._play(seed, step):
            step += 1

    def _play(self, seed: int, step: int) -> bool:
        """Play one round, and tell whether it was the one asked for: False when the scenario ended before ``step``."""
        try:
            return play(lambda: self._round(seed, step), seed, timeout=1e6)
        except BaseException as error:
            place = f"cancelled before step {step}" if step else "not cancelled"
            error.add_note(f"{place}, under scheduling seed {seed}; replay with {_replay(seed, step)}")
            raise

    async def _round(self, seed: int, step: int) -> bool:
        world = () if self.setup is None else (await _settled(self.setup()),)
        before = take_census(self.elders)
        scope = trio.CancelScope()
        striker = _Striker(scope, step, self.max_steps, self.where)
        with scope, _attached(striker):
            await trio.lowlevel.cancel_shielded_checkpoint()  # its wake-up is step 1: before the scenario's first line
            await self.scenario(*world)
        if striker.fault is not None:
            raise striker.fault
        self._record(seed, step, left_since(before, self.elders).entries)
        if self.check is not None:
            await _settled(self.check(*world))
        reached = step <= striker.seen
        if step and reached:
            self._count(cancelled=scope.cancelled_caught)
        return reached

    def _record(self, seed: int, step: int, left: tuple[str, ...]) -> None:
        if left:
            self.report = attrs.evolve(self.report, leaks=(*self.report.leaks, Leak(seed, step, left)))

    def _count(self, *, cancelled: bool) -> None:
        was = self.report
        self.report = attrs.evolve(was, steps=was.steps + 1, cancelled=was.cancelled + cancelled)


_SHOWN = 5


@contextmanager
def _attached(striker: _Striker) -> Iterator[None]:
    trio.lowlevel.add_instrument(striker)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(striker)


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _descends(task: trio.lowlevel.Task, ancestor: trio.lowlevel.Task) -> bool:
    while task is not ancestor:
        if task.parent_nursery is None:
            return False
        task = task.parent_nursery.parent_task
    return True


def _replay(seed: int, step: int) -> str:
    return f"cancel_everywhere(..., seed={seed}, only={step})"
