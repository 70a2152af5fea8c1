"""One run at a time owns a workflow, from before its first side effect until its last task has ended, and gives it back by
itself; arguments are checked before anything is touched (P1, P2, P8).
"""

import gc
from functools import partial
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
from actorflow.errors import (
    CheckpointNotFoundError,
    ConvergenceError,
    ExecutorReusedError,
    MessageTypeError,
    RequestNotFoundError,
    WorkflowBusyError,
)
from actorflow.events import MessageDroppedEvent, StatusEvent, WorkflowRunState
from actorflow.testing import empty_house
from tests.scenarios import (
    Asker,
    Counter,
    Relay,
    Tell,
    borrowers,
    chain,
    events_of,
    joined,
    own_states,
    plain,
    standing,
    stateful,
)


class Gate(Executor):
    """Waits until it is let through; notes what it began and what it ended."""

    def __init__(self, id: str = "gate") -> None:  # noqa: A002
        super().__init__(id)
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.reached = trio.Event()
        self.open = trio.Event()

    @handler
    async def hold(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        self.begun.append(text)
        self.reached.set()
        try:
            await self.open.wait()
            await ctx.yield_output(text)
        finally:
            self.ended.append(text)


# Ownership.


async def test_a_second_run_is_refused_while_one_is_under_way_and_the_refusal_disturbs_nothing() -> None:
    """F01, P1: and the error names the run that owns the workflow."""
    gate = Gate()
    workflow = chain(gate)

    async with empty_house(), trio.open_nursery() as nursery:
        run = await nursery.start(workflow.start, "first")
        await gate.reached.wait()
        for attempt in (lambda: workflow.run("second"), workflow.reset, lambda: workflow.run(checkpoint_id=LATEST)):
            with pytest.raises(WorkflowBusyError) as caught:
                await attempt()
        with pytest.raises(WorkflowBusyError):
            async with workflow.stream("third"):
                pass
        gate.open.set()
        assert (await run.wait()).outputs == ["first"]

    assert gate.begun == ["first"]
    assert run.id in str(caught.value) or caught.value.run_id == run.id


async def test_a_stream_that_somebody_still_holds_does_not_lock_the_workflow() -> None:
    """F01: ownership ends with the block, whoever keeps the handle."""
    gate = Gate()
    workflow = chain(gate)
    async with workflow.stream("held") as held:
        await gate.reached.wait()
    gate.open.set()

    assert (await workflow.run("next")).outputs == ["next"]
    assert held.status is WorkflowRunState.CANCELLED


async def test_leaving_a_stream_joins_its_actors_before_the_next_statement() -> None:
    """F02, P2: nothing of the dropped run turns up in the next."""
    gate = Gate()
    workflow = chain(gate)

    async with empty_house():
        async with workflow.stream("OLD") as run:
            await gate.reached.wait()
            assert run.status is WorkflowRunState.IN_PROGRESS
        assert gate.ended == ["OLD"]
        assert borrowers(workflow) == 0
        gate.open.set()
        assert (await workflow.run("NEW")).outputs == ["NEW"]


async def test_garbage_of_an_earlier_run_changes_nothing_for_a_later_one() -> None:
    """F03: there is no finalizer; collecting everything in the middle of the next run touches nothing."""
    gate = Gate()
    workflow = chain(gate)
    for _ in range(3):
        async with workflow.stream("dropped"):
            await gate.reached.wait()

    async with trio.open_nursery() as nursery:
        run = await nursery.start(workflow.start, "kept")
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        await trio.testing.wait_all_tasks_blocked()
        assert borrowers(workflow) == 1
        with pytest.raises(WorkflowBusyError):
            await workflow.run("intruder")
        gate.open.set()
        assert (await run.wait()).outputs == ["kept"]


async def test_a_late_release_of_an_earlier_run_leaves_the_new_one_in_charge() -> None:
    """F03: a run gives back its own token and nobody else's; here the first block is left while the second run works."""
    gate = Gate()
    workflow = chain(gate)
    gate.open.set()
    async with trio.open_nursery() as nursery:
        async with workflow.stream("first") as first:
            await first.wait()
            gate.open, gate.reached = trio.Event(), trio.Event()
            second = await nursery.start(workflow.start, "second")
            await gate.reached.wait()
        assert borrowers(workflow) == 1
        with pytest.raises(WorkflowBusyError):
            await workflow.run("third")
        gate.open.set()
        assert (await second.wait()).outputs == ["second"]
    assert borrowers(workflow) == 0


async def test_waiting_runs_are_served_first_come_first_served() -> None:
    """P1: `wait=True` queues, and a newcomer cannot overtake."""
    gate = Gate()
    workflow = chain(gate)
    results: list[str] = []

    async def queue(text: str) -> None:
        results.extend((await workflow.run(text, wait=True)).outputs)

    async with empty_house(), trio.open_nursery() as nursery:
        for text in ("a", "b", "c", "d"):
            nursery.start_soon(queue, text)
            await trio.testing.wait_all_tasks_blocked()
        assert borrowers(workflow) == 4
        gate.open.set()
        with pytest.raises(WorkflowBusyError):
            await workflow.run("newcomer")

    assert results == ["a", "b", "c", "d"]


async def test_a_cancelled_waiter_leaves_the_queue_and_holds_nothing() -> None:
    """P1: the ones behind it move up."""
    gate = Gate()
    workflow = chain(gate)
    results: list[str] = []
    scope = trio.CancelScope()

    async def queue(text: str) -> None:
        results.extend((await workflow.run(text, wait=True)).outputs)

    async def give_up() -> None:
        with scope:
            await queue("gives up")

    async with empty_house(), trio.open_nursery() as nursery:
        for waiter in (lambda: queue("first"), give_up, lambda: queue("last")):
            nursery.start_soon(waiter)
            await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert borrowers(workflow) == 2
        gate.open.set()

    assert results == ["first", "last"]
    assert gate.begun == ["first", "last"]


async def test_a_refused_or_waiting_stream_leaves_no_channel_behind() -> None:
    """R25: both ends of a channel that nobody was given are closed."""
    gate = Gate()
    workflow = chain(gate)
    async with trio.open_nursery() as nursery:
        run = await nursery.start(partial(workflow.start, buffer=None), "owner")
        await gate.reached.wait()
        with empty_house():
            with pytest.raises(WorkflowBusyError):
                async with workflow.stream("refused"):
                    pass
            with trio.move_on_after(0):
                async with workflow.stream("waits", wait=True):
                    pass
        run.cancel()


async def test_one_object_belongs_to_one_workflow_and_a_factory_makes_one_for_each() -> None:
    """F14."""
    builder = WorkflowBuilder(name="objects", start_executor=Counter(id="counter")).add_edge("counter", Tell(id="tell"))
    builder.build()
    with pytest.raises(ExecutorReusedError, match="counter"):
        builder.build()

    factories = WorkflowBuilder(name="factories", start_executor=lambda: Counter(id="counter")).add_edge(
        "counter", lambda: Tell(id="tell")
    )
    one, other = factories.build(), factories.build()
    await one.run("x")
    assert (await one.run("x")).outputs == ["x:2"]
    assert (await other.run("x")).outputs == ["x:1"]


async def test_a_thousand_workflows_of_one_definition_run_at_once() -> None:
    """One definition serves many concurrent runs; nothing of one shows in another."""
    builder = WorkflowBuilder(name="many", start_executor=lambda: Counter(id="counter")).add_edge(
        "counter", lambda: Tell(id="tell")
    )
    outputs: list[str] = []

    async def one(number: int) -> None:
        outputs.extend((await builder.build().run(str(number))).outputs)

    async with empty_house(), trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(one, number)

    assert sorted(outputs) == sorted(f"{number}:1" for number in range(200))


# Settings and state from run to run.


async def test_storage_given_for_one_run_is_for_that_run_alone() -> None:
    """F04."""
    workflow = plain()
    storage = InMemoryCheckpointStorage()
    await workflow.run("one", checkpoint_storage=storage)
    count = len(await storage.list())

    result = await workflow.run("two")

    assert result.checkpoint_id is None
    assert len(await storage.list()) == count == 4


async def test_a_runs_own_storage_wins_over_the_builders_and_does_not_replace_it() -> None:
    """F04."""
    default, given = InMemoryCheckpointStorage(), InMemoryCheckpointStorage()
    workflow = plain(default)
    await workflow.run("one", checkpoint_storage=given)
    assert (len(await default.list()), len(await given.list())) == (0, 4)
    await workflow.run("two")
    assert (len(await default.list()), len(await given.list())) == (4, 4)


async def test_config_reaches_handlers_of_its_run_and_is_never_stored() -> None:
    """F43."""
    storage = InMemoryCheckpointStorage()
    seen: list[Any] = []

    @executor
    async def look(text: str, ctx: WorkflowContext[str]) -> None:
        seen.append(dict(ctx.config))
        with pytest.raises(TypeError):
            ctx.config["token"] = "other"  # type: ignore[index]
        ctx.send_message(text)

    workflow = chain(look, Tell(id="tell"), checkpoint_storage=storage)
    await workflow.run("x", config={"token": "hunter2"})
    await workflow.run("x")

    assert seen == [{"token": "hunter2"}, {}]
    for info in await storage.list():
        contents = (await storage.load(info.id)).contents
        assert not any(b"hunter2" in data or b"token" in data for data in contents.values())


async def test_state_goes_from_run_to_run_until_reset() -> None:
    """State persists from run to run of one workflow until `reset()`."""
    workflow = stateful()
    await workflow.run("a")
    assert (await workflow.run("b")).outputs == ["b:2#2"]

    await workflow.reset()

    assert workflow.status is WorkflowRunState.IDLE
    assert own_states(workflow) == {"counter": {"seen": []}, "ledger": []}
    assert (await workflow.run("c")).outputs == ["c:1#1"]


async def test_a_workflow_that_never_ran_can_be_reset() -> None:
    """The hooks get back what they began with, not an empty mapping."""
    workflow = stateful()

    await workflow.reset()

    assert (await workflow.run("a")).outputs == ["a:1#1"]


async def test_what_a_reset_discards_is_reported_by_the_next_run() -> None:
    """F08, P8: also when it is reset twice."""
    workflow = joined()
    await workflow.run("x")
    await workflow.reset()
    await workflow.reset()

    result = await workflow.run("y")

    dropped = events_of(result.events, MessageDroppedEvent)
    assert [(each.reason, each.message) for each in dropped] == [
        ("join_incomplete", "x>start>a"),
        ("discarded", "x>start"),  # the question nobody can answer any more
    ]
    assert not events_of((await workflow.run("z")).events, MessageDroppedEvent)[1:]


async def test_the_outputs_of_a_result_are_those_of_its_own_run() -> None:
    """`RunResult.outputs` is what the run committed since it began."""
    workflow = plain()
    await workflow.run("one")

    result = await workflow.run("two")

    assert result.outputs == ["two>start>a", "two>start>b"]
    assert result.supersteps == 3
    assert result.status is WorkflowRunState.IDLE
    assert [type(event).type for event in result.events][:2] == ["started", "status"]


# Limits.


class Ping(Executor):
    """Sends a number down to its other self until it is zero."""

    @handler
    async def ping(self, number: int, ctx: WorkflowContext[int, int]) -> None:
        if number:
            ctx.send_message(number - 1)
        else:
            await ctx.yield_output(number)


def ring(limit: int, **options: Any) -> Workflow:
    builder = WorkflowBuilder(name="ring", start_executor=Ping(id="one"), max_supersteps=limit, **options)
    return builder.add_edge("one", Ping(id="two")).add_edge("two", "one").build(id="w")


async def test_the_superstep_limit_is_per_run() -> None:
    """F09: five turns within the limit stay five turns within the limit."""
    workflow = ring(5)
    for _ in range(5):
        assert (await workflow.run(4)).outputs == [0]


@pytest.mark.parametrize("stored", [False, True])
async def test_a_run_over_the_limit_fails_naming_who_waits_and_goes_on_with_a_fresh_limit(stored: bool) -> None:
    """F09: the workflow stands on its last committed superstep."""
    workflow = ring(5, checkpoint_storage=InMemoryCheckpointStorage() if stored else None)

    with pytest.raises(ConvergenceError, match="'two'") as caught:
        await workflow.run(12)
    assert (workflow.status, caught.value.max_supersteps) == (WorkflowRunState.FAILED, 5)
    assert standing(workflow)[0] == 5
    with pytest.raises(ConvergenceError):
        await workflow.run(checkpoint_id=LATEST)
    result = await workflow.run(checkpoint_id=LATEST)

    assert (result.outputs, result.supersteps) == ([0], 13)


async def test_exactly_the_limit_is_within_it() -> None:
    assert (await ring(5).run(4)).supersteps == 5
    with pytest.raises(ConvergenceError):
        await ring(5).run(5)


async def test_an_answering_run_has_a_limit_of_its_own() -> None:
    """F09: a chat with a limit of 3 goes on for any number of turns."""
    workflow = chain(Asker(id="ask"), Asker(id="again"), Asker(id="third"), Tell(id="tell"), max_supersteps=2)
    result = await workflow.run("x")
    for _ in range(3):
        result = await workflow.run(responses={result.requests[0].request_id: "y"})
    assert result.outputs == ["x=y=y=y"]


# Arguments.


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"message": "x", "responses": {}}, "not both"),
        ({"message": "x", "responses": {"r": 1}}, "not both"),
        ({"message": "x", "checkpoint_id": LATEST}, "without a message"),
        ({}, "nothing to run"),
        ({"responses": ["r"]}, "mapping"),
        ({"checkpoint_id": "some-id"}, "storage"),
        ({"message": "x", "durability": "sometimes"}, "durability"),
        ({"message": "x", "checkpoint_storage": object()}, "CheckpointStorage"),
    ],
)
async def test_contradictory_arguments_are_refused_before_anything_is_touched(
    arguments: dict[str, Any], text: str
) -> None:
    workflow = stateful()
    await workflow.run("a")
    before = standing(workflow)

    with empty_house():
        with pytest.raises(ValueError, match=text):
            await workflow.run(**arguments)
        with pytest.raises(ValueError, match=text):
            async with workflow.stream(**arguments):
                pass
        async with trio.open_nursery() as nursery:
            with pytest.raises(ValueError, match=text):
                await nursery.start(partial(workflow.start, **arguments))

    assert (standing(workflow), workflow.status) == (before, WorkflowRunState.IDLE)


async def test_an_input_of_the_wrong_type_is_refused_naming_what_is_taken() -> None:
    """F11: refused, not failed."""
    workflow = plain()
    for wrong in (3, None, ["x"], b"x"):
        with pytest.raises(MessageTypeError, match=f"cannot take {type(wrong).__name__}; it handles str"):
            await workflow.run(wrong)
    assert workflow.status is WorkflowRunState.IDLE
    assert standing(workflow)[0] == 0


async def test_none_may_be_a_message() -> None:
    @executor
    async def take(nothing: None, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output("got None")

    assert (await chain(take).run(None)).outputs == ["got None"]


async def test_there_is_nothing_to_take_up_before_the_first_run_and_after_a_reset() -> None:
    workflow = plain()
    with pytest.raises(CheckpointNotFoundError, match="has not run yet"):
        await workflow.run(checkpoint_id=LATEST)
    await workflow.run("x")
    await workflow.reset()
    with pytest.raises(CheckpointNotFoundError):
        await workflow.run(checkpoint_id=LATEST)
    assert workflow.status is WorkflowRunState.IDLE


# Looking is free.


async def test_looking_at_a_workflow_runs_no_superstep_and_writes_no_checkpoint() -> None:
    """F12: restoring what is idle or paused, and `responses={}`."""
    storage = InMemoryCheckpointStorage()
    workflow = joined(storage)
    paused = await workflow.run("x")
    before = standing(workflow)
    count = len(await storage.list())

    for look in ({"checkpoint_id": LATEST}, {"responses": {}}, {"checkpoint_id": paused.checkpoint_id}):
        result = await workflow.run(**look)
        assert result.status is WorkflowRunState.IDLE_WITH_PENDING_REQUESTS
        assert [each.request_id for each in result.requests] == [each.request_id for each in paused.requests]
        assert (result.supersteps, result.outputs) == (paused.supersteps, paused.outputs)

    assert standing(workflow) == before
    assert len(await storage.list()) == count


async def test_empty_responses_leave_messages_in_flight_alone() -> None:
    """F12: what a failed run left is taken up by LATEST, and not by `responses={}`."""
    calls: list[str] = []

    @executor
    async def fail(text: str, ctx: WorkflowContext) -> None:
        calls.append(text)
        raise LookupError(text)

    workflow = chain(Relay(id="start"), fail)
    with pytest.raises(LookupError):
        await workflow.run("x")

    await workflow.run(responses={})
    assert calls == ["x>start"]
    with pytest.raises(LookupError):
        await workflow.run(checkpoint_id=LATEST)
    assert calls == ["x>start", "x>start"]


async def test_an_answer_to_nothing_is_refused_on_a_workflow_that_never_ran() -> None:
    """F11."""
    workflow = plain()
    with pytest.raises(RequestNotFoundError, match="none is open here"):
        await workflow.run(responses={"r": 1})


# Abandoning.


async def test_a_fresh_run_starts_after_a_failure_and_reports_what_it_abandons() -> None:
    """F08: messages in flight neither block it nor turn up in it."""
    calls = 0

    @executor
    async def fail_once(text: str, ctx: WorkflowContext[Never, str]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise LookupError(text)
        await ctx.yield_output(text)

    workflow = chain(Relay(id="start"), fail_once)
    with pytest.raises(LookupError):
        await workflow.run("OLD")

    result = await workflow.run("NEW")

    assert result.outputs == ["NEW>start"]
    (dropped,) = events_of(result.events, MessageDroppedEvent)
    assert (dropped.reason, dropped.message, dropped.source_id, dropped.target_id) == (
        "discarded",
        "OLD>start",
        "start",
        "fail_once",
    )


# Time.


async def test_a_superstep_takes_no_time_and_no_timer(autojump_clock: trio.testing.MockClock) -> None:
    """F13: a thousand supersteps pass at one instant of the clock: wake-ups only."""
    before = trio.current_time()
    await ring(1001).run(1000)
    assert trio.current_time() == before


# The status.


async def test_a_cancelled_run_says_so_and_its_state_is_the_last_committed_one() -> None:
    """F05: by status, by event, by result; and it can be taken up, or followed by a fresh one."""
    gate = Gate()
    workflow = chain(Counter(id="counter"), gate)
    async with workflow.stream("x") as run:
        await gate.reached.wait()
        run.cancel()
        statuses = [event.status async for event in run.events if isinstance(event, StatusEvent)]
    assert statuses[-1] is WorkflowRunState.CANCELLED
    assert run.result is not None
    assert (run.status, workflow.status, run.result.status) == (WorkflowRunState.CANCELLED,) * 3
    gate.open.set()

    assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["x:1"]
    assert (await workflow.run("y")).outputs == ["y:2"]


async def test_cancelling_the_task_around_a_run_raises_cancelled_as_trio_does() -> None:
    """F05: and the status says what happened."""
    gate = Gate()
    workflow = chain(gate)
    async with empty_house():
        with trio.move_on_after(0) as scope:
            await workflow.run("x")
    assert scope.cancelled_caught
    assert workflow.status is WorkflowRunState.CANCELLED
    assert borrowers(workflow) == 0


async def test_a_run_cancelled_while_nobody_reads_ends() -> None:
    """F05: even before its first event was read."""
    gate = Gate()
    workflow = chain(gate)
    with trio.fail_after(1):
        async with empty_house(), trio.open_nursery() as nursery:
            run = await nursery.start(partial(workflow.start, buffer=0), "x")
            run.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert run.status is WorkflowRunState.CANCELLED
            assert [event async for event in run.events][1:] == []
            run.events.close()
    assert borrowers(workflow) == 0


async def test_leaving_a_stream_that_nobody_reads_takes_no_time(autojump_clock: trio.testing.MockClock) -> None:
    """P2: no event of the way out waits for a reader, in any durability."""
    for durability in ("superstep", "async", "exit"):
        workflow = stateful(InMemoryCheckpointStorage())
        before = trio.current_time()
        async with workflow.stream("x", buffer=0, durability=durability) as run:
            async for event in run.events:
                if event.superstep == 2:
                    break
        assert trio.current_time() == before
        assert own_states(workflow) == {"counter": {"seen": ["x"]}, "ledger": []}
        assert not workflow._core.states.stale


def test_a_workflow_that_is_run_outside_of_trio_says_what_to_run_it_with():
    @executor(id="e")
    async def idle(message: str) -> None: ...

    workflow = WorkflowBuilder(name="w", start_executor=idle).build(id="w")

    # As any other event loop would: the first step of the coroutine, outside of trio.
    with pytest.raises(RuntimeError, match=r"'w' runs within trio only: trio\.run\(workflow\.run, message\)"):
        workflow.run("x").send(None)

    assert trio.run(workflow.run, "x").outputs == []
