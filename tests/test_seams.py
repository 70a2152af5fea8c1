"""Supervision, timers, deadlines and workflows inside executors, all at once: what each keeps alone they keep together.

Guards P3, P6 and P8 where one of them meets another: a deadline inside a child that passed while nothing ran, arrivals while
messages are in flight, restarts inside a child that was given up, attempts at a delivery whose place an answer moved.
"""

# ruff: noqa: A002  # id is the word that executors and workflows use

from __future__ import annotations

from typing import Never

import pytest
import trio

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
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
from tests.nested_workflows import Collect, Question, Spread, around

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
