"""When commits are stored (P6), what a save that fails, hangs or is cut off leaves behind (P3, P8, F31), and a storage that
does all of these at seeded points (R01).
"""

# ruff: noqa: A002  # id is the word that executors and workflows use

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import attrs
import pytest
import trio
from typing_extensions import get_protocol_members

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    SqliteCheckpointStorage,
    WorkflowBuilder,
    handler,
    response_handler,
)
from actorflow import WorkflowContext as Context
from actorflow.checkpoint.records import CheckpointKind
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError, CheckpointNotFoundError, CodecError, ConvergenceError
from actorflow.events import (
    CheckpointFailedEvent,
    CheckpointSavedEvent,
    SuperstepCompletedEvent,
    SuperstepStartedEvent,
    WorkflowRunState,
)

DURABILITIES = ["superstep", "async", "exit"]
every_durability = pytest.mark.parametrize("durability", DURABILITIES)


class Step(Executor):
    """Counts down; keeps a trace in the shared state, in its own state, and as outputs."""

    def __init__(self, id):
        super().__init__(id=id)
        self.seen = []

    async def on_checkpoint_save(self):
        return {"seen": self.seen}

    async def on_checkpoint_restore(self, state):
        self.seen = state["seen"]

    @handler
    async def step(self, number: int, ctx: Context[int, int]) -> None:
        self.seen.append(number)
        if ctx.config.get("log") is not None:
            ctx.config["log"].append(f"step {number}")
        ctx.set_state(f"key {number}", [number])
        ctx.set_state("last", number)
        await ctx.yield_output(number)
        if ctx.config.get("fail_at") == number:
            raise RuntimeError(f"told to fail at {number}")
        if number:
            ctx.send_message(number - 1)


class Relay(Executor):
    @handler
    async def relay(self, number: int, ctx: Context[int]) -> None:
        ctx.send_message(number)


class Asking(Executor):
    @handler
    async def ask(self, topic: str, ctx: Context) -> None:
        ctx.request_info(topic, str, request_id="r")

    @response_handler
    async def answered(self, topic: str, answer: str, ctx: Context[Any, str]) -> None:
        await ctx.yield_output(answer)


def countdown(storage, **more):
    return (
        WorkflowBuilder(name="w", start_executor=lambda: Step(id="step"), checkpoint_storage=storage, **more)
        .add_edge("step", lambda: Relay(id="relay"))
        .add_edge("relay", "step")
        .build(id="W")
    )


@attrs.define(eq=False)
class Troubled(InMemoryCheckpointStorage):
    """Saves of given numbers fail (once or for good), or hang until they are cancelled; keeps a log."""

    failing: Any = ()
    hanging: Any = ()
    log: list[str] = attrs.Factory(list)
    count: int = 0
    under_way: int = 0
    most_under_way: int = 0

    def __attrs_pre_init__(self):
        super().__init__()

    async def save(self, commit):
        self.count += 1
        number = self.count
        self.log.append(f"save {commit.info.superstep}")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await trio.lowlevel.checkpoint()
            if number in self.hanging:
                await trio.sleep_forever()
            if number in self.failing:
                raise OSError(f"disk full at save {number}")
            return await super().save(commit)
        finally:
            self.under_way -= 1
            self.log.append(f"end {commit.info.superstep}")


async def headers(storage):
    return (await storage.list())[::-1]


def standing(workflow):
    snapshot = workflow._core.standing.snapshot
    tables = {name: dict(table) for name, table in snapshot.tables.items() if table}
    return snapshot.superstep, tables, workflow.executors["step"].seen


# When.


async def test_superstep_each_commit_is_stored_before_the_next_superstep_starts():
    storage = Troubled()
    await countdown(storage).run(1, config={"log": storage.log})
    assert storage.log == [
        *("save 0", "end 0", "step 1", "save 1", "end 1"),
        *("save 2", "end 2", "step 0", "save 3", "end 3"),
    ]


@pytest.mark.not_rehydrated(reason="looks at which of two tasks is first, and reading a state back takes steps")
async def test_async_one_save_at_most_is_under_way_while_the_next_superstep_runs():
    storage = Troubled()
    result = await countdown(storage).run(2, durability="async", config={"log": storage.log})
    assert storage.most_under_way == 1
    assert storage.log.index("step 1") < storage.log.index("end 2")
    assert [each.superstep for each in await headers(storage)] == [0, 1, 2, 3, 4, 5]
    assert (await headers(storage))[-1].id == result.checkpoint_id


@pytest.mark.parametrize(
    ("config", "last"), [({}, 5), ({"fail_at": 1}, 2), ({"fail_at": 2}, 0)], ids=["idle", "failed", "failed at once"]
)
async def test_exit_stores_the_entry_and_the_last_committed_state_however_the_run_ends(config, last):
    storage = InMemoryCheckpointStorage()
    workflow = countdown(storage)
    try:
        await workflow.run(2, durability="exit", config=config)
    except RuntimeError:
        assert config
    line = await headers(storage)
    assert [each.superstep for each in line] == [0, last] if last else [0]
    assert workflow.head == line[-1].id
    assert (await countdown(storage).run(checkpoint_id=LATEST)).outputs == [2, 1, 0]


async def test_exit_stores_the_last_committed_state_of_a_cancelled_run():
    storage = InMemoryCheckpointStorage()
    workflow = countdown(storage)
    async with workflow.stream(5, durability="exit") as run:
        async for event in run.events:
            if isinstance(event, SuperstepCompletedEvent) and event.superstep == 4:
                run.cancel()
    assert run.status is WorkflowRunState.CANCELLED
    line = await headers(storage)
    assert [each.superstep for each in line] == [0, run.result.supersteps]
    assert (await countdown(storage).run(checkpoint_id=LATEST)).outputs == [5, 4, 3, 2, 1, 0]


async def test_exit_stores_the_last_committed_state_when_the_limit_is_reached():
    storage = InMemoryCheckpointStorage()
    workflow = countdown(storage, max_supersteps=3)
    with pytest.raises(ConvergenceError):
        await workflow.run(5, durability="exit")
    assert [each.superstep for each in await headers(storage)] == [0, 3]


@every_durability
async def test_the_saved_event_comes_between_the_executors_and_the_end_of_the_superstep(durability):
    result = await countdown(Troubled()).run(1, durability=durability)
    told = [
        e
        for e in result.events
        if isinstance(e, CheckpointSavedEvent | SuperstepStartedEvent | SuperstepCompletedEvent)
    ]
    if durability == "superstep":
        kinds = [type(each) for each in told]
        assert kinds == [
            CheckpointSavedEvent,
            *[SuperstepStartedEvent, CheckpointSavedEvent, SuperstepCompletedEvent] * 3,
        ]
    saved = [each for each in told if isinstance(each, CheckpointSavedEvent)]
    assert len(saved) == (2 if durability == "exit" else 4)
    assert saved[-1].checkpoint_id == result.checkpoint_id


async def test_an_unknown_durability_is_refused():
    with pytest.raises(ValueError, match="durability='never' is unknown"):
        await countdown(None).run(1, durability="never")


# A save that fails.


@every_durability
@pytest.mark.parametrize("failing", range(1, 7))
async def test_a_failed_save_fails_the_run_and_the_head_stays(durability, failing):
    """F31, P8: the storage's error is the cause, the event is there, and the state is that of the head exactly."""
    storage = Troubled(failing={failing})
    workflow = countdown(storage)
    async with workflow.stream(2, durability=durability) as run:
        events = [event async for event in run.events]
        if durability == "exit" and failing > 2:
            assert run.status is WorkflowRunState.IDLE
            return
        with pytest.raises(CheckpointError, match="disk full") as caught:
            await run.wait()
    assert isinstance(caught.value.__cause__, OSError)
    assert [str(event.error.__cause__) for event in events if isinstance(event, CheckpointFailedEvent)] == [
        f"disk full at save {failing}"
    ]
    assert run.status is workflow.status is WorkflowRunState.FAILED
    line = await headers(storage)
    assert workflow.head == run.result.checkpoint_id == (line[-1].id if line else None)
    if not line:
        assert standing(workflow) == (0, {}, [])
        return
    rebuilt = countdown(storage, max_supersteps=1)
    with pytest.raises(CheckpointNotFoundError):
        await rebuilt.run(checkpoint_id="none", checkpoint_storage=storage)
    await _restore(rebuilt, line[-1])
    assert standing(workflow) == standing(rebuilt)


async def _restore(workflow, header):
    """Stand on a checkpoint without going on: a run that is cancelled before its first superstep."""
    async with workflow.stream(checkpoint_id=header.id, buffer=0) as run:
        await run.events.receive()
        run.cancel()


@every_durability
@pytest.mark.parametrize("failing", range(1, 7))
async def test_nothing_of_a_superstep_that_could_not_be_saved_is_in_a_later_checkpoint(durability, failing):
    """P3, F07: neither in the live state of a fresh run nor in what is stored of it."""
    storage = Troubled(failing={failing})
    workflow = countdown(storage)
    with suppress(CheckpointError):
        await workflow.run(2, durability=durability)
    storage.failing = ()
    await workflow.run(0, durability=durability)
    rebuilt = countdown(storage)
    await rebuilt.run(checkpoint_id=LATEST)
    assert standing(rebuilt) == standing(workflow)


@every_durability
@pytest.mark.parametrize("failing", range(1, 7))
async def test_after_a_failed_save_latest_goes_on_to_the_same_end(durability, failing):
    for same_object in (True, False):
        storage = Troubled(failing={failing})
        workflow = countdown(storage)
        try:
            await workflow.run(2, durability=durability)
        except CheckpointError:
            if workflow.head is None:
                continue
        workflow = workflow if same_object else countdown(storage)
        result = await workflow.run(checkpoint_id=LATEST, durability=durability)
        assert (result.outputs, result.supersteps) == ([2, 1, 0], 5)
        assert standing(workflow)[2] == [2, 1, 0]


@every_durability
@pytest.mark.parametrize("failing", [{1}, {2}, {3}, {1, 2, 3}, {2, 4, 5}, {5, 6}, {6, 7}, set(range(1, 100))], ids=str)
async def test_told_to_warn_the_run_goes_on_and_the_next_save_holds_everything(durability, failing):
    """F31, P8: each failure is an event; nothing of the run is lost, and the lineage has no hole."""
    storage = Troubled(failing=failing)
    workflow = countdown(storage, checkpoint_failures="warn")
    result = await workflow.run(2, durability=durability)
    assert (result.outputs, result.supersteps, result.status) == ([2, 1, 0], 5, WorkflowRunState.IDLE)
    failed = [event for event in result.events if isinstance(event, CheckpointFailedEvent)]
    assert len(failed) == len([number for number in failing if number <= storage.count])
    line = await headers(storage)
    assert [each.parent_id for each in line] == [None, *(each.id for each in line)][: len(line)]
    storage.failing = ()
    again = await workflow.run(0, durability=durability)
    assert again.outputs == [0]
    rebuilt = countdown(storage)
    await rebuilt.run(checkpoint_id=LATEST)
    assert standing(rebuilt) == standing(workflow)
    assert standing(workflow)[1]["state"] == {"key 2": [2], "key 1": [1], "key 0": [0], "last": 0}


async def test_told_to_warn_what_a_run_without_storage_did_is_not_forgotten_either():
    storage = Troubled()
    workflow = countdown(None, checkpoint_failures="warn")
    await workflow.run(1, checkpoint_storage=storage)
    await workflow.run(4)
    storage.failing = range(100)
    await workflow.run(0, checkpoint_storage=storage)
    storage.failing = ()
    await workflow.run(0, checkpoint_storage=storage)
    rebuilt = countdown(storage)
    await rebuilt.run(checkpoint_id=LATEST)
    assert standing(rebuilt) == standing(workflow)
    assert "key 4" in standing(rebuilt)[1]["state"]


async def test_a_failed_save_of_an_answer_leaves_the_request_open():
    storage = Troubled(failing={3})
    builder = WorkflowBuilder(name="q", start_executor=lambda: Asking(id="ask"), checkpoint_storage=storage)
    workflow = builder.build(id="Q")
    await workflow.run("tea")
    with pytest.raises(CheckpointError):
        await workflow.run(responses={"r": "yes"})
    assert list(workflow.pending_requests) == ["r"]
    assert (await workflow.run(responses={"r": "yes"})).outputs == ["yes"]
    assert [each.kind for each in await headers(storage)][2:] == [CheckpointKind.RESPONSES, CheckpointKind.SUPERSTEP]


@every_durability
async def test_a_value_that_cannot_be_stored_fails_its_superstep_not_a_later_one(durability):
    """F35: with "async" and "exit" too, it is refused when it is made."""

    class Sloppy(Executor):
        @handler
        async def step(self, number: int, ctx: Context[int]) -> None:
            if number == 1:
                ctx.set_state("bad", {"deep": [object()]})
            ctx.send_message(number - 1)

    storage = InMemoryCheckpointStorage()
    builder = WorkflowBuilder(name="s", start_executor=lambda: Sloppy(id="s"), checkpoint_storage=storage)
    workflow = builder.add_edge("s", lambda: Relay(id="r")).add_edge("r", "s").build(id="S")
    with pytest.raises(CodecError, match=r"state\['bad'\]") as caught:
        await workflow.run(2, durability=durability)
    assert caught.value.path.startswith("state['bad']")
    assert workflow._core.standing.snapshot.superstep == 2
    assert (await headers(storage))[-1].superstep == 2
    assert workflow.head == (await headers(storage))[-1].id


# A save that hangs, and a run that is cut off.


@pytest.mark.parametrize("hanging", range(1, 4))
async def test_a_cancelled_superstep_whose_save_hangs_is_not_committed(hanging, autojump_clock):
    storage = Troubled(hanging={hanging})
    workflow = countdown(storage)
    with trio.move_on_after(10) as scope:
        await workflow.run(2)
    assert scope.cancelled_caught
    assert workflow.status is WorkflowRunState.CANCELLED
    line = await headers(storage)
    assert len(line) == hanging - 1
    assert standing(workflow)[0] == max(hanging - 2, 0)
    if line:
        assert (await workflow.run(checkpoint_id=LATEST)).outputs == [2, 1, 0]
        assert standing(workflow)[2] == [2, 1, 0]


@pytest.mark.parametrize("hanging", [{2}, {3}, {4}])
async def test_a_cancelled_run_finishes_the_save_in_the_background(hanging, autojump_clock):
    """Its superstep was committed, so it is stored: once more, shielded, for a bounded time."""
    storage = Troubled(hanging=hanging)
    workflow = countdown(storage)
    with trio.move_on_after(10):
        await workflow.run(2, durability="async")
    line = await headers(storage)
    assert line[-1].superstep == min(hanging) - 1
    assert workflow.head == line[-1].id
    assert standing(workflow)[0] == line[-1].superstep
    assert (await workflow.run(checkpoint_id=LATEST)).outputs == [2, 1, 0]
    assert standing(workflow)[2] == [2, 1, 0]


async def test_a_background_save_that_hangs_for_good_is_given_up_and_taken_back(autojump_clock):
    storage = Troubled(hanging=range(3, 100))
    workflow = countdown(storage)
    with trio.move_on_after(10):
        await workflow.run(2, durability="async")
    assert trio.current_time() < 21
    assert standing(workflow)[0] == (await headers(storage))[-1].superstep == 1
    storage.hanging = ()
    assert (await workflow.run(checkpoint_id=LATEST)).outputs == [2, 1, 0]
    assert standing(workflow)[2] == [2, 1, 0]


@every_durability
@pytest.mark.parametrize("policy", ["raise", "warn"])
async def test_after_a_save_that_hangs_for_good_the_executors_stand_where_the_workflow_does(
    durability, policy, autojump_clock
):
    """P3: also when the time for going back was used up by the storage."""
    storage = Troubled(hanging=range(2, 100))
    workflow = countdown(storage, checkpoint_failures=policy)
    with trio.move_on_after(10):
        await workflow.run(2, durability=durability)
    storage.hanging = ()
    result = await workflow.run(checkpoint_id=LATEST)
    assert result.outputs == [2, 1, 0]
    assert standing(workflow)[2] == [2, 1, 0]


@every_durability
@pytest.mark.parametrize("read", range(3, 28))
async def test_a_stream_left_anywhere_is_left_at_once_and_the_workflow_stands_on_its_head(
    durability, read, autojump_clock
):
    """P2, P3: with no room for an event, and a checkpoint to be told of, nobody waits for a reader that has gone."""
    storage = InMemoryCheckpointStorage()
    workflow = countdown(storage)
    began = trio.current_time()
    async with workflow.stream(2, durability=durability, buffer=0) as run:
        for _ in range(read):
            try:
                await run.events.receive()
            except trio.EndOfChannel:
                break
    assert trio.current_time() == began
    if workflow.head is None:
        return
    rebuilt = countdown(storage)
    await _restore(rebuilt, await storage.load(workflow.head))
    assert standing(workflow) == standing(rebuilt)
    result = await workflow.run(checkpoint_id=LATEST)
    assert (result.outputs, result.supersteps) == ([2, 1, 0], 5)
    assert standing(workflow)[2] == [2, 1, 0]


# Chaos.


def forwards_the_rest(cls):
    """Pass every verb of the protocol that a wrapper leaves alone on to the storage inside."""

    def passed_on(verb):
        return lambda self, *args, **kwargs: getattr(self.inner, verb)(*args, **kwargs)

    for verb in get_protocol_members(CheckpointStorage) - vars(cls).keys():
        setattr(cls, verb, passed_on(verb))
    return cls


@forwards_the_rest
class Chaotic:
    """A storage that fails, hangs, or loses an acknowledgement, at points that a seed decides; it heals in the end."""

    def __init__(self, inner, seed):
        self.inner = inner
        self.chance = random.Random(seed)
        self.troubles = 6

    async def _trouble(self):
        if not self.troubles or self.chance.random() < 0.6:
            return None
        self.troubles -= 1
        kind = self.chance.choice(["before", "after", "hang"])
        if kind == "before":
            raise OSError("chaos before")
        if kind == "hang":
            await trio.sleep_forever()
        return kind

    async def _do(self, verb, *args, **kwargs):
        kind = await self._trouble()
        result = await getattr(self.inner, verb)(*args, **kwargs)
        if kind == "after":
            raise OSError("chaos after")
        return result

    async def save(self, commit):
        return await self._do("save", commit)

    async def load(self, checkpoint_id):
        return await self._do("load", checkpoint_id)

    async def latest(self, *, workflow_id):
        return await self._do("latest", workflow_id=workflow_id)

    async def children(self, checkpoint_id):
        return await self._do("children", checkpoint_id)


@every_durability
@pytest.mark.parametrize("seed", range(12))
async def test_whatever_a_storage_does_the_run_gets_to_the_same_end(durability, seed, autojump_clock):
    """R01: every error is a CheckpointError, every hang is cut off, the object is used on or thrown away at random."""
    inner = InMemoryCheckpointStorage()
    storage = Chaotic(inner, seed)
    chance = random.Random(1000 + seed)
    workflow = countdown(storage)
    for _ in range(40):
        stored = await inner.latest(workflow_id="W")
        how = {"checkpoint_id": LATEST} if stored else {"message": 3}
        result = None
        with trio.move_on_after(20):
            try:
                result = await workflow.run(**how, durability=durability)
            except CheckpointError as error:
                assert isinstance(error.__cause__, OSError)  # noqa: PT017
        if result is not None:
            break
        if chance.random() < 0.5:
            workflow = countdown(storage)
    assert (result.outputs, result.supersteps) == ([3, 2, 1, 0], 7)
    assert standing(workflow)[2] == [3, 2, 1, 0]
    rebuilt = countdown(inner)
    await rebuilt.run(checkpoint_id=LATEST)
    assert standing(rebuilt) == standing(workflow)
    line = await inner.lineage(workflow.head)
    assert [each.superstep for each in line] == sorted((each.superstep for each in line), reverse=True)


async def test_sqlite_closed_and_opened_again_between_runs_goes_on(tmp_path):
    with SqliteCheckpointStorage(tmp_path / "x", synchronous="normal") as storage:
        workflow = countdown(storage)
        first = await workflow.run(1)
        storage.close()
        second = await workflow.run(1)
        assert first.checkpoint_id in [each.id for each in await storage.lineage(second.checkpoint_id)]
