"""A diagnosis of waiting: `explain()` says who waits for whom, in words and as values, during a run, after it and between runs.

A run that ends with undelivered work names it (F18, F08).
"""

from typing import Any, Never

import pytest
import trio
import trio.testing

from actorflow import (
    LATEST,
    Executor,
    Explanation,
    InMemoryCheckpointStorage,
    RequestTimeout,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowRunState,
    executor,
    handler,
    response_handler,
)
from actorflow.errors import ConvergenceError
from tests.scenarios import Join, Many, Relay
from tests.test_timers import later


class Stays(Executor):
    """Takes ten seconds for each message."""

    @handler
    async def work(self, number: int, ctx: WorkflowContext[Never, int]) -> None:
        await trio.sleep(10)
        await ctx.yield_output(number)


class Asks(Executor):
    @handler
    async def ask(self, text: str, ctx: WorkflowContext) -> None:
        ctx.request_info("plain", str, request_id="r0")
        ctx.request_info("timed", str, request_id="r1", timeout=60)

    @response_handler
    async def answered(self, question: str, answer: str | RequestTimeout, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(str(answer))


def busy(storage: Any = None) -> Workflow:
    """many -> stays."""
    builder = WorkflowBuilder(name="busy", start_executor=Many("many"), checkpoint_storage=storage)
    return builder.add_edge("many", Stays("stays")).build(id="w")


def asks(storage: Any = None) -> Workflow:
    return WorkflowBuilder(name="asks", start_executor=Asks("asks"), checkpoint_storage=storage).build(id="w")


def half() -> Workflow:
    """s -> (a, ask) -> a join that a alone feeds."""

    class Silent(Executor):
        @handler
        async def take(self, text: str, ctx: WorkflowContext[str]) -> None:
            ctx.send_message(text, delay=100)

    return (
        WorkflowBuilder(name="half", start_executor=Relay("s"))
        .add_fan_out_edges("s", [Relay("a"), Silent("late")])
        .add_fan_in_edges(["a", "late"], Join("end"))
        .build(id="w")
    )


async def test_a_superstep_waits_for_the_executors_at_work_with_depth_age_and_attempt(autojump_clock):
    workflow = busy(InMemoryCheckpointStorage())
    async with workflow.stream(3, buffer=None) as run:
        await trio.sleep(12)
        found = run.explain()
        await run.wait()

    (inbox,) = found.inboxes
    assert (inbox.executor_id, inbox.depth, inbox.age, inbox.attempt) == ("stays", 2, 12, 1)
    assert found.waits_for == "'stays' to finish superstep 2"
    assert (found.status, found.superstep, found.owner) == (WorkflowRunState.IN_PROGRESS, 2, run.id)
    assert found.lease is not None
    assert (found.lease.owner, found.lease.age) == (run.id, 12)
    assert found.head is not None
    assert "executor 'stays': 2 deliveries for 12.0 s, attempt 1" in str(found)


async def test_the_workflow_explains_the_run_that_is_under_way(autojump_clock):
    workflow = busy()
    async with workflow.stream(1, buffer=None) as run:
        await trio.sleep(1)
        assert workflow.explain() == run.explain()
        await run.wait()


async def test_a_run_that_waits_for_a_timer_says_which_and_how_long(autojump_clock):
    async with later().stream([("a", 30), ("b", 90)], buffer=None) as run:
        await trio.sleep(10)
        found = run.explain()
        await run.wait()

    assert [(timer.target_id, timer.due_in) for timer in found.timers] == [
        ("stamp", pytest.approx(20)),
        ("stamp", pytest.approx(80)),
    ]
    assert found.waits_for == "the timer for 'stamp', in 20.0 s"
    assert (found.inboxes, found.superstep) == ((), 1)


async def test_a_run_that_waits_for_answers_says_which_requests_are_open(autojump_clock):
    async with asks().stream("x", wait_for_responses=True, buffer=None) as run:
        await trio.sleep(15)
        found = run.explain()
        run.cancel()

    assert [
        (each.request_id, each.executor_id, round(each.age or 0, 3), each.expires_in) for each in found.requests
    ] == [
        ("r0", "asks", 15, None),
        ("r1", "asks", 15, pytest.approx(45)),
    ]
    assert found.waits_for == "answers to 2 open requests or a deadline, 45.0 s away"
    assert found.status is WorkflowRunState.IN_PROGRESS_PENDING_REQUESTS


async def test_a_join_says_what_it_has_and_which_source_it_misses(autojump_clock):
    async with half().stream("x", buffer=None) as run:
        await trio.sleep(1)
        found = run.explain()
        await run.wait()

    (join,) = found.joins
    assert (join.target_id, join.wait, join.has, join.misses) == ("end", "all", {"a": 1}, ("late",))
    (timer,) = found.timers
    assert (timer.target_id, timer.join_id) == ("end", join.join_id)
    assert "join for 'end' (wait='all'): has 1 of 'a'; misses 'late'" in str(found)


async def test_the_commit_is_what_a_superstep_waits_for_when_all_have_finished(autojump_clock):
    class Slow(InMemoryCheckpointStorage):
        async def save(self, commit: Any) -> Any:
            await trio.sleep(5)
            return await super().save(commit)

    async with busy(Slow()).stream(0, buffer=None) as run:
        await trio.sleep(7)
        found = run.explain()
        await run.wait()

    assert (found.waits_for, found.inboxes) == ("the commit of superstep 1", ())


async def test_after_the_end_it_says_that_nothing_is_left(autojump_clock):
    workflow = busy()
    async with workflow.stream(1, buffer=None) as run:
        await run.wait()

    found = run.explain()
    assert (found.waits_for, found.inboxes, found.status, found.owner) == ("nothing", (), WorkflowRunState.IDLE, None)
    assert workflow.explain().waits_for == "nothing"


async def test_a_failed_run_names_the_work_it_leaves_and_keeps_saying_so_when_the_next_has_done_it(autojump_clock):
    """F08."""
    faults = [ValueError("once")]

    @executor
    async def breaks(number: int, ctx: WorkflowContext[Never, int]) -> None:
        if number and faults:
            raise faults.pop()
        await ctx.yield_output(number)

    workflow = WorkflowBuilder(name="w", start_executor=Many("many")).add_edge("many", breaks).build(id="w")
    with pytest.raises(ValueError, match="once"):
        async with workflow.stream(2, buffer=None) as run:
            await run.wait()
    found = run.explain()

    assert [(inbox.executor_id, inbox.depth, inbox.age) for inbox in found.inboxes] == [("breaks", 2, None)]
    assert found.waits_for == "a run to go on (checkpoint_id=LATEST): it has left 2 undelivered, for 'breaks'"
    assert found.status is WorkflowRunState.FAILED
    assert (await workflow.run(checkpoint_id=LATEST)).outputs == [0, 1]
    assert run.explain() == found
    assert workflow.explain().waits_for == "nothing"


async def test_a_run_at_its_superstep_limit_names_the_work_it_leaves():
    @executor
    async def loop(number: int, ctx: WorkflowContext[int]) -> None:
        ctx.send_message(number)

    with pytest.warns(UserWarning, match="self-loop"):
        workflow = WorkflowBuilder(name="w", start_executor=loop, max_supersteps=3).add_edge(loop, loop).build()
    with pytest.raises(ConvergenceError, match="loop"):
        await workflow.run(1)

    assert "1 undelivered, for 'loop'" in workflow.explain().waits_for


async def test_a_cancelled_wait_leaves_its_timers_and_an_idle_workflow_its_requests(autojump_clock):
    workflow = later()
    async with workflow.stream([("a", 30)], buffer=None) as run:
        await trio.sleep(10)
        run.cancel()
        await run.wait()
    assert "it has left the timer for 'stamp', in 20.0 s" in run.explain().waits_for

    waiting = asks()
    await waiting.run("x")
    found = waiting.explain()
    assert found.waits_for.startswith("answers to 2 open requests")
    assert [each.request_id for each in found.requests] == ["r0", "r1"]


async def test_many_of_a_kind_are_counted_in_the_text(autojump_clock):
    async with later().stream([(f"{number}", 30.0) for number in range(1000)], buffer=None) as run:
        await trio.sleep(1)
        found = run.explain()

    assert len(found.timers) == 1000
    assert str(found).count("timer for 'stamp'") == 11
    assert "and 990 more of these" in str(found)


def test_it_can_be_asked_outside_of_trio_and_before_any_run():
    workflow = asks()
    found = workflow.explain()
    assert isinstance(found, Explanation)
    assert (found.waits_for, found.head, found.owner) == ("nothing", None, None)

    trio.run(workflow.run, "x")

    assert len(workflow.explain().requests) == 2
    assert str(workflow.explain())
