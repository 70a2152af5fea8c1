"""Jobs of concurrent callers are performed in batches, each gets its own outcome, and the lead is never lost."""

from __future__ import annotations

import threading
from collections import Counter

import outcome
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow.checkpoint.group_commit import GroupCommit
from actorflow.errors import InternalError


class Batches:
    """Performs batches, keeps their sizes, and waits at a gate before each."""

    def __init__(self):
        self.sizes = []
        self.gate = threading.Event()
        self.gate.set()
        self.commits = GroupCommit(self.perform, trio.CapacityLimiter(1))

    def perform(self, works):
        assert self.gate.wait(20)
        self.sizes.append(len(works))
        return [outcome.capture(work, self) for work in works]


def returning(value):
    return lambda batches: value


def failing(batches):
    raise KeyError("mine")


async def test_what_queues_while_one_batch_is_written_is_the_next_batch():
    batches = Batches()
    batches.gate.clear()
    results = []

    async def submit(number):
        results.append(await batches.commits.submit(returning(number)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, 0)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(1, 6):
            nursery.start_soon(submit, number)
        await trio.testing.wait_all_tasks_blocked()
        batches.gate.set()
    assert sorted(results) == [0, 1, 2, 3, 4, 5]
    assert batches.sizes == [1, 5]


async def test_savers_in_a_loop_stay_together():
    """Those a batch has woken may join the next one before it is taken."""
    batches = Batches()

    async def saver():
        for _ in range(10):
            await batches.commits.submit(returning(None))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(saver)
    assert sum(batches.sizes) == 200
    assert len(batches.sizes) <= 13


async def test_an_exception_reaches_its_own_caller_only():
    batches = Batches()

    async def fails():
        with pytest.raises(KeyError):
            await batches.commits.submit(failing)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(batches.commits.submit, returning(number))
            nursery.start_soon(fails)


async def test_a_queued_job_is_withdrawn_and_a_taken_one_waited_for():
    batches = Batches()
    batches.gate.clear()
    done = []

    async def submit(name, scope):
        with scope:
            done.append(await batches.commits.submit(returning(name)))

    taken, queued, left = trio.CancelScope(), trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, "taken", taken)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(submit, "queued", queued)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(submit, "left", left)
        await trio.testing.wait_all_tasks_blocked()
        taken.cancel()
        queued.cancel()
        await trio.testing.wait_all_tasks_blocked()
        batches.gate.set()
    assert done == ["taken", "left"]
    assert queued.cancelled_caught
    assert not taken.cancelled_caught
    assert batches.sizes == [1, 1]


@settings(max_examples=60, deadline=None)
@given(
    orders=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), min_size=1, max_size=8),
    seed=st.integers(0, 2**16),
)
def test_whoever_is_cancelled_whenever_returned_means_performed(orders, seed):
    """Savers that start and are cancelled at any tick: performed is what was returned, and nobody is stranded (R06)."""
    batches = Batches()
    performed, returned, ended = [], [], []

    async def submit(number, start, end):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_after, scope, end)
                for _ in range(start):
                    await trio.lowlevel.checkpoint()
                await batches.commits.submit(lambda _: performed.append(number))
                returned.append(number)
                nursery.cancel_scope.cancel()
        ended.append(number)

    async def cancel_after(scope, ticks):
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async def main():
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for number, (start, end) in enumerate(orders):
                    nursery.start_soon(submit, number, start, end)
            await batches.commits.submit(returning(None))

    trio._core._run._r.seed(seed)
    trio.run(main)
    assert sorted(performed) == sorted(returned)
    assert sorted(ended) == list(range(len(orders)))


async def test_a_batch_that_breaks_strands_nobody():
    """A defect in what performs the batches is an error for its leader and its followers, and the next one is served."""
    broken = True

    def perform(works):
        if broken:
            gate.wait(20)
            raise ZeroDivisionError
        return [outcome.capture(work, None) for work in works]

    gate = threading.Event()
    commits = GroupCommit(perform, trio.CapacityLimiter(1))
    errors = []

    async def submit():
        try:
            await commits.submit(returning(None))
        except (ZeroDivisionError, InternalError) as error:
            errors.append(type(error))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(submit)
            await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert Counter(errors) == {ZeroDivisionError: 2, InternalError: 2}
    broken = False
    assert await commits.submit(returning(1)) == 1


def test_a_run_that_was_torn_down_does_not_lead_the_next_one():
    batches = Batches()

    async def abandon():
        batches.commits._run, batches.commits._led = trio.lowlevel.current_trio_token(), True

    trio.run(abandon)
    assert trio.run(batches.commits.submit, returning(5)) == 5
