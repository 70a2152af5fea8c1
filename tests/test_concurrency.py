"""Work at the same time: pools of one executor, functions in threads, and the hooks around an actor's life (P1, P4, P11)."""

import threading
import time
from typing import Any, Never

import pytest
import trio
import trio.testing

from actorflow import LATEST, Executor, WorkflowBuilder, WorkflowContext, executor, handler
from actorflow.errors import MessageTypeError, StateTypeError
from actorflow.events import ExecutorInvokedEvent, OutputEvent, WorkflowRunState
from actorflow.testing import cancel_everywhere, empty_house, run_seeded, scheduling_seeds
from tests.scenarios import Many, Relay, Tell, borrowers, chain, events_of, standing


class Pool(Executor):
    """Takes longer for smaller numbers; counts how many it works on at once."""

    def __init__(self, concurrency: int, fail_on: int | None = None) -> None:
        super().__init__("pool", concurrency=concurrency)
        self.active = self.peak = 0
        self.fail_on = fail_on
        self.begun: list[int] = []
        self.ended: list[int] = []

    @handler
    async def work(self, number: int, ctx: WorkflowContext[Any, int]) -> None:
        self.begun.append(number)
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            if number == self.fail_on:
                raise LookupError(number)
            await trio.sleep(10 - number % 10)
            ctx.set_state("last", number)
            ctx.set_state("seen", [number])
            ctx.send_message(f"{number}")
            await ctx.yield_output(number)
        finally:
            self.active -= 1
        self.ended.append(number)


def pooled(pool: Pool) -> Any:
    return chain(Many(id="many"), pool, Tell(id="tell"), reducers={"seen": lambda old, new: old + new})


@pytest.mark.parametrize("concurrency", [1, 2, 3, 7, 50])
async def test_a_pool_keeps_the_canonical_order_and_its_bound(autojump_clock: Any, concurrency: int) -> None:
    """P4, P11: effects in the order of deliveries, never more at once than was said, and no fewer."""
    pool = Pool(concurrency)
    workflow = pooled(pool)
    before = trio.current_time()

    result = await workflow.run(20)

    numbers = [*range(20)]
    assert result.outputs == [*numbers, *map(str, numbers)]
    assert standing(workflow)[1]["state"] == {"last": 19, "seen": numbers}
    assert pool.peak == min(concurrency, 20)
    assert (trio.current_time() - before) <= sum(10 - n % 10 for n in numbers) / concurrency + 10


async def test_the_deliveries_of_a_pool_do_not_see_each_others_writes() -> None:
    """P4: which of them was faster cannot show."""
    seen: list[Any] = []

    @executor(concurrency=4)
    async def look(number: int, ctx: WorkflowContext) -> None:
        seen.append(ctx.get_state("k"))
        ctx.set_state("k", number)
        await trio.lowlevel.checkpoint()
        seen.append(ctx.get_state("k") == number)

    await chain(Many(id="many"), look).run(12)

    assert seen.count(None) == 12
    assert seen.count(True) == 12


async def test_a_failure_in_a_pool_ends_its_other_workers_at_once(autojump_clock: Any) -> None:
    """F06: nobody waits for a worker that has an hour to go, and no further delivery is begun."""
    pool = Pool(3, fail_on=1)
    workflow = pooled(pool)
    before = trio.current_time()
    async with empty_house():
        with pytest.raises(LookupError):
            await workflow.run(20)
    assert trio.current_time() == before
    assert (pool.active, pool.ended) == (0, [])
    assert len(pool.begun) <= 3


async def test_what_a_pool_finished_before_a_failure_is_not_done_again(autojump_clock: Any) -> None:
    """F38, P6: whichever of its deliveries those are."""
    pool = Pool(5, fail_on=7)
    workflow = pooled(pool)
    with pytest.raises(LookupError):
        await workflow.run(9)
    done = [*pool.ended]
    assert done
    pool.fail_on = None

    result = await workflow.run(checkpoint_id=LATEST)

    assert result.outputs == [*range(9), *map(str, range(9))]
    assert sorted(pool.ended) == [*range(9)]
    assert standing(workflow)[1]["state"]["seen"] == [*range(9)]


def test_a_pool_with_a_state_of_its_own_is_refused() -> None:
    class Stateful(Executor):
        state: list[int]

        @handler
        async def work(self, text: str, ctx: WorkflowContext) -> None: ...

    with pytest.raises(StateTypeError, match="concurrency=2"):
        chain(Stateful(id="s", concurrency=2))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_a_concurrency_that_is_no_number_from_one_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="concurrency"):
        Relay(id="r", concurrency=wrong)


# Functions in threads.


async def test_a_sync_function_runs_in_a_thread_and_uses_its_context_from_there() -> None:
    main = threading.get_ident()

    @executor
    def work(text: str, ctx: WorkflowContext[str, str]) -> None:
        assert threading.get_ident() != main
        ctx.set_state("count", ctx.get_state("count", 0) + 1)
        ctx.send_message(f"{text}:{ctx.get_state('count')}")
        trio.from_thread.run(ctx.yield_output, f"{text}!")

    workflow = chain(Relay(id="start"), work, Tell(id="tell"))
    async with empty_house():
        result = await workflow.run("x")
        assert result.outputs == ["x>start!", "x>start:1"]
        assert [each.data for each in events_of(result.events, OutputEvent)] == result.outputs
        assert (await workflow.run("y")).outputs[1] == "y>start:2"


async def test_an_error_in_a_thread_comes_out_as_itself() -> None:
    @executor
    def fail(text: str, ctx: WorkflowContext) -> None:
        ctx.set_state("dirt", 1)
        raise LookupError(text)

    workflow = chain(fail)
    with pytest.raises(LookupError, match="x") as caught:
        await workflow.run("x")
    assert caught.value.__notes__ == ["raised by executor 'fail' in superstep 1, handling a message of type str"]
    assert "state" not in standing(workflow)[1]


async def test_a_thread_that_returns_a_value_is_an_error_that_names_it() -> None:
    @executor
    def returns(text: str):
        return text

    with pytest.raises(MessageTypeError, match="returns"):
        await chain(returns).run("x")


async def test_a_cancelled_run_waits_for_its_threads_and_takes_nothing_from_them() -> None:
    """P1: a thread cannot be cancelled, so the way out waits; what it did is dropped."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    @executor
    def slow(text: str, ctx: WorkflowContext[str]) -> None:
        begun.set()
        go_on.wait(5)
        ctx.set_state("dirt", 1)
        ctx.send_message("late")
        ended.set()

    workflow = chain(slow, Tell(id="tell"))
    async with empty_house():
        async with workflow.stream("x") as run:
            await trio.to_thread.run_sync(begun.wait, 5)
            run.cancel()
            go_on.set()
        assert ended.is_set()
        assert workflow.status is WorkflowRunState.CANCELLED
    # It ended by itself before the superstep could commit, so it is finished work and not an effect.
    assert "state" not in standing(workflow)[1]
    assert borrowers(workflow) == 0


async def test_a_pool_of_threads_works_at_once_and_in_canonical_order() -> None:
    meet = threading.Barrier(3, timeout=5)

    @executor(concurrency=3)
    def work(number: int, ctx: WorkflowContext[str]) -> None:
        meet.wait()
        time.sleep(0.002 * (3 - number))
        ctx.send_message(f"{number}")

    assert (await chain(Many(id="many"), work, Tell(id="tell")).run(3)).outputs == ["0", "1", "2"]


def test_threads_cancelled_anywhere_leave_nothing_and_go_on() -> None:
    """P1, R25: no thread is left at work."""

    class World:
        def __init__(self) -> None:
            @executor
            def work(text: str, ctx: WorkflowContext[str]) -> None:
                ctx.send_message(f"{text}!")

            self.workflow = chain(Relay(id="start"), work, Tell(id="tell"))

    async def scenario(world: World) -> None:
        await world.workflow.run("x")

    async def check(world: World) -> None:
        assert borrowers(world.workflow) == 0
        again = {"checkpoint_id": LATEST} if world.workflow._core.standing.snapshot.mark else {"message": "x"}
        assert (await world.workflow.run(**again)).outputs == ["x>start!"]

    report = cancel_everywhere(scenario, setup=World, check=check)

    assert report.cancelled > 5


# The life of an actor.


class Lived(Executor):
    def __init__(self, id: str, log: list[str]) -> None:  # noqa: A002
        super().__init__(id)
        self.log = log
        self.task: Any = None

    async def on_start(self, ctx: WorkflowContext[Any, Any]) -> None:
        self.log.append(f"{self.id} starts with {dict(ctx.config)}")
        self.task = trio.lowlevel.current_task()
        with pytest.raises(RuntimeError, match="on_start and on_stop"):
            ctx.send_message("x")

    async def on_stop(self, ctx: WorkflowContext[Any, Any]) -> None:
        await trio.lowlevel.checkpoint()
        assert trio.lowlevel.current_task() is self.task
        self.log.append(f"{self.id} stops")

    @handler
    async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
        assert trio.lowlevel.current_task() is self.task
        self.log.append(f"{self.id} works")
        if text == "fail":
            raise LookupError
        if text == "hang":
            await trio.sleep_forever()
        ctx.send_message(text)


async def test_the_hooks_run_once_a_run_in_the_actors_task_around_all_its_deliveries() -> None:
    log: list[str] = []
    builder = WorkflowBuilder(name="lived", start_executor=Lived("a", log))
    builder.add_edge("a", Lived("b", log)).add_edge("b", Lived("c", log)).add_edge("c", "b", lambda text: False)
    builder.add_edge("a", Lived("unused", log), condition=lambda text: False)
    workflow = builder.build()
    for _ in range(2):
        log.clear()
        await workflow.run("x", config={"k": 1})
        assert log[:6] == [f"{id_} {what}" for id_ in "abc" for what in ("starts with {'k': 1}", "works")]
        assert sorted(log[6:]) == ["a stops", "b stops", "c stops"]


@pytest.mark.parametrize("message", ["fail", "hang"])
async def test_on_stop_runs_when_the_run_fails_or_is_cancelled(autojump_clock: Any, message: str) -> None:
    """Shielded, so that it can await."""
    log: list[str] = []
    workflow = chain(Lived("a", log))
    with trio.move_on_after(1):
        try:
            await workflow.run(message)
        except LookupError:
            assert message == "fail"
    assert log == ["a starts with {}", "a works", "a stops"]


async def test_an_on_stop_that_does_not_end_is_cut_off_after_five_seconds(autojump_clock: Any) -> None:
    """P2: and the workflow is free."""

    class Stuck(Executor):
        async def on_stop(self, ctx: Any) -> None:
            await trio.sleep_forever()

        @handler
        async def work(self, text: str, ctx: WorkflowContext) -> None:
            await trio.sleep_forever()

    workflow = chain(Stuck(id="stuck"))
    before = trio.current_time()
    async with empty_house(), workflow.stream("x"):
        await trio.sleep(1)
    assert trio.current_time() - before == pytest.approx(6)
    assert borrowers(workflow) == 0


# The same instant (R06).


@pytest.mark.parametrize("first", ["cancel", "completion"])
@pytest.mark.parametrize("seed", scheduling_seeds())
def test_cancellation_and_completion_in_one_scheduling_batch(seed: int, first: str) -> None:
    """R06: in both orders: either all of the superstep is there or nothing of it, and LATEST gives the same end."""

    async def main() -> None:
        let_go = trio.Event()

        class Last(Executor):
            state: list[str]

            @handler
            async def last(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
                await let_go.wait()
                self.state.append(text)
                ctx.set_state("done", text)
                await ctx.yield_output(text)

        last = Last(id="last")
        workflow = chain(last)
        async with trio.open_nursery() as nursery:
            run = await nursery.start(workflow.start, "x")
            await trio.testing.wait_all_tasks_blocked()
            if first == "cancel":
                run.cancel()
                let_go.set()
            else:
                let_go.set()
                run.cancel()
            result = await run.wait()
        committed = standing(workflow)[0] == 1
        assert result.status is (WorkflowRunState.IDLE if committed else WorkflowRunState.CANCELLED)
        assert (result.outputs, last.state) == ((["x"], ["x"]) if committed else ([], []))
        assert ("state" in standing(workflow)[1]) is committed
        assert borrowers(workflow) == 0
        again = await workflow.run(checkpoint_id=LATEST)
        assert (again.outputs, last.state, again.status) == (["x"], ["x"], WorkflowRunState.IDLE)

    run_seeded(main, seed)


@pytest.mark.parametrize("seed", scheduling_seeds())
def test_failure_and_cancellation_in_one_scheduling_batch(seed: int) -> None:
    """R06: the run is one of both, never idle, and nothing of the superstep is there."""

    async def main() -> None:
        let_go = trio.Event()

        @executor
        async def fail(text: str, ctx: WorkflowContext) -> None:
            ctx.set_state("dirt", 1)
            await let_go.wait()
            raise LookupError(text)

        workflow = chain(fail)
        outcome = None
        async with trio.open_nursery() as nursery:
            run = await nursery.start(workflow.start, "x")
            await trio.testing.wait_all_tasks_blocked()
            let_go.set()
            run.cancel()
            try:
                outcome = (await run.wait()).status
            except LookupError:
                outcome = WorkflowRunState.FAILED
        assert outcome is workflow.status
        assert outcome in (WorkflowRunState.FAILED, WorkflowRunState.CANCELLED)
        assert standing(workflow)[0] == 0
        assert "state" not in standing(workflow)[1]
        assert borrowers(workflow) == 0

    run_seeded(main, seed)


@pytest.mark.parametrize("seed", scheduling_seeds())
def test_a_handler_never_begins_in_a_run_that_is_cancelled(seed: int) -> None:
    """F05: no side effect after the cancellation, though tasks were about to start."""

    async def main() -> None:
        begun: list[int] = []

        @executor
        async def start(count: int, ctx: WorkflowContext[int]) -> None:
            for number in range(count):
                ctx.send_message(number)

        @executor(concurrency=3)
        async def work(number: int, ctx: WorkflowContext) -> None:
            begun.append(number)
            run.cancel()
            await trio.lowlevel.checkpoint()

        async with chain(start, work).stream(30) as run:
            events = [event async for event in run.events]
        assert len(begun) == 1
        assert len([each for each in events_of(events, ExecutorInvokedEvent) if each.executor_id == "work"]) <= 3

    run_seeded(main, seed)


# Ten thousand messages to one executor.


@pytest.mark.parametrize("concurrency", [1, 16])
async def test_ten_thousand_messages_keep_the_canonical_order_and_the_bound_of_tasks(
    autojump_clock: Any, concurrency: int
) -> None:
    """P4, P11: no task for each message, and effects merged in the order the messages were sent, not finished."""
    peak = 0
    at_work = 0

    @executor(concurrency=concurrency)
    async def pool(number: int, ctx: WorkflowContext[Never, int]) -> None:
        nonlocal peak, at_work
        at_work += 1
        peak = max(peak, at_work)
        await trio.sleep((number * 7919 % 11) / 1000)
        ctx.set_state("last", number)
        await ctx.yield_output(number)
        at_work -= 1

    workflow = WorkflowBuilder(name="pool", start_executor=Many(id="many")).add_edge("many", pool).build()
    tasks = 0

    async def watch() -> None:
        nonlocal tasks
        while True:
            tasks = max(tasks, trio.lowlevel.current_statistics().tasks_living)
            await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        before = trio.lowlevel.current_statistics().tasks_living
        nursery.start_soon(watch)
        result = await workflow.run(10_000)
        nursery.cancel_scope.cancel()

    assert result.outputs == list(range(10_000))
    assert workflow._core.standing.snapshot.table("state") == {"last": 9_999}
    assert peak == concurrency
    assert tasks <= before + concurrency + 6
