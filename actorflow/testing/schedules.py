"""Seeded schedules: a test that replays the same interleaving of tasks in every process.

What may be relied upon: equal seed, equal order of tasks, on one version of trio. What may not: which order a seed
stands for, the order in which worker threads finish, and schedules of other runs in other threads of the process
(trio has one random state for all of them).
"""

from __future__ import annotations

__all__ = ["family", "play", "run_seeded", "scheduling_seeds"]

import inspect
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import attrs
import trio
import trio.testing

from actorflow.testing.trio_internals import seeded_scheduling

T = TypeVar("T")

_VARIABLE = "ACTORFLOW_SCHED_SEEDS"
_TRIO = str(Path(trio.__file__).parent) + os.sep


def run_seeded(fn: Callable[[], Awaitable[T]], seed: int, *, timeout: float = 1e6) -> T:
    """Run an async function under a virtual clock and a scheduling order drawn from ``seed``.

    The same seed gives the same order of tasks, in this process and any other; different seeds give different
    orders. Time passes only when every task waits, so an hour of timeouts takes a millisecond. trio's random state
    and flags are restored on every way out.

        def test_the_later_writer_wins() -> None:
            for seed in range(8):
                assert run_seeded(scenario, seed) == "later"

    Args:
        fn: An async function without arguments; use ``functools.partial`` or a lambda to give it some.
        seed: Which schedule.
        timeout: Virtual seconds after which the run counts as deadlocked.

    Returns:
        What ``fn`` returned.

    Raises:
        trio.TooSlowError: The run did not end within ``timeout``; the text names each task and where it waits.
        RuntimeError: Called from inside a trio run.
        TypeError: ``fn`` is not an async function.
        Exception: Whatever ``fn`` raised, with a note that names the seed.
    """
    try:
        return play(fn, seed, timeout=timeout)
    except BaseException as error:
        error.add_note(
            f"under scheduling seed {seed}; replay with run_seeded(fn, seed={seed}), "
            f"or {_VARIABLE}='={seed}' where the seeds come from scheduling_seeds()"
        )
        raise


def scheduling_seeds(n: int | None = None, *, default: int = 8) -> tuple[int, ...]:
    """Choose the seeds a test is repeated under, from the environment where it says so.

    ``ACTORFLOW_SCHED_SEEDS`` holds a count (``200`` for a thorough run), or ``=5`` to replay seed 5 alone.

        @pytest.mark.parametrize("seed", scheduling_seeds())
        def test_one_history_under_every_schedule(seed: int) -> None: ...

    Args:
        n: How many seeds this test wants when the environment says nothing.
        default: How many when ``n`` is not given either.

    Returns:
        The seeds, ``0`` to the count minus one, or the one to replay.

    Raises:
        ValueError: The variable holds something else, or a count below one.
    """
    wish = os.environ.get(_VARIABLE, "").strip()
    if not wish:
        return _counted(default if n is None else n, "scheduling_seeds")
    try:
        number = int(wish.removeprefix("="))
    except ValueError:
        raise ValueError(f"{_VARIABLE} is {wish!r}: give a count such as '200', or '=5' to replay seed 5") from None
    return (number,) if wish.startswith("=") else _counted(number, _VARIABLE)


def play(fn: Callable[[], Awaitable[T]], seed: int, *, timeout: float) -> T:
    """Do what ``run_seeded`` does, without its note; for harnesses that write a better one."""
    _refuse_misuse(fn)
    with seeded_scheduling(seed):
        # The clock is made after seeding, and never the system clock: that one draws from the same random state.
        clock = trio.testing.MockClock(autojump_threshold=0)
        return trio.run(_within, fn, timeout, clock=clock)


def family(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    """List a task and every task below it."""
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from family(child)


@attrs.define(eq=False)
class _Watchman:
    """Ends a run that has stood still until the deadline, after writing down who waits where."""

    timeout: float
    main: trio.lowlevel.Task
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    report: str | None = None

    async def watch(self) -> None:
        """Sleep through the whole run; waking up at all means that it failed."""
        await trio.sleep(self.timeout)
        waiting = "".join(f"\n  {_whereabouts(task)}" for task in family(self.main))
        self.report = f"not done after {self.timeout:g} virtual seconds: a deadlock, or a longer wait;{waiting}"
        self.scope.cancel(reason="run_seeded: timeout, see the TooSlowError")


async def _within(fn: Callable[[], Awaitable[T]], patience: float) -> T:
    watchman = _Watchman(patience, trio.lowlevel.current_task())
    # A system task, so that the watchman is no sibling of the tasks under test and dies with the run.
    trio.lowlevel.spawn_system_task(watchman.watch, name="run_seeded watchman")
    try:
        with watchman.scope:
            result = await _started(fn)
    except Exception as error:
        if watchman.report is None:
            raise
        raise trio.TooSlowError(watchman.report) from error
    if watchman.report is not None:  # also when the function made something of the cancellation and returned
        raise trio.TooSlowError(watchman.report)
    return result


def _started(fn: Callable[[], Awaitable[T]]) -> Awaitable[T]:
    awaitable = fn()
    if not inspect.isawaitable(awaitable):
        raise TypeError(f"{fn!r} returned {awaitable!r}, which cannot be awaited: give an async function")
    return awaitable


def _refuse_misuse(fn: object) -> None:
    if inspect.iscoroutine(fn):
        fn.close()  # or Python warns of a coroutine that was never awaited, and hides the real mistake
        raise TypeError(f"got the coroutine {fn.__qualname__!r}: give the async function itself, without calling it")
    if trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "a seeded run starts a trio run of its own, and was called inside one: make the test a plain function"
        )


def _whereabouts(task: trio.lowlevel.Task) -> str:
    frames = [
        (frame, line) for frame, line in task.iter_await_frames() if not frame.f_code.co_filename.startswith(_TRIO)
    ]
    if not frames:
        return f"task {task.name!r} waits inside trio"
    frame, line = frames[-1]
    return f"task {task.name!r} waits at {Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_qualname}"


def _counted(count: int, origin: str) -> tuple[int, ...]:
    if count < 1:
        raise ValueError(f"{origin}: {count} seeds would run nothing; give at least 1")
    return tuple(range(count))
