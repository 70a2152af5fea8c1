"""What a run's observers see, and that looking on never breaks a run: order and fields of events, who sees which output,
backpressure (P11, R14, F27), and every way a stream can end (P2, F01, F02, F03, F05)."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Never

import attrs
import pytest
import trio
import trio.testing

from actorflow import (
    Case,
    Default,
    Executor,
    InMemoryCheckpointStorage,
    Run,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    handler,
)
from actorflow.errors import WorkflowBusyError
from actorflow.events import (
    CheckpointSavedEvent,
    ExecutorCompletedEvent,
    ExecutorFailedEvent,
    ExecutorInvokedEvent,
    FailedEvent,
    IntermediateEvent,
    MessageDroppedEvent,
    OutputEvent,
    StartedEvent,
    StatusEvent,
    WorkflowEvent,
    WorkflowRunState,
)
from actorflow.testing import run_seeded, scheduling_seeds


@attrs.frozen(kw_only=True)
class Progress(WorkflowEvent):
    type: ClassVar[str] = "progress"

    done: int


class Relay(Executor):
    """Tells of itself, yields what it gets, and sends it on marked with its own id."""

    @handler
    async def relay(self, text: str, ctx: WorkflowContext[str, str]) -> None:
        await ctx.add_event(Progress(done=ctx.superstep))
        await ctx.yield_output(f"{self.id}:{text}")
        ctx.send_message(f"{text}>{self.id}")


class Count(Executor):
    """Yields the numbers below the one it gets, and counts how far it came."""

    made: int = 0

    @handler
    async def count(self, upto: int, ctx: WorkflowContext[Never, int]) -> None:
        for number in range(upto):
            await ctx.yield_output(number)
            self.made += 1


class Stuck(Executor):
    """Yields once, then waits for ever; knows whether it is at work."""

    at_work: int = 0

    @handler
    async def wait(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        self.at_work += 1
        try:
            await ctx.yield_output(text)
            await trio.sleep_forever()
        finally:
            self.at_work -= 1


class Fails(Executor):
    """Fails with the error it is given."""

    def __init__(self, id: str = "fails", error: BaseException | None = None) -> None:  # noqa: A002
        super().__init__(id)
        self.error = error or LookupError("no such thing")

    @handler
    async def fail(self, text: str, ctx: WorkflowContext) -> None:
        raise self.error


def chain(*executors: Executor, **options: Any) -> Workflow:
    builder = WorkflowBuilder(name="chain", start_executor=executors[0], **options)
    if len(executors) > 1:
        builder.add_chain(executors)
    return builder.build()


def kinds(seen: Sequence[WorkflowEvent]) -> list[str]:
    return [event.type for event in seen]


async def read(run: Run) -> list[WorkflowEvent]:
    return [event async for event in run.events]


def statistics(run: Run) -> trio.MemoryChannelStatistics:
    return run.events.statistics()


# Order and fields.


async def events_of_stream(workflow: Workflow, message: Any) -> list[WorkflowEvent]:
    async with workflow.stream(message) as run:
        return await read(run)


async def events_of_run(workflow: Workflow, message: Any) -> list[WorkflowEvent]:
    return (await workflow.run(message)).events


Observe = Callable[[Workflow, Any], Any]
observed = pytest.mark.parametrize("observe", [events_of_run, events_of_stream], ids=["run", "stream"])


@observed
async def test_events_come_in_the_documented_order(observe: Observe) -> None:
    workflow = chain(Relay("a"), Relay("b"), checkpoint_storage=InMemoryCheckpointStorage())
    executor = ["executor_invoked", "progress", "output", "executor_completed"]
    seen = await observe(workflow, "x")
    assert kinds(seen) == [
        *("started", "status", "checkpoint_saved"),
        *("superstep_started", *executor, "checkpoint_saved", "superstep_completed"),
        *("superstep_started", *executor, "checkpoint_saved", "message_dropped", "superstep_completed"),
        "status",
    ]
    assert [event.status for event in seen if isinstance(event, StatusEvent)] == ["IN_PROGRESS", "IDLE"]


@observed
async def test_without_a_storage_nothing_is_told_of_checkpoints(observe: Observe) -> None:
    assert "checkpoint_saved" not in kinds(await observe(chain(Relay("a")), "x"))


@observed
async def test_every_event_has_the_common_fields_those_of_users_too(observe: Observe) -> None:
    """F26: events identify themselves."""
    seen = await observe(chain(Relay("a"), Relay("b")), "x")
    assert len({event.run_id for event in seen}) == 1
    assert seen[0].run_id
    numbers = [event.sequence for event in seen]
    assert numbers == list(range(1, len(seen) + 1))
    times = [event.time for event in seen]
    assert times == sorted(times)
    assert all(event.path == () for event in seen)
    assert [(event.superstep, event.done) for event in seen if isinstance(event, Progress)] == [(1, 1), (2, 2)]
    assert [event.superstep for event in seen] == sorted(event.superstep for event in seen)
    assert [event.superstep for event in seen if isinstance(event, StartedEvent)] == [0]


async def test_time_is_the_clock_of_the_trio_run(autojump_clock: trio.testing.MockClock) -> None:
    class Hour(Executor):
        @handler
        async def sleep(self, text: str, ctx: WorkflowContext) -> None:
            await trio.sleep(3600)

    seen = await events_of_run(chain(Hour("hour")), "x")
    assert seen[-1].time - seen[0].time == pytest.approx(3600)


async def test_two_runs_have_ids_of_their_own_and_count_from_one() -> None:
    workflow = chain(Relay("a"))
    first, second = await events_of_stream(workflow, "x"), await events_of_stream(workflow, "x")
    assert first[0].run_id != second[0].run_id
    assert second[0].sequence == 1


async def test_executor_events_tell_what_was_handled_sent_and_yielded() -> None:
    seen = await events_of_stream(chain(Relay("a")), "x")
    invoked, completed, output = (
        next(event for event in seen if isinstance(event, kind))
        for kind in (ExecutorInvokedEvent, ExecutorCompletedEvent, OutputEvent)
    )
    assert (invoked.executor_id, invoked.data, invoked.attempt) == ("a", "x", 1)
    assert (completed.executor_id, completed.sent, completed.outputs) == ("a", ("x>a",), ("a:x",))
    assert (output.executor_id, output.data, output.attempt) == ("a", "a:x", 1)


async def test_checkpoint_events_tell_the_lineage() -> None:
    storage = InMemoryCheckpointStorage()
    workflow = chain(Relay("a"), Relay("b"), checkpoint_storage=storage)
    saved = [event for event in await events_of_stream(workflow, "x") if isinstance(event, CheckpointSavedEvent)]
    assert [event.parent_id for event in saved] == [None, *(event.checkpoint_id for event in saved[:-1])]
    assert saved[-1].checkpoint_id == workflow.head


@pytest.mark.parametrize(
    "event",
    [StatusEvent(status=WorkflowRunState.IDLE), OutputEvent(executor_id="a", data=1), WorkflowEvent(), "text"],
    ids=lambda event: type(event).__name__,
)
async def test_users_cannot_emit_the_runtimes_own_kinds(event: Any) -> None:
    class Forger(Executor):
        @handler
        async def forge(self, text: str, ctx: WorkflowContext) -> None:
            await ctx.add_event(event)

    with pytest.raises(TypeError, match="subclass WorkflowEvent"):
        await chain(Forger("forger")).run("x")


async def test_a_failed_run_tells_of_each_executor_then_of_itself() -> None:
    class Gate(Executor):
        def __init__(self, id: str, entered: list[str]) -> None:  # noqa: A002
            super().__init__(id)
            self.entered = entered

        @handler
        async def fail(self, text: str, ctx: WorkflowContext) -> None:
            self.entered.append(self.id)
            while len(self.entered) < 2:
                await trio.lowlevel.checkpoint()
            raise LookupError(self.id)

    entered: list[str] = []
    builder = WorkflowBuilder(name="w", start_executor=Relay("start"))
    builder.add_fan_out_edges("start", [Gate("one", entered), Gate("two", entered)])
    run = None
    seen: list[WorkflowEvent] = []
    with pytest.raises(LookupError) as caught:
        async with builder.build().stream("x") as run:
            seen = await read(run)
    failed = [event for event in seen if isinstance(event, ExecutorFailedEvent)]
    assert {event.executor_id for event in failed} <= {"one", "two"}
    assert kinds(seen)[-2 - len(failed) :] == [*["executor_failed"] * len(failed), "failed", "status"]
    assert isinstance(seen[-2], FailedEvent)
    assert seen[-2].error is caught.value
    assert isinstance(seen[-1], StatusEvent)
    assert seen[-1].status is WorkflowRunState.FAILED
    assert "superstep_completed" not in kinds(seen)[-6:]
    assert run is not None
    assert run.status is WorkflowRunState.FAILED


# Who sees which output.


@pytest.mark.parametrize(
    ("options", "outputs", "intermediates"),
    [
        ({}, ["a", "b", "c"], []),
        ({"output_from": "all"}, ["a", "b", "c"], []),
        ({"output_from": ["c"]}, ["c"], []),
        ({"output_from": ["c"], "intermediate_output_from": "all_other"}, ["c"], ["a", "b"]),
        ({"output_from": ["c"], "intermediate_output_from": ["a"]}, ["c"], ["a"]),
        ({"intermediate_output_from": ["a"]}, [], ["a"]),
        ({"intermediate_output_from": "all"}, [], ["a", "b", "c"]),
    ],
    ids=str,
)
async def test_outputs_are_outputs_intermediate_or_hidden_as_the_builder_says(
    options: dict[str, Any], outputs: list[str], intermediates: list[str]
) -> None:
    workflow = chain(Relay("a"), Relay("b"), Relay("c"), **options)
    async with workflow.stream("x") as run:
        seen = await read(run)
    assert [event.executor_id for event in seen if isinstance(event, OutputEvent)] == outputs
    assert [event.executor_id for event in seen if isinstance(event, IntermediateEvent)] == intermediates
    completed = [event for event in seen if isinstance(event, ExecutorCompletedEvent)]
    assert all(len(event.outputs) == 1 for event in completed), "hidden outputs are told of there"
    assert run.result is not None
    assert [text[0] for text in run.result.outputs] == outputs
    assert [text[0] for text in run.result.intermediate_outputs] == intermediates


# Messages that nothing took.


class Sender(Executor):
    @handler
    async def send(self, text: str, ctx: WorkflowContext[str | int]) -> None:
        match text:
            case "lost":
                ctx.send_message(text, target_id="nobody")
            case "int":
                ctx.send_message(1)
            case _:
                ctx.send_message(text)


async def dropped_by(workflow: Workflow, message: str) -> list[tuple[str, Any, str | None, str | None]]:
    seen = await events_of_stream(workflow, message)
    return [
        (event.reason, event.message, event.source_id, event.target_id)
        for event in seen
        if isinstance(event, MessageDroppedEvent)
    ]


async def test_a_message_that_no_edge_takes_is_told_of_with_its_reason() -> None:
    assert await dropped_by(chain(Sender("s")), "x") == [("no_edge", "x", "s", None)]
    assert await dropped_by(chain(Sender("s")), "lost") == [("no_such_target", "lost", "s", "nobody")]
    assert await dropped_by(chain(Sender("s"), Relay("r")), "int") == [("type", 1, "s", "r")]


async def test_a_message_that_no_condition_takes_is_told_of() -> None:
    builder = WorkflowBuilder(name="w", start_executor=Sender("s"))
    workflow = builder.add_edge("s", Fails("f"), condition=lambda message: False).build()
    assert [(reason, source) for reason, _, source, _ in await dropped_by(workflow, "x")] == [("condition", "s")]


async def test_what_an_incomplete_join_holds_is_told_of_when_the_run_ends() -> None:
    class Join(Executor):
        @handler
        async def join(self, texts: list[str], ctx: WorkflowContext) -> None:
            raise AssertionError

    builder = WorkflowBuilder(name="w", start_executor=Sender("s"))
    builder.add_switch_case_edge_group(
        "s", [Case(lambda message: message == "a", Sender("a")), Default(Sender("b"))]
    ).add_fan_in_edges(["a", "b"], Join("join"))
    assert await dropped_by(builder.build(), "a") == [("join_incomplete", "a", "a", "join")]


async def test_what_a_fresh_message_abandons_is_told_of() -> None:
    workflow = chain(Sender("s"), Fails("f"))
    with pytest.raises(LookupError):
        await workflow.run("old")
    seen = await dropped_by(chain(Sender("s")), "x")
    assert seen == [("no_edge", "x", "s", None)]
    run = None
    seen_events: list[WorkflowEvent] = []
    with pytest.raises(LookupError):
        async with workflow.stream("new") as run:
            seen_events = await read(run)
    (event,) = [event for event in seen_events if isinstance(event, MessageDroppedEvent)]
    assert (event.reason, event.message, event.source_id, event.target_id) == ("discarded", "old", "s", "f")


# Values travel as they are.


@pytest.mark.not_rehydrated(reason="looks at the identity of objects")
async def test_events_carry_the_values_themselves_and_copy_nothing() -> None:
    """F24."""
    lock = threading.Lock()

    class Locks(Executor):
        @handler(input=object, output=object, workflow_output=object)
        async def pass_on(self, value: Any, ctx: WorkflowContext[object, object]) -> None:
            await ctx.yield_output(value)
            ctx.send_message(value)

    seen = await events_of_stream(chain(Locks("locks")), lock)
    carried = [
        value
        for event in seen
        for value in (
            *(getattr(event, name) for name in ("data", "message") if hasattr(event, name)),
            *(item for name in ("sent", "outputs") for item in getattr(event, name, ())),
        )
    ]
    assert len(carried) == 5
    assert all(value is lock for value in carried)


# Backpressure.


@pytest.mark.parametrize("buffer", [0, 1, 64])
async def test_a_stuck_consumer_holds_the_run_and_leaving_lets_go_of_it(
    buffer: int, autojump_clock: trio.testing.MockClock
) -> None:
    """P11, R14, F27."""
    counter = Count("counter")
    workflow = chain(counter)
    async with workflow.stream(100_000, buffer=buffer) as run:
        await trio.testing.wait_all_tasks_blocked()
        assert statistics(run).current_buffer_used == buffer
        assert counter.made <= buffer
        before = counter.made
        await trio.sleep(3600)
        assert counter.made == before
        assert statistics(run).tasks_waiting_send == 1
    assert counter.made == before
    assert workflow.status is WorkflowRunState.CANCELLED


@pytest.mark.parametrize("buffer", [0, 1, 64])
async def test_a_slow_consumer_sees_everything_and_the_backlog_stays_within_the_buffer(
    buffer: int, autojump_clock: trio.testing.MockClock
) -> None:
    """P11, R14, R20, F27."""
    counter = Count("counter")
    read_so_far, backlogs = 0, []
    async with chain(counter).stream(500, buffer=buffer) as run:
        async for event in run.events:
            if isinstance(event, OutputEvent):
                await trio.sleep(1)
                assert event.data == read_so_far
                read_so_far += 1
                backlogs.append(counter.made - read_so_far)
                assert statistics(run).current_buffer_used <= buffer
    assert read_so_far == 500
    assert max(backlogs) <= buffer + 1


async def test_many_executors_before_a_slow_consumer_share_one_bounded_buffer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R20: what waits is the buffer and one event a worker, however long the history."""
    workers = [Count(f"w{number}") for number in range(20)]

    class Start(Executor):
        @handler
        async def start(self, count: int, ctx: WorkflowContext[int]) -> None:
            ctx.send_message(count)

    builder = WorkflowBuilder(name="w", start_executor=Start("start"))
    workflow = builder.add_fan_out_edges("start", workers).build()
    seen = 0
    async with workflow.stream(100, buffer=8) as run:
        async for event in run.events:
            seen += isinstance(event, OutputEvent)
            if seen % 100 == 0:
                await trio.sleep(1)
            assert statistics(run).current_buffer_used <= 8
            assert statistics(run).tasks_waiting_send <= 20
            assert sum(worker.made for worker in workers) - seen <= 8 + 20
    assert seen == 2000


async def test_a_vanished_consumer_does_not_hold_the_run() -> None:
    """R14."""
    counter = Count("counter")
    async with chain(counter).stream(1000, buffer=1) as run:
        await run.events.receive()
        run.events.close()
        result = await run.wait()
    assert result.outputs == list(range(1000))
    assert counter.made == 1000


async def test_a_consumer_in_another_task_may_be_cancelled_and_another_go_on() -> None:
    seen: list[WorkflowEvent] = []

    async def consume(run: Run, scope: trio.CancelScope) -> None:
        with scope:
            async for event in run.events:
                seen.append(event)
                await trio.lowlevel.checkpoint()

    async with chain(Count("counter")).stream(50, buffer=2) as run, trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(consume, run, scope)
        while len(seen) < 10:
            await trio.lowlevel.checkpoint()
        scope.cancel()
        nursery.start_soon(consume, run, trio.CancelScope())
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].type == "status"


async def test_without_a_buffer_there_is_no_channel_and_wait_gives_the_result() -> None:
    async with chain(Count("counter")).stream(1000, buffer=None) as run:
        result = await run.wait()
        with pytest.raises(RuntimeError, match="no event channel"):
            run.events
        with pytest.raises(RuntimeError, match="no event channel"):
            run.outputs()
    assert result.outputs == list(range(1000))
    assert result.events == []


@pytest.mark.parametrize("buffer", [-1, True, 1.5, "8"])
async def test_a_buffer_that_is_no_number_of_events_is_refused(buffer: Any) -> None:
    workflow = chain(Count("counter"))
    with pytest.raises(ValueError, match="buffer"):
        async with workflow.stream(1, buffer=buffer):
            pass
    assert (await workflow.run(1)).outputs == [0]


# run.outputs()


async def test_outputs_pass_values_alone() -> None:
    async with chain(Relay("a"), Relay("b")).stream("x") as run:
        assert [output async for output in run.outputs()] == ["a:x", "b:x>a"]
    assert run.result is not None
    assert run.result.outputs == ["a:x", "b:x>a"]


async def test_outputs_leave_out_intermediate_ones() -> None:
    workflow = chain(Relay("a"), Relay("b"), output_from=["b"], intermediate_output_from="all_other")
    async with workflow.stream("x") as run:
        assert [output async for output in run.outputs()] == ["b:x>a"]


async def test_outputs_are_held_back_like_events_and_end_like_them(autojump_clock: trio.testing.MockClock) -> None:
    counter = Count("counter")
    async with chain(counter).stream(100, buffer=0) as run:
        outputs = run.outputs()
        for expected in range(100):
            assert await outputs.receive() == expected
            await trio.sleep(1)
            assert counter.made <= expected + 2
        with pytest.raises(trio.EndOfChannel):
            await outputs.receive()


# run.wait()


async def test_wait_lets_unread_events_go_and_returns_the_result() -> None:
    async with chain(Count("counter")).stream(1000, buffer=0) as run:
        result = await run.wait()
        assert run.result is result
        assert await run.wait() is result
    assert result.outputs == list(range(1000))
    assert result.status is WorkflowRunState.IDLE


async def test_wait_raises_the_failure_and_the_block_does_not_raise_it_again() -> None:
    async with chain(Fails()).stream("x", buffer=1) as run:
        with pytest.raises(LookupError, match="no such thing"):
            await run.wait()
    assert run.status is WorkflowRunState.FAILED


async def test_a_wait_that_was_cancelled_leaves_the_run_alone() -> None:
    async with chain(Stuck("stuck")).stream("x") as run:
        with trio.CancelScope() as scope:
            scope.cancel()
            await run.wait()
        assert scope.cancelled_caught
        assert run.result is None
        run.cancel()
        assert (await run.wait()).status is WorkflowRunState.CANCELLED


async def test_an_exception_of_a_started_run_goes_to_the_waiter_and_not_to_the_nursery() -> None:
    async with trio.open_nursery() as nursery:
        run: Run = await nursery.start(chain(Fails()).start, "x")
        with pytest.raises(LookupError):
            await run.wait()


async def test_an_exception_of_a_started_run_that_nobody_waits_for_goes_to_the_nursery() -> None:
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
        async with trio.open_nursery() as nursery:
            run: Run = await nursery.start(chain(Fails()).start, "x")
            assert kinds(await read(run))[-1] == "status"
    assert isinstance(caught.value.exceptions[0], LookupError)


# run.cancel()


async def test_cancel_ends_the_stream_with_the_status_and_a_result() -> None:
    """F05."""
    stuck = Stuck("stuck")
    workflow = chain(Relay("a"), stuck)
    seen = []
    async with workflow.stream("x") as run:
        async for event in run.events:
            seen.append(event)
            if isinstance(event, OutputEvent) and event.executor_id == "stuck":
                run.cancel()
        result = await run.wait()
        assert stuck.at_work == 0
    assert isinstance(seen[-1], StatusEvent)
    assert seen[-1].status is WorkflowRunState.CANCELLED
    assert (result.status, run.status, workflow.status) == (WorkflowRunState.CANCELLED,) * 3
    assert result.outputs == ["a:x"]
    assert result.supersteps == 1
    assert run.result is result


async def test_cancel_after_the_end_and_twice_does_nothing() -> None:
    async with chain(Relay("a")).stream("x") as run:
        await run.wait()
        run.cancel()
        run.cancel()
        assert run.status is WorkflowRunState.IDLE
    async with chain(Stuck("stuck")).stream("x") as run:
        run.cancel()
        run.cancel()
        assert (await run.wait()).status is WorkflowRunState.CANCELLED


async def test_a_cancelled_run_whose_reader_is_full_still_ends_with_its_status_unread() -> None:
    async with chain(Count("counter")).stream(1000, buffer=3) as run:
        await trio.testing.wait_all_tasks_blocked()
        run.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert run.status is WorkflowRunState.CANCELLED
        assert kinds(await read(run))[:3] == ["started", "status", "superstep_started"]


# Failures, of the run and of the consumer.


async def test_iteration_of_a_failing_run_ends_normally_and_leaving_raises() -> None:
    reached = False
    with pytest.raises(LookupError, match="no such thing"):  # noqa: PT012
        async with chain(Fails()).stream("x") as run:
            assert kinds(await read(run))[-2:] == ["failed", "status"]
            reached = True
    assert reached


async def test_a_failure_that_comes_before_a_single_event_was_read_is_raised_on_leaving() -> None:
    with pytest.raises(LookupError):  # noqa: PT012
        async with chain(Fails()).stream("x") as run:
            while run.result is None:
                await trio.lowlevel.checkpoint()


class OddError(BaseException):
    """Like those that test frameworks end a test with."""


MINE = [
    *(
        ZeroDivisionError("mine"),
        KeyboardInterrupt(),
        SystemExit(3),
        OddError(),
        StopIteration(1),
        StopAsyncIteration(),
    ),
    ExceptionGroup("mine", [ValueError(1)]),
]


@pytest.mark.parametrize("executor", [Fails, Stuck, Relay])
@pytest.mark.parametrize("error", MINE, ids=repr)
@pytest.mark.parametrize("when", ["at once", "after reading", "in the middle"])
async def test_a_consumers_own_exception_leaves_as_itself(executor: Any, error: BaseException, when: str) -> None:
    """Even if the run failed as well; it is the very object, in no group."""
    workflow = chain(executor("e"))
    with pytest.raises(type(error)) as caught:  # noqa: PT012
        async with workflow.stream("x") as run:
            if when == "in the middle":
                await run.events.receive()
            if when == "after reading":
                if executor is Stuck:
                    run.cancel()
                await read(run)
            raise error
    assert caught.value is error
    assert run.result is not None
    assert (await chain(Relay("a")).run("x")).outputs == ["a:x"]


@pytest.mark.parametrize("error", MINE, ids=repr)
async def test_a_consumers_own_exception_is_not_lost_when_the_task_is_cancelled_as_well(error: BaseException) -> None:
    stuck = Stuck("stuck")
    with pytest.raises(type(error)) as caught, trio.CancelScope() as scope:  # noqa: PT012
        async with chain(stuck).stream("x") as run:
            await run.events.receive()
            scope.cancel()
            raise error
    assert repr(caught.value) == repr(error)  # a scope that is cancelled hands on a copy of a group
    assert stuck.at_work == 0


async def test_a_failure_in_a_consumers_task_is_not_lost_when_all_is_cancelled() -> None:
    async def consume(run: Run) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while cleaning up")

    told = pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="cleaning up"), flatten_subgroups=True)
    with told, trio.CancelScope() as scope:
        async with chain(Stuck("stuck")).stream("x") as run, trio.open_nursery() as nursery:
            nursery.start_soon(consume, run)
            nursery.start_soon(trio.sleep_forever)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()


async def test_cancelling_around_the_block_raises_cancelled_and_nothing_else() -> None:
    stuck = Stuck("stuck")
    workflow = chain(stuck)
    with trio.move_on_after(0) as scope:
        async with workflow.stream("x") as run:
            async for _ in run.events:
                pass
    assert scope.cancelled_caught
    assert stuck.at_work == 0
    assert workflow.status is WorkflowRunState.CANCELLED


async def test_returning_from_the_block_ends_the_run() -> None:
    stuck = Stuck("stuck")
    workflow = chain(stuck)

    async def first_output() -> str:
        async with workflow.stream("x") as run:
            async for output in run.outputs():
                return str(output)
        raise AssertionError("unreachable")

    assert await first_output() == "x"
    assert stuck.at_work == 0


# The next run on the next statement.


async def test_fifty_dropped_streams_in_a_row_leave_nothing_behind() -> None:
    """F01, F02, F03, F05."""
    stuck = Stuck("stuck")
    workflow = chain(Relay("a"), stuck)
    held = []
    for number in range(50):
        async with workflow.stream(f"old{number}", buffer=number % 3) as run:
            held.append(run)
            for _ in range(number % 12):
                await run.events.receive()
        assert stuck.at_work == 0
        assert workflow.status is WorkflowRunState.CANCELLED
        assert run.result is not None
    async with workflow.stream("new") as run:
        seen = []
        async for event in run.events:
            seen.append(event)
            if isinstance(event, OutputEvent) and event.executor_id == "stuck":
                break
    assert [event.data for event in seen if isinstance(event, OutputEvent)] == ["a:new", "new>a"]
    assert len({event.run_id for event in seen}) == 1
    assert all(each.status is WorkflowRunState.CANCELLED for each in held)


@pytest.mark.parametrize("seed", scheduling_seeds(12))
def test_under_every_schedule_a_dropped_stream_is_gone_by_the_next_statement(seed: int) -> None:
    """F01, F02, F03, F05 under seeded schedules."""

    class Slow(Executor):
        at_work = 0

        @handler
        async def work(self, text: str, ctx: WorkflowContext[str, str]) -> None:
            Slow.at_work += 1
            try:
                for step in range(3):
                    await ctx.yield_output(f"{self.id}:{text}:{step}")
                    await trio.sleep(0.1)
                ctx.send_message(text)
            finally:
                Slow.at_work -= 1

    async def scenario() -> list[list[str]]:
        builder = WorkflowBuilder(name="w", start_executor=Slow("start"))
        workflow = builder.add_fan_out_edges("start", [Slow("left"), Slow("right")]).build()
        results = []
        for number in range(8):
            async with workflow.stream(f"old{number}", buffer=number % 2) as run:
                for _ in range(number * 2):
                    await run.events.receive()
            assert Slow.at_work == 0
            with pytest.raises(WorkflowBusyError):
                async with workflow.stream("held"):
                    await workflow.run("refused")
            result = await workflow.run(f"new{number}")
            assert result.status is WorkflowRunState.IDLE
            results.append(result.outputs)
        return results

    assert run_seeded(scenario, seed) == [
        [f"{who}:new{number}:{step}" for who in ("start", "left", "right") for step in range(3)] for number in range(8)
    ]


async def test_a_late_close_of_an_old_streams_channel_does_not_touch_the_next_run() -> None:
    """F03."""
    workflow = chain(Relay("a"))
    async with workflow.stream("old") as old:
        pass
    async with workflow.stream("new") as new:
        await new.events.receive()
        old.cancel()
        old.events.close()
        seen = await read(new)
    assert new.status is WorkflowRunState.IDLE
    assert seen[-1].type == "status"


async def test_a_finished_run_frees_the_workflow_while_its_block_goes_on() -> None:
    """F01: a stream that is still held does not lock the workflow."""
    workflow = chain(Relay("a"))
    async with workflow.stream("x") as run:
        await read(run)
        assert (await workflow.run("y")).outputs == ["a:y"]
    assert run.result is not None
    assert run.result.outputs == ["a:x"]
