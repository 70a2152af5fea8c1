"""Small, rare ways to break a promise of the runtime, each of which did break it once (P1 to P8, P11)."""

import copy
import gc
import signal
import sys
import weakref
from typing import Any, Never

import pytest
import trio
import trio.testing

import actorflow.workflow
from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    handler,
    response_handler,
)
from actorflow.errors import CheckpointError, LeaseLostError
from actorflow.events import MessageDroppedEvent, RequestInfoEvent, WorkflowEvent, WorkflowRunState
from actorflow.runtime import claim, handover, leasing, ownership
from actorflow.testing import run_seeded
from tests.scenarios import Asker, Relay, Tally, Tell, borrowers, chain, events_of

CANCELLED, FAILED = WorkflowRunState.CANCELLED, WorkflowRunState.FAILED


class Script(Executor):
    """Notes in ``ran`` that it ran, and yields; the slow one waits a second first, and does what ``faults`` say."""

    def __init__(self, id: str, ran: list[str], faults: set[str], *, slow: bool = False) -> None:  # noqa: A002
        super().__init__(id)
        self.ran, self.faults, self.slow = ran, faults, slow

    @handler
    async def work(self, text: str, ctx: WorkflowContext[str, str]) -> None:
        if self.slow:
            await trio.sleep(1)
            if "boom" in self.faults:
                raise ValueError("boom")
            if "hang" in self.faults:
                await trio.sleep_forever()
        self.ran.append(self.id)
        await ctx.yield_output(f"{self.id}:{text}")
        ctx.send_message(text)


class Fails(Executor):
    @handler
    async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
        await trio.sleep(5)
        raise ValueError("boom")


class Waits(Executor):
    @handler
    async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
        await trio.sleep_forever()


class Mine(WorkflowEvent):
    """An event of the test's own."""


def forked(storage: Any, ran: list[str], faults: set[str], **options: Any) -> Workflow:
    """s -> (a, b), where b is the slow one."""
    return (
        WorkflowBuilder(
            name="forked", start_executor=lambda: Script("s", ran, faults), checkpoint_storage=storage, **options
        )
        .add_fan_out_edges("s", [lambda: Script("a", ran, faults), lambda: Script("b", ran, faults, slow=True)])
        .build(id="w")
    )


def killed(storage: Any) -> Any:
    """The storage as another process finds it after a kill, the lease run out."""
    image = copy.copy(storage)
    image.__dict__ = {name: copy.deepcopy(value) for name, value in storage.__dict__.items()}
    image._leases._holdings.clear()
    return image


async def consume(workflow: Workflow, cancel_at: float | None = None) -> None:
    """Read the stream of a run of "m" to its end."""
    async with workflow.stream("m") as run:
        if cancel_at is not None:
            await trio.sleep(cancel_at)
            run.cancel()
        _ = [event async for event in run.events]


class Down(InMemoryCheckpointStorage):
    """Fails to save where ``down`` says so of the superstep."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.down: Any = lambda superstep: False

    async def save(self, checkpoint: Any) -> Any:
        if self.down(checkpoint.info.superstep):
            raise CheckpointError("outage")
        return await super().save(checkpoint)


async def test_what_a_failed_run_finished_is_not_taken_for_the_work_of_a_fresh_message(autojump_clock: Any) -> None:
    """D1, P3: the new run is cancelled in its first superstep, and the superstep after it runs whole."""
    ran, faults = [], {"boom"}
    workflow = forked(InMemoryCheckpointStorage(), ran, faults)
    with pytest.raises(ValueError, match="boom"):
        await workflow.run("OLD")
    faults.clear()
    async with workflow.stream("NEW", buffer=0) as run:
        await run.events.receive()
        await run.events.receive()
        await trio.testing.wait_all_tasks_blocked()

    assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["s:NEW", "a:NEW", "b:NEW"]


async def test_no_journal_is_written_for_a_superstep_whose_start_is_not_stored(autojump_clock: Any) -> None:
    """D2, P6: with "warn" the superstep before went unsaved, so what is finished now follows nothing that is stored."""
    ran, faults, storage = [], {"boom"}, Down()
    storage.down = lambda superstep: superstep >= 1
    workflow = forked(storage, ran, faults, checkpoint_failures="warn")
    with pytest.raises(ValueError, match="boom"):
        await workflow.run("m")
    storage.down = lambda superstep: False
    with pytest.raises(ValueError, match="boom"):
        await workflow.run(checkpoint_id=LATEST)
    faults.clear()

    other = forked(killed(storage), ran, faults)
    assert (await other.run(checkpoint_id=LATEST)).outputs == ["s:m", "a:m", "b:m"]


async def test_the_closing_checkpoint_has_the_number_of_the_superstep_it_holds(autojump_clock: Any) -> None:
    """D3, P5, P6: superstep 1 went unsaved and the save of 2 was cancelled; what is stored at the end is superstep 1."""

    class Flaky(Down):
        async def save(self, checkpoint: Any) -> Any:
            if checkpoint.info.superstep == 2 and not stuck:
                stuck.append(checkpoint)
                await trio.sleep_forever()
            return await super().save(checkpoint)

    stuck: list[Any] = []
    storage, first = Flaky(), iter([True])
    storage.down = lambda superstep: superstep == 1 and next(first, False)
    row = [lambda id_=id_: Relay(id=id_) for id_ in "abc"]
    workflow = chain(*row, lambda: Tell(id="t"), checkpoint_storage=storage, checkpoint_failures="warn")
    with trio.move_on_after(1):
        await workflow.run("m")

    assert [info.superstep for info in await storage.list()] == [1, 0]
    result = await workflow.run(checkpoint_id=LATEST)
    assert (result.outputs, result.supersteps) == (["m>a>b>c"], 4)


@pytest.mark.parametrize(("how", "status"), [("renewed", FAILED), ("fails", FAILED), ("cancelled", CANCELLED)])
async def test_a_run_that_lost_its_lease_ends_whole_though_its_last_save_is_refused(
    how: str, status: WorkflowRunState, autojump_clock: Any
) -> None:
    """D4, P7: with "exit" the save at the end is the first to meet the other owner."""
    storage = InMemoryCheckpointStorage(lease_ttl=30)

    class Thief(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
            await trio.sleep(1)
            storage._leases._holdings.clear()
            await storage.acquire_lease("w", owner="thief")
            if how == "fails":
                raise ValueError("boom")
            await trio.sleep(60)

    workflow = chain(lambda: Relay(id="r"), Thief(id="l"), checkpoint_storage=storage)
    raised: Any = None
    try:
        async with workflow.stream("m", durability="exit") as run:
            if how == "cancelled":
                await trio.sleep(2)
                run.cancel()
            _ = [event async for event in run.events]
    except Exception as error:
        raised = error

    assert isinstance(raised, {"renewed": LeaseLostError, "fails": ValueError, "cancelled": type(None)}[how])
    assert (workflow.status, run.status, borrowers(workflow)) == (status, status, 0)
    assert run.result is not None


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("way", ["fails", "cancelled"])
async def test_an_exit_asked_for_on_the_way_back_comes_out_bare_and_the_run_has_its_end(
    error: type[BaseException], way: str, autojump_clock: Any
) -> None:
    """D4, P1, P8."""

    class Hooked(Fails):
        async def on_checkpoint_save(self) -> dict[str, Any]:
            return {}

        async def on_checkpoint_restore(self, state: Any) -> None:
            raise error("restore")

    workflow = chain(Hooked(id="h"))
    with pytest.raises(error):
        await consume(workflow, 1 if way == "cancelled" else None)

    assert (workflow.status, borrowers(workflow)) == (FAILED, 0)


async def test_a_renewal_that_never_answers_ends_the_run_before_another_takes_over(autojump_clock: Any) -> None:
    """D5, P7: after the lease has run out, no handler of this run acts any more."""

    class Hangs(InMemoryCheckpointStorage):
        async def renew_lease(self, lease: Any) -> Any:
            await trio.sleep_forever()

    class Ticks(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
            while trio.current_time() < started + 200:
                await trio.sleep(1)
                acted.append(trio.current_time() - started)

    acted: list[float] = []
    started = trio.current_time()
    with pytest.raises(LeaseLostError):
        await chain(Ticks(id="l"), checkpoint_storage=Hangs(lease_ttl=30)).run("m")
    assert max(acted) <= 30


def test_a_failure_is_told_though_the_one_who_waits_for_it_is_cancelled_as_it_comes() -> None:
    """D6, P8: a waiter cancelled between the failure and its own step leaves the failure to the nursery."""

    class CancelsAt(trio.abc.Instrument):
        scope: trio.CancelScope | None = None

        def __init__(self, step: int) -> None:
            self.left = step

        def before_task_step(self, task: Any) -> None:
            self.left -= 1
            if self.left == 0 and self.scope is not None:
                self.scope.cancel()

    class Boom(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
            await trio.lowlevel.checkpoint()
            raise ValueError("boom")

    async def told(step: int) -> list[str]:
        seen: list[str] = []
        instrument = CancelsAt(step)

        async def waiter(run: Any) -> None:
            with trio.CancelScope() as instrument.scope:
                try:
                    await run.wait()
                except ValueError:
                    seen.append("waiter")

        trio.lowlevel.add_instrument(instrument)
        try:
            async with trio.open_nursery() as nursery:
                run = await nursery.start(lambda task_status: workflow.start("m", buffer=None, task_status=task_status))
                nursery.start_soon(waiter, run)
        except* ValueError:
            seen.append("nursery")
        trio.lowlevel.remove_instrument(instrument)
        return seen

    for seed in range(6):
        for step in range(1, 25):
            workflow = chain(Boom(id="h"))
            assert run_seeded(lambda step=step: told(step), seed), (seed, step)


async def test_the_events_of_a_run_cancelled_at_its_last_word_come_to_an_end(autojump_clock: Any) -> None:
    """D7, P8: the run is over and only waits for room; whoever reads on afterwards is not left waiting."""
    read: list[str] = []
    async with trio.open_nursery() as nursery:
        run = await nursery.start(
            lambda task_status: chain(lambda: Tell(id="t")).start("m", buffer=1, task_status=task_status)
        )
        await trio.testing.wait_all_tasks_blocked()
        while run.result is None:
            read.append(run.events.receive_nowait().type)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with trio.fail_after(10):
        read += [event.type async for event in run.events]
    assert read[-1] == "superstep_completed"
    assert run.events.statistics().open_send_channels == 0


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_journal_that_cannot_be_written_makes_no_failure_of_a_cancellation(
    leaves: bool, autojump_clock: Any
) -> None:
    """D8, P2."""

    class Mute(InMemoryCheckpointStorage):
        async def write_journal(self, *args: Any, **options: Any) -> None:
            raise CheckpointError("no journal")

    workflow = forked(Mute(), [], {"hang"})
    async with workflow.stream("m") as run:
        await trio.sleep(2)
        if not leaves:
            run.cancel()
            _ = [event async for event in run.events]
    assert (run.status, workflow.status) == (CANCELLED, CANCELLED)


@pytest.mark.parametrize(
    ("verb", "expected"),
    [("acquire_lease", CheckpointError), ("renew_lease", LeaseLostError), ("release_lease", ValueError)],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_an_oserror_of_a_lease_verb_comes_out_as_the_librarys_own_error(
    verb: str, expected: type[Exception], streams: bool, autojump_clock: Any
) -> None:
    """D9, P8: and one of giving the lease back does not take the place of what the run raised."""

    async def broken(*args: Any, **options: Any) -> Any:
        raise OSError(f"disk {verb}")

    class Slow(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
            await trio.sleep(40)
            raise ValueError("boom")

    storage = type("Broken", (InMemoryCheckpointStorage,), {verb: broken})(lease_ttl=30)
    workflow = chain(Slow(id="l"), checkpoint_storage=storage)
    with pytest.raises(expected):
        await (consume(workflow) if streams else workflow.run("m"))
    assert borrowers(workflow) == 0


@pytest.mark.parametrize("how", ["cancelled first", "cancelled while it is committed", "fails later"])
async def test_an_answer_is_refused_or_committed_or_told_as_discarded(how: str, autojump_clock: Any) -> None:
    """D10, P8: `Run.respond` that returned is no promise while the superstep goes on; what became of it is told."""

    class SlowSave(InMemoryCheckpointStorage):
        async def save(self, checkpoint: Any) -> Any:
            if checkpoint.info.kind.value == "responses":
                await trio.sleep_forever()
            return await super().save(checkpoint)

    committing = how == "cancelled while it is committed"
    rest = Relay if committing else Fails
    workflow = (
        WorkflowBuilder(name="x", start_executor=lambda: Relay(id="s"), checkpoint_storage=SlowSave())
        .add_fan_out_edges("s", [lambda: Asker(id="ask"), lambda: Relay(id="a")])
        .add_edge("a", lambda: rest(id="b"))
        .build(id="w")
    )
    accepted, events = False, []
    try:
        async with workflow.stream("m", wait_for_responses=True) as run:
            async for event in run.events:
                events.append(event)
                if isinstance(event, RequestInfoEvent):
                    await trio.sleep(1)
                    if how == "cancelled first":
                        run.cancel()
                    try:
                        await run.respond(event.request_id, "yes")
                        accepted = True
                    except RuntimeError:
                        pass
                    if committing:
                        await trio.sleep(1)
                        run.cancel()
    except ValueError:
        pass

    dropped = [
        (event.reason, event.message) for event in events_of(events, MessageDroppedEvent) if event.reason != "no_edge"
    ]
    assert len(workflow.pending_requests) == 1
    assert accepted == (how != "cancelled first")
    assert dropped == ([("discarded", "yes")] if accepted else [])


@pytest.mark.parametrize("same", [True, False])
async def test_looking_at_a_checkpoint_and_leaving_keeps_what_was_finished(same: bool, autojump_clock: Any) -> None:
    """D11, P6: the second run does what is missing, wherever it goes on."""
    ran, faults, storage = [], {"boom"}, InMemoryCheckpointStorage()
    workflow = forked(storage, ran, faults)
    with pytest.raises(ValueError, match="boom"):
        await workflow.run("m")
    async with workflow.stream(checkpoint_id=workflow.head):
        pass
    faults.clear()
    await (workflow if same else forked(storage, ran, faults)).run(checkpoint_id=LATEST)
    assert sorted(ran) == ["a", "b", "s"]


async def test_a_journal_follows_the_checkpoint_that_answers_opened(autojump_clock: Any) -> None:
    """D12, P6: what was finished before the answers is not run again, though the run that was answered is killed."""
    ran, faults, storage = [], {"boom"}, InMemoryCheckpointStorage()

    class Asks(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
            ctx.request_info("q", str)
            ctx.send_message(text)

        @response_handler
        async def answered(self, request: str, answer: str, ctx: WorkflowContext[str]) -> None:
            ran.append(answer)

    def build(storage: Any) -> Workflow:
        return (
            WorkflowBuilder(name="asks", start_executor=lambda: Asks(id="s"), checkpoint_storage=storage)
            .add_fan_out_edges("s", [lambda: Script("a", ran, faults), lambda: Script("b", ran, faults, slow=True)])
            .build(id="w")
        )

    workflow = build(storage)
    with pytest.raises(ValueError, match="boom"):
        await workflow.run("m", durability="delivery")
    faults.clear()
    faults.add("hang")
    (request,) = workflow.pending_requests
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: workflow.run(responses={request: "yes"}, durability="delivery"))
        await trio.sleep(5)
        image = killed(storage)
        nursery.cancel_scope.cancel()
    faults.clear()
    await build(image).run(checkpoint_id=LATEST, durability="delivery")
    assert sorted(ran) == ["a", "b", "yes"]


async def test_what_a_reset_discarded_is_told_by_the_run_that_restores_another_checkpoint(autojump_clock: Any) -> None:
    """D13, P8."""
    workflow = chain(Fails(id="b"), checkpoint_storage=InMemoryCheckpointStorage())
    other = InMemoryCheckpointStorage()
    for storage in (None, other):
        with pytest.raises(ValueError, match="boom"):
            await chain(Fails(id="b"), checkpoint_storage=other).run("m") if storage else await workflow.run("m")
    await workflow.reset()
    async with workflow.stream(checkpoint_id=LATEST, checkpoint_storage=other) as run:
        for _ in range(3):
            event = await run.events.receive()
    assert isinstance(event, MessageDroppedEvent)
    assert event.reason == "discarded"


@pytest.mark.parametrize("durability", ["superstep", "delivery"])
@pytest.mark.parametrize("way", ["ends", "fails", "is cancelled", "is left", "fails streaming"])
def test_a_run_that_has_ended_is_no_cyclic_garbage(way: str, durability: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """D14: what a run held is freed when its result is, without the collector."""
    runners: list[Any] = []

    class Watched(actorflow.workflow.Runner):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            runners.append(weakref.ref(self))

    monkeypatch.setattr(actorflow.workflow, "Runner", Watched)

    async def go() -> None:
        executor = {"ends": Tell, "fails": Fails, "fails streaming": Fails}.get(way, Waits)(id="e")
        workflow = chain(executor, checkpoint_storage=InMemoryCheckpointStorage())
        try:
            if way in ("is left", "fails streaming"):
                async with workflow.stream("m", durability=durability) as run:
                    if way == "fails streaming":
                        _ = [event async for event in run.events]
            else:
                with trio.move_on_after(9):
                    await workflow.run("m", durability=durability)
        except ValueError:
            pass
        await trio.lowlevel.checkpoint()
        assert [runner() for runner in runners] == [None]

    gc.disable()
    try:
        run_seeded(go, 0)
    finally:
        gc.enable()


def test_control_c_at_any_line_of_taking_and_giving_back_leaves_the_workflow_free() -> None:
    """D15, P1, P7: neither the seat nor the lease is kept, and KeyboardInterrupt comes out bare."""
    files = {module.__file__ for module in (claim, handover, leasing, ownership)}
    names = {"run", "_runner", "_claim", "_drive"}

    def interrupted_at(line: int) -> bool:
        left = [line]

        def trace(frame: Any, event: str, arg: Any) -> Any:
            code = frame.f_code
            if code.co_filename not in files and not (
                code.co_filename == actorflow.workflow.__file__ and code.co_name in names
            ):
                return None
            if event == "line":
                left[0] -= 1
                if left[0] == 0:
                    sys.settrace(None)
                    signal.raise_signal(signal.SIGINT)
            return trace

        async def main() -> None:
            sys.settrace(trace)
            try:
                await workflow.run("m")
            finally:
                sys.settrace(before)

        storage, before = InMemoryCheckpointStorage(), sys.gettrace()
        workflow = chain(lambda: Tell(id="t"), checkpoint_storage=storage)
        try:
            trio.run(main)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert (borrowers(workflow), dict(storage._leases._holdings)) == (0, {}), line
        assert workflow.status is not WorkflowRunState.IN_PROGRESS, line
        return left[0] <= 0

    line = 1
    while interrupted_at(line):
        line += 1
    assert line > 50


async def test_what_on_stop_does_to_a_state_is_not_there_in_the_next_run(autojump_clock: Any) -> None:
    """D16, P3, P6: it comes after the last commit, so a process that starts afresh could not know it."""

    class Stops(Executor):
        state: Tally

        async def on_stop(self, ctx: Any) -> None:
            self.state.seen.append("stop")

        @handler
        async def work(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
            self.state.seen.append(text)
            await ctx.yield_output(",".join(self.state.seen))

    workflow = chain(Stops(id="c"))
    await workflow.run("1")
    assert (await workflow.run("2")).outputs == ["1,2"]


async def test_a_context_kept_after_its_handler_adds_no_event_to_a_result(autojump_clock: Any) -> None:
    """D17, P3: the log of a run that has ended does not grow."""

    class Keeps(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
            kept.append(ctx)

    kept: list[Any] = []
    result = await chain(Keeps(id="a")).run("m")
    with pytest.raises(RuntimeError, match="returned"):
        await kept[0].add_event(Mine())
    assert not events_of(result.events, Mine)


async def test_leaving_a_stream_does_not_wait_for_room_that_an_on_stop_wants(autojump_clock: Any) -> None:
    """D19, P2, P11: nobody reads any more, so nothing is gained by holding the hook until its grace is over."""

    class Chatty(Waits):
        async def on_stop(self, ctx: Any) -> None:
            await ctx.add_event(Mine())

    async with chain(Chatty(id="s")).stream("m", buffer=0) as run:
        for _ in range(3):
            await run.events.receive()
        await trio.testing.wait_all_tasks_blocked()
        left_at = trio.current_time()
    assert trio.current_time() == left_at
