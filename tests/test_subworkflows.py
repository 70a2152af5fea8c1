"""Workflows inside executors: what goes in and comes out, isolation, requests both ways, joins, limits, hooks, events.

What becomes of them in a crash, a branch or a cancellation is in test_subworkflow_recovery.py.
"""

# ruff: noqa: A002  # id is the word that executors and workflows use

from __future__ import annotations

import gc
from typing import Any, Never

import attrs
import pytest
import trio

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    SubWorkflowRequest,
    SubWorkflowResponse,
    WorkflowBuilder,
    WorkflowExecutor,
    handler,
    response_handler,
)
from actorflow import WorkflowContext as Context
from actorflow.errors import (
    CodecError,
    ConvergenceError,
    ExecutorReusedError,
    GraphMismatchError,
    MessageTypeError,
    RequestIdError,
    RequestNotFoundError,
    ResponseTypeError,
    UndeliverableMessageError,
    WorkflowBusyError,
    WorkflowValidationError,
)
from actorflow.events import (
    ExecutorCompletedEvent,
    ExecutorFailedEvent,
    ExecutorInvokedEvent,
    IntermediateEvent,
    MessageDroppedEvent,
    OutputEvent,
    RequestInfoEvent,
    WorkflowEvent,
    WorkflowRunState,
    from_json,
    to_json,
)
from actorflow.runtime.actor import Actor
from actorflow.testing import empty_house, run_seeded, scheduling_seeds
from tests.nested_workflows import (
    Asker,
    Collect,
    Countdown,
    Manager,
    Question,
    Spread,
    Total,
    Work,
    around,
    asking,
    counting,
    joined,
    managed,
    nested,
    remembering,
)


@attrs.frozen
class Noted(WorkflowEvent):
    text: str = ""


pytestmark = pytest.mark.filterwarnings("ignore::actorflow.graph.validation.SelfLoopWarning")


def of(result, kind):
    return [event for event in result.events if isinstance(event, kind)]


# What goes in and what comes out.


async def test_outputs_of_a_child_become_messages_of_its_executor_as_they_are_made():
    result = await around(counting().build).build().run([2])

    assert result.outputs == [2, 1, 0]
    assert result.status is WorkflowRunState.IDLE
    assert result.supersteps == 6  # spread; hand in; 2; 1, and collect 2; 0, and collect 1; collect 0


async def test_direct_outputs_are_outputs_of_the_parent_and_no_messages():
    workflow = WorkflowBuilder(
        name="parent", start_executor=WorkflowExecutor(counting().build(), "sub", allow_direct_output=True)
    ).build()

    result = await workflow.run(2)

    assert result.outputs == [2, 1, 0]
    told = of(result, OutputEvent)
    assert [(event.executor_id, event.path, event.data) for event in told] == [("sub", (), each) for each in [2, 1, 0]]


async def test_a_child_has_the_types_of_its_workflow():
    sub = WorkflowExecutor(counting().build, "sub")
    workflow = WorkflowBuilder(name="parent", start_executor=sub).add_edge(sub, Collect("collect")).build()

    assert workflow.input_types == (int,)
    with pytest.raises(MessageTypeError):
        await workflow.run("three")


async def test_direct_outputs_pass_through_any_number_of_levels():
    held = counting()
    for number in range(4):
        held = WorkflowBuilder(
            name="level",
            start_executor=lambda held=held, number=number: WorkflowExecutor(
                held.build, f"level{number}", allow_direct_output=True
            ),
        )

    result = await held.build().run(3)

    assert result.outputs == [3, 2, 1, 0]
    assert {event.path for event in of(result, OutputEvent)} == {()}
    assert max(len(event.path) for event in result.events) == 4


async def test_intermediate_outputs_of_a_child_stream_with_its_path_and_stay_out_of_the_result():
    held = counting(output_from=[], intermediate_output_from=["count"])

    result = await WorkflowBuilder(name="p", start_executor=WorkflowExecutor(held.build, "sub")).build().run(1)

    assert (result.outputs, result.intermediate_outputs) == ([], [])
    assert [(event.path, event.data) for event in of(result, IntermediateEvent)] == [(("sub",), 1), (("sub",), 0)]


async def test_the_parents_other_executors_do_not_wait_for_a_child_to_end():
    """F44: a child's supersteps are the parent's."""
    log = []

    class Note(Executor):
        @handler
        async def note(self, value: int, ctx: Context[Never, Never]) -> None:
            log.append((ctx.superstep, value))

    builder = (
        WorkflowBuilder(name="p", start_executor=lambda: Spread("spread"))
        .add_edge("spread", lambda: WorkflowExecutor(counting().build, "sub"))
        .add_edge("sub", lambda: Note("note"))
    )
    await builder.build().run([3])

    assert [value for _, value in log] == [3, 2, 1, 0]
    assert [step for step, _ in log] == [4, 5, 6, 7]


@pytest.mark.parametrize("id", ["a/b", "x#1", "@y|z", "ü:", "a%2Fb", " "])
@pytest.mark.parametrize("how", [{}, {"one": True}], ids=["each", "one"])
async def test_any_id_will_do_for_an_executor_that_holds_a_workflow(id, how):
    storage = InMemoryCheckpointStorage()
    build = around(asking().build, id=id, parent={"checkpoint_storage": storage}, **how).build

    first = await build(id="W").run(["q"])
    [request] = first.requests
    result = await build(id="W").run(checkpoint_id=LATEST, responses={request.request_id: "yes"})

    assert request.path == (id,)
    assert result.outputs == ["q:yes"]


# Isolation.


async def test_a_factory_gives_every_input_a_child_with_a_fresh_state():
    """F44."""
    result = await around(remembering().build, concurrency=2).build().run([1, 2, 3])

    assert result.outputs == [[1, 1], [2, 2], [3, 3]]


async def test_an_object_keeps_its_state_from_input_to_input_and_from_run_to_run():
    workflow = around(remembering().build, one=True).build()

    assert (await workflow.run([1, 2])).outputs == [[1, 1], [1, 2, 1, 2]]
    assert (await workflow.run([3])).outputs == [[1, 2, 3, 1, 2, 3]]
    await workflow.reset()
    assert (await workflow.run([4])).outputs == [[4, 4]]


async def test_shared_state_of_parent_and_child_is_not_shared():
    class Writer(Executor):
        @handler
        async def write(self, value: int, ctx: Context[int, Any]) -> None:
            ctx.set_state("last", "mine")
            ctx.send_message(value)

        @handler
        async def look(self, values: str, ctx: Context[int, Any]) -> None:
            await ctx.yield_output(ctx.get_state("last"))

    workflow = (
        WorkflowBuilder(name="p", start_executor=Writer("write"))
        .add_edge("write", WorkflowExecutor(counting().build(), "sub"))
        .build()
    )
    await workflow.run(2)

    assert (await workflow.run("look")).outputs == ["mine"]


async def test_a_childs_reducers_fold_its_state():
    class Add(Executor):
        @handler
        async def add(self, values: list[int], ctx: Context[int, int]) -> None:
            for value in values:
                ctx.set_state("sum", value)
            ctx.send_message(0)

        @handler
        async def tell(self, value: int, ctx: Context[int, int]) -> None:
            await ctx.yield_output(ctx.get_state("sum"))

    held = WorkflowBuilder(
        name="c", start_executor=lambda: Add("add"), reducers={"sum": lambda old, new: old + new}
    ).add_edge("add", "add")

    assert (await around(held.build).build().run([[1, 2, 3]])).outputs == [6]


async def test_config_is_passed_down():
    with pytest.raises(ArithmeticError):
        await around(counting().build).build().run([2], config={"fail_at": 1})


# Many at once.


class Slow(Executor):
    alive = 0
    most = 0

    @handler
    async def work(self, number: int, ctx: Context[int, int]) -> None:
        Slow.alive += 1
        Slow.most = max(Slow.most, Slow.alive)
        await trio.sleep(1)
        Slow.alive -= 1
        await ctx.yield_output(number)


@pytest.mark.parametrize(("concurrency", "seconds"), [(1, 6), (2, 3), (6, 1), (50, 1)])
async def test_children_of_a_factory_work_at_once_up_to_concurrency(autojump_clock, concurrency, seconds):
    Slow.alive = Slow.most = 0
    held = WorkflowBuilder(name="slow", start_executor=lambda: Slow("slow"))
    began = trio.current_time()

    result = await around(held.build, concurrency=concurrency).build().run([*range(6)])

    assert sorted(result.outputs) == [*range(6)]
    assert result.outputs == [*range(6)]
    assert Slow.most == min(6, concurrency)
    assert trio.current_time() - began == pytest.approx(seconds)


class CountingDict(dict):
    """Counts what is visited by iteration."""

    visited = 0

    def items(self):
        for item in super().items():
            self.visited += 1
            yield item


class Look(Executor):
    @handler
    async def look(self, number: int, ctx: Context[int, int]) -> None:
        ctx.config["look"]()
        await ctx.yield_output(number)


@pytest.mark.not_rehydrated(reason="measures what a superstep costs, and reading all of a large state back costs more")
async def test_a_thousand_inputs_go_through_ten_places_and_a_superstep_costs_no_more_for_a_long_queue():
    """P10, P11: what a superstep looks at of the queue is what it takes from it, and one more."""
    held = WorkflowBuilder(name="c", start_executor=lambda: Look("look"))
    workflow = around(held.build, concurrency=10, parent={"max_supersteps": 300}).build()
    core = workflow._core
    queue = core.standing.snapshot.tables["input"] = CountingDict()
    alive, actors = [], []

    def look():
        if len(alive) == 999:  # the actors of children that are gone have ended, and are forgotten
            gc.collect()
            actors.append(sum(isinstance(each, Actor) for each in gc.get_objects()))
            actors.append(trio.lowlevel.current_statistics().tasks_living)
        alive.append((len(core.standing.snapshot.children), len(core.places._children), len(core.states.stateful)))

    result = await workflow.run([*range(1000)], config={"look": look})

    assert result.outputs == [*range(1000)]
    assert max(alive) == (10, 10, 0)
    assert max(actors) < 50
    assert queue.visited <= 1000 + 2 * result.supersteps
    assert core.standing.snapshot.sections()
    assert core.standing.snapshot.children == {}
    assert core.places._children == {}


# Requests that surface.


async def test_requests_of_children_surface_with_their_path_and_are_answered_like_any_other():
    workflow = around(asking().build, concurrency=2).build()

    first = await workflow.run(["a b", "c"])

    assert first.status is WorkflowRunState.IDLE_WITH_PENDING_REQUESTS
    assert [(each.path, each.executor_id, each.data.text) for each in first.requests] == [
        (("sub",), "ask", "a"),
        (("sub",), "ask", "b"),
        (("sub",), "ask", "c"),
    ]
    assert [*workflow.pending_requests] == [each.request_id for each in first.requests]
    a, b, c = workflow.pending_requests
    second = await workflow.run(responses={c: "3", a: "1"})
    assert sorted(second.outputs) == ["a:1", "c:3"]
    assert [each.request_id for each in second.requests] == [b]
    assert (await workflow.run(responses={b: "2"})).outputs == ["b:2"]
    assert workflow.status is WorkflowRunState.IDLE


async def test_an_answer_that_does_not_fit_or_comes_twice_is_refused():
    workflow = around(asking().build).build()
    [request] = (await workflow.run(["a"])).requests

    with pytest.raises(ResponseTypeError, match="of executor 'sub/ask' is answered by str, not int"):
        await workflow.run(responses={request.request_id: 3})
    with pytest.raises(RequestNotFoundError):
        await workflow.run(responses={"other": "x"})
    await workflow.run(responses={request.request_id: "x"})
    with pytest.raises(RequestNotFoundError):
        await workflow.run(responses={request.request_id: "x"})


@attrs.frozen
class Verdict:
    good: bool
    marks: tuple[int, ...]


@pytest.mark.not_rehydrated(reason="a value that no storage could keep, which a run without one may use")
async def test_an_answer_in_json_form_becomes_the_declared_type():
    class Judge(Executor):
        @handler
        async def ask(self, text: str, ctx: Context) -> None:
            ctx.request_info(Question(text), Verdict)

        @response_handler
        async def judge(self, question: Question, verdict: Verdict, ctx: Context[Never, Any]) -> None:
            await ctx.yield_output(verdict)

    workflow = around(WorkflowBuilder(name="c", start_executor=lambda: Judge("judge")).build).build()
    [request] = (await workflow.run(["a"])).requests

    result = await workflow.run(responses={request.request_id: {"good": True, "marks": [1, 2]}})

    assert result.outputs == [Verdict(True, (1, 2))]


async def test_requests_of_children_are_answered_while_the_run_waits():
    """The stream waits for them as for its own, and answers in any order."""
    workflow = around(asking().build, concurrency=3).build()
    async with workflow.stream(["a", "b c"], wait_for_responses=True) as run:
        asked = []
        async for event in run.events:
            if isinstance(event, RequestInfoEvent):
                asked.append(event)
            if len(asked) == 3:
                for each in reversed(asked):
                    await run.respond(each.request_id, each.data.text.upper())
                with pytest.raises(RequestNotFoundError):
                    await run.respond(asked[0].request_id, "again")
                asked.clear()

    assert run.result is not None
    assert sorted(run.result.outputs) == ["a:A", "b:B", "c:C"]
    assert run.result.status is WorkflowRunState.IDLE


async def test_a_child_that_waits_for_an_answer_takes_up_no_place():
    workflow = around(asking().build, concurrency=1).build()

    result = await workflow.run(["a", "b", "c"])

    assert [each.data.text for each in result.requests] == ["a", "b", "c"]


async def test_a_request_id_chosen_twice_is_refused_whichever_children_choose_it():
    class Chooser(Executor):
        @handler
        async def ask(self, text: str, ctx: Context) -> None:
            ctx.request_info(Question(text), str, request_id="r")

        @response_handler
        async def answered(self, question: Question, answer: str, ctx: Context[Never, str]) -> None:
            await ctx.yield_output(answer)

    held = WorkflowBuilder(name="c", start_executor=lambda: Chooser("chooser"))
    at_once = around(held.build, concurrency=2).build()
    with pytest.raises(RequestIdError, match="sub/chooser"):
        await at_once.run(["a", "b"])
    one_by_one = around(held.build).build()
    with pytest.raises(RequestIdError, match="open request"):
        await one_by_one.run(["a", "b"])
    assert [*one_by_one.pending_requests] == ["r"]
    apart = around(held.build, concurrency=2, propagate_requests=False)
    result = await apart.build().run(["a", "b"])
    assert [each.request_id for each in result.outputs] == ["r", "r"]


async def test_requests_surface_from_any_depth():
    workflow = nested(3).build()

    [request] = (await workflow.run("deep")).requests
    result = await workflow.run(responses={request.request_id: "x"})

    assert request.path == ("l0", "l1", "l2")
    assert result.outputs == ["deep:x"]
    assert workflow._core.places._children == {}


# Requests along edges.


async def test_a_parent_executor_answers_what_a_child_asks():
    result = await managed().build().run("a b")

    assert result.outputs == ["a:yes", "b:yes"]
    assert (result.status, result.requests) == (WorkflowRunState.IDLE, ())
    assert of(result, RequestInfoEvent) == []


async def test_requests_from_below_a_child_reach_the_executor_that_holds_it():
    result = await managed(nested(2)).build().run("a b")

    assert sorted(result.outputs) == ["a:yes", "b:yes"]
    assert of(result, RequestInfoEvent) == []


async def test_an_answer_of_the_wrong_type_fails_the_executor_that_holds_the_child():
    workflow = managed().build()

    with pytest.raises(ResponseTypeError, match="of executor 'sub/ask' is answered by str, not int") as caught:
        await workflow.run("a", config={"answer": 3})

    assert any("raised by executor 'sub', which holds a workflow" in note for note in caught.value.__notes__)


async def test_an_answer_of_the_wrong_type_to_a_request_from_further_below_names_the_whole_path():
    with pytest.raises(ResponseTypeError, match="of executor 'sub/l0/l1/ask' is answered by str, not int"):
        await managed(nested(2)).build().run("a", config={"answer": 3})
    workflow = nested(2).build()
    [request] = (await workflow.run("a")).requests
    with pytest.raises(ResponseTypeError, match="of executor 'l0/l1/ask' is answered by str, not int"):
        await workflow.run(responses={request.request_id: 3})


async def test_a_second_answer_in_one_superstep_is_reported_and_a_later_one_is_an_error():
    result = await managed().build().run("a", config={"times": 2})
    assert result.outputs == ["a:yes"]
    [dropped] = of(result, MessageDroppedEvent)
    assert (dropped.reason, dropped.target_id) == ("discarded", "sub")

    class Late(Manager):
        @handler
        async def answer(self, request: SubWorkflowRequest, ctx: Context[Any, str]) -> None:
            ctx.send_message(request.respond("yes"), "sub")
            ctx.send_message(request)

        @handler
        async def again(self, value: Any, ctx: Context[Any, str]) -> None:
            pass

    builder = (
        WorkflowBuilder(name="late", start_executor=Late("manager"))
        .add_edge("manager", WorkflowExecutor(asking().build(), "sub", propagate_requests=False))
        .add_edge("sub", "manager")
        .add_edge("manager", Resend("resend"))
        .add_edge("resend", "sub")
    )
    with pytest.raises(RequestNotFoundError):
        await builder.build().run("a")


class Resend(Executor):
    @handler
    async def resend(self, request: SubWorkflowRequest, ctx: Context[Any]) -> None:
        ctx.send_message(request.respond("again"), "sub")


@pytest.mark.parametrize(
    "response",
    [
        SubWorkflowResponse("none", "x", "sub#1"),
        SubWorkflowResponse("none", "x", "other#1"),
        SubWorkflowResponse("none", "x", ""),
        SubWorkflowResponse("none", "x", "sub#1:deeper"),
    ],
)
async def test_an_answer_to_no_open_request_is_refused(response):
    class Forge(Executor):
        @handler
        async def forge(self, text: str, ctx: Context[Any]) -> None:
            ctx.send_message(response)

    sub = WorkflowExecutor(asking().build, "sub", propagate_requests=False)
    builder = WorkflowBuilder(name="p", start_executor=Forge("forge")).add_edge("forge", sub)

    with pytest.raises(RequestNotFoundError):
        await builder.build().run("a")


async def test_an_answer_sent_to_another_executor_than_asked_is_refused():
    class Astray(Executor):
        @handler
        async def start(self, text: str, ctx: Context[Any]) -> None:
            ctx.send_message(text, "one")

        @handler
        async def answer(self, request: SubWorkflowRequest, ctx: Context[Any]) -> None:
            ctx.send_message(request.respond("yes"), "two")

    builder = WorkflowBuilder(name="p", start_executor=Astray("astray"))
    for name in ("one", "two"):
        sub = WorkflowExecutor(asking().build, name, propagate_requests=False)
        builder.add_edge("astray", sub).add_edge(sub, "astray")

    with pytest.raises(RequestNotFoundError):
        await builder.build().run("a")


async def test_a_request_that_no_edge_takes_is_a_dropped_message():
    sub = WorkflowExecutor(asking().build, "sub", propagate_requests=False)
    workflow = WorkflowBuilder(name="p", start_executor=sub).build()

    result = await workflow.run("a")

    [dropped] = of(result, MessageDroppedEvent)
    assert (dropped.reason, type(dropped.message), dropped.source_id) == ("no_edge", SubWorkflowRequest, "sub")
    assert result.status is WorkflowRunState.IDLE
    await workflow.reset()
    [told] = of(await workflow.run(""), MessageDroppedEvent)
    assert (told.reason, told.message, told.path) == ("discarded", Question("a"), ("sub",))


async def test_in_strict_mode_a_request_that_no_edge_takes_is_an_error():
    sub = WorkflowExecutor(asking().build, "sub", propagate_requests=False)

    with pytest.raises(UndeliverableMessageError):
        await WorkflowBuilder(name="p", start_executor=sub, strict=True).build().run("a")


async def test_a_child_that_only_a_lost_request_keeps_is_let_go_and_the_request_is_reported():
    """P8: the middle workflow has no edge for its child's request, so nobody can ever answer it."""
    middle = WorkflowBuilder(
        name="m", start_executor=lambda: WorkflowExecutor(asking().build, "inner", propagate_requests=False)
    ).add_edge("inner", lambda: Collect("collect"), condition=lambda message: isinstance(message, str))
    workflow = around(middle.build).build()

    result = await workflow.run(["a"])

    assert [(each.reason, each.path) for each in of(result, MessageDroppedEvent)] == [
        ("condition", ("sub",)),
        ("discarded", ("sub", "inner")),
    ]
    assert workflow._core.standing.snapshot.children == {}


# Joins.


class Late(Executor):
    """Goes on for a few supersteps, and yields only at the end."""

    @handler
    async def go(self, number: int, ctx: Context[int, int]) -> None:
        if number:
            ctx.send_message(number - 1)
        else:
            await ctx.yield_output(0)


def late():
    return WorkflowBuilder(name="late", start_executor=lambda: Late("late")).add_edge("late", "late")


@pytest.mark.parametrize("wait", ["all", "active"])
async def test_a_join_waits_for_a_child_at_work(wait):
    assert (await joined(wait, late().build).build().run([3])).outputs == [[0, 103]]


async def test_a_join_of_active_sources_fires_when_a_child_ends_without_a_word():
    class Quiet(Late):
        @handler
        async def go(self, number: int, ctx: Context[int, int]) -> None:
            pass

    held = WorkflowBuilder(name="c", start_executor=lambda: Quiet("quiet"))

    result = await joined("active", held.build).build().run([3])

    assert result.outputs == [[103]]


async def test_a_join_of_active_sources_waits_for_a_child_that_waits_for_an_answer():
    class AskLate(Late):
        @handler
        async def go(self, number: int, ctx: Context[int, int]) -> None:
            ctx.request_info(Question("go?"), int)

        @response_handler
        async def answered(self, question: Question, answer: int, ctx: Context[int, int]) -> None:
            await ctx.yield_output(answer)

    held = WorkflowBuilder(name="c", start_executor=lambda: AskLate("ask"))
    workflow = joined("active", held.build).build()
    first = await workflow.run([3])

    result = await workflow.run(responses={first.requests[0].request_id: 7})

    assert first.outputs == []
    assert result.outputs == [[7, 103]]


async def test_what_an_incomplete_join_of_a_child_holds_is_dropped_when_the_child_ends():
    class One(Executor):
        @handler
        async def one(self, value: int, ctx: Context[int]) -> None:
            ctx.send_message(value, "left")

    held = (
        WorkflowBuilder(name="c", start_executor=lambda: One("one"))
        .add_fan_out_edges("one", [lambda: Work("left"), lambda: Work("right")])
        .add_fan_in_edges(["left", "right"], lambda: Total("total"))
    )

    result = await around(held.build).build().run([1])

    [dropped] = of(result, MessageDroppedEvent)
    assert (dropped.reason, dropped.path, dropped.message) == ("join_incomplete", ("sub",), 101)
    strict = (
        WorkflowBuilder(name="c", start_executor=lambda: One("one"), strict=True)
        .add_fan_out_edges("one", [lambda: Work("left"), lambda: Work("right")])
        .add_fan_in_edges(["left", "right"], lambda: Total("total"))
    )
    with pytest.raises(UndeliverableMessageError):
        await around(strict.build).build().run([1])


async def test_a_joins_list_is_one_input_of_a_child():
    class Sum(Executor):
        @handler
        async def sum(self, values: list[int], ctx: Context[Never, int]) -> None:
            await ctx.yield_output(sum(values))

    workflow = (
        WorkflowBuilder(name="p", start_executor=lambda: Spread("spread"))
        .add_fan_out_edges("spread", [lambda: Work("a"), lambda: Work("b")])
        .add_fan_in_edges(
            ["a", "b"],
            lambda: WorkflowExecutor(
                WorkflowBuilder(name="c", start_executor=lambda: Sum("sum")).build, "sub", allow_direct_output=True
            ),
        )
        .build()
    )

    assert (await workflow.run([1])).outputs == [202]


# Limits and failures.


async def test_a_child_that_does_not_come_to_rest_is_named_by_its_path():
    workflow = nested(1, counting(max_supersteps=3)).build(id="W")

    assert (await workflow.run(2)).outputs == [2, 1, 0]
    with pytest.raises(ConvergenceError, match="W/l0"):
        await workflow.run(3)


async def test_a_childs_supersteps_do_not_use_up_the_limit_of_its_parent():
    result = await around(counting().build, parent={"max_supersteps": 23}).build().run([20])

    assert len(result.outputs) == 21


async def test_each_input_and_each_answer_has_the_childs_whole_limit():
    class AskAgain(Executor):
        @handler
        async def ask(self, text: str, ctx: Context[str]) -> None:
            ctx.send_message(text, "relay")

        @response_handler
        async def answered(self, question: Question, answer: str, ctx: Context[str]) -> None:
            if answer != "stop":
                ctx.send_message(answer, "relay")

    class Relay(Executor):
        @handler
        async def relay(self, text: str, ctx: Context) -> None:
            ctx.request_info(Question(text), str)

        @response_handler
        async def answered(self, question: Question, answer: str, ctx: Context[Never, str]) -> None:
            if answer != "stop":
                ctx.request_info(Question(answer), str)

    held = WorkflowBuilder(name="c", start_executor=lambda: AskAgain("ask"), max_supersteps=2).add_edge(
        "ask", lambda: Relay("relay")
    )
    workflow = around(held.build, one=True).build()
    result = await workflow.run(["a"])
    for _ in range(5):
        result = await workflow.run(responses={result.requests[0].request_id: "again"})
    async with workflow.stream(responses={result.requests[0].request_id: "on"}, wait_for_responses=True) as run:
        asked = 0
        async for event in run.events:
            if isinstance(event, RequestInfoEvent):
                asked += 1
                await run.respond(event.request_id, "stop" if asked == 5 else "again")
    assert run.result is not None
    assert run.result.status is WorkflowRunState.IDLE
    again = iter(["again"] * 5 + ["stop"])
    assert (await managed(held).build().run("a", config={"answers": again})).status is WorkflowRunState.IDLE
    assert not [*again]


async def test_what_a_handler_of_a_child_raises_comes_out_as_itself_with_a_note_and_the_child_goes_on_where_it_was():
    workflow = around(counting().build).build()

    with pytest.raises(ArithmeticError, match="told to fail at 1") as caught:
        await workflow.run([3], config={"fail_at": 1})
    assert "'sub/count'" in caught.value.__notes__[0]
    result = await workflow.run(checkpoint_id=LATEST)

    assert result.outputs == [3, 2, 1, 0]
    assert {event.data for event in of(result, ExecutorInvokedEvent) if event.path} == {1, 0}


async def test_the_failure_of_a_child_is_told_with_its_path():
    seen = []
    with pytest.raises(ArithmeticError):  # noqa: PT012 - raised on leaving the block
        async with around(counting().build).build().stream([3], config={"fail_at": 1}) as run:
            async for event in run.events:
                seen.append(event)

    [failed] = [event for event in seen if isinstance(event, ExecutorFailedEvent)]
    assert (failed.executor_id, failed.path) == ("count", ("sub",))


@pytest.mark.parametrize("how", [{}, {"one": True}], ids=["each", "one"])
async def test_the_state_of_a_childs_executors_is_rolled_back_after_a_failure(how):
    workflow = around(remembering().build, **how).build()
    await workflow.run([1])
    with pytest.raises(ArithmeticError):
        await workflow.run([2, -1])

    result = await workflow.run([5])

    assert result.outputs == ([[1, 2, 5, 1, 2, 5]] if how else [[5, 5]])


async def test_an_error_of_a_childs_condition_names_the_executor_that_holds_it():
    held = WorkflowBuilder(name="c", start_executor=lambda: Countdown("count")).add_edge(
        "count", "count", condition=lambda value: 1 / 0
    )

    with pytest.raises(ZeroDivisionError) as caught:
        await around(held.build).build().run([1])

    assert any("'sub'" in note for note in caught.value.__notes__)


# Hooks.


class Hooked(Executor):
    log: list[Any] = []

    async def on_start(self, ctx: Context) -> None:
        Hooked.log.append(("start", ctx.superstep))

    async def on_stop(self, ctx: Context) -> None:
        Hooked.log.append(("stop", ctx.superstep))
        await ctx.add_event(Noted(text="stopped"))

    @handler
    async def work(self, number: int, ctx: Context[int, int]) -> None:
        await ctx.add_event(Noted(text=f"at {number}"))
        await ctx.yield_output(number)


async def test_hooks_of_a_childs_executors_run_once_for_each_child_and_for_a_kept_one_once_in_a_run():
    held = WorkflowBuilder(name="c", start_executor=lambda: Hooked("hooked"))
    for how, expected in [({}, ["start", "stop"] * 3), ({"one": True}, ["start", "stop"])]:
        Hooked.log.clear()
        result = await around(held.build, **how).build().run([1, 2, 3])
        assert sorted(kind for kind, _ in Hooked.log) == sorted(expected)
        notes = [event for event in result.events if isinstance(event, Noted)]
        assert {event.path for event in notes} == {("sub",)}


async def test_on_stop_of_a_child_that_is_gone_may_fail_the_run():
    class Bad(Executor):
        async def on_stop(self, ctx: Context) -> None:
            raise ArithmeticError("told to fail")

        @handler
        async def work(self, number: int, ctx: Context[int, int]) -> None:
            pass

    held = WorkflowBuilder(name="c", start_executor=lambda: Bad("bad"))

    with pytest.raises(ArithmeticError):
        await around(held.build).build().run([1, 2])


# Fresh messages and resets.


async def test_a_fresh_message_lets_go_of_what_children_were_doing_and_keeps_their_requests():
    class Both(Asker):
        @handler
        async def both(self, number: int, ctx: Context[int, str]) -> None:
            ctx.request_info(Question(str(number)), str)
            ctx.send_message(number, "count")

    held = WorkflowBuilder(name="c", start_executor=lambda: Both("both")).add_edge("both", lambda: Countdown("count"))
    held.add_edge("count", "count")
    workflow = around(held.build, concurrency=1).build()
    with pytest.raises(ArithmeticError):
        await workflow.run([3, 4], config={"fail_at": 2})

    result = await workflow.run([])

    dropped = [(each.reason, each.path, each.message) for each in of(result, MessageDroppedEvent)]
    assert ("discarded", (), 4) in dropped  # the input that waited
    assert ("discarded", ("sub",), 2) in dropped
    [request] = result.requests
    assert (await workflow.run(responses={request.request_id: "yes"})).outputs == ["3:yes"]
    assert workflow._core.standing.snapshot.children == {}
    assert workflow._core.places._children == {}


async def test_nothing_of_a_child_is_left_when_it_is_let_go_by_a_fresh_message():
    workflow = around(remembering().build, concurrency=3).build()
    with pytest.raises(ArithmeticError):
        await workflow.run([1, -1, 2])
    assert len(workflow._core.places._children) == 3

    await workflow.run([])

    assert workflow._core.places._children == {}
    assert workflow._core.states.stateful == {}
    assert workflow._core.standing.snapshot.children == {}


async def test_a_reset_reports_what_children_had_not_finished():
    workflow = around(asking().build).build()
    await workflow.run(["a b"])

    await workflow.reset()
    assert workflow.pending_requests == {}
    dropped = of(await workflow.run([]), MessageDroppedEvent)

    assert [(each.reason, each.path, each.message) for each in dropped] == [
        ("discarded", ("sub",), Question("a")),
        ("discarded", ("sub",), Question("b")),
    ]


# Holding.


async def test_a_held_workflow_is_not_run_nor_reset_nor_held_twice():
    child = counting().build()
    WorkflowExecutor(child, "sub")

    with pytest.raises(WorkflowBusyError, match="held by executor 'sub' of another workflow for good; run that one"):
        await child.run(1)
    with pytest.raises(WorkflowBusyError):
        await child.reset()
    with pytest.raises(ExecutorReusedError, match="'sub'"):
        WorkflowExecutor(child, "other")


async def test_a_workflow_that_is_running_cannot_be_held():
    child = counting().build()
    async with child.stream(3):
        with pytest.raises(WorkflowBusyError):
            WorkflowExecutor(child, "sub")
    WorkflowExecutor(child, "sub")


def test_holding_a_workflow_borrows_nothing():
    async def main():
        with empty_house():
            workflow = around(counting().build, one=True).build()
            await workflow.run([2])
        return workflow

    trio.run(main)


@pytest.mark.parametrize("held", [None, 3, "child", lambda: 3, lambda a: a])
def test_only_a_workflow_or_a_factory_of_workflows_is_held(held):
    with pytest.raises(WorkflowValidationError):
        WorkflowExecutor(held, "sub")


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="concurrency"):
        WorkflowExecutor(counting().build, "sub", concurrency=0)
    with pytest.raises(ValueError, match="factory"):
        WorkflowExecutor(counting().build(), "sub", concurrency=2)
    with pytest.raises(ValueError, match="id"):
        WorkflowExecutor(counting().build, "")


async def test_a_factory_that_makes_something_else_the_second_time_is_refused():
    made = []

    def fickle():
        made.append(1)
        return (counting() if len(made) < 2 else asking()).build()

    with pytest.raises(WorkflowValidationError, match="another graph"):
        await around(fickle).build().run([1, 2])


async def test_a_factory_that_hands_out_the_same_executors_is_refused():
    builder = WorkflowBuilder(name="c", start_executor=Countdown("count"))

    with pytest.raises(ExecutorReusedError):
        await around(builder.build).build().run([1, 2])


def test_the_signature_covers_children():
    def signature(held, **how):
        return around(held, **how).build().graph_signature

    same = signature(counting().build)
    assert same == signature(counting().build)
    others = [
        signature(remembering().build),
        signature(counting().build, one=True),
        signature(counting().build, propagate_requests=False),
        signature(nested(1, counting()).build),
    ]
    assert len({same, *others}) == 5


async def test_a_checkpoint_is_not_restored_over_a_child_with_another_graph():
    storage = InMemoryCheckpointStorage()
    await around(counting().build, parent={"checkpoint_storage": storage}).build(id="W").run([1])
    other = around(late().build, parent={"checkpoint_storage": storage}).build(id="W")

    with pytest.raises(GraphMismatchError):
        await other.run(checkpoint_id=LATEST)


# Events.


async def test_events_of_children_bear_their_path_and_go_through_json():
    result = await nested(2, counting()).build().run(1)

    paths = {event.path for event in of(result, OutputEvent)}
    assert paths == {(), ("l0",), ("l0", "l1")}
    assert [event.sequence for event in result.events] == sorted(event.sequence for event in result.events)
    for event in result.events:
        assert from_json(to_json(event)) == event


async def test_the_output_view_passes_the_workflows_own_outputs_only():
    async with around(counting().build).build().stream([2]) as run:
        outputs = [value async for value in run.outputs()]

    assert outputs == [2, 1, 0]


async def test_the_executor_that_holds_a_child_completes_when_the_child_has_nothing_left():
    result = await around(counting().build).build().run([2])

    [completed] = [each for each in of(result, ExecutorCompletedEvent) if each.executor_id == "sub"]
    own = [each for each in result.events if each.path == ("sub",)]
    assert own[-1].sequence < completed.sequence
    assert (completed.sent, completed.outputs) == ((0,), ())


async def test_a_child_ends_though_its_parent_had_nothing_to_do_in_that_superstep():
    workflow = WorkflowBuilder(name="p", start_executor=WorkflowExecutor(late().build, "sub")).build()

    result = await workflow.run(5)

    assert [(each.reason, each.message) for each in of(result, MessageDroppedEvent)] == [("no_edge", 0)]
    assert result.supersteps == 7


# Determinism.


@pytest.mark.parametrize("seed", scheduling_seeds(4))
def test_the_history_of_children_does_not_depend_on_the_schedule(seed):
    class Jitter(Executor):
        @handler
        async def work(self, number: int, ctx: Context[int, str]) -> None:
            await trio.sleep((number * 7) % 5)
            await ctx.yield_output(f"{number} {ctx.delivery_id.partition('-')[2]}")
            if number > 10:
                ctx.send_message(number - 10)

    held = WorkflowBuilder(name="c", start_executor=lambda: Jitter("j")).add_edge("j", "j")

    async def play():
        storage = InMemoryCheckpointStorage()
        workflow = around(held.build, concurrency=3, parent={"checkpoint_storage": storage}).build(id="W")
        result = await workflow.run([31, 2, 23, 14, 5])
        headers = await storage.list(workflow_id="W")
        return result.outputs, [[*(await storage.load(each.id)).contents] for each in headers]

    assert run_seeded(play, seed) == run_seeded(play, 99)


# Storage.


async def test_a_value_that_cannot_be_stored_is_refused_whichever_level_made_it():
    class Odd(Executor):
        @handler
        async def odd(self, number: int, ctx: Context[Any, Any]) -> None:
            ctx.set_state("odd", object())
            ctx.send_message(number)

    held = WorkflowBuilder(name="c", start_executor=lambda: Odd("odd")).add_edge("odd", "odd")
    workflow = around(held.build, parent={"checkpoint_storage": InMemoryCheckpointStorage()}).build()

    with pytest.raises(CodecError, match="odd"):
        await workflow.run([1])
