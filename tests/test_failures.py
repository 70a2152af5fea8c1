"""What a failure does: which error comes out and as what, that siblings have ended before it is told, and that nothing of
the failed superstep remains (P3, P8; F06, F07, F21, F25).
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Never

import pytest
import trio
import trio.testing

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    executor,
    handler,
)
from actorflow.errors import CodecError
from actorflow.events import (
    ExecutorFailedEvent,
    FailedEvent,
    StatusEvent,
    SuperstepCompletedEvent,
    WarningEvent,
    WorkflowEvent,
    WorkflowRunState,
)
from actorflow.testing import empty_house, run_seeded, scheduling_seeds
from tests.scenarios import Counter, Many, Relay, Tell, borrowers, chain, events_of, own_states, standing


class Fault(Exception):
    """A handler's own."""


class Fail(Executor):
    """Writes, sends, and fails, after as long as it was told."""

    def __init__(self, id: str, after: float = 0) -> None:  # noqa: A002
        super().__init__(id)
        self.after = after

    @handler
    async def fail(self, text: str, ctx: WorkflowContext[str]) -> None:
        ctx.set_state("dirt", self.id)
        ctx.send_message("dirt")
        await trio.sleep(self.after)
        raise Fault(self.id)


class Linger(Executor):
    """Notes whether it was cancelled, and writes on the way out."""

    def __init__(self, id: str, log: list[str]) -> None:  # noqa: A002
        super().__init__(id)
        self.log = log

    @handler
    async def linger(self, text: str, ctx: WorkflowContext[str]) -> None:
        ctx.set_state("dirt", self.id)
        try:
            await trio.sleep_forever()
        finally:
            ctx.set_state("dirt", "on the way out")
            self.log.append(f"{self.id} ended")


def beside(*executors: Executor, **options: Any) -> Workflow:
    builder = WorkflowBuilder(name="beside", start_executor=Relay(id="start"), **options)
    builder.add_fan_out_edges("start", executors)
    return builder.build(id="w")


@contextmanager
def bare_errors() -> Iterator[None]:
    """Take off the group that the caller's own nursery puts around what its body raises."""
    try:
        yield
    except ExceptionGroup as group:
        (error,) = group.exceptions
        raise error from None


async def go(workflow: Workflow, way: str) -> None:
    match way:
        case "run":
            await workflow.run("x")
        case "stream":
            async with workflow.stream("x") as run:
                await read_all(run)
        case "wait":
            async with workflow.stream("x") as run:
                await run.wait()
        case "start":
            async with trio.open_nursery() as nursery:
                run = await nursery.start(workflow.start, "x")
                await run.wait()


async def read_all(run: Any) -> list[WorkflowEvent]:
    return [event async for event in run.events]


async def fail_streamed(workflow: Workflow, error: type[BaseException], message: Any = "x") -> list[WorkflowEvent]:
    events: list[WorkflowEvent] = []
    with pytest.raises(error):
        async with workflow.stream(message) as run:
            events.extend(await read_all(run))
    return events


@pytest.mark.parametrize("way", ["run", "stream", "start", "wait"])
async def test_a_handlers_exception_comes_out_as_itself_with_a_note(way: str) -> None:
    workflow = beside(Fail("bad"), Tell(id="good"))
    async with empty_house():
        with pytest.raises(Fault) as caught, bare_errors():
            await go(workflow, way)
    assert str(caught.value) == "bad"
    assert caught.value.__notes__ == ["raised by executor 'bad' in superstep 2, handling a message of type str"]
    assert workflow.status is WorkflowRunState.FAILED


async def test_siblings_have_ended_before_the_failure_is_told() -> None:
    """F06: cancelled and joined; what they write on their way out is never seen."""
    log: list[str] = []
    workflow = beside(Linger("before", log), Fail("bad"), Linger("after", log))
    seen: list[tuple[str, int]] = []

    async def watch() -> None:
        async with workflow.stream("x") as run:
            async for event in run.events:
                seen.append((type(event).type, len(log)))

    with pytest.raises(Fault):
        await watch()
    assert seen[-3:] == [("executor_failed", 2), ("failed", 2), ("status", 2)]
    assert "executor_failed" not in [kind for kind, _ in seen[:-3]]
    assert "state" not in standing(workflow)[1]


async def test_a_failed_superstep_leaves_no_state_no_message_and_no_output_behind() -> None:
    """F07: neither where the workflow stands nor in the next run."""
    reads: list[Any] = []

    @executor
    async def read(text: str, ctx: WorkflowContext[Never, str]) -> None:
        reads.append(ctx.get_state("dirt"))
        await ctx.yield_output(text)

    @executor
    async def fail_once(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.set_state("dirt", 1)
        ctx.send_message("dirty")
        if "OLD" in text:
            raise Fault

    builder = WorkflowBuilder(name="dirt", start_executor=Relay(id="start"))
    workflow = builder.add_fan_out_edges("start", [read, fail_once]).build()
    with pytest.raises(Fault):
        await workflow.run("OLD")
    assert standing(workflow)[0] == 1
    assert "state" not in standing(workflow)[1]

    result = await workflow.run("NEW")

    assert (result.outputs, reads) == (["NEW>start"], [None, None])


async def test_of_several_failures_the_first_in_canonical_order_is_raised_and_names_the_others() -> None:
    """Each has its ExecutorFailedEvent, in that order."""

    def scenario(seed: int) -> tuple[list[str], list[str]]:
        async def main() -> tuple[list[str], list[str]]:
            workflow = beside(Fail("a"), Tell(id="b"), Fail("c"), Fail("d"))
            events = await fail_streamed(workflow, Fault)
            failed = events_of(events, ExecutorFailedEvent)
            (end,) = events_of(events, FailedEvent)
            return [each.executor_id for each in failed], [str(end.error), *end.error.__notes__]

        return run_seeded(main, seed)

    def all_seeds() -> None:
        for seed in scheduling_seeds():
            ids, notes = scenario(seed)
            assert ids == ["a", "c", "d"]
            assert notes[0] == "a"
            assert notes[2:] == [
                "executor 'c' failed in the same superstep: Fault('c')",
                "executor 'd' failed in the same superstep: Fault('d')",
            ]

    await trio.to_thread.run_sync(all_seeds)


async def test_an_error_raised_while_being_cancelled_does_not_hide_the_cause() -> None:
    """The cause is the first failure, or it is named beside it."""

    @executor
    async def spiteful(text: str, ctx: WorkflowContext) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise RuntimeError("while being cancelled")

    with pytest.raises((Fault, RuntimeError)) as caught:
        await beside(spiteful, Fail("cause")).run("x")
    whole = f"{caught.value!r} {caught.value.__notes__}"
    assert "Fault('cause')" in whole


async def test_a_failure_in_the_last_of_many_deliveries_keeps_the_others_work() -> None:
    """F38, P6: only the failed one is done again."""
    handled: list[int] = []

    @executor
    async def work(number: int, ctx: WorkflowContext[Never, int]) -> None:
        handled.append(number)
        if number == 4 and handled.count(4) == 1:
            raise Fault
        ctx.set_state("sum", ctx.get_state("sum", 0) + number)
        await ctx.yield_output(number)

    workflow = chain(Many(id="many"), work)
    with pytest.raises(Fault):
        await workflow.run(6)
    result = await workflow.run(checkpoint_id=LATEST)

    assert handled == [0, 1, 2, 3, 4, 4, 5]
    assert result.outputs == [0, 1, 2, 3, 4, 5]
    assert standing(workflow)[1]["state"] == {"sum": 15}


async def test_a_failure_after_a_commit_never_mixes_supersteps(autojump_clock: Any) -> None:
    """P3, P6: what was finished belongs to its superstep, also when later ones come and go back."""

    class FailsSecondSave(InMemoryCheckpointStorage):
        saves = 0

        async def save(self, commit: Any) -> Any:
            self.saves += 1
            await trio.lowlevel.checkpoint()
            if self.saves == 2:
                await trio.sleep(1)
                raise OSError("disk")
            return await super().save(commit)

    def build() -> Workflow:
        return chain(Relay(id="a"), Relay(id="b"), Relay(id="c"), Tell(id="d"), checkpoint_storage=storage)

    for durability in ("superstep", "async"):
        storage = FailsSecondSave()
        workflow = build()
        with pytest.raises(RuntimeError, match="could not be saved: disk"):
            await workflow.run("x", durability=durability)
        assert standing(workflow)[0] == 0
        assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["x>a>b>c"]


async def test_a_run_that_failed_says_so_and_can_be_taken_up_or_followed() -> None:
    """F08."""
    fails = True

    @executor
    async def flaky(text: str, ctx: WorkflowContext[str]) -> None:
        if fails:
            raise Fault
        ctx.send_message(text)

    workflow = chain(Counter(id="counter"), flaky, Tell(id="tell"))
    events = await fail_streamed(workflow, Fault)
    assert [each.status for each in events_of(events, StatusEvent)] == [
        WorkflowRunState.IN_PROGRESS,
        WorkflowRunState.FAILED,
    ]
    assert [each.superstep for each in events_of(events, SuperstepCompletedEvent)] == [1]
    assert (workflow.status, borrowers(workflow)) == (WorkflowRunState.FAILED, 0)
    fails = False

    result = await workflow.run(checkpoint_id=LATEST)
    assert (result.outputs, result.supersteps, result.status) == (["x:1"], 3, WorkflowRunState.IDLE)
    assert (await workflow.run("y")).outputs == ["y:2"]


# Lifecycle hooks.


class Hooked(Executor):
    def __init__(self, id: str, log: list[str], *, bad_start: bool = False, bad_stop: bool = False) -> None:  # noqa: A002
        super().__init__(id)
        self.log = log
        self.bad_start = bad_start
        self.bad_stop = bad_stop

    async def on_start(self, ctx: WorkflowContext[Any, Any]) -> None:
        self.log.append(f"{self.id} starts")
        if self.bad_start:
            raise Fault("start")

    async def on_stop(self, ctx: WorkflowContext[Any, Any]) -> None:
        self.log.append(f"{self.id} stops")
        if self.bad_stop:
            raise Fault("stop")

    @handler
    async def work(self, text: str, ctx: WorkflowContext[str, str]) -> None:
        self.log.append(f"{self.id} works")
        await ctx.yield_output(text)
        if text == "fail":
            raise Fault("work")
        if text == "hang":
            await trio.sleep_forever()


async def test_an_error_in_on_start_fails_the_run_like_a_handlers() -> None:
    log: list[str] = []
    workflow = chain(Hooked("h", log, bad_start=True))
    with pytest.raises(Fault, match="start") as caught:
        await workflow.run("x")
    assert caught.value.__notes__ == ["raised by on_start of executor 'h'"]
    assert log == ["h starts"]
    assert standing(workflow)[0] == 0


async def test_an_error_in_on_stop_fails_a_run_whose_work_is_committed() -> None:
    log: list[str] = []
    workflow = chain(Hooked("h", log, bad_stop=True))
    with pytest.raises(Fault, match="stop"):
        await workflow.run("x")
    assert workflow.status is WorkflowRunState.FAILED
    assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["x"]
    assert log == ["h starts", "h works", "h stops"]


@pytest.mark.parametrize("message", ["fail", "hang"])
async def test_an_error_in_on_stop_after_a_failure_or_a_cancellation_is_not_swallowed(
    autojump_clock: Any, message: str
) -> None:
    """P8: it is told of beside the first."""
    workflow = chain(Hooked("h", [], bad_stop=True))
    events: list[WorkflowEvent] = []
    caught: Fault | None = None
    try:
        async with workflow.stream(message) as run:
            async for event in run.events:
                events.append(event)
                if message == "hang" and type(event).type == "output":
                    run.cancel()
    except Fault as error:
        caught = error
    if message == "fail":
        assert caught is not None
        assert str(caught) == "work"
        assert any("stop" in note for note in caught.__notes__)
    assert any("stop" in each.message for each in events_of(events, WarningEvent))


# What is no plain exception.


async def test_a_keyboard_interrupt_in_a_handler_comes_out_as_itself_and_leaves_the_workflow_whole() -> None:
    """P1, P3."""

    @executor
    async def interrupted(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.set_state("dirt", 1)
        if "OLD" in text:
            raise KeyboardInterrupt
        ctx.send_message(text)

    workflow = chain(Counter(id="counter"), interrupted, Tell(id="tell"))
    async with empty_house():
        with pytest.raises(KeyboardInterrupt):
            await workflow.run("OLD")
    assert (workflow.status, borrowers(workflow)) == (WorkflowRunState.FAILED, 0)
    assert standing(workflow)[0] == 1
    assert (await workflow.run("NEW")).outputs == ["NEW:2"]


def test_a_signal_in_a_handlers_code_leaves_the_workflow_whole() -> None:
    """P1, P3: Ctrl-C strikes wherever the handler is."""
    workflow: list[Workflow] = []

    class Struck(Executor):
        state: list[str]

        @handler
        async def strike(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
            self.state.append(text)
            if text == "OLD":
                signal.raise_signal(signal.SIGINT)
                for _ in range(1000):
                    await trio.lowlevel.checkpoint()
            await ctx.yield_output(",".join(self.state))

    async def main() -> None:
        workflow.append(chain(Struck(id="struck")))
        await workflow[0].run("OLD")

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert borrowers(workflow[0]) == 0

    async def again() -> list[Any]:
        return (await workflow[0].run("NEW")).outputs

    assert trio.run(again) == ["NEW"]


async def test_a_group_raised_by_a_handler_comes_out_as_the_handler_raised_it() -> None:
    @executor
    async def parallel(text: str, ctx: WorkflowContext) -> None:
        async with trio.open_nursery() as nursery:
            for number in (1, 2):
                nursery.start_soon(fault, number)

    async def fault(number: int) -> None:
        raise Fault(number)

    with pytest.raises(ExceptionGroup) as caught:
        await chain(parallel).run("x")
    assert {str(each) for each in caught.value.exceptions} == {"1", "2"}


async def test_a_handler_that_swallows_its_cancellation_does_not_commit_anything() -> None:
    """F05, F07: it may return as if nothing had been; the superstep is lost all the same."""
    workflow: Workflow

    class Swallow(Executor):
        state: list[str]

        @handler
        async def swallow(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
            self.state.append(text)
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                if text == "raises":
                    raise Fault from None

    for text in ("returns", "raises"):
        swallow = Swallow(id="swallow")
        workflow = chain(swallow)
        async with workflow.stream(text) as run:
            await trio.testing.wait_all_tasks_blocked()
            run.cancel()
            await run.wait()
        assert workflow.status is WorkflowRunState.CANCELLED
        assert swallow.state == []
        assert standing(workflow)[0] == 0


@pytest.mark.not_rehydrated(reason="a value that no storage could keep, which a run without one may use")
async def test_what_cannot_be_stored_fails_at_the_superstep_that_made_it() -> None:
    """The in-memory storage is as strict as a durable one; a run without storage encodes nothing."""

    class Alien:
        pass

    @executor
    async def put(text: str, ctx: WorkflowContext[str, Any]) -> None:
        ctx.set_state("deep", {"list": [1, Alien()]})
        ctx.send_message(text)

    stored = chain(Relay(id="start"), put, Tell(id="tell"), checkpoint_storage=InMemoryCheckpointStorage())
    with pytest.raises(CodecError, match="deep") as caught:
        await stored.run("x")
    assert caught.value.path == "state['deep']['list'][1]"
    assert standing(stored)[0] == 1
    assert own_states(stored) == {}
    assert (await chain(Relay(id="start"), put, Tell(id="tell")).run("x")).outputs == ["x>start"]
