"""Work in a thread is stopped from the event loop as long as it can be undone, and waited for when it cannot (R06).

In batches too: of one that is interrupted nothing has happened, whoever was cancelled leaves, the rest is done again.
"""

from __future__ import annotations

import threading
from functools import partial

import outcome
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow.checkpoint.interruptible_commit import InterruptibleGroupCommit
from actorflow.checkpoint.interruption import Interrupted, run_interruptibly
from actorflow.testing import empty_house
from actorflow.threads import finish


class Server:
    """Works on one thing after the other until it is told that the next step may be taken, or to stop.

    Attributes:
        kept: What was committed.
    """

    def __init__(self):
        self.kept, self.batches = [], []
        self.begun, self.gate, self.stop = threading.Event(), threading.Event(), threading.Event()
        self.committing, self.commit = threading.Event(), threading.Event()
        self.commit.set()

    def perform(self, works, interruption):
        done = []
        with interruption.cancelling_by(self.stop.set):
            for work in works:
                self.begun.set()
                while not self.gate.is_set():
                    if self.stop.wait(0.001):
                        self.stop.clear()
                        raise Interrupted
                done.append(outcome.capture(work, self))
            interruption.pass_point_of_no_return()
        self.committing.set()
        assert self.commit.wait(20)
        self.batches.append(len(works))
        self.kept += [one.value for one in done if isinstance(one, outcome.Value)]
        return done


def returning(value):
    return lambda _server: value


async def wait_for(event):
    await trio.to_thread.run_sync(event.wait)


async def test_work_that_is_cancelled_is_stopped_and_undone():
    server = Server()
    async with empty_house(), trio.open_nursery() as nursery:
        nursery.start_soon(partial(run_one, server, 1))
        await wait_for(server.begun)
        nursery.cancel_scope.cancel()
    assert server.kept == []


async def run_one(server, value):
    limiter = trio.CapacityLimiter(1)
    ((one),) = await run_interruptibly(partial(server.perform, [returning(value)]), limiter=limiter)
    return one.unwrap()


async def test_work_that_has_passed_its_point_of_no_return_is_waited_for():
    server = Server()
    server.gate.set()
    server.commit.clear()
    returned = []

    async def run():
        returned.append(await run_one(server, 1))
        await trio.lowlevel.checkpoint()
        returned.append("went on")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_for(server.committing)
        nursery.cancel_scope.cancel()
        server.commit.set()
    assert returned == server.kept == [1]


async def test_a_cancellation_before_it_begins_runs_nothing():
    server = Server()
    with trio.CancelScope() as scope:
        scope.cancel()
        await run_one(server, 1)
    assert scope.cancelled_caught
    assert not server.begun.is_set()


async def test_errors_come_out_bare():
    def fail(_interruption):
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await run_interruptibly(fail, limiter=trio.CapacityLimiter(1))


async def test_what_is_finished_returns_whatever_happens_meanwhile(autojump_clock):
    told = []

    async def work():
        await trio.sleep(5)
        return "done"

    with trio.move_on_after(1) as scope:
        assert await finish(work, on_cancellation=lambda: told.append(trio.current_time())) == "done"
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert told == [1]
    assert trio.current_time() == 5


async def test_who_is_cancelled_leaves_a_batch_at_work_and_the_rest_is_done_again():
    server = Server()
    commits = InterruptibleGroupCommit(server.perform, trio.CapacityLimiter(1))
    scopes = [trio.CancelScope() for _ in range(5)]
    done = []

    async def submit(number):
        with scopes[number]:
            done.append(await commits.submit(returning(number)))

    async with empty_house(), trio.open_nursery() as nursery:
        nursery.start_soon(submit, 0)
        await wait_for(server.begun)
        for number in range(1, 5):
            nursery.start_soon(submit, number)
        await trio.testing.wait_all_tasks_blocked()
        for number in (0, 2):  # the one that leads, which hands over to a batch of all the others, and one of those
            server.begun.clear()
            scopes[number].cancel()
            await wait_for(server.begun)
        await trio.testing.wait_all_tasks_blocked()
        server.gate.set()
    assert sorted(done) == sorted(server.kept) == [1, 3, 4]
    assert [scope.cancelled_caught for scope in scopes] == [True, False, True, False, False]


async def test_a_batch_all_of_whose_callers_are_cancelled_does_nothing():
    server = Server()
    commits = InterruptibleGroupCommit(server.perform, trio.CapacityLimiter(1))
    async with empty_house(), trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(commits.submit, returning(number))
        await wait_for(server.begun)
        nursery.cancel_scope.cancel()
    assert server.kept == []
    server.gate.set()
    assert await commits.submit(returning(9)) == 9


@settings(max_examples=60, deadline=None)
@given(
    orders=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 14)), min_size=1, max_size=8),
    seed=st.integers(0, 2**16),
)
def test_whoever_is_cancelled_whenever_returned_means_performed(orders, seed):
    """Savers that start and are cancelled at any tick: performed is what was returned, and nobody is stranded."""
    server = Server()
    server.gate.set()
    returned, ended = [], []

    async def submit(number, start, end):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_after, scope, end)
                for _ in range(start):
                    await trio.lowlevel.checkpoint()
                await commits.submit(returning(number))
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
            await commits.submit(returning("last"))

    commits = InterruptibleGroupCommit(server.perform, trio.CapacityLimiter(1))
    trio._core._run._r.seed(seed)
    trio.run(main)
    assert sorted(server.kept[:-1]) == sorted(returned)
    assert sorted(ended) == list(range(len(orders)))
