"""Cancelling a run leaves an empty house; a handler that takes long to end is reported, and waited for (S26, F05, R25)."""

from typing import Any

import pytest
import structlog
import trio
import trio.testing

from actorflow import Executor, Retry, SupervisionPolicy, WorkflowBuilder, WorkflowContext, executor, handler
from actorflow.events import WarningEvent, WorkflowRunState
from actorflow.testing import empty_house, run_seeded, scheduling_seeds
from tests.scenarios import Relay


class Slow(Executor):
    """Takes as long to end as it was told, whatever happens."""

    def __init__(self, id: str, takes: float, fails_after: float | None = None) -> None:  # noqa: A002
        super().__init__(id)
        self.takes, self.fails_after = takes, fails_after
        self.ended = False

    @handler
    async def work(self, text: str, ctx: WorkflowContext) -> None:
        if self.fails_after is not None:
            await trio.sleep(self.fails_after)
            raise ValueError(self.id)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.takes)
            self.ended = True


def beside(*workers: Executor, **options: Any) -> Any:
    return (
        WorkflowBuilder(name="beside", start_executor=Relay("start"), **options)
        .add_fan_out_edges("start", workers)
        .build()
    )


async def test_s26_an_overrun_is_reported_once_by_name_and_waited_for(autojump_clock: Any) -> None:
    workers = [Slow("long", 20), Slow("longer", 30), Slow("short", 1)]
    workflow = beside(*workers)
    began = trio.current_time()
    async with empty_house(), workflow.stream("x") as run:
        await trio.testing.wait_all_tasks_blocked()
        run.cancel()
        warnings = [event async for event in run.events if isinstance(event, WarningEvent)]
    (warning,) = warnings
    assert "after 5 s these executors still run: 'long', 'longer'; they are waited for" in warning.message
    assert trio.current_time() - began == 30
    assert all(each.ended for each in workers)
    assert workflow.status is WorkflowRunState.CANCELLED


@pytest.mark.parametrize("way", ["failure", "outside"])
async def test_s26_whatever_ends_the_run(way: str, autojump_clock: Any) -> None:
    workflow = beside(Slow("long", 20), Slow("quick", 0, 1 if way == "failure" else 100), cleanup_grace=2)
    warnings: list[Any] = []
    try:
        async with workflow.stream("x", buffer=1000) as run:

            async def read() -> None:
                warnings.extend([event async for event in run.events if isinstance(event, WarningEvent)])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                if way == "outside":
                    await trio.sleep(1)
                    run.cancel()
    except ValueError:
        assert way == "failure"
    assert ["after 2 s these executors still run: 'long'" in each.message for each in warnings] == [True]


async def test_s26_when_nobody_reads_any_more_it_is_logged(autojump_clock: Any) -> None:
    try:
        with structlog.testing.capture_logs() as logs:
            structlog.configure()
            with trio.move_on_after(1):
                await beside(Slow("long", 20), Slow("quick", 0)).run("x")
    finally:  # after the block, which configures on its way out
        structlog.reset_defaults()
    overruns = [line for line in logs if line["event"] == "cleanup overrun"]
    assert [(line["executors"], line["grace"]) for line in overruns] == [(["long"], 5.0)]


async def test_s26_a_run_that_ends_in_time_says_nothing_and_takes_no_longer(autojump_clock: Any) -> None:
    workflow = beside(Slow("short", 4.9), Slow("quick", 0))
    began = trio.current_time()
    async with empty_house(), workflow.stream("x") as run:
        await trio.testing.wait_all_tasks_blocked()
        run.cancel()
        assert [event async for event in run.events if isinstance(event, WarningEvent)] == []
    assert trio.current_time() - began == pytest.approx(4.9)


async def test_on_stop_has_the_grace_of_the_workflow(autojump_clock: Any) -> None:
    class Stopping(Relay):
        stopped = 0.0

        async def on_stop(self, ctx: WorkflowContext) -> None:
            began = trio.current_time()
            try:
                await trio.sleep_forever()
            finally:
                type(self).stopped = trio.current_time() - began

    builder = WorkflowBuilder(name="w", start_executor=Stopping("a"), cleanup_grace=2)
    with trio.move_on_after(1):
        await builder.add_edge("a", Slow("b", 0)).build().run("x")
    assert Stopping.stopped == 2


async def test_a_thread_that_asks_ends_with_its_run() -> None:
    @executor
    def spin(text: str, ctx: WorkflowContext) -> None:
        while True:
            trio.from_thread.check_cancelled()

    async with empty_house():
        with trio.move_on_after(0.05) as scope:
            await WorkflowBuilder(name="w", start_executor=spin).build().run("x")
    assert scope.cancelled_caught


@pytest.mark.parametrize("seed", scheduling_seeds())
def test_a_thousand_busy_actors_are_cancelled_and_joined_at_once(seed: int) -> None:
    """Each is at another place: computing, in a gap between attempts, waiting for a turn, yielding to a full stream."""

    class Busy(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[Any, str]) -> None:
            kind = int(self.id[1:]) % 3
            if kind == 0:
                await trio.sleep_forever()
            if kind == 1:
                raise ValueError
            while True:
                await ctx.yield_output(text)
                await trio.sleep(1)

    retry = SupervisionPolicy(retry=Retry(10, delay=1000))

    async def scenario() -> None:
        workflow = beside(*(Busy(f"b{number}", policy=retry) for number in range(1000)), max_concurrency=800)
        async with empty_house():
            async with workflow.stream("x", buffer=5000) as run:
                await trio.sleep(10)
                before = trio.current_time()
                run.cancel()
                await run.wait()
            assert trio.current_time() == before
        assert workflow.status is WorkflowRunState.CANCELLED
        assert workflow._core.standing.snapshot.superstep == 1

    run_seeded(scenario, seed)
