"""Delayed messages are durable timers: due at a time that every checkpoint keeps, fired by a commit, waited for by a run (R04).

Proved here: what a delay may be; when and in which order timers fire; that waiting costs no superstep; that neither a
restart, nor a kill at any save, nor a cancellation at any step, nor a clock that is set loses, doubles or hurries one; and
that what does not change costs nothing (P10).
"""

import math
import time
from datetime import timedelta
from typing import Any, Never

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import actorflow.clock
from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    SqliteCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowRunState,
    executor,
    handler,
)
from actorflow.core.effects import REMOVED, Delivery, PendingRequest
from actorflow.core.schedule import Schedule
from actorflow.core.snapshot import REQUESTS, TIMERS, Snapshot
from actorflow.core.timers import Arrival, Timer
from actorflow.errors import (
    CheckpointError,
    ConvergenceError,
    GraphMismatchError,
    LeaseHeldError,
    UndeliverableMessageError,
)
from actorflow.events import MessageDroppedEvent, StatusEvent, SuperstepStartedEvent
from actorflow.testing import cancel_everywhere, run_seeded, scheduling_seeds
from tests.scenarios import Asker, check_lineage, counted_ids, events_of, history

IDLE, CANCELLED = WorkflowRunState.IDLE, WorkflowRunState.CANCELLED
MONTH = 30 * 86400.0


class Sender(Executor):
    """Sends each text of a plan with its delay."""

    @handler
    async def send(self, plan: list[tuple[str, Any]], ctx: WorkflowContext[str]) -> None:
        for text, delay in plan:
            ctx.send_message(text, delay=delay)


class Stamp(Executor):
    """Yields what it gets, with the superstep and the seconds since the test began."""

    @handler
    async def stamp(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(f"{text}@{ctx.superstep}/{trio.current_time():g}")


def later(storage: Any = None, **options: Any) -> Workflow:
    """sender -> stamp."""
    builder = WorkflowBuilder(
        name="later", start_executor=lambda: Sender("sender"), checkpoint_storage=storage, **options
    )
    return builder.add_edge("sender", lambda: Stamp("stamp")).build(id="w")


def virtual(fn: Any, *args: Any) -> Any:
    """One process, under a virtual clock of its own."""
    return trio.run(fn, *args, clock=trio.testing.MockClock(autojump_threshold=0))


# Delays.


@pytest.mark.parametrize(
    "delay", [-1, -0.001, math.nan, math.inf, -math.inf, 10**400, "1", True, timedelta(seconds=-1), object()]
)
async def test_what_is_no_length_of_time_is_refused_and_named(delay):
    @executor
    async def sends(text: str, ctx: WorkflowContext[str]) -> None:
        with pytest.raises(ValueError, match="delay="):
            ctx.send_message(text, delay=delay)

    result = await WorkflowBuilder(name="w", start_executor=sends).build().run("x")
    assert events_of(result.events, MessageDroppedEvent) == []


@pytest.mark.parametrize("delay", [0, 0.0, timedelta(0)])
async def test_no_delay_is_an_ordinary_message(delay, autojump_clock):
    result = await later().run([("a", delay)])

    assert (result.outputs, result.supersteps) == (["a@2/0"], 2)


async def test_a_delay_may_be_a_timedelta(autojump_clock):
    @executor
    async def sends(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message(text, delay=timedelta(days=2))

    workflow = WorkflowBuilder(name="w", start_executor=sends).add_edge(sends, Stamp("stamp")).build()

    assert (await workflow.run("x")).outputs == ["x@2/172800"]


# Firing.


async def test_timers_fire_by_due_time_and_equal_ones_in_the_order_they_were_sent(autojump_clock):
    result = await later().run([("c", 3), ("a", 1), ("c2", 3), ("b", 2), ("now", 0)])

    assert result.outputs == ["now@2/0", "a@3/1", "b@4/2", "c@5/3", "c2@5/3"]
    assert (result.status, result.supersteps) == (IDLE, 5)


async def test_a_timer_that_comes_due_while_a_superstep_runs_fires_at_its_commit_after_the_routed_messages(
    autojump_clock,
):
    @executor
    async def start(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message("timer", "stamp", delay=5)
        ctx.send_message("slow", "slow")

    @executor
    async def slow(text: str, ctx: WorkflowContext[str]) -> None:
        await trio.sleep(7)
        ctx.send_message("routed")

    storage = InMemoryCheckpointStorage()
    workflow = (
        WorkflowBuilder(name="w", start_executor=start, checkpoint_storage=storage)
        .add_edge(start, slow)
        .add_edge(slow, Stamp("stamp"))
        .add_edge(start, "stamp")
        .build()
    )

    result = await workflow.run("x")

    assert result.outputs == ["routed@3/7", "timer@3/7"]
    kinds = [info.kind.value for info in reversed(await storage.list())]
    assert kinds == ["entry", "superstep", "superstep", "superstep"]


async def test_waiting_costs_no_superstep_and_one_checkpoint_and_the_status_stays(autojump_clock):
    storage = InMemoryCheckpointStorage()
    result = await later(storage).run([("a", 60)])

    kinds = [(info.kind.value, info.superstep) for info in reversed(await storage.list())]
    assert kinds == [("entry", 0), ("superstep", 1), ("responses", 1), ("superstep", 2)]
    assert [each.superstep for each in events_of(result.events, SuperstepStartedEvent)] == [1, 2]
    assert [each.status for each in events_of(result.events, StatusEvent)] == [WorkflowRunState.IN_PROGRESS, IDLE]


async def test_a_delay_counts_from_the_commit_so_equal_ones_of_one_superstep_come_due_together(autojump_clock):
    """P4: whichever of the two executors was faster, their messages fire in one superstep, in canonical order."""

    @executor
    async def start(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message(text)

    class Slow(Executor):
        @handler
        async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
            await trio.sleep(3 if self.id == "a" else 1)
            ctx.send_message(self.id, delay=10)
            await trio.sleep(1)

    workflow = (
        WorkflowBuilder(name="w", start_executor=start)
        .add_fan_out_edges(start, [Slow("a"), Slow("b")])
        .add_edge("a", Stamp("stamp"))
        .add_edge("b", "stamp")
        .build()
    )

    assert (await workflow.run("x")).outputs == ["a@3/14", "b@3/14"]


async def test_conditions_are_asked_and_drops_reported_when_the_message_is_sent(autojump_clock):
    asked = []

    @executor
    async def start(number: int, ctx: WorkflowContext[int]) -> None:
        for each in range(number):
            ctx.send_message(each, delay=10)

    @executor
    async def end(number: int, ctx: WorkflowContext[Never, int]) -> None:
        await ctx.yield_output(number)

    async def is_odd(number: int) -> bool:
        asked.append((number, trio.current_time()))
        return number % 2 == 1

    workflow = WorkflowBuilder(name="w", start_executor=start).add_edge(start, end, condition=is_odd).build()
    result = await workflow.run(4)

    assert result.outputs == [1, 3]
    assert asked == [(each, 0) for each in range(4)]
    assert [(each.message, each.superstep) for each in events_of(result.events, MessageDroppedEvent)] == [
        (0, 1),
        (2, 1),
    ]


async def test_strict_mode_refuses_a_delayed_message_that_nothing_takes_at_once(autojump_clock):
    @executor
    async def start(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message(text, delay=10)

    with pytest.raises(UndeliverableMessageError):
        await WorkflowBuilder(name="w", start_executor=start, strict=True).build().run("x")
    assert trio.current_time() == 0


async def test_waiting_costs_none_of_the_superstep_limit_but_a_loop_of_timers_does(autojump_clock):
    @executor
    async def tick(count: int, ctx: WorkflowContext[int, int]) -> None:
        await ctx.yield_output(count)
        if count:
            ctx.send_message(count - 1, delay=3600)

    builder = WorkflowBuilder(name="w", start_executor=tick, max_supersteps=5)
    with pytest.warns(UserWarning, match="self-loop"):
        workflow = builder.add_edge(tick, tick).build()

    assert (await workflow.run(4)).outputs == [4, 3, 2, 1, 0]
    with pytest.raises(ConvergenceError):
        await workflow.run(5)


async def test_a_month_of_timers_takes_milliseconds_whatever_the_storage(autojump_clock, tmp_path):
    """R04: also where a lease has to be renewed every ten seconds."""
    for storage in (None, InMemoryCheckpointStorage(), SqliteCheckpointStorage(tmp_path / "month.db")):
        began, virtually = time.perf_counter(), trio.current_time()
        result = await later(storage).run([(f"day {day}", day * 86400.0) for day in range(1, 31)])

        assert len(result.outputs) == 30
        assert trio.current_time() - virtually == pytest.approx(MONTH, abs=5)
        assert time.perf_counter() - began < 3.0


async def test_a_run_that_sleeps_a_virtual_month_keeps_everybody_else_out(autojump_clock, tmp_path):
    """P7: though it renews its lease but once meanwhile; and it gives the lease back when it is woken and ends."""
    for storage in (InMemoryCheckpointStorage(), SqliteCheckpointStorage(tmp_path / "month.db")):
        workflow = later(storage)
        async with workflow.stream([("a", MONTH)], buffer=None) as run:
            for _ in range(10):
                await trio.sleep(2.5 * 86400)
                with pytest.raises(LeaseHeldError):
                    await later(storage).run(checkpoint_id=LATEST)
            run.cancel()
        assert (await later(storage).run(checkpoint_id=LATEST)).status is IDLE


# Joins.


def gathering(wait: str, storage: Any = None) -> Workflow:
    class Source(Executor):
        @handler
        async def send(self, delays: dict[str, float], ctx: WorkflowContext[str]) -> None:
            if self.id in delays:
                ctx.send_message(self.id, delay=delays[self.id])

    class Start(Executor):
        @handler
        async def send(self, delays: dict[str, float], ctx: WorkflowContext[dict[str, float]]) -> None:
            ctx.send_message(delays)

    class End(Executor):
        @handler
        async def end(self, texts: list[str], ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(f"{'+'.join(texts)}/{trio.current_time():g}")

    return (
        WorkflowBuilder(name="gathering", start_executor=lambda: Start("start"), checkpoint_storage=storage)
        .add_fan_out_edges("start", [lambda: Source("a"), lambda: Source("b")])
        .add_fan_in_edges(["a", "b"], lambda: End("end"), wait=wait)  # type: ignore[arg-type]
        .build(id="w")
    )


@pytest.mark.parametrize(
    ("wait", "delays", "outputs"),
    [
        ("all", {"a": 0.0, "b": 9.0}, ["a+b/9"]),
        ("all", {"a": 5.0, "b": 9.0}, ["a+b/9"]),
        ("active", {"a": 0.0, "b": 9.0}, ["a+b/9"]),
        ("active", {"a": 7.0}, ["a/7"]),
        ("any", {"a": 0.0, "b": 9.0}, ["a/0", "b/9"]),
        ("any", {"a": 4.0, "b": 4.0}, ["a+b/4"]),
    ],
)
async def test_a_delayed_message_reaches_a_join_when_it_is_due_and_counts_until_then(
    wait, delays, outputs, autojump_clock
):
    for storage in (None, InMemoryCheckpointStorage()):
        began = trio.current_time()
        result = await gathering(wait, storage).run(delays)

        said = [f"{text.split('/')[0]}/{float(text.split('/')[1]) - began:g}" for text in result.outputs]
        assert said == outputs
        assert events_of(result.events, MessageDroppedEvent) == []


async def test_a_join_that_can_never_fire_is_reported_when_the_last_timer_has_fired_into_it(autojump_clock):
    """F18: at an arrival, too, where no superstep follows."""
    result = await gathering("all").run({"a": 5.0})

    assert [(each.reason, each.message) for each in events_of(result.events, MessageDroppedEvent)] == [
        ("join_incomplete", "a")
    ]
    assert (result.outputs, result.status, trio.current_time()) == ([], IDLE, 5)


# Restarts.


def test_a_resumed_run_waits_for_what_is_left_and_fires_what_is_overdue_in_order():
    storage = InMemoryCheckpointStorage()

    async def first() -> None:
        with trio.move_on_after(10):
            await later(storage).run([("d", 1000), ("b", 20), ("c", 30), ("a", 5)])

    async def second(away: float) -> Any:
        await trio.sleep(away)
        result = await later(storage).run(checkpoint_id=LATEST)
        return result.outputs, result.status

    virtual(first)  # ends at 10, having fired "a"

    assert virtual(second, 100) == (["a@2/5", "b@3/100", "c@3/100", "d@4/1000"], IDLE)


def test_overdue_timers_of_an_explicit_checkpoint_and_of_a_branch_fire_too():
    storage = InMemoryCheckpointStorage()

    async def first() -> str:
        await later(storage).run([("a", 5), ("b", 20)])
        (made,) = [info.id for info in await storage.list() if (info.superstep, info.kind) == (1, "superstep")]
        return made

    made = virtual(first)

    async def second() -> list[list[str]]:
        builder = WorkflowBuilder(name="later", start_executor=lambda: Sender("sender"), checkpoint_storage=storage)
        branch = builder.add_edge("sender", lambda: Stamp("stamp")).build(id="branch")
        branched = await branch.run(checkpoint_id=made)
        assert branched.status is IDLE
        return [branched.outputs, (await later(storage).run(checkpoint_id=made)).outputs]

    assert virtual(second) == [["a@2/5", "b@3/20"], ["a@2/20", "b@2/20"]]


def test_what_waits_survives_a_prune():
    storage = InMemoryCheckpointStorage()

    async def first() -> None:
        with trio.move_on_after(10):
            await later(storage).run([("a", 5), ("b", 20)])
        await storage.prune(workflow_id="w", keep_last=1)
        assert len(await storage.list()) == 1

    async def second() -> list[str]:
        return (await later(storage).run(checkpoint_id=LATEST)).outputs

    virtual(first)
    assert virtual(second) == ["a@2/5", "b@3/20"]


@pytest.mark.parametrize("durability", ["superstep", "async", "exit", "delivery"])
def test_without_a_restart_a_cancelled_wait_is_taken_up_where_it_was(durability):
    async def main() -> tuple[Any, ...]:
        storage = InMemoryCheckpointStorage()
        workflow = later(storage)
        async with workflow.stream([("a", 5), ("b", 20)], durability=durability) as run:
            await trio.sleep(10)
            run.cancel()
            result = await run.wait()
        assert (result.status, result.outputs) == (CANCELLED, ["a@2/5"])
        assert len(workflow._core.standing.snapshot.timers) == 1
        again = await workflow.run(checkpoint_id=LATEST, durability=durability)
        await check_lineage(storage, workflow.head)
        return again.outputs, again.status

    assert virtual(main) == (["a@2/5", "b@3/20"], IDLE)


class DiesAt(InMemoryCheckpointStorage):
    """Kills the process at a save, before or after it is stored."""

    def __init__(self, number: int, *, after: bool) -> None:
        super().__init__()
        self.number, self.after = number, after

    async def save(self, commit: Any) -> Any:
        self.number -= 1
        if self.number == 0 and not self.after:
            raise CheckpointError("killed")
        info = await super().save(commit)
        if self.number == 0:
            raise CheckpointError("killed")
        return info


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("durability", ["superstep", "async", "delivery"])
def test_a_process_killed_at_any_save_leaves_the_timers_that_make_the_same_result(durability, after):
    """P6, R07: fresh objects over the same storage, whose clock goes on."""
    plan = [("c", 30), ("a", 10), ("now", 0), ("b", 20), ("b2", 20)]

    async def undisturbed() -> tuple[Any, ...]:
        result = await later(InMemoryCheckpointStorage()).run(plan)
        return result.outputs, result.supersteps, result.status

    expected = virtual(undisturbed)

    async def main(number: int) -> tuple[bool, tuple[Any, ...]]:
        storage = DiesAt(number, after=after)
        try:
            await later(storage).run(plan, durability=durability)
        except CheckpointError:
            pass
        else:
            return False, expected
        if await storage.latest(workflow_id="w") is None:
            return True, expected
        result = await later(storage).run(checkpoint_id=LATEST)
        await check_lineage(storage, result.checkpoint_id)
        return True, (result.outputs, result.supersteps, result.status)

    kills = 0
    for number in range(1, 50):
        died, found = virtual(main, number)
        assert found == expected, number
        if not died:
            break
        kills += 1
    assert kills >= 8


def test_a_run_cancelled_at_any_step_leaves_its_timers():
    def setup() -> Workflow:
        return later(InMemoryCheckpointStorage())

    async def scenario(workflow: Workflow) -> None:
        await workflow.run([("a", 10), ("now", 0), ("b", 20)])

    async def check(workflow: Workflow) -> None:
        if workflow.head is None:
            return
        outputs = (await workflow.run(checkpoint_id=LATEST)).outputs
        assert [text.split("@")[0] for text in outputs] == ["now", "a", "b"]

    assert cancel_everywhere(scenario, setup=setup, check=check).steps > 20


@pytest.mark.parametrize("seed", scheduling_seeds(4))
def test_timers_make_one_history_under_every_schedule(seed):
    """P4, R23."""

    async def main() -> list[Any]:
        storage = InMemoryCheckpointStorage()
        with counted_ids():
            await gathering("active", storage).run({"a": 7.0, "b": 7.0})
        return await history(storage)

    assert run_seeded(main, seed) == run_seeded(main, 0)


# What else ends a wait.


async def test_a_fresh_message_abandons_the_timers_and_says_so(autojump_clock):
    workflow = later(InMemoryCheckpointStorage())
    with trio.move_on_after(1):
        await workflow.run([("old", 5), ("older", 50)])

    result = await workflow.run([("new", 60)])

    assert [(each.reason, each.message, each.target_id) for each in events_of(result.events, MessageDroppedEvent)] == [
        ("discarded", "old", "stamp"),
        ("discarded", "older", "stamp"),
    ]
    assert result.outputs == ["new@2/61"]


async def test_a_reset_abandons_timers_for_executors_and_joins_and_the_next_run_says_so(autojump_clock):
    workflow = gathering("all")
    with trio.move_on_after(1):
        await workflow.run({"a": 5.0, "b": 50.0})
    await workflow.reset()

    result = await workflow.run({})

    dropped = [
        (each.reason, each.message, each.source_id, each.target_id)
        for each in events_of(result.events, MessageDroppedEvent)
    ]
    assert dropped == [("discarded", "a", "a", "end"), ("discarded", "b", "b", "end")]
    assert workflow._core.standing.snapshot.schedule.next_due() is None


async def test_an_answer_given_meanwhile_wakes_the_run_and_the_timers_go_on(autojump_clock):
    @executor
    async def start(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message("later", "stamp", delay=100)
        ctx.send_message("sure?", "asker")

    workflow = (
        WorkflowBuilder(name="w", start_executor=start)
        .add_edge(start, Asker("asker"))
        .add_edge("asker", Stamp("stamp"))
        .add_edge(start, "stamp")
        .build()
    )
    async with workflow.stream("x", buffer=None) as run:
        await trio.sleep(10)
        (request_id,) = workflow.pending_requests
        await run.respond(request_id, "yes")
        result = await run.wait()

    assert (result.outputs, result.status) == (["sure?=yes@4/10", "later@5/100"], IDLE)


async def test_a_save_that_fails_in_the_background_is_known_before_the_wait(autojump_clock):
    storage = DiesAt(2, after=False)

    with pytest.raises(CheckpointError):
        await later(storage).run([("a", MONTH)], durability="async")
    assert trio.current_time() < 60


async def test_responses_of_nothing_do_nothing_though_timers_wait(autojump_clock):
    """F12."""
    storage = InMemoryCheckpointStorage()
    workflow = later(storage)
    with trio.move_on_after(1):
        await workflow.run([("a", 5)])
    count = len(await storage.list())

    result = await workflow.run(responses={})

    assert (len(await storage.list()), result.supersteps, trio.current_time()) == (count, 1, 1)


# The clock.


class Wall:
    """A system clock that can be set."""

    def __init__(self) -> None:
        self.ahead = 1_700_000_000.0

    def time(self) -> float:
        return self.ahead + trio.current_time()


@pytest.mark.parametrize("step", [7200.0, -7200.0])
def test_a_clock_that_is_set_neither_hurries_a_timer_nor_keeps_it_waiting(step, monkeypatch):
    """The run's own clock is real here, so that trio's clock and the time of day are two."""
    wall = Wall()
    monkeypatch.setattr(actorflow.clock.time, "time", wall.time)
    monkeypatch.setattr(actorflow.clock, "runs_on_virtual_time", lambda: False)

    async def main() -> tuple[Any, ...]:
        storage = InMemoryCheckpointStorage(lease_ttl=1e6)
        async with later(storage).stream([("a", 60), ("b", 600)], buffer=None) as run:
            await trio.sleep(30)
            wall.ahead += step
            result = await run.wait()
        return result.outputs, result.status

    assert virtual(main) == (["a@2/60", "b@3/600"], IDLE)


def test_after_a_restart_the_time_of_day_rules(monkeypatch):
    wall = Wall()
    monkeypatch.setattr(actorflow.clock.time, "time", wall.time)
    monkeypatch.setattr(actorflow.clock, "runs_on_virtual_time", lambda: False)
    storage = InMemoryCheckpointStorage(lease_ttl=1e6)

    async def first() -> None:
        with trio.move_on_after(10):
            await later(storage).run([("a", 60), ("b", 600)])

    async def second() -> list[str]:
        return (await later(storage).run(checkpoint_id=LATEST)).outputs

    virtual(first)
    wall.ahead += 10 + 300  # trio's clock begins at 0 again, 300 s later
    assert virtual(second) == ["a@2/0", "b@3/290"]


@given(st.floats(1e-9, 1e15))
def test_a_wait_ends_however_the_floats_add_up(delay):
    async def main() -> tuple[int, bool]:
        result = await later().run([("a", delay)])
        return len(result.outputs), trio.current_time() >= delay * (1 - 1e-9) - 1e-6

    assert virtual(main) == (1, True)


# The schedule.

TIMER_NAMES = [(superstep, index) for superstep in range(3) for index in range(3)]
things = st.one_of(
    st.builds(
        lambda due, name, joins: Timer(due, *name, Arrival("j", "s", 1) if joins else Delivery("e", 1)),
        st.floats(0, 9),
        st.sampled_from(TIMER_NAMES),
        st.booleans(),
    ),
    st.builds(
        lambda id_, due: PendingRequest(id_, "e", 1, int, None if due is None else 1.0, due),
        st.sampled_from("pqr"),
        st.none() | st.floats(0, 9),
    ),
)


def section_of(thing: Any) -> tuple[str, str]:
    return (TIMERS, thing.name) if isinstance(thing, Timer) else (REQUESTS, thing.id)


@given(st.lists(st.tuples(things, st.booleans()), max_size=30), st.floats(0, 9))
def test_the_schedule_is_a_function_of_the_tables(steps, now):
    """Whatever came, was replaced, went and came back: it is as if it were made afresh, and looking changes nothing."""
    snapshot = Snapshot()
    for thing, stays in steps:
        snapshot.apply({section_of(thing): thing if stays else REMOVED})

    waiting = [*snapshot.timers.values(), *snapshot.requests.values()]
    dues = sorted(each.due for each in waiting if each.due is not None)
    due = [each for each in waiting if each.due is not None and each.due <= now]
    schedule, afresh = snapshot.schedule, Snapshot(snapshot.tables).schedule
    for each in (schedule, afresh):
        assert each.next_due() == (dues[0] if dues else None)
        assert each.timers == len(snapshot.timers)
        assert sorted(map(repr, each.due(now))) == sorted(map(repr, due))
        assert [one.due for one in each.due(now)] == sorted(one.due for one in due)
    assert (schedule.wakes.executors, schedule.wakes.arrivals) == (afresh.wakes.executors, afresh.wakes.arrivals)
    fired = [each for each in schedule.due(now) if isinstance(each, Timer)]
    assert fired == sorted(fired, key=lambda timer: (timer.due, timer.superstep, timer.index))


def test_finding_what_is_due_looks_at_no_more_than_that(monkeypatch):
    """P10."""
    schedule = Schedule()
    for index in range(10_000):
        timer = Timer(float(index), 1, index, Delivery("e", 1))
        schedule.change((TIMERS, timer.name), timer)
    looked = 0
    heap = schedule._heap

    class Counted(list):
        def __getitem__(self, at: Any) -> Any:
            nonlocal looked
            looked += 1
            return super().__getitem__(at)

    schedule._heap = Counted(heap)

    assert len(schedule.due(9.0)) == 10
    assert looked < 60


@pytest.mark.not_rehydrated(reason="measures what a superstep costs, and reading all of a large state back costs more")
async def test_a_superstep_costs_the_same_with_ten_thousand_timers_as_with_none(autojump_clock):
    """P10: in bytes, which do not depend on the machine; the schedule's part is counted above."""

    @executor
    async def start(count: int, ctx: WorkflowContext[str | int]) -> None:
        for number in range(count):
            ctx.send_message(f"{number}", "stamp", delay=MONTH + number)
        ctx.send_message(20, "loop")

    @executor
    async def loop(count: int, ctx: WorkflowContext[int]) -> None:
        if count:
            ctx.send_message(count - 1)

    class Weighing(InMemoryCheckpointStorage):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []

        async def save(self, commit: Any) -> Any:
            if commit.info.superstep > 1:
                self.sizes.append(len(commit.payload))
            return await super().save(commit)

    async def sizes(count: int) -> list[int]:
        storage = Weighing()
        builder = WorkflowBuilder(name="w", start_executor=start, checkpoint_storage=storage)
        with pytest.warns(UserWarning, match="self-loop"):
            workflow = builder.add_edge(start, loop).add_edge(start, Stamp("stamp")).add_edge(loop, loop).build()
        with trio.move_on_after(60):
            await workflow.run(count)
        assert len(workflow._core.standing.snapshot.timers) == count
        return storage.sizes[:15]  # later on a state without timers is small enough to be written in full

    few, many = await sizes(0), await sizes(10_000)
    assert max(many) <= max(few) + 16


@pytest.mark.not_rehydrated(reason="measures what a superstep costs, and reading all of a large state back costs more")
async def test_ten_thousand_timers_all_fire(autojump_clock):
    result = await later().run([(f"{number}", 1.0 + number % 7) for number in range(10_000)])

    assert (len(result.outputs), result.supersteps) == (10_000, 8)


# What is stored.


def test_a_graph_that_routes_differently_does_not_take_timers_up():
    storage = InMemoryCheckpointStorage()

    async def first() -> None:
        with trio.move_on_after(1):
            await later(storage).run([("a", 5)])

    async def second() -> None:
        other = WorkflowBuilder(name="later", start_executor=lambda: Sender("sender"), checkpoint_storage=storage)
        with pytest.raises(GraphMismatchError):
            await other.add_edge("sender", lambda: Stamp("other")).build(id="w").run(checkpoint_id=LATEST)

    virtual(first)
    virtual(second)


def test_the_journal_keeps_a_delay_and_it_counts_from_the_commit_that_comes():
    """P6: what a finished delivery did is kept when another of its superstep fails; the delay begins when it takes effect."""
    storage = InMemoryCheckpointStorage()
    calls = []

    def workflow() -> Workflow:
        class Sends(Executor):
            @handler
            async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
                calls.append(self.id)
                if self.id == "b":
                    await trio.sleep(1)
                    if calls.count("b") == 1:
                        raise LookupError(text)
                ctx.send_message(self.id, delay=5)

        class Start(Executor):
            @handler
            async def work(self, text: str, ctx: WorkflowContext[str]) -> None:
                ctx.send_message(text)

        return (
            WorkflowBuilder(name="w", start_executor=lambda: Start("start"), checkpoint_storage=storage)
            .add_fan_out_edges("start", [lambda: Sends("a"), lambda: Sends("b")])
            .add_edge("a", lambda: Stamp("stamp"))
            .add_edge("b", "stamp")
            .build(id="w")
        )

    async def first() -> None:
        with pytest.raises(LookupError):
            await workflow().run("x")

    async def second() -> list[str]:
        await trio.sleep(100)
        return (await workflow().run(checkpoint_id=LATEST)).outputs

    virtual(first)
    assert virtual(second) == ["a@3/106", "b@3/106"]
    assert sorted(calls) == ["a", "b", "b"]  # a is not run again
