"""Turns: rate limits and the limit on handlers in flight, under a virtual clock (S24 and S25 of docs/supervision.md)."""

from typing import Any, Never

import pytest
import trio
import trio.testing

from actorflow import (
    Executor,
    RateLimit,
    Retry,
    SupervisionPolicy,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowExecutor,
    executor,
    handler,
)
from actorflow.testing import cancel_everywhere, empty_house
from tests.scenarios import Many


class Noting(Executor):
    """Notes when it begins, and takes as long as it was told."""

    def __init__(self, id: str = "noting", takes: float = 0, **options: Any) -> None:  # noqa: A002
        super().__init__(id, **options)
        self.takes = takes
        self.began: list[tuple[int, float]] = []
        self.at_work = self.most = 0

    @handler
    async def work(self, number: int, ctx: WorkflowContext[Never, int]) -> None:
        self.began.append((number, trio.current_time()))
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await trio.sleep(self.takes)
        finally:
            self.at_work -= 1
        await ctx.yield_output(number)

    @property
    def times(self) -> list[float]:
        first = self.began[0][1]
        return [round(time - first, 6) for _, time in self.began]


def spread(*workers: Executor, **options: Any) -> Any:
    builder = WorkflowBuilder(name="rates", start_executor=Many("many"), **options)
    if len(workers) == 1:
        return builder.add_edge("many", workers[0]).build()
    return builder.add_fan_out_edges("many", workers).build()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("concurrency", [1, 3, 10])
async def test_s24_a_rate_counts_over_all_children_of_an_executor(
    concurrency: int, depth: int, autojump_clock: Any
) -> None:
    began: list[float] = []

    class Calling(Executor):
        @handler
        async def call(self, number: int, ctx: WorkflowContext[Never, int]) -> None:
            began.append(trio.current_time())
            await trio.sleep(1)
            await ctx.yield_output(number)

    held = WorkflowBuilder(
        name="held", start_executor=lambda: Calling("calling", rate_limit=RateLimit(2, 10)), max_concurrency=1
    )
    for _ in range(depth - 1):
        held = WorkflowBuilder(name="middle", start_executor=lambda inner=held: WorkflowExecutor(inner.build, "middle"))
    sub = WorkflowExecutor(held.build, "sub", concurrency=concurrency, allow_direct_output=True)
    workflow = WorkflowBuilder(name="outer", start_executor=Many("many")).add_edge("many", sub).build()
    await workflow.run(5)
    assert max(sum(1 for each in began if start <= each < start + 10) for start in began) == 2
    assert len(began) == 5
    assert began[-1] - began[0] >= 20

    await workflow.run(1)
    assert began[-1] - began[-3] >= 10, "it holds from run to run, though all children of the first are gone"


async def test_s24_two_executors_that_hold_one_definition_have_a_rate_each(autojump_clock: Any) -> None:
    began: list[float] = []

    @executor(rate_limit=RateLimit(1, 10))
    async def call(number: int) -> None:
        began.append(trio.current_time())

    held = WorkflowBuilder(name="held", start_executor=call)
    subs = [WorkflowExecutor(held.build, name, concurrency=5) for name in ("one", "two")]
    await WorkflowBuilder(name="outer", start_executor=Many("many")).add_fan_out_edges("many", subs).build().run(2)
    assert sorted(began) == [0, 0, 10, 10]


@pytest.mark.parametrize("concurrency", [1, 5])
async def test_s24_at_most_so_many_attempts_begin_in_any_period(concurrency: int, autojump_clock: Any) -> None:
    worker = Noting(rate_limit=RateLimit(2, 10), concurrency=concurrency)
    result = await spread(worker).run(5)
    assert worker.times == [0, 0, 10, 10, 20]
    assert [number for number, _ in worker.began] == result.outputs == [0, 1, 2, 3, 4]


async def test_s24_the_window_slides(autojump_clock: Any) -> None:
    worker = Noting(takes=4, rate_limit=RateLimit(2, 10))
    await spread(worker).run(5)
    assert worker.times == [0, 4, 10, 14, 20]


async def test_s24_it_holds_from_run_to_run_and_each_workflow_has_its_own(autojump_clock: Any) -> None:
    worker = Noting(rate_limit=RateLimit(2, 10))
    workflow = spread(worker)
    await workflow.run(1)
    await trio.sleep(3)
    await workflow.run(2)
    assert worker.times == [0, 3, 10]

    began: list[float] = []

    @executor(rate_limit=RateLimit(1, 10))
    async def common(number: int) -> None:
        began.append(trio.current_time())

    for _ in range(3):  # a function's executor may be shared
        await WorkflowBuilder(name="w", start_executor=common).build().run(0)
    assert began[0] == began[-1]


async def test_s24_every_attempt_counts_not_every_delivery(autojump_clock: Any) -> None:
    class Failing(Noting):
        @handler(input=int)
        async def work(self, number: int, ctx: WorkflowContext) -> None:
            self.began.append((number, trio.current_time()))
            raise ValueError

    worker = Failing(rate_limit=RateLimit(2, 10), policy=SupervisionPolicy(retry=Retry(3, delay=1), on_failure="drop"))
    await spread(worker).run(1)
    assert worker.times == [0, 1, 10]


def test_s24_another_trio_run_begins_with_an_empty_window() -> None:
    worker = Noting(rate_limit=RateLimit(1, 10))
    workflow = spread(worker)
    for _ in range(2):
        trio.run(workflow.run, 1, clock=trio.testing.MockClock(autojump_threshold=0))
    assert worker.began[0] == worker.began[1]


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_s25_no_more_handlers_than_that_are_in_flight_over_the_whole_workflow(
    limit: int, autojump_clock: Any
) -> None:
    running = most = 0

    class Counted(Executor):
        @handler
        async def work(self, number: int, ctx: WorkflowContext[Never, int]) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(1)
            running -= 1
            await ctx.yield_output(number)

    began = trio.current_time()
    result = await spread(*(Counted(f"c{n}", concurrency=4) for n in range(5)), max_concurrency=limit).run(4)
    assert most == min(limit, 20)
    assert trio.current_time() - began == pytest.approx(-(-20 // limit))
    assert result.outputs == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3]


async def test_s25_who_waits_for_a_rate_or_a_gap_holds_no_place(autojump_clock: Any) -> None:
    slow = Noting("slow", rate_limit=RateLimit(1, 100))
    failing = Noting("failing", policy=SupervisionPolicy(retry=Retry(2, delay=50), on_failure="drop"))
    quick = Noting("quick", takes=1)
    await spread(slow, failing, quick, max_concurrency=1).run(3)
    assert quick.times == [0, 1, 2]


def test_a_run_cancelled_while_it_waits_for_turns_gives_all_of_them_back() -> None:
    def setup() -> Any:
        return spread(
            Noting("a", takes=1, rate_limit=RateLimit(2, 3), concurrency=3), Noting("b", takes=2), max_concurrency=2
        )

    async def scenario(workflow: Any) -> None:
        await workflow.run(4)

    async def check(workflow: Any) -> None:
        async with empty_house():
            assert sorted((await workflow.run(3)).outputs) == [0, 0, 1, 1, 2, 2]

    assert cancel_everywhere(scenario, setup=setup, check=check).cancelled > 10
