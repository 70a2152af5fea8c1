"""Supervision: each rule of the table in docs/supervision.md, by its number, under a virtual clock (R12; R06 for S10)."""

import itertools
from collections.abc import Callable
from typing import Any, Never

import attrs
import pytest
import trio
import trio.testing

from actorflow import (
    Case,
    Default,
    Executor,
    ExecutorFailure,
    InMemoryCheckpointStorage,
    RateLimit,
    RestartIntensity,
    Retry,
    SupervisionPolicy,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    executor,
    handler,
    response_handler,
)
from actorflow.errors import ExecutorTimeoutError, MessageTypeError, TypeCompatibilityError
from actorflow.events import (
    ExecutorFailedEvent,
    ExecutorInvokedEvent,
    ExecutorRetryingEvent,
    MessageDroppedEvent,
    OutputEvent,
    WarningEvent,
    WorkflowRunState,
)
from tests.scenarios import Many, Relay, Tell, events_of


class Fault(Exception):
    """A handler's own."""


@attrs.define
class Seen:
    texts: list[str] = attrs.Factory(list)


class Flaky(Executor):
    """Does everything a handler can do, then does as the plan says for this attempt at this message: fails, or is done."""

    state: Seen

    def __init__(self, id: str = "flaky", plan: dict[str, list[Any]] | None = None, **options: Any) -> None:  # noqa: A002
        super().__init__(id, **options)
        self.plan = plan or {}
        self.calls: list[tuple[str, int, str, float]] = []
        self.log: list[str] = []

    async def on_start(self, ctx: WorkflowContext) -> None:
        self.log.append(f"start {self.state.texts}")

    async def on_stop(self, ctx: WorkflowContext) -> None:
        self.log.append("stop")

    @handler
    async def work(self, text: str, ctx: WorkflowContext[str, str]) -> None:
        self.calls.append((text, ctx.attempt, ctx.delivery_id, trio.current_time()))
        self.state.texts.append(text)
        ctx.set_state(text, ctx.get_state(text, 0) + 1)
        await ctx.yield_output(f"{text}/{ctx.attempt}")
        ctx.send_message(f"{text}!")
        steps = self.plan.get(text, [])
        step = steps.pop(0) if steps else None
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            await step(ctx)


class Split(Executor):
    @handler
    async def split(self, text: str, ctx: WorkflowContext[str]) -> None:
        for part in text.split():
            ctx.send_message(part)


class Sink(Executor):
    """Takes messages and failures alike, and yields them."""

    @handler
    async def take(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(text)

    @handler
    async def failed(self, failure: ExecutorFailure, ctx: WorkflowContext[Never, ExecutorFailure]) -> None:
        await ctx.yield_output(failure)


class OnlyText(Executor):
    @handler
    async def take(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(text)


def built(*chain: Executor, id: str = "w", **options: Any) -> Workflow:  # noqa: A002
    """split -> the chain."""
    builder = WorkflowBuilder(name="supervised", start_executor=Split("split"), **options)
    return builder.add_chain(["split", *chain]).build(id=id)


def policy(
    attempts: int = 1, on_failure: Any = "fail", timeout: float | None = None, **retry: Any
) -> SupervisionPolicy:
    return SupervisionPolicy(timeout=timeout, retry=Retry(attempts, **retry), on_failure=on_failure)


def shared(workflow: Workflow) -> dict[str, Any]:
    return dict(workflow._core.standing.snapshot.table("state"))


def after(seconds: float) -> Callable[[Any], Any]:
    async def step(ctx: Any) -> None:
        await trio.sleep(seconds)

    return step


# S01 to S08: attempts.


async def test_s01_an_attempt_that_fails_leaves_no_effects(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"a": [Fault(), Fault()]}, policy=policy(3))
    workflow = built(flaky, Tell("end"))

    result = await workflow.run("a")

    assert result.outputs == ["a/3", "a!"]
    assert shared(workflow) == {"a": 1}
    assert [event.data for event in events_of(result.events, OutputEvent)] == ["a/1", "a/2", "a/3", "a!"]


async def test_s02_the_executors_state_goes_back_to_before_the_delivery_and_no_further(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"b": [Fault()]}, policy=policy(2))
    seen: list[list[str]] = []

    async def look(ctx: Any) -> None:
        seen.append([*flaky.state.texts])

    flaky.plan["b"].append(look)
    workflow = built(flaky, Tell("end"))

    result = await workflow.run("a b c")

    assert seen == [["a", "b"]]
    assert flaky.state.texts == ["a", "b", "c"]
    assert result.outputs == ["a/1", "b/2", "c/1", "a!", "b!", "c!"]


async def test_s02_what_on_start_made_of_the_state_is_before_the_first_delivery() -> None:
    class Prepared(Flaky):
        async def on_start(self, ctx: WorkflowContext) -> None:
            self.state.texts.append("prepared")

    flaky = Prepared(plan={"a": [Fault()]}, policy=policy(2))
    await built(flaky, Tell("end")).run("a")
    assert flaky.state.texts == ["prepared", "a"]


async def test_s03_attempts_counts_every_call_and_ids_stay_the_same(autojump_clock: Any) -> None:
    ids: list[str] = []

    class Asking(Executor):
        @handler
        async def ask(self, text: str, ctx: WorkflowContext) -> None:
            ids.extend([ctx.delivery_id, ctx.request_info(text, str)])
            if ctx.attempt < 3:
                raise Fault

        @response_handler
        async def answered(self, request: str, response: str, ctx: WorkflowContext) -> None: ...

    result = await built(Asking("asking", policy=policy(3))).run("a")

    assert ids[:2] == ids[2:4] == ids[4:6]
    assert len(ids) == 6
    assert [request.request_id for request in result.requests] == [ids[1]]


async def test_s04_gaps_grow_by_the_factor_up_to_the_limit(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"a": [Fault()] * 4}, policy=policy(5, delay=1, factor=3, max_delay=10))
    result = await built(flaky, Tell("end")).run("a")
    times = [time for *_, time in flaky.calls]
    assert [later - time for time, later in itertools.pairwise(times)] == pytest.approx([1, 3, 9, 10])
    assert [event.delay for event in events_of(result.events, ExecutorRetryingEvent)] == [1, 3, 9, 10]


async def test_s05_a_failed_attempt_is_told_and_then_what_comes_next(autojump_clock: Any) -> None:
    first, second = Fault(1), Fault(2)
    flaky = Flaky(plan={"a": [first, second]}, policy=policy(3, delay=1))
    result = await built(flaky, Tell("end")).run("a")
    told = [
        (type(event).type, event.attempt, getattr(event, "error", None), getattr(event, "delay", None))
        for event in result.events
        if getattr(event, "executor_id", None) == "flaky"
    ]
    assert told == [
        ("executor_invoked", 1, None, None),
        ("output", 1, None, None),
        ("executor_failed", 1, first, None),
        ("executor_retrying", 2, first, 1),
        ("executor_invoked", 2, None, None),
        ("output", 2, None, None),
        ("executor_failed", 2, second, None),
        ("executor_retrying", 3, second, 2),
        ("executor_invoked", 3, None, None),
        ("output", 3, None, None),
        ("executor_completed", 3, None, None),
    ]


@pytest.mark.parametrize("on", [ValueError, (KeyError, ValueError), lambda error: isinstance(error, ValueError)])
async def test_s06_what_on_does_not_cover_is_not_tried_again(on: Any, autojump_clock: Any) -> None:
    covered = Flaky(plan={"a": [ValueError()]}, policy=policy(2, on=on))
    await built(covered, Tell("end")).run("a")
    assert len(covered.calls) == 2

    other = Flaky(plan={"a": [Fault("no")]}, policy=policy(2, on=on))
    with pytest.raises(Fault):
        await built(other, Tell("end")).run("a")
    assert len(other.calls) == 1


async def test_s06_a_predicate_that_raises_fails_the_run_and_names_what_it_was_asked_about() -> None:
    def predicate(error: Exception) -> bool:
        raise LookupError("predicate")

    flaky = Flaky(plan={"a": [Fault("asked")]}, policy=policy(2, on=predicate))
    with pytest.raises(LookupError, match="predicate") as caught:
        await built(flaky, Tell("end")).run("a")
    assert any("Fault('asked')" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("on_failure", ["drop", "restart", "send"])
@pytest.mark.parametrize("error", [KeyboardInterrupt("c"), SystemExit(3)])
async def test_s07_an_interrupt_and_an_exit_are_never_tried_again_nor_dropped(error: Any, on_failure: Any) -> None:
    flaky = Flaky(plan={"a": [error]}, policy=policy(5, on_failure))
    with pytest.raises(type(error)):
        await built(flaky, Sink("end")).run("a")
    assert len(flaky.calls) == 1


async def test_s08_errors_of_the_graph_count_as_the_handlers(autojump_clock: Any) -> None:
    """MessageTypeError and ContextClosedError."""

    class Wrong(Executor):
        calls = 0

        @handler
        async def work(self, text: str, ctx: WorkflowContext[str, str]) -> None:
            self.calls += 1
            if ctx.attempt == 1:
                ctx.send_message(3)  # type: ignore[arg-type]
            if ctx.attempt == 2:
                ctx.yield_output("not awaited").close()
            ctx.send_message("right")

    wrong = Wrong("wrong", policy=policy(3))
    result = await built(wrong, Tell("end")).run("a")
    assert (result.outputs, wrong.calls) == (["right"], 3)
    failing = Wrong("wrong", policy=policy(3, on=ValueError))
    with pytest.raises(MessageTypeError):
        await built(failing, Tell("end")).run("a")


# S09 to S12: timeouts.


async def test_s09_an_attempt_that_takes_too_long_is_cancelled_and_joined(autojump_clock: Any) -> None:
    ended: list[float] = []

    async def linger(ctx: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(2, shield=True):
                await trio.sleep_forever()
            ended.append(trio.current_time())

    flaky = Flaky(plan={"a": [linger, linger]}, policy=policy(2, timeout=3))
    with pytest.raises(ExecutorTimeoutError, match="'flaky' did not finish attempt 2 within 3 s") as caught:
        await built(flaky, Tell("end")).run("a")
    began = flaky.calls[0][3]
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.executor_id, caught.value.timeout, caught.value.attempt) == ("flaky", 3, 2)
    assert [time - began for time in ended] == pytest.approx([5, 10])
    assert flaky.calls[1][3] - began == pytest.approx(5)


async def test_s10_a_handler_that_returns_is_done_however_late(autojump_clock: Any) -> None:
    async def swallow(ctx: Any) -> None:
        with trio.move_on_after(10):
            await trio.sleep_forever()

    async def stubborn(ctx: Any) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return

    async def shielded(ctx: Any) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)

    for late in (stubborn, shielded):
        flaky = Flaky(plan={"a": [late]}, policy=policy(1, timeout=3))
        assert (await built(flaky, Tell("end")).run("a")).outputs == ["a/1", "a!"]
    flaky = Flaky(plan={"a": [swallow]}, policy=policy(1, timeout=3))
    with pytest.raises(ExecutorTimeoutError):
        await built(flaky, Tell("end")).run("a")


@pytest.mark.parametrize("first", ["deadline", "completion"])
async def test_s10_timeout_and_completion_in_one_batch_agree_with_whichever_came_first(first: str) -> None:
    """R06: nothing in between, whatever the order."""
    ready = trio.Event()

    async def wait(ctx: Any) -> None:
        await ready.wait()

    flaky = Flaky(plan={"a": [wait]}, policy=policy(1, "drop", timeout=3))
    workflow = built(flaky, Tell("end"))

    async def play() -> list[str]:
        result: list[Any] = []

        async def go() -> None:
            result.append(await workflow.run("a"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go)
            await trio.testing.wait_all_tasks_blocked()
            virtual = trio.lowlevel.current_clock()
            assert isinstance(virtual, trio.testing.MockClock)
            if first == "completion":
                ready.set()  # the task is woken with it, and the deadline passes in the same tick
                virtual.jump(3)
            else:
                virtual.jump(3)
                await trio.lowlevel.checkpoint()
                ready.set()
        return list(result[0].outputs)

    outputs = await trio.to_thread.run_sync(lambda: trio.run(play, clock=trio.testing.MockClock()))
    assert outputs == (["a/1", "a!"] if first == "completion" else [])


async def test_s10_what_a_handler_raises_instead_of_cancelled_is_its_own(autojump_clock: Any) -> None:
    async def convert(ctx: Any) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise Fault("converted") from None

    flaky = Flaky(plan={"a": [convert]}, policy=policy(1, timeout=3))
    with pytest.raises(Fault, match="converted"):
        await built(flaky, Tell("end")).run("a")


@pytest.mark.parametrize("limits", [{"max_concurrency": 1}, {}])
async def test_s11_waiting_for_a_turn_is_not_counted(limits: Any, autojump_clock: Any) -> None:
    rate = None if limits else RateLimit(1, 10)

    class Slow(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
            await trio.sleep(2)
            await ctx.yield_output(text)

    slow = Slow("slow", policy=policy(timeout=3), concurrency=3, rate_limit=rate)
    assert (await built(slow, **limits).run("a b c")).outputs == ["a", "b", "c"]


async def test_s12_a_thread_is_waited_for_and_can_ask_whether_it_is_to_end() -> None:
    """Real time: a thread does not live by a virtual clock."""
    noted: list[Any] = []

    @executor(policy=policy(2, timeout=0.02))
    def poll(text: str, ctx: WorkflowContext[Never, str]) -> None:
        while not ctx.is_cancelled:
            if ctx.attempt == 2:
                trio.from_thread.run(ctx.yield_output, text)
                return
        noted.append(ctx.attempt)
        trio.from_thread.check_cancelled()

    assert (await built(poll).run("a")).outputs == ["a"]
    assert noted == [1]


async def test_s12_an_async_handler_can_ask_too(autojump_clock: Any) -> None:
    asked: list[bool] = []

    async def ask(ctx: Any) -> None:
        asked.append(ctx.is_cancelled)
        try:
            await trio.sleep_forever()
        finally:
            asked.append(ctx.is_cancelled)

    flaky = Flaky(plan={"a": [ask]}, policy=policy(1, "drop", timeout=1))
    await built(flaky, Tell("end")).run("a")
    assert asked == [False, True]


# S13 to S16: what a failure does.


async def test_s13_fail_raises_the_last_attempts_own_exception_and_says_which_it_was(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"a": [Fault(1), Fault(2)]}, policy=policy(2))
    workflow = built(flaky, Tell("end"))
    with pytest.raises(Fault) as caught:
        await workflow.run("a")
    assert caught.value.args == (2,)
    assert caught.value.__notes__ == [
        "raised by executor 'flaky' in superstep 2, handling a message of type str, on attempt 2 of 2"
    ]
    assert shared(workflow) == {}
    assert flaky.state.texts == []


async def test_s14_drop_tells_and_goes_on(autojump_clock: Any) -> None:
    fault = Fault("b")
    flaky = Flaky(plan={"b": [fault, fault]}, policy=policy(2, "drop"))
    workflow = built(flaky, Tell("end"), strict=True)

    result = await workflow.run("a b c")

    assert result.outputs == ["a/1", "c/1", "a!", "c!"]
    assert (shared(workflow), flaky.state.texts) == ({"a": 1, "c": 1}, ["a", "c"])
    assert [(event.attempt, event.error) for event in events_of(result.events, ExecutorFailedEvent)] == [
        (1, fault),
        (2, fault),
    ]
    (dropped,) = events_of(result.events, MessageDroppedEvent)
    assert (dropped.reason, dropped.message, dropped.source_id, dropped.target_id) == (
        "discarded",
        "b",
        "split",
        "flaky",
    )


async def test_s15_send_hands_the_failure_on_along_the_edges(autojump_clock: Any) -> None:
    storage = InMemoryCheckpointStorage()
    flaky = Flaky(plan={"b": [Fault("no"), Fault("still no")]}, policy=policy(2, "send"))
    workflow = built(flaky, Sink("end"), checkpoint_storage=storage)

    result = await workflow.run("a b")

    assert result.outputs == ["a/1", "a!", ExecutorFailure("flaky", "Fault", "still no", "b", 2)]
    assert (shared(workflow), flaky.state.texts) == ({"a": 1}, ["a"])
    again = built(Flaky(policy=policy(2, "send")), Sink("end"), checkpoint_storage=storage)
    heads = [each.id for each in await storage.list(workflow_id="w")]
    assert (await again.run(checkpoint_id=heads[1])).outputs == result.outputs  # it was stored, in flight


async def test_s15_conditions_written_for_messages_never_meet_a_failure() -> None:
    met: list[Any] = []

    def long(text: str) -> bool:
        met.append(text)
        return len(text) > 3

    flaky = Flaky(plan={"a": [Fault("no")]}, policy=policy(1, "send"))
    builder = WorkflowBuilder(name="routed", start_executor=flaky)
    builder.add_edge(flaky, OnlyText("long"), condition=long)
    builder.add_switch_case_edge_group(flaky, [Case(long, OnlyText("first")), Default(OnlyText("second"))])
    builder.add_edge(flaky, Sink("failures"), condition=lambda value: isinstance(value, ExecutorFailure))
    result = await builder.build().run("a")
    assert met == []
    assert [output.executor_id for output in result.outputs] == ["flaky"]


@pytest.mark.parametrize("takes", [list[str], list[str | ExecutorFailure]])
async def test_s15_a_join_gets_a_failure_only_if_its_list_may_hold_one(takes: Any) -> None:
    class Gather(Executor):
        @handler(input=takes, workflow_output=list[Any])
        async def gather(self, texts: Any, ctx: WorkflowContext[Never, Any]) -> None:
            await ctx.yield_output(texts)

    bad = Flaky("bad", plan={"a": [Fault("no")]}, policy=policy(1, "send"))
    builder = WorkflowBuilder(name="joined", start_executor=Relay("start"), output_from=["gather", "sink"])
    builder.add_fan_out_edges("start", [Relay("good"), bad])
    builder.add_edge("bad", Sink("sink")).add_fan_in_edges(["good", "bad"], Gather("gather"))
    bad.plan = {"a>start": [Fault("no")]}
    result = await builder.build().run("a")
    failure = ExecutorFailure("bad", "Fault", "no", "a>start", 1)
    joined = [["a>start>good", failure]] if takes != list[str] else []
    assert sorted(map(repr, result.outputs)) == sorted(map(repr, [failure, *joined]))
    reasons = {event.reason for event in events_of(result.events, MessageDroppedEvent)}
    assert reasons == (set() if joined else {"join_incomplete"})


async def test_s15_a_failed_answer_is_handed_on_and_its_request_is_used_up() -> None:
    class Asking(Executor):
        @handler
        async def ask(self, text: str, ctx: WorkflowContext[str]) -> None:
            ctx.request_info(text, int)

        @response_handler
        async def answered(self, request: str, response: int, ctx: WorkflowContext[str]) -> None:
            raise Fault("no")

    workflow = built(Asking("asking", policy=policy(1, "send")), Sink("end"))
    (request,) = (await workflow.run("a")).requests
    result = await workflow.run(responses={request.request_id: 7})
    assert result.outputs == [ExecutorFailure("asking", "Fault", "no", 7, 1)]
    assert (result.status, workflow.pending_requests) == (WorkflowRunState.IDLE, {})


def test_s16_a_policy_that_sends_where_nothing_takes_it_is_refused() -> None:
    with pytest.raises(TypeCompatibilityError, match=r"executor 'flaky' has on_failure='send'.*'drop' or 'fail'"):
        built(Flaky(policy=policy(1, "send")), OnlyText("end"))
    with pytest.raises(TypeCompatibilityError, match="the workflow's policy has on_failure='send'"):
        built(Relay("relay"), OnlyText("end"), policy=policy(1, "send"))


async def test_s16_of_a_workflows_policy_executors_without_such_an_edge_fail() -> None:
    flaky = Flaky(plan={"a": [Fault("sent")]})

    class Failing(Executor):
        @handler
        async def take(self, failure: ExecutorFailure, ctx: WorkflowContext) -> None:
            raise Fault("nowhere to go")

    builder = WorkflowBuilder(name="w", start_executor=flaky, policy=policy(1, "send"))
    with pytest.raises(Fault, match="nowhere to go"):
        await builder.add_edge(flaky, Failing("last")).build().run("a")


# S17 to S20: restarts, as OTP has them.


def restarting(max_restarts: int = 1, period: float = 5.0, attempts: int = 1, **retry: Any) -> SupervisionPolicy:
    return SupervisionPolicy(
        retry=Retry(attempts, **retry), on_failure="restart", restarts=RestartIntensity(max_restarts, period)
    )


async def test_s17_a_restart_goes_back_to_the_last_commit_and_does_the_superstep_again(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"b": [Fault()]}, policy=restarting())
    workflow = built(flaky, Tell("end"))
    await workflow.run("z")
    flaky.log.clear()
    flaky.calls.clear()

    result = await workflow.run("a b c")

    assert [(text, attempt) for text, attempt, *_ in flaky.calls] == [("a", 1), ("b", 1), ("a", 1), ("b", 1), ("c", 1)]
    assert flaky.log == ["start ['z']", "stop", "start ['z']", "stop"]
    assert flaky.state.texts == ["z", "a", "b", "c"]
    assert result.outputs == ["a/1", "b/1", "c/1", "a!", "b!", "c!"]
    assert shared(workflow) == {"z": 1, "a": 1, "b": 1, "c": 1}
    (told,) = events_of(result.events, ExecutorRetryingEvent)
    assert (told.attempt, told.delay, told.restarted) == (1, 0, True)


async def test_s17_attempts_begin_anew_after_a_restart(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"a": [Fault(), Fault(), Fault()]}, policy=restarting(attempts=2, delay=1))
    result = await built(flaky, Tell("end")).run("a")
    assert [attempt for _, attempt, *_ in flaky.calls] == [1, 2, 1, 2]
    assert result.outputs == ["a/2", "a!"]


async def test_s17_a_restart_of_a_pool_ends_the_others_at_work_first(autojump_clock: Any) -> None:
    ended: list[str] = []
    tries: dict[str, int] = {}

    class Pool(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
            tries[text] = tries.get(text, 0) + 1
            try:
                await trio.sleep(1 if text == "bad" else 2)
            finally:
                ended.append(text)
            if text == "bad" and tries[text] == 1:
                raise Fault
            ctx.send_message(text)

    result = await built(Pool("pool", concurrency=3, policy=restarting()), Tell("end")).run("a bad c d")
    assert result.outputs == ["a", "bad", "c", "d"]
    assert tries == {"a": 2, "bad": 2, "c": 2, "d": 1}
    assert ended[:3] in (["bad", "a", "c"], ["bad", "c", "a"])


async def test_s17_a_start_that_fails_is_one_more_failure_to_restart_for(autojump_clock: Any) -> None:
    class Fussy(Flaky):
        refusals = 1

        async def on_start(self, ctx: WorkflowContext) -> None:
            if self.calls and self.refusals:
                self.refusals -= 1
                raise Fault("not yet")
            await super().on_start(ctx)

    fussy = Fussy(plan={"a": [Fault()]}, policy=restarting(2))
    assert (await built(fussy, Tell("end")).run("a")).outputs == ["a/1", "a!"]
    assert fussy.log == ["start []", "stop", "start []", "stop"]

    fussy = Fussy(plan={"a": [Fault()]}, policy=restarting(1))
    with pytest.raises(Fault, match="not yet") as caught:
        await built(fussy, Tell("end")).run("a")
    assert (
        "executor 'flaky' was restarted 1 times within 5 s, and its policy allows no more than 1"
        in caught.value.__notes__
    )


async def test_s17_what_on_stop_raises_in_a_restart_is_a_warning(autojump_clock: Any) -> None:
    class Bad(Flaky):
        async def on_stop(self, ctx: WorkflowContext) -> None:
            if len(self.calls) == 1:
                raise Fault("stop")

    result = await built(Bad(plan={"a": [Fault()]}, policy=restarting()), Tell("end")).run("a")
    assert result.outputs == ["a/1", "a!"]
    (warning,) = events_of(result.events, WarningEvent)
    assert "on_stop raised Fault('stop')" in warning.message


async def test_s18_the_window_of_restarts_slides(autojump_clock: Any) -> None:
    """As OTP's: more than `max_restarts` in the last `period` seconds, not in fixed stretches of time."""

    def late(seconds: float) -> Any:
        async def step(ctx: Any) -> None:
            await trio.sleep(seconds)
            raise Fault

        return step

    flaky = Flaky(plan={"a": [late(1), late(3), late(2.5), late(2.5)]}, policy=restarting(2, 5))
    assert (await built(flaky, Tell("end")).run("a")).outputs == [
        "a/1",
        "a!",
    ]  # at 1, 4, 6.5, 9 s: never three within 5 s

    flaky = Flaky(plan={"a": [late(1), late(3), late(1.9)]}, policy=restarting(2, 5))
    with pytest.raises(Fault):  # at 1, 4, 5.9
        await built(flaky, Tell("end")).run("a")


async def test_s18_the_window_is_the_same_over_supersteps_and_runs(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"a": [Fault()], "b": [Fault()], "c": [Fault()]}, policy=restarting(1, 5))
    workflow = built(flaky, Tell("end"))
    await workflow.run("a")
    await trio.sleep(6)
    await workflow.run("b")
    await trio.sleep(4)
    with pytest.raises(Fault):
        await workflow.run("c")


async def test_s19_one_restart_too_many_fails_the_run_with_the_handlers_exception(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"a": [Fault(1), Fault(2)]}, policy=restarting())
    workflow = built(flaky, Tell("end"))
    with pytest.raises(Fault) as caught:
        await workflow.run("a")
    assert caught.value.args == (2,)
    assert caught.value.__notes__ == [
        "executor 'flaky' was restarted 1 times within 5 s, and its policy allows no more than 1",
        "raised by executor 'flaky' in superstep 2, handling a message of type str",
    ]
    assert workflow.status is WorkflowRunState.FAILED
    none = Flaky(plan={"a": [Fault(1)]}, policy=restarting(0))
    with pytest.raises(Fault):
        await built(none, Tell("end")).run("a")
    assert len(none.calls) == 1


async def test_s20_an_executors_policy_replaces_the_workflows(autojump_clock: Any) -> None:
    own = Flaky(plan={"a": [Fault(), Fault()]}, policy=policy(3))
    assert (await built(own, Tell("end"), policy=policy(1, "drop")).run("a")).outputs == ["a/3", "a!"]
    bare = Flaky(plan={"a": [Fault()]}, policy=SupervisionPolicy())
    with pytest.raises(Fault):
        await built(bare, Tell("end"), policy=policy(5)).run("a")
    common = Flaky(plan={"a": [Fault()]})
    assert (await built(common, Tell("end"), policy=policy(2)).run("a")).outputs == ["a/2", "a!"]


async def test_s20_a_builder_that_builds_again_gives_each_workflow_its_own_counts(autojump_clock: Any) -> None:
    builder = WorkflowBuilder(name="many", start_executor=lambda: Flaky(plan={"a": [Fault()]}, policy=restarting()))
    for _ in range(3):
        assert (await builder.build().run("a")).outputs == ["a/1"]


async def test_a_pools_deliveries_are_tried_each_for_itself(autojump_clock: Any) -> None:
    class Pool(Executor):
        @handler
        async def work(self, number: int, ctx: WorkflowContext[Never, tuple[int, int]]) -> None:
            await trio.sleep(1)
            if ctx.attempt <= number:
                raise Fault
            await ctx.yield_output((number, ctx.attempt))

    builder = WorkflowBuilder(name="pool", start_executor=Many("many"))
    pool = Pool("pool", concurrency=4, policy=policy(3, "drop", delay=1, factor=1))
    result = await builder.add_edge("many", pool).build().run(4)
    assert result.outputs == [(0, 1), (1, 2), (2, 3)]
    invoked = [event.attempt for event in events_of(result.events, ExecutorInvokedEvent) if event.executor_id == "pool"]
    assert sorted(invoked) == [1, 1, 1, 1, 2, 2, 2, 3, 3]
