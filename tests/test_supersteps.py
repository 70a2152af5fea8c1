"""What a superstep delivers, in which order, what its joins hold, and what becomes of messages that nothing takes
(P3, P4, P8).
"""

from typing import Any, Never

import attrs
import pytest
import trio

from actorflow import (
    LATEST,
    Case,
    Default,
    Executor,
    InMemoryCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    executor,
    handler,
    response_handler,
)
from actorflow.errors import MessageTypeError, SwitchCaseError, UndeliverableMessageError
from actorflow.events import MessageDroppedEvent, OutputEvent, WorkflowRunState
from tests.scenarios import Asker, Many, Relay, Tell, chain, events_of, joined, standing


class Say(Executor):
    """Sends the words it was made with, whatever it gets, after as many seconds as it was told."""

    def __init__(self, id: str, *words: Any, after: float = 0) -> None:  # noqa: A002
        super().__init__(id)
        self.words = words
        self.after = after

    @handler
    async def say(self, message: Any, ctx: WorkflowContext[Any]) -> None:
        await trio.sleep(self.after)
        for word in self.words:
            ctx.send_message(word)


class Collect(Executor):
    """Yields what it gets and where it came from."""

    @handler
    async def one(self, message: Any, ctx: WorkflowContext[Never, Any]) -> None:
        await ctx.yield_output((message, ctx.source_executor_ids))


def drops(events: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (each.reason, each.message, each.source_id, each.target_id) for each in events_of(events, MessageDroppedEvent)
    ]


# Order.


async def test_deliveries_come_in_the_order_of_senders_then_edge_groups_then_targets(autojump_clock: Any) -> None:
    """P4: whoever is faster."""
    builder = WorkflowBuilder(name="order", start_executor=Say("start", "go"))
    builder.add_fan_out_edges("start", [Say("slow", 1, 2, after=5), Say("fast", 3, 4)])
    builder.add_edge("fast", Collect(id="end")).add_edge("slow", "end")

    result = await builder.build().run("x")

    assert result.outputs == [(1, ("slow",)), (2, ("slow",)), (3, ("fast",)), (4, ("fast",))]


async def test_edge_groups_of_one_source_go_in_the_order_they_were_declared() -> None:
    """P4."""
    builder = WorkflowBuilder(name="groups", start_executor=Say("start", "m"))
    builder.add_edge("start", lambda: Relay(id="b")).add_edge("start", lambda: Relay(id="a"))
    builder.add_edge("a", Tell(id="end")).add_edge("b", "end")

    assert (await builder.build().run("x")).outputs == ["m>b", "m>a"]


async def test_an_executor_handles_its_deliveries_one_at_a_time() -> None:
    active = peak = 0

    @executor
    async def one_at_a_time(number: int, ctx: WorkflowContext[Never, int]) -> None:
        nonlocal active, peak
        active += 1
        peak = max(peak, active)
        await trio.lowlevel.checkpoint()
        active -= 1
        await ctx.yield_output(number)

    result = await chain(Many(id="many"), one_at_a_time).run(20)

    assert result.outputs == list(range(20))
    assert peak == 1


async def test_the_input_has_no_source_and_a_message_has_one() -> None:
    @executor
    async def first(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message(f"{ctx.source_executor_ids}")

    assert (await chain(first, Collect(id="end")).run("x")).outputs == [("()", ("first",))]


async def test_no_superstep_starts_before_the_last_delivery_of_the_one_before_has_ended(autojump_clock: Any) -> None:
    """The barrier."""
    log: list[str] = []

    @executor
    async def slow(text: str, ctx: WorkflowContext[str]) -> None:
        await trio.sleep(10)
        log.append("slow ended")

    @executor
    async def fast(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message(text)

    @executor
    async def after(text: str, ctx: WorkflowContext) -> None:
        log.append("after began")

    builder = WorkflowBuilder(name="barrier", start_executor=Relay(id="start")).add_fan_out_edges("start", [slow, fast])
    await builder.add_edge("fast", after).build().run("x")

    assert log == ["slow ended", "after began"]


# Messages are values.


@pytest.mark.not_rehydrated(reason="looks at the identity of objects")
async def test_messages_and_outputs_are_passed_on_without_a_copy() -> None:
    """F24: an object that cannot be copied travels; it is the same object everywhere."""

    class Uncopiable:
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("not this one")

        __copy__ = __reduce_ex__ = __deepcopy__

    value = Uncopiable()

    @executor
    async def send(text: str, ctx: WorkflowContext[Any, Any]) -> None:
        ctx.send_message(value)
        await ctx.yield_output(value)

    result = await chain(send, Collect(id="end")).run("x")

    assert result.outputs[0] is value
    assert result.outputs[1][0] is value
    assert events_of(result.events, OutputEvent)[0].data is value


class Mutate(Executor):
    @handler
    async def mutate(self, items: list[int], ctx: WorkflowContext[Never, int]) -> None:
        items.append(1)
        await ctx.yield_output(len(items))


@pytest.mark.parametrize("strict", [True, False])
async def test_a_handler_that_changes_its_message_is_found_out_in_strict_mode(strict: bool) -> None:
    """F23: the error names the handler, and the superstep is not committed."""
    builder = WorkflowBuilder(name="mutating", start_executor=Say("start", [0]), strict=strict)
    workflow = builder.add_fan_out_edges("start", [Mutate(id="one"), Mutate(id="other")]).build()
    if not strict:
        await workflow.run("x")
        return
    with pytest.raises(MessageTypeError, match=r"Mutate\.mutate changed its message in place"):
        await workflow.run("x")
    assert standing(workflow)[0] == 1


# Declared types.


class Undeclared(Executor):
    @handler
    async def work(self, what: str, ctx: WorkflowContext[str, str]) -> None:
        match what:
            case "send":
                ctx.send_message(1)  # type: ignore[arg-type]
            case "yield":
                await ctx.yield_output(1)  # type: ignore[arg-type]
            case "return":
                return 1  # type: ignore[return-value]
            case "state":
                ctx.set_state(1, 1)  # type: ignore[arg-type]
        return None


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("send", r"Undeclared\.work of executor 'u' may not send int"),
        ("yield", r"Undeclared\.work of executor 'u' may not yield int"),
        ("return", r"Undeclared\.work returned int"),
        ("state", "a state key is a str"),
    ],
)
async def test_what_a_handler_does_outside_its_declarations_is_an_error_that_names_it(what: str, text: str) -> None:
    """F25."""
    with pytest.raises(TypeError, match=text) as caught:
        await chain(Undeclared(id="u"), Tell(id="t")).run(what)
    assert "executor 'u'" in caught.value.__notes__[0]


@pytest.mark.parametrize("via", ["send", "yield", "get", "set", "has", "delete", "ask", "id"])
async def test_a_context_is_of_no_use_after_its_handler_returned(via: str) -> None:
    """P8: what would be lost is an error instead."""
    kept: list[WorkflowContext[Any, Any]] = []

    class Keep(Executor):
        @handler
        async def keep(self, text: str, ctx: WorkflowContext[str, str]) -> None:
            ctx.set_state("k", 1)
            kept.append(ctx)

        @response_handler
        async def answered(self, request: str, answer: str, ctx: WorkflowContext) -> None: ...

    await chain(Keep(id="keep"), Tell(id="tell")).run("x")
    (ctx,) = kept
    with pytest.raises(RuntimeError, match="returned"):
        await use(ctx, via)


async def use(ctx: WorkflowContext[Any, Any], via: str) -> None:
    match via:
        case "send":
            ctx.send_message("late")
        case "yield":
            await ctx.yield_output("late")
        case "get":
            ctx.get_state("k")
        case "set":
            ctx.set_state("k", 2)
        case "has":
            ctx.has_state("k")
        case "delete":
            ctx.delete_state("k")
        case "ask":
            ctx.request_info("late", str)
        case "id":
            _ = ctx.delivery_id


# Most specific handler.


class Zoo(Executor):
    @handler
    async def a_anything(self, message: object, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output("object")

    @handler
    async def m_integer(self, message: int, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output("int")

    @handler
    async def z_text(self, message: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output("str")


@pytest.mark.parametrize(("message", "taker"), [("x", "str"), (1, "int"), (True, "int"), (None, "object")])
async def test_the_most_specific_handler_takes_a_message(message: Any, taker: str) -> None:
    """F19: whatever the methods are called."""
    assert (await chain(Zoo(id="zoo")).run(message)).outputs == [taker]


# Nothing is dropped in silence.


def aimed(target: str | None, message: Any = "m", **options: Any) -> Workflow:
    @executor
    async def aim(text: str, ctx: WorkflowContext[Any]) -> None:
        ctx.send_message(message, target)

    builder = WorkflowBuilder(name="aimed", start_executor=aim, **options)
    return builder.add_edge("aim", Tell(id="one"), condition=lambda text: text != "shut").build()


@pytest.mark.parametrize(
    ("target", "message", "reason", "target_id"),
    [
        ("nobody", "m", "no_such_target", "nobody"),
        ("aim", "m", "no_edge", "aim"),
        ("one", 1, "type", "one"),
        (None, 1, "type", "one"),
        ("one", "shut", "condition", "one"),
        (None, "shut", "condition", "one"),
    ],
)
async def test_each_message_that_nothing_takes_is_an_event_with_its_reason_and_an_error_in_strict_mode(
    target: str | None, message: Any, reason: str, target_id: str
) -> None:
    """F20, P8."""
    result = await aimed(target, message).run("x")
    assert drops(result.events) == [(reason, message, "aim", target_id)]
    assert result.status is WorkflowRunState.IDLE

    strict = aimed(target, message, strict=True)
    with pytest.raises(UndeliverableMessageError, match=reason) as caught:
        await strict.run("x")
    assert (caught.value.reason, caught.value.source_id, caught.value.target_id) == (reason, "aim", target_id)
    assert standing(strict)[0] == 0


async def test_a_message_of_an_executor_without_edges_is_dropped_with_its_reason() -> None:
    """F20."""
    result = await chain(Relay(id="alone")).run("x")
    assert drops(result.events) == [("no_edge", "x>alone", "alone", None)]


async def test_a_message_that_one_of_several_edges_takes_is_not_dropped() -> None:
    builder = WorkflowBuilder(name="one of two", start_executor=Say("start", 1, "x"))
    builder.add_fan_out_edges("start", [Tell(id="text"), Many(id="number")])

    result = await builder.build().run("go")

    assert result.outputs == ["x"]
    assert [each[:3] for each in drops(result.events)] == [("no_edge", 0, "number")]


# Conditions.


async def later(answer: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return answer


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_conditions_cases_and_selections_may_be_sync_or_async(mode: str) -> None:
    def maybe(answer: Any) -> Any:
        return answer if mode == "sync" else later(answer)

    builder = WorkflowBuilder(name="conditions", start_executor=Say("start", "a", "b", "c"))
    builder.add_edge("start", Relay(id="edge"), condition=lambda text: maybe(text == "a"))
    builder.add_switch_case_edge_group(
        "start",
        [
            Case(lambda text: maybe(text == "b"), Relay(id="b")),
            Case(lambda text: maybe(text in "ab"), Relay(id="ab")),
            Default(Relay(id="rest")),
        ],
    )
    builder.add_multi_selection_edge_group(
        "start", [Relay(id="s1"), Relay(id="s2")], lambda text, ids: maybe(ids[::-1] if text == "c" else [])
    )
    end = Tell(id="end")
    for each in ("edge", "b", "ab", "rest", "s1", "s2"):
        builder.add_edge(each, end)

    assert (await builder.build().run("x")).outputs == ["a>edge", "a>ab", "b>b", "c>rest", "c>s1", "c>s2"]


def boom(*_: Any) -> Any:
    raise ArithmeticError("boom")


async def boom_later(*_: Any) -> Any:
    await trio.lowlevel.checkpoint()
    raise ArithmeticError("boom")


@pytest.mark.parametrize("condition", [boom, boom_later])
@pytest.mark.parametrize("kind", ["edge", "switch", "selection"])
async def test_a_raising_condition_fails_the_run_naming_the_edge(kind: str, condition: Any) -> None:
    """F21: always, and the superstep it belongs to is not committed."""
    builder = WorkflowBuilder(name="raising", start_executor=Relay(id="start"))
    match kind:
        case "edge":
            builder.add_edge("start", Tell(id="a"), condition=condition)
        case "switch":
            builder.add_switch_case_edge_group("start", [Case(condition, Tell(id="a")), Default(Tell(id="b"))])
        case "selection":
            builder.add_multi_selection_edge_group("start", [Tell(id="a"), Tell(id="b")], condition)
    workflow = builder.build()

    with pytest.raises(ArithmeticError, match="boom") as caught:
        await workflow.run("x")

    assert any(kind in note and "'start'" in note for note in caught.value.__notes__)
    assert standing(workflow)[0] == 0
    assert workflow.status is WorkflowRunState.FAILED


async def test_a_selection_outside_its_targets_fails_the_run_naming_the_edge() -> None:
    """F21."""
    builder = WorkflowBuilder(name="selection", start_executor=Relay(id="start"))
    builder.add_multi_selection_edge_group("start", [Tell(id="a"), Tell(id="b")], lambda text, ids: ["c"])
    with pytest.raises(ValueError, match=r"\['c'\].*\['a', 'b'\]") as caught:
        await builder.build().run("x")
    assert "selection 'start'" in caught.value.__notes__[0]


def test_a_default_that_is_not_last_is_a_build_error() -> None:
    """F22."""
    builder = WorkflowBuilder(name="switch", start_executor=Relay(id="start"))
    with pytest.raises(SwitchCaseError):
        builder.add_switch_case_edge_group("start", [Default(Tell(id="a")), Case(boom, Tell(id="b"))])


async def test_work_that_was_done_is_kept_when_a_condition_raises() -> None:
    """F38, P6: LATEST asks the condition again and not the handler."""
    calls: list[str] = []
    broken = True

    @executor
    async def costly(text: str, ctx: WorkflowContext[str]) -> None:
        calls.append(text)
        ctx.send_message(text)

    def condition(_: str) -> bool:
        if broken:
            raise ArithmeticError
        return True

    workflow = WorkflowBuilder(name="kept", start_executor=costly).add_edge("costly", Tell(id="end"), condition).build()
    with pytest.raises(ArithmeticError):
        await workflow.run("x")
    broken = False

    assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["x"]
    assert calls == ["x"]


# Joins.


@attrs.frozen
class Group:
    """What a join gave its target."""

    texts: tuple[str, ...]
    sources: tuple[str, ...]


class Gather(Executor):
    @handler
    async def gather(self, texts: list[str], ctx: WorkflowContext[Never, Group]) -> None:
        await ctx.yield_output(Group(tuple(texts), ctx.source_executor_ids))


def fan(*sources: Executor, wait: str = "all", **options: Any) -> WorkflowBuilder:
    builder = WorkflowBuilder(name="fan", start_executor=Relay(id="start"), **options)
    builder.add_fan_out_edges("start", sources)
    return builder.add_fan_in_edges([each.id for each in sources], Gather(id="end"), wait=wait)


@pytest.mark.parametrize(("a_after", "b_after"), [(0, 5), (5, 0), (5, 5)])
async def test_a_join_groups_by_messages_alone(autojump_clock: Any, a_after: float, b_after: float) -> None:
    """F16: not by who finishes first."""
    builder = fan(Say("a", "a0", "a1", after=a_after), Say("b", "b0", after=b_after))

    assert (await builder.build().run("x")).outputs == [Group(("a0", "a1", "b0"), ("a", "b"))]


async def test_a_join_lists_its_sources_in_declared_order_whatever_the_order_of_sending() -> None:
    """F16."""
    builder = WorkflowBuilder(name="declared", start_executor=Relay(id="start"))
    builder.add_fan_out_edges("start", [Say("z", "z"), Say("a", "a")])
    builder.add_fan_in_edges(["a", "z"], Gather(id="end"))

    assert (await builder.build().run("x")).outputs == [Group(("a", "z"), ("a", "z"))]


def late(wait: str, **options: Any) -> Workflow:
    """a arrives in superstep 2, b in superstep 3."""
    builder = WorkflowBuilder(name="late", start_executor=Relay(id="start"), **options)
    builder.add_fan_out_edges("start", [Say("a", "a"), Relay(id="mid")]).add_edge("mid", Say("b", "b"))
    return builder.add_fan_in_edges(["a", "b"], Gather(id="end"), wait=wait).build(id="w")


@pytest.mark.parametrize(
    ("wait", "groups"),
    [
        ("all", [Group(("a", "b"), ("a", "b"))]),
        ("active", [Group(("a", "b"), ("a", "b"))]),
        ("any", [Group(("a",), ("a",)), Group(("b",), ("b",))]),
    ],
)
async def test_a_join_fires_at_the_boundary_its_wait_says(wait: str, groups: list[Group]) -> None:
    """F16."""
    assert (await late(wait).run("x")).outputs == groups


def lopsided(wait: str, **options: Any) -> Workflow:
    """b never sends."""
    return fan(Say("a", "a"), Say("b"), wait=wait, **options).build(id="w")


async def test_a_join_whose_source_never_sends_is_reported_when_the_run_ends() -> None:
    """F18, P8: and what it held does not turn up in the next run."""
    workflow = lopsided("all")
    for _ in range(2):
        result = await workflow.run("x")
        assert (result.outputs, result.status) == ([], WorkflowRunState.IDLE)
        assert drops(result.events) == [("join_incomplete", "a", "a", "end")]


async def test_a_join_whose_source_never_sends_is_an_error_in_strict_mode() -> None:
    """F18."""
    workflow = lopsided("all", strict=True)
    with pytest.raises(UndeliverableMessageError, match="active"):
        await workflow.run("x")
    assert workflow.status is WorkflowRunState.FAILED


async def test_an_active_join_does_not_wait_for_a_source_that_can_no_longer_send() -> None:
    """F18."""
    result = await lopsided("active", strict=True).run("x")
    assert result.outputs == [Group(("a",), ("a",))]


async def test_an_active_join_waits_for_a_source_behind_an_open_request() -> None:
    """A silent source that an answer can still wake is not inactive."""
    builder = WorkflowBuilder(name="asked", start_executor=Relay(id="start"))
    builder.add_fan_out_edges("start", [Say("a", "a"), Asker(id="ask")])
    workflow = builder.add_fan_in_edges(["a", "ask"], Gather(id="end"), wait="active").build()

    paused = await workflow.run("x")
    assert paused.outputs == []
    result = await workflow.run(responses={paused.requests[0].request_id: "yes"})

    assert result.outputs == [Group(("a", "x>start=yes"), ("a", "ask"))]


@pytest.mark.parametrize("stored", [False, True])
async def test_what_a_join_holds_survives_a_pause_and_a_new_process(stored: bool) -> None:
    """F17: it is part of the checkpoint."""
    storage = InMemoryCheckpointStorage() if stored else None
    workflow = joined(storage)
    paused = await workflow.run("x")
    if stored:
        workflow = joined(storage)
        await workflow.run(checkpoint_id=LATEST)

    result = await workflow.run(responses={paused.requests[0].request_id: "yes"})

    assert result.outputs == ["x>start>a+x>start=yes"]


async def test_what_a_join_holds_does_not_leak_into_a_fresh_run() -> None:
    """F17, F18: a fresh message lets it go, and says so."""
    workflow = joined()
    first = await workflow.run("OLD")
    second = await workflow.run("NEW")
    assert drops(second.events) == [("join_incomplete", "OLD>start>a", "a", "end")]

    result = await workflow.run(responses={second.requests[1].request_id: "yes"})

    assert second.requests[1].request_id != first.requests[0].request_id
    assert result.outputs == ["NEW>start>a+NEW>start=yes"]


@pytest.mark.parametrize("wait", ["all", "active"])
async def test_a_failed_superstep_leaves_joins_as_they_were(wait: str) -> None:
    """F07, F17, P3: what arrived in it has not arrived."""
    fails = True

    @executor
    async def b(text: str, ctx: WorkflowContext[str]) -> None:
        if fails:
            raise LookupError(text)
        ctx.send_message("b")

    builder = WorkflowBuilder(name="late", start_executor=Relay(id="start"))
    builder.add_fan_out_edges("start", [Say("a", "a"), Relay(id="mid")]).add_edge("mid", b)
    workflow = builder.add_fan_in_edges(["a", "b"], Gather(id="end"), wait=wait).build()
    for _ in range(2):
        with pytest.raises(LookupError):
            await workflow.run("x") if workflow.status is WorkflowRunState.IDLE else await workflow.run(
                checkpoint_id=LATEST
            )
    fails = False

    assert (await workflow.run(checkpoint_id=LATEST)).outputs == [Group(("a", "b"), ("a", "b"))]


async def test_two_joins_on_the_same_executors_do_not_mix() -> None:
    """F16, F17."""
    builder = WorkflowBuilder(name="two joins", start_executor=Relay(id="start"))
    builder.add_fan_out_edges("start", [Say("a", "a"), Say("b", "b")])
    builder.add_fan_in_edges(["a", "b"], Gather(id="one")).add_fan_in_edges(["b", "a"], Gather(id="other"))

    assert (await builder.build().run("x")).outputs == [Group(("a", "b"), ("a", "b")), Group(("b", "a"), ("b", "a"))]


# Many supersteps.


class Down(Executor):
    """Yields a number and sends the one below it."""

    @handler
    async def down(self, number: int, ctx: WorkflowContext[int, int]) -> None:
        await ctx.yield_output(number)
        if number:
            ctx.send_message(number - 1)


async def test_outputs_of_many_supersteps_stay_in_order_across_a_restore() -> None:
    """P6: the tenth superstep comes after the ninth, and not after the first."""
    storage = InMemoryCheckpointStorage()

    def build() -> Workflow:
        builder = WorkflowBuilder(name="down", start_executor=Down(id="one"), checkpoint_storage=storage)
        return builder.add_edge("one", Down(id="two")).add_edge("two", "one").build(id="w")

    result = await build().run(25)
    assert result.outputs == list(range(25, -1, -1))

    assert (await build().run(checkpoint_id=LATEST)).outputs == result.outputs
