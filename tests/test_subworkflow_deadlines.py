"""Deadlines of requests that executors of the parent are to answer: the child gets its `RequestTimeout`, and nobody else is hurt.

A run stays for such a deadline as for a timer, since nothing from outside can come first; not where the outside world is asked, too.
An answer that is delivered wins up to the commit; one that comes after it is dropped with an event.
"""

from typing import Any, Never

import pytest
import trio

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    RequestTimeout,
    SubWorkflowRequest,
    SubWorkflowResponse,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowExecutor,
    WorkflowRunState,
    executor,
    handler,
    response_handler,
)
from actorflow.errors import RequestNotFoundError
from actorflow.events import MessageDroppedEvent
from tests.scenarios import events_of
from tests.test_timers import virtual

IDLE, PENDING = WorkflowRunState.IDLE, WorkflowRunState.IDLE_WITH_PENDING_REQUESTS


class Child(Executor):
    """Asks with five seconds' patience, and yields what came of it; asks again under the same id if it is to."""

    def __init__(self, request_id: str | None = None, *, again: bool = False) -> None:
        super().__init__("child")
        self.request_id, self.again = request_id, again

    @handler
    async def ask(self, text: str, ctx: WorkflowContext) -> None:
        ctx.request_info(text, str, request_id=self.request_id, timeout=5)

    @response_handler
    async def answered(self, text: str, answer: str | int | RequestTimeout, ctx: WorkflowContext[Never, str]) -> None:
        said = "nobody" if isinstance(answer, RequestTimeout) else answer
        await ctx.yield_output(f"{text}: {said} @{trio.current_time():g}")
        if self.again and text != "again":
            ctx.request_info("again", int, request_id=self.request_id, timeout=20)


class Parent(Executor):
    """Gives texts to the child and answers after as many seconds as it says for each; not at all for None."""

    def __init__(self, delays: dict[str, float | None]) -> None:
        super().__init__("parent")
        self.delays = delays

    @handler
    async def begin(self, texts: list[str], ctx: WorkflowContext[str]) -> None:
        for text in texts:
            ctx.send_message(text, "sub")

    @handler
    async def answer(self, request: SubWorkflowRequest, ctx: WorkflowContext[SubWorkflowResponse]) -> None:
        delay = self.delays[request.data]
        if delay is not None:
            ctx.send_message(request.respond("yes"), request.executor_id, delay=delay)

    @handler
    async def hear(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(text)


def nested(
    delays: dict[str, float | None], child: Any = Child, *, keeps: bool = False, storage: Any = None, **how: Any
) -> Workflow:
    held = WorkflowBuilder(name="held", start_executor=child)
    sub = WorkflowExecutor(held.build() if keeps else held.build, "sub", propagate_requests=False, **how)
    builder = WorkflowBuilder(name="outer", start_executor=Parent(delays), checkpoint_storage=storage)
    return builder.add_edge("parent", sub).add_edge(sub, "parent").build(id="outer")


def late(result: Any) -> list[Any]:
    dropped = events_of(result.events, MessageDroppedEvent)
    assert {(each.reason, each.target_id) for each in dropped} <= {("discarded", "sub")}
    return [each.message.value for each in dropped]


async def test_a_run_stays_for_the_deadline_and_the_child_gets_its_timeout(autojump_clock: Any) -> None:
    result = await nested({"a": None}).run(["a"])
    assert (result.outputs, result.status) == (["a: nobody @5"], IDLE)


async def test_a_run_does_not_stay_for_the_deadline_of_what_is_answered(autojump_clock: Any) -> None:
    result = await nested({"a": 2}).run(["a"])
    assert (result.outputs, trio.current_time()) == (["a: yes @2"], 2)


@pytest.mark.parametrize("keeps", [False, True])
async def test_a_late_answer_is_dropped_with_an_event_and_hurts_nobody(keeps: bool, autojump_clock: Any) -> None:
    result = await nested({"a": 9}, keeps=keeps).run(["a"])
    assert (result.outputs, result.status) == (["a: nobody @5"], IDLE)
    assert late(result) == ["yes"]
    assert trio.current_time() == 9


async def test_each_child_has_its_own_deadline_under_one_request_id(autojump_clock: Any) -> None:
    workflow = nested({"a": 1, "b": 9, "c": None}, lambda: Child("q"), concurrency=3)
    result = await workflow.run(["a", "b", "c"])
    assert sorted(result.outputs) == ["a: yes @1", "b: nobody @5", "c: nobody @5"]
    assert late(result) == ["yes"]


async def test_answers_delivered_in_the_superstep_in_which_the_deadline_passes_win(autojump_clock: Any) -> None:
    @executor(concurrency=2)
    async def slow(text: str, ctx: WorkflowContext) -> None:
        if "@" not in text:
            await trio.sleep(30)

    class Slowing(Parent):
        @handler
        async def answer(self, request: SubWorkflowRequest, ctx: WorkflowContext[SubWorkflowResponse | str]) -> None:
            ctx.send_message(request.respond("yes"), request.executor_id)
            ctx.send_message("hold the superstep", "slow")

    held = WorkflowBuilder(name="held", start_executor=lambda: Child("q"))
    builder = WorkflowBuilder(name="outer", start_executor=Slowing({}))
    builder.add_edge("parent", WorkflowExecutor(held.build, "sub", propagate_requests=False, concurrency=2))
    result = await builder.add_edge("sub", "parent").add_edge("parent", slow).build().run(["a", "b"])
    assert sorted(result.outputs) == ["a: yes @30", "b: yes @30"]
    assert late(result) == []


async def test_a_late_answer_is_not_taken_for_one_to_a_request_asked_since_under_the_same_id(
    autojump_clock: Any,
) -> None:
    workflow = nested({"a": 9, "again": None}, lambda: Child("q", again=True))
    result = await workflow.run(["a"])
    assert result.outputs == ["a: nobody @5", "again: nobody @25"]
    assert late(result) == ["yes"]


async def test_an_answer_to_another_executor_than_asked_is_still_an_error(autojump_clock: Any) -> None:
    class Astray(Parent):
        @handler
        async def answer(self, request: SubWorkflowRequest, ctx: WorkflowContext[SubWorkflowResponse]) -> None:
            ctx.send_message(request.respond("yes"), "other")

    held = WorkflowBuilder(name="held", start_executor=Child)
    builder = WorkflowBuilder(name="outer", start_executor=Astray({}))
    for name in ("sub", "other"):
        builder.add_edge("parent", WorkflowExecutor(held.build, name, propagate_requests=False)).add_edge(
            name, "parent"
        )
    with pytest.raises(RequestNotFoundError):
        await builder.build().run(["a"])


class Asker(Parent):
    """Asks the outside world before it answers the child."""

    @handler
    async def answer(self, request: SubWorkflowRequest, ctx: WorkflowContext[SubWorkflowResponse]) -> None:
        ctx.request_info(request, str)

    @response_handler
    async def told(self, request: SubWorkflowRequest, said: str, ctx: WorkflowContext[SubWorkflowResponse]) -> None:
        ctx.send_message(request.respond(said), request.executor_id)


def asking(storage: Any = None) -> Workflow:
    held = WorkflowBuilder(name="held", start_executor=Child)
    builder = WorkflowBuilder(name="outer", start_executor=Asker({}), checkpoint_storage=storage)
    builder.add_edge("parent", WorkflowExecutor(held.build, "sub", propagate_requests=False)).add_edge("sub", "parent")
    return builder.build(id="outer")


@pytest.mark.parametrize(("after", "outputs", "dropped"), [(3, ["a: sure @3"], []), (8, ["a: nobody @8"], ["sure"])])
async def test_a_run_ends_where_the_outside_world_is_asked_too_and_the_deadline_is_kept(
    after: float, outputs: list[str], dropped: list[str], autojump_clock: Any
) -> None:
    workflow = asking()
    first = await workflow.run(["a"])
    assert (first.status, trio.current_time()) == (PENDING, 0)
    await trio.sleep(after)

    second = await workflow.run(responses={first.requests[0].request_id: "sure"})
    assert (second.outputs, second.status, late(second)) == (outputs, IDLE, dropped)


def test_the_deadline_is_a_time_of_day_over_restarts() -> None:
    storage = InMemoryCheckpointStorage()

    async def first() -> None:
        with trio.move_on_after(2):
            await nested({"a": 9}, storage=storage).run(["a"])

    async def second() -> Any:
        await trio.sleep(4)
        result = await nested({"a": 9}, storage=storage).run(checkpoint_id=LATEST)
        return result, trio.current_time()

    virtual(first)
    result, ended = virtual(second)
    assert (result.outputs, late(result), ended) == (["a: nobody @5"], ["yes"], 9)


async def test_the_message_says_when_and_so_does_explain(autojump_clock: Any) -> None:
    asked: list[SubWorkflowRequest] = []

    class Curious(Parent):
        @handler
        async def answer(self, request: SubWorkflowRequest, ctx: WorkflowContext[SubWorkflowResponse]) -> None:
            asked.append(request)

    held = WorkflowBuilder(name="held", start_executor=Child)
    builder = WorkflowBuilder(name="outer", start_executor=Curious({}))
    builder.add_edge("parent", WorkflowExecutor(held.build, "sub", propagate_requests=False)).add_edge("sub", "parent")
    async with builder.build().stream(["a"], buffer=None) as run:
        await trio.sleep(1)
        told = run.explain()
        await run.wait()
    assert told.waits_for == "an answer to 1 open request or a deadline, 4.0 s away"
    assert [(each.executor_id, each.expires_in) for each in told.requests] == [("sub/child", pytest.approx(4))]
    [request] = asked
    assert request.due is not None
    assert request.respond("x").due == request.due
    assert SubWorkflowRequest("r", "sub", "data", "sub#1").respond("x") == SubWorkflowResponse("r", "x", "sub#1")


@pytest.mark.parametrize("propagates", [False, True])
@pytest.mark.parametrize("keeps", [False, True])
async def test_a_child_in_which_a_deadline_is_still_to_come_is_not_let_go(
    keeps: bool, propagates: bool, autojump_clock: Any
) -> None:
    """P8: at whatever depth the request is, its child gets the `RequestTimeout` it was promised."""

    def middle() -> Workflow:
        return nested({"a": None})

    class Top(Executor):
        @handler
        async def begin(self, texts: list[str], ctx: WorkflowContext[list[str]]) -> None:
            ctx.send_message(texts)

        @handler
        async def hear(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(text)

    sub = WorkflowExecutor(middle() if keeps else middle, "middle", propagate_requests=propagates)
    builder = WorkflowBuilder(name="top", start_executor=Top("top")).add_edge("top", sub).add_edge(sub, "top")
    result = await builder.build().run(["a"])
    assert (result.outputs, result.status) == (["a: nobody @5"], IDLE)
    assert events_of(result.events, MessageDroppedEvent) == []


async def test_a_join_keeps_what_it_holds_for_what_a_deadline_will_bring(autojump_clock: Any) -> None:
    """P8: the run does not end before the deadline, so nothing is incomplete for good yet."""

    @executor
    async def start(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message(text)

    @executor
    async def side(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message(f"side {text}")

    class Sorting(Executor):
        @handler
        async def ignore(self, request: SubWorkflowRequest, ctx: WorkflowContext[str]) -> None:
            pass

        @handler
        async def hand_on(self, text: str, ctx: WorkflowContext[str]) -> None:
            ctx.send_message(text)

    @executor
    async def end(texts: list[str], ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(" + ".join(texts))

    held = WorkflowBuilder(name="held", start_executor=Child)
    builder = WorkflowBuilder(name="outer", start_executor=start).add_edge(start, side)
    builder.add_chain([start, WorkflowExecutor(held.build, "sub", propagate_requests=False), Sorting("sorting")])
    result = await builder.add_fan_in_edges(["sorting", side], end).build().run("x")
    assert result.outputs == ["x: nobody @5 + side x"]
    assert events_of(result.events, MessageDroppedEvent) == []


async def test_a_request_is_answered_once_while_one_of_a_child_expires_under_the_same_id(autojump_clock: Any) -> None:
    """R06: what is settled is a request, not an id."""
    refused: list[str] = []

    class Twice(InMemoryCheckpointStorage):
        async def save(self, commit: Any) -> Any:
            if trio.current_time() == 10 and not refused:
                try:
                    await run.respond("q", "second")
                except RequestNotFoundError:
                    refused.append("second")
            return await super().save(commit)

    class Busy(Parent):
        @handler
        async def begin(self, texts: list[str], ctx: WorkflowContext[str]) -> None:
            ctx.request_info("own", str, request_id="q")
            ctx.send_message("a", "sub")

        @handler
        async def answer(self, request: SubWorkflowRequest, ctx: WorkflowContext[SubWorkflowResponse]) -> None:
            await trio.sleep(10)

        @response_handler
        async def told(self, own: str, said: str, ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(f"{own}: {said}")

    held = WorkflowBuilder(name="held", start_executor=lambda: Child("q"))
    builder = WorkflowBuilder(name="outer", start_executor=Busy({}), checkpoint_storage=Twice())
    builder.add_edge("parent", WorkflowExecutor(held.build, "sub", propagate_requests=False)).add_edge("sub", "parent")
    async with builder.build().stream(["a"], buffer=None) as run:
        await trio.sleep(1)
        await run.respond("q", "first")
        result = await run.wait()
    assert result.outputs == ["own: first", "a: nobody @10"]
    assert refused == ["second"]
