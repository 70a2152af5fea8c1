"""A worker thread keeps trio's rules, and a virtual clock does not run away while it works (R04)."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import trio
import trio.testing

from actorflow.threads import run_in_thread


@pytest.fixture(params=["ordinary clock", "virtual clock"])
def clock(request):
    return trio.testing.MockClock(autojump_threshold=0) if request.param == "virtual clock" else None


def raising(error):
    raise error


async def test_no_deadline_fires_while_the_thread_works(autojump_clock):
    """Without the hold the clock would jump the second at once, and then an hour."""
    release = threading.Event()
    ticks = []

    async def tick():
        for _ in range(50):
            await trio.lowlevel.checkpoint()
            ticks.append(trio.current_time())
        release.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        with trio.move_on_after(1) as scope:
            assert await run_in_thread(release.wait, 20)
    assert not scope.cancelled_caught
    assert trio.current_time() == 0
    assert ticks == [0] * 50


async def test_the_clock_jumps_again_once_the_thread_is_done(autojump_clock):
    await run_in_thread(int)
    await trio.sleep(3600)
    assert trio.current_time() == 3600


async def test_several_threads_hold_the_clock_together(autojump_clock):
    barrier = threading.Barrier(3)
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(run_in_thread, barrier.wait)
    assert trio.current_time() == 0


def test_results_and_bare_exceptions_come_out(clock):
    async def main():
        assert await run_in_thread(divmod, 7, 2) == (3, 1)
        for error in (KeyError("mine"), SystemExit(3), ExceptionGroup("two", [ValueError()])):
            with pytest.raises(type(error)) as caught:
                await run_in_thread(raising, error)
            assert caught.value is error
        await trio.testing.wait_all_tasks_blocked()

    trio.run(main, clock=clock)


def test_a_cancellation_before_the_start_raises_and_runs_nothing(clock):
    ran = []

    async def main():
        with trio.CancelScope() as scope:
            scope.cancel()
            await run_in_thread(ran.append, 1)
        assert scope.cancelled_caught
        limiter = trio.CapacityLimiter(1)
        async with limiter:
            with trio.move_on_after(0.01) as waiting:
                await run_in_thread(ran.append, 2, limiter=limiter)
        assert waiting.cancelled_caught

    trio.run(main, clock=clock)
    assert ran == []


def test_a_cancellation_at_work_waits_and_the_result_is_returned(clock):
    async def main():
        token = trio.lowlevel.current_trio_token()
        results = []
        with trio.CancelScope() as scope:

            def work():
                trio.from_thread.run_sync(scope.cancel, trio_token=token)
                return "done"

            results.append(await run_in_thread(work))
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert results == ["done"]

    trio.run(main, clock=clock)


def test_trio_testing_is_not_imported_for_it():
    code = (
        "import sys, trio\n"
        "from actorflow.threads import run_in_thread\n"
        "assert trio.run(run_in_thread, int) == 0\n"
        "assert 'trio.testing' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
