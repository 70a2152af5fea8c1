"""Delivery ids on events: a reader can tell exactly which outputs and events of a stream became void, and which are final.

The reader here (`Screen`) goes by the events alone. Under every schedule it must end with what the run committed: with a pool
at work on many deliveries at once, retries, restarts, dropped failures, children beside each other, a run cut short and taken up.
"""

import json
from collections.abc import Iterable
from typing import Any, Never

import attrs
import pytest
import trio

from actorflow import (
    LATEST,
    Executor,
    RestartIntensity,
    Retry,
    SupervisionPolicy,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowExecutor,
    handler,
)
from actorflow.core.effects import NO_EFFECTS
from actorflow.events import (
    ExecutorCompletedEvent,
    ExecutorFailedEvent,
    ExecutorInvokedEvent,
    ExecutorRetryingEvent,
    IntermediateEvent,
    MessageDroppedEvent,
    OutputEvent,
    SuperstepCompletedEvent,
    WorkflowEvent,
    from_json,
    to_json,
)
from actorflow.testing import run_seeded, scheduling_seeds
from tests.scenarios import Many, events_of


class Fault(Exception):
    """A handler's own."""


@attrs.frozen(kw_only=True)
class Seen(WorkflowEvent):
    """A user's event."""

    type = "seen"

    what: Any


@attrs.define
class Screen:
    """Shows outputs and users' events at once, takes back what becomes void, and says what is final."""

    shown: dict[str, list[Any]] = attrs.Factory(dict)
    final: list[Any] = attrs.Factory(list)
    taken_back: int = 0

    def read(self, events: Iterable[WorkflowEvent]) -> "Screen":
        for event in events:
            self.see(event)
        return self

    def see(self, event: WorkflowEvent) -> None:
        match event:
            case OutputEvent(delivery_id=str(id), data=value) | Seen(delivery_id=str(id), what=value):
                self.shown.setdefault(id, []).append(value)
            case ExecutorInvokedEvent(delivery_id=str(id)) | ExecutorFailedEvent(delivery_id=str(id)):
                self.take_back([id])
            case ExecutorRetryingEvent(voids=ids):
                self.take_back(ids)
            case SuperstepCompletedEvent():
                self.final += [value for values in self.shown.values() for value in values]
                self.shown.clear()

    def take_back(self, ids: Iterable[str]) -> None:
        for each in ids:
            self.taken_back += len(self.shown.pop(each, ()))


class Flaky(Executor):
    """Yields and tells in two halves with others between, and fails at its first attempts; numbers of 100 and more never succeed."""

    calls = 0

    @handler
    async def work(self, number: int, ctx: WorkflowContext[Never, Any]) -> None:
        self.calls += 1
        mark = (number, ctx.attempt, self.calls)
        await ctx.yield_output((*mark, "first"))
        await trio.sleep(number % 3)
        await ctx.add_event(Seen(what=mark))
        await ctx.yield_output((*mark, "second"))
        if ctx.attempt <= number % 3 or number >= 100:
            raise Fault(number)


class Mortal(Flaky):
    """Fails at its first three calls, whatever they are for."""

    @handler
    async def work(self, number: int, ctx: WorkflowContext[Never, Any]) -> None:
        self.calls += 1
        call = self.calls
        await ctx.yield_output((number, call))
        await trio.sleep(number % 3)
        if call <= 3:
            raise Fault(call)
        await ctx.yield_output((number, call, "done"))


def pooled(kind: type[Executor], policy: SupervisionPolicy, concurrency: int = 4) -> Workflow:
    builder = WorkflowBuilder(name="pooled", start_executor=Many("many"))
    return builder.add_edge("many", kind("pool", policy=policy, concurrency=concurrency)).build()


def values(screen: Screen) -> list[Any]:
    return sorted(value for value in screen.final if isinstance(value[-1], str) or len(value) == 2)


@pytest.mark.parametrize("seed", scheduling_seeds())
@pytest.mark.parametrize("on_failure", ["drop", "fail"])
def test_a_reader_of_a_pool_ends_with_what_was_committed(seed: int, on_failure: Any) -> None:
    workflow = pooled(Flaky, SupervisionPolicy(retry=Retry(3, delay=1), on_failure=on_failure))

    result = run_seeded(lambda: workflow.run(9), seed)
    screen = Screen().read(result.events)
    assert values(screen) == sorted(result.outputs)
    assert len(result.outputs) == 18
    assert screen.taken_back == 27, "three of nine fail once, three twice: two outputs and an event each time"
    assert not screen.shown


@pytest.mark.parametrize("seed", scheduling_seeds())
def test_what_a_dropped_delivery_streamed_is_taken_back(seed: int) -> None:
    workflow = pooled(Flaky, SupervisionPolicy(on_failure="drop"))

    result = run_seeded(lambda: workflow.run(6), seed)
    screen = Screen().read(result.events)
    assert values(screen) == sorted(result.outputs)
    assert {number for number, *_ in result.outputs} == {0, 3}
    dropped = {event.delivery_id for event in events_of(result.events, MessageDroppedEvent)} - {None}
    assert dropped == {event.delivery_id for event in events_of(result.events, ExecutorFailedEvent)}


@pytest.mark.parametrize("seed", scheduling_seeds())
def test_a_restart_of_a_pool_names_all_it_makes_void(seed: int) -> None:
    restarts = RestartIntensity(max_restarts=5, period=1000)
    workflow = pooled(Mortal, SupervisionPolicy(on_failure="restart", restarts=restarts))

    result = run_seeded(lambda: workflow.run(7), seed)
    screen = Screen().read(result.events)
    retrying = events_of(result.events, ExecutorRetryingEvent)
    assert sorted(screen.final) == sorted(result.outputs)
    assert all(event.restarted and len(set(event.voids)) == 7 for event in retrying)
    assert screen.taken_back > 0


@pytest.mark.parametrize("seed", scheduling_seeds())
@pytest.mark.parametrize("direct", [True, False])
def test_children_at_work_beside_each_other_make_only_their_own_void(seed: int, direct: bool) -> None:
    restarts = RestartIntensity(max_restarts=5, period=1000)
    policy = SupervisionPolicy(on_failure="restart", restarts=restarts)
    inner = WorkflowBuilder(name="inner", start_executor=lambda: Mortal("mortal", policy=policy))
    outer = WorkflowBuilder(name="outer", start_executor=Many("many")).add_edge(
        "many", WorkflowExecutor(inner.build, "sub", concurrency=3, allow_direct_output=direct)
    )

    result = run_seeded(lambda: outer.build().run(4), seed)
    screen = Screen().read(result.events)
    if direct:
        assert sorted(screen.final) == sorted(result.outputs)
    assert len(screen.final) == 8, "each child's last pass: two outputs"
    for event in events_of(result.events, ExecutorRetryingEvent):
        assert (event.path, event.voids) == (("sub",), (event.delivery_id,))


async def test_a_run_that_is_cut_short_and_taken_up_streams_again_under_the_same_ids(autojump_clock: Any) -> None:
    workflow = pooled(Flaky, SupervisionPolicy(retry=Retry(3, delay=1)), concurrency=2)
    screen = Screen()
    async with workflow.stream(6) as run:
        async for event in run.events:
            screen.see(event)
            if isinstance(event, ExecutorCompletedEvent) and event.executor_id == "pool":
                break
    async with workflow.stream(checkpoint_id=LATEST) as run:
        async for event in run.events:
            screen.see(event)
    assert run.result is not None
    assert values(screen) == sorted(run.result.outputs)
    assert len(run.result.outputs) == 12


async def test_every_event_about_a_delivery_bears_its_id_and_no_other_does(autojump_clock: Any) -> None:
    ids: list[str] = []

    class Note(Executor):
        async def on_start(self, ctx: WorkflowContext) -> None:
            await ctx.add_event(Seen(what="start"))

        @handler
        async def note(self, number: int, ctx: WorkflowContext[Never, int]) -> None:
            ids.append(ctx.delivery_id)
            await ctx.add_event(Seen(what=number))
            await ctx.yield_output(number)
            if ctx.attempt == 1:
                raise Fault

    policy = SupervisionPolicy(retry=Retry(2))
    result = await WorkflowBuilder(name="note", start_executor=Note("note", policy=policy)).build().run(1)
    about = (ExecutorInvokedEvent, ExecutorCompletedEvent, ExecutorFailedEvent, ExecutorRetryingEvent, OutputEvent)
    for event in result.events:
        expected = isinstance(event, about) or (isinstance(event, Seen) and event.what == 1)
        assert event.delivery_id == (ids[0] if expected else None)
    assert ids == [ids[0]] * 2


async def test_the_failure_of_a_run_names_the_delivery(autojump_clock: Any) -> None:
    workflow = pooled(Flaky, SupervisionPolicy(), concurrency=2)
    seen: list[WorkflowEvent] = []

    async def read() -> None:
        async with workflow.stream(2) as run:
            seen.extend([event async for event in run.events])

    with pytest.raises(Fault):
        await read()
    [failed] = events_of(seen, ExecutorFailedEvent)
    invoked = {each.delivery_id: each.data for each in events_of(seen, ExecutorInvokedEvent)}
    assert invoked[failed.delivery_id] == 1


async def test_a_child_completes_under_the_id_of_the_delivery_that_began_it(autojump_clock: Any) -> None:
    inner = WorkflowBuilder(
        name="inner", start_executor=lambda: Flaky("flaky", policy=SupervisionPolicy(retry=Retry(3)))
    )
    outer = WorkflowBuilder(name="outer", start_executor=Many("many")).add_edge(
        "many", WorkflowExecutor(inner.build, "sub", concurrency=3)
    )
    result = await outer.build().run(4)
    for kind in (ExecutorInvokedEvent, ExecutorCompletedEvent):
        told = [event.delivery_id for event in events_of(result.events, kind) if event.executor_id == "sub"]
        assert len(set(told)) == 4
        assert None not in told
    by_kind = [
        {event.delivery_id for event in events_of(result.events, kind) if event.executor_id == "sub"}
        for kind in (ExecutorInvokedEvent, ExecutorCompletedEvent)
    ]
    assert by_kind[0] == by_kind[1]


@pytest.mark.parametrize(
    "event",
    [
        OutputEvent(executor_id="e", data=1, delivery_id="r-1-0"),
        IntermediateEvent(executor_id="e", data=1, attempt=2, delivery_id="r-1-0"),
        ExecutorRetryingEvent(
            executor_id="e", attempt=1, delay=0.0, error=ValueError("x"), restarted=True, delivery_id="r-1-0",
            voids=("r-1-0", "r-1-1"),
        ),
        Seen(what=1, delivery_id="r-1-0"),
    ],
    ids=lambda event: event.type,
)  # fmt: skip
def test_ids_go_over_a_wire_and_a_text_without_them_reads_as_before(event: WorkflowEvent) -> None:
    text = to_json(event)
    back: Any = from_json(text, types=[Seen])
    assert (back.delivery_id, getattr(back, "voids", ())) == (event.delivery_id, getattr(event, "voids", ()))

    node = json.loads(text)
    old = {name: value for name, value in node.items() if name not in {"delivery_id", "voids"}}
    earlier: Any = from_json(json.dumps(old), types=[Seen])
    assert (earlier.delivery_id, getattr(earlier, "voids", ())) == (None, ())
    assert type(earlier) is type(event)


async def test_what_did_nothing_shares_one_record_that_nobody_adds_to(autojump_clock: Any) -> None:
    class Silent(Executor):
        @handler
        async def hear(self, number: int, ctx: WorkflowContext) -> None: ...

    builder = WorkflowBuilder(name="silent", start_executor=Many("many")).add_edge(
        "many", Silent("silent", concurrency=3)
    )
    await builder.build().run(20)
    assert not NO_EFFECTS
    assert (NO_EFFECTS.sent, NO_EFFECTS.outputs, NO_EFFECTS.writes, NO_EFFECTS.requests) == ((), (), (), ())
