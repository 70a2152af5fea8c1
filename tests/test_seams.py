"""Supervision, timers, deadlines and workflows inside executors, all at once: what each keeps alone they keep together.

Guards P3, P6 and P8 where one of them meets another: a deadline inside a child that passed while nothing ran, arrivals while
messages are in flight, restarts inside a child that was given up, attempts at a delivery whose place an answer moved.
"""

# ruff: noqa: A002  # id is the word that executors and workflows use

from __future__ import annotations

from typing import Any, Never

import pytest
import trio

from actorflow import (
    LATEST,
    Executor,
    ExecutorFailure,
    InMemoryCheckpointStorage,
    RateLimit,
    RequestTimeout,
    RestartIntensity,
    Retry,
    SupervisionPolicy,
    WorkflowBuilder,
    WorkflowExecutor,
    handler,
    response_handler,
)
from actorflow import WorkflowContext as Context
from actorflow.events import WorkflowRunState
from actorflow.testing import (
    CrashableMemory,
    CrashableSqlite,
    cancel_everywhere,
    crash_everywhere,
    run_seeded,
    scheduling_seeds,
)
from tests.nested_workflows import Collect, Question, Seen, Spread, around

pytestmark = pytest.mark.filterwarnings("ignore::actorflow.graph.validation.SelfLoopWarning")


class Hurried(Executor):
    """Asks with a deadline, and yields the answer or that there was none."""

    @handler
    async def ask(self, text: str, ctx: Context) -> None:
        ctx.request_info(Question(text), str, timeout=10)

    @response_handler
    async def answered(self, question: Question, answer: str, ctx: Context[Never, str]) -> None:
        await ctx.yield_output(f"{question.text}:{answer}")

    @response_handler
    async def late(self, question: Question, _: RequestTimeout, ctx: Context[Never, str]) -> None:
        await ctx.yield_output(f"{question.text}:late")


def hurried():
    return WorkflowBuilder(name="hurried", start_executor=lambda: Hurried("ask"))


@pytest.mark.parametrize("one", [False, True])
async def test_a_deadline_inside_a_child_that_passed_while_nothing_ran_is_due_at_once(autojump_clock, one):
    storage = InMemoryCheckpointStorage()
    workflow = around(hurried().build, one=one).build(id="W")
    paused = await workflow.run(["x"], checkpoint_storage=storage)
    assert paused.status is WorkflowRunState.IDLE_WITH_PENDING_REQUESTS
    await trio.sleep(20)
    result = await workflow.run(checkpoint_id=LATEST, checkpoint_storage=storage)
    assert (result.status, result.outputs) == (WorkflowRunState.IDLE, ["x:late"])


class Steps(Executor):
    """Sends its number to itself down to 0, then fails once, then yields."""

    def __init__(self, id):
        super().__init__(id)
        self.failures = 1

    @handler
    async def step(self, number: int, ctx: Context[int, str]) -> None:
        if number:
            ctx.send_message(number - 1)
            return
        self.failures -= 1
        if self.failures >= 0:
            raise RuntimeError("told to fail")
        await ctx.yield_output("stepped")


async def test_a_deadline_inside_a_child_takes_no_message_that_is_in_flight_in_its_parent(autojump_clock):
    workflow = (
        WorkflowBuilder(name="parent", start_executor=lambda: Spread("spread"))
        .add_edge("spread", lambda: WorkflowExecutor(hurried().build, "sub"))
        .add_edge("sub", lambda: Collect("collect"))
        .add_edge("spread", lambda: Steps("steps"))
        .add_edge("steps", "steps")
        .build(id="W")
    )
    with pytest.raises(RuntimeError, match="told to fail"):
        await workflow.run(["x", 3])
    assert len(workflow.pending_requests) == 1
    async with workflow.stream(responses={}, wait_for_responses=True) as run:
        result = await run.wait()
    assert sorted(result.outputs) == ["stepped", "x:late"]


class Restarted(Executor):
    def __init__(self, id):
        super().__init__(id, policy=SupervisionPolicy(on_failure="restart", restarts=RestartIntensity(1, 1000)))

    @handler
    async def take(self, number: int, ctx: Context[Never, int]) -> None:
        if number == 0:
            raise RuntimeError("told to fail")
        await ctx.yield_output(number)


async def test_restarts_inside_a_child_that_was_given_up_leave_no_trace_of_it(autojump_clock):
    storage = InMemoryCheckpointStorage()
    builder = around(WorkflowBuilder(name="restarted", start_executor=lambda: Restarted("take")).build)
    workflow = builder.build(id="W")
    with pytest.raises(RuntimeError, match="told to fail"):
        await workflow.run([0], checkpoint_storage=storage)
    assert (await workflow.run([1], checkpoint_storage=storage)).outputs == [1]
    taken_up = builder.build(id="W")
    assert (await taken_up.run(checkpoint_id=LATEST, checkpoint_storage=storage)).outputs == [1]
    assert (await taken_up.run([2], checkpoint_storage=storage)).outputs == [2]


class Flaky(Executor):
    """Fails its first attempts, and notes the number of every one."""

    def __init__(self, id, log, fails):
        super().__init__(id, policy=SupervisionPolicy(retry=Retry(5, delay=100, factor=1)))
        self.log, self.fails = log, fails

    @handler
    async def take(self, text: str, ctx: Context[Never, str]) -> None:
        ctx.request_info(Question(text), str)

    @handler
    async def work(self, number: int, ctx: Context[Never, int]) -> None:
        await self.try_it(number, ctx)

    @response_handler
    async def answered(self, question: Question, answer: str, ctx: Context[Never, str]) -> None:
        await self.try_it(answer, ctx)

    async def try_it(self, value, ctx):
        self.log.append((self.id, ctx.attempt))
        if ctx.attempt <= self.fails:
            raise RuntimeError("told to fail")
        await ctx.yield_output(value)


async def test_attempts_inside_a_child_are_counted_on_when_an_answer_moved_its_place(autojump_clock):
    storage, log = InMemoryCheckpointStorage(), []

    def build():
        inner = WorkflowBuilder(name="flaky", start_executor=lambda: Flaky("inner", log, 3))
        return (
            WorkflowBuilder(name="parent", start_executor=lambda: Spread("spread"), checkpoint_storage=storage)
            .add_edge("spread", lambda: WorkflowExecutor(inner.build, "sub"), condition=lambda v: isinstance(v, int))
            .add_edge("sub", lambda: Collect("collect"))
            .add_edge("spread", lambda: Flaky("asks", log, 0), condition=lambda v: isinstance(v, str))
            .build(id="W")
        )

    workflow = build()
    with trio.move_on_after(150):
        await workflow.run(["x", 7])
    assert log == [("inner", 1), ("inner", 2)]
    (request_id,) = workflow.pending_requests
    with trio.move_on_after(10):
        await workflow.run(responses={request_id: "yes"})
    assert log[2:] == [("asks", 1)]
    result = await build().run(checkpoint_id=LATEST)
    assert log[3:] == [("inner", 3), ("inner", 4)]
    assert sorted(result.outputs, key=str) == [7, "yes"]


# Everything at once, crashed at every write, cancelled at every step, under several schedules.


class Later(Executor):
    @handler
    async def begin(self, numbers: list[int], ctx: Context[int]) -> None:
        for number in numbers:
            ctx.send_message(number, delay=3)


class Pass(Executor):
    @handler
    async def take(self, number: int, ctx: Context[int]) -> None:
        ctx.send_message(number)


class Odd(Executor):
    """Fails the first attempt at an odd number."""

    state: Seen

    @handler
    async def take(self, number: int, ctx: Context[int]) -> None:
        self.state.values.append(number)
        await trio.sleep(0.5)
        if ctx.attempt == 1 and number % 2:
            raise RuntimeError("told to fail")
        ctx.set_state("sum", ctx.get_state("sum", 0) + number)
        ctx.send_message(number)


class Asks(Executor):
    @handler
    async def ask(self, number: int, ctx: Context) -> None:
        ctx.request_info(Question(str(number)), str, timeout=1_000_000)

    @response_handler
    async def answered(self, question: Question, answer: str | RequestTimeout, ctx: Context[str]) -> None:
        ctx.send_message(f"{answer} {question.text}")


class OnceBroken(Executor):
    """Broken until it is restarted."""

    state: Seen

    def __init__(self, id):
        super().__init__(id, policy=SupervisionPolicy(on_failure="restart", restarts=RestartIntensity(5, 1000)))
        self.is_broken = True

    @handler
    async def take(self, number: int, ctx: Context[int]) -> None:
        self.state.values.append(number)
        was_broken, self.is_broken = self.is_broken, False
        if was_broken:
            raise RuntimeError("told to fail")
        ctx.send_message(number * 10)


class Slow(Executor):
    @handler
    async def take(self, number: int, ctx: Context[int]) -> None:
        await trio.sleep(10)


class Failures(Executor):
    @handler
    async def take(self, failure: ExecutorFailure, ctx: Context[str]) -> None:
        ctx.send_message(f"{failure.executor_id} {failure.error_type}")


class Gather(Executor):
    state: Seen

    @handler
    async def gather(self, values: list[Any], ctx: Context[Never, list[Any]]) -> None:
        self.state.values.append(values)
        await ctx.yield_output(values)


def supervised():
    retrying = SupervisionPolicy(retry=Retry(3, delay=2))
    limited = SupervisionPolicy(timeout=1, on_failure="send")
    return (
        WorkflowBuilder(name="supervised", start_executor=lambda: Pass("pass"), max_concurrency=2)
        .add_edge("pass", lambda: Odd("odd", policy=retrying, rate_limit=RateLimit(2, 1)))
        .add_edge("pass", lambda: Asks("asks"))
        .add_edge("pass", lambda: OnceBroken("once"))
        .add_edge("pass", lambda: Slow("slow", policy=limited))
        .add_edge("slow", lambda: Failures("failures"))
        .add_fan_in_edges(["odd", "asks", "once", "failures"], lambda: Gather("gather"), wait="active")
    )


def combined(one=False):
    how = {} if one else {"concurrency": 2}
    policy = SupervisionPolicy(retry=Retry(2, delay=1))
    held = supervised().build() if one else supervised().build
    return (
        WorkflowBuilder(name="combined", start_executor=lambda: Later("later"), max_concurrency=3, policy=policy)
        .add_edge("later", WorkflowExecutor(held, "sub", **how))
        .add_edge("sub", lambda: Collect("collect"))
        .build(id="W")
    )


RESULTS = [[n, f"yes {n}", n * 10, "slow ExecutorTimeoutError"] for n in (1, 2)]


@pytest.mark.parametrize(
    ("durability", "storage"),
    [("delivery", CrashableMemory), ("exit", CrashableSqlite)],
)
def test_a_crash_anywhere_in_a_workflow_of_all_this_changes_nothing_of_how_it_ends(durability, storage):
    report = crash_everywhere(
        combined, [1, 2], answers=lambda _: "yes", storage=storage, durability=durability, faults=["kill"]
    )
    report.raise_if_broken()


async def to_the_end(workflow, storage, **options):
    paused = await workflow.run([1, 2], checkpoint_storage=storage, **options)
    answers = dict.fromkeys(workflow.pending_requests, "yes")
    return paused, await workflow.run(responses=answers, checkpoint_storage=storage, **options)


def test_no_schedule_shows_in_a_workflow_of_all_this():
    async def play():
        _, result = await to_the_end(combined(), InMemoryCheckpointStorage())
        return result.outputs, result.supersteps, trio.current_time()

    assert {repr(run_seeded(play, seed)[:2]) for seed in scheduling_seeds(4)} == {repr((RESULTS, 3))}


def test_a_cancellation_anywhere_in_a_workflow_of_all_this_leaves_nothing_and_loses_nothing():
    cancel_everywhere(
        lambda made: to_the_end(*made, durability="delivery"), setup=lambda: (combined(), InMemoryCheckpointStorage())
    )
