"""True ancestry (P5): a checkpoint's parent is the checkpoint its state was derived from, whatever happened in between.

Every case in which a parent can get lost or go stale (F28, F29, F30) is a test here, over both storages; a property test
then plays random histories against a model that knows nothing of the implementation: it remembers what each workflow
object's state was last stored as, and where.
"""

# ruff: noqa: A002  # id is the word that executors and workflows use

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorflow
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
from actorflow.errors import CheckpointError, CheckpointNotFoundError
from actorflow.events import CheckpointSavedEvent, WorkflowRunState
from actorflow.runtime import recorder

ENTRY, SUPERSTEP, RESPONSES = CheckpointKind.ENTRY, CheckpointKind.SUPERSTEP, CheckpointKind.RESPONSES


class Countdown(Executor):
    """Counts down, one superstep each, and leaves a trace in the shared state; fails where it is told to."""

    @handler
    async def count(self, number: int, ctx: Context[int, int]) -> None:
        ctx.set_state("trace", [*ctx.get_state("trace", []), number])
        await ctx.yield_output(number)
        if ctx.config.get("fail_at") == number:
            raise RuntimeError(f"told to fail at {number}")
        if number:
            ctx.send_message(number - 1)


class Asker(Executor):
    @handler
    async def ask(self, question: str, ctx: Context) -> None:
        ctx.request_info(question, str, request_id=f"about {question}")

    @response_handler
    async def answered(self, question: str, answer: str, ctx: Context[Any, str]) -> None:
        await ctx.yield_output(f"{question}: {answer}")


def countdown(storage=None, id="W", **more):
    builder = WorkflowBuilder(
        name="countdown", start_executor=lambda: Countdown(id="down"), checkpoint_storage=storage, **more
    )
    return builder.add_chain(["down", lambda: _Echo(id="echo")]).add_edge("echo", "down").build(id=id)


class _Echo(Executor):
    @handler
    async def echo(self, number: int, ctx: Context[int]) -> None:
        ctx.send_message(number)


def asker(storage=None, id="Q"):
    return WorkflowBuilder(name="asker", start_executor=lambda: Asker(id="ask"), checkpoint_storage=storage).build(
        id=id
    )


@pytest.fixture(params=["memory", "sqlite"])
def new_storage(request, tmp_path):
    opened = []

    def make():
        if request.param == "memory":
            return InMemoryCheckpointStorage()
        opened.append(SqliteCheckpointStorage(tmp_path / f"{len(opened)}.db", synchronous="normal"))
        return opened[-1]

    yield make
    for storage in opened:
        storage.close()


async def headers(storage, id=None):
    return (await storage.list(id))[::-1]


async def one(storage, checkpoint_id):
    return (await storage.lineage(checkpoint_id))[0]


async def fails(workflow, *args, **kwargs):
    with pytest.raises(RuntimeError, match="told to fail"):
        await workflow.run(*args, **kwargs)


# Within a run, and from run to run.


async def test_supersteps_form_one_line_and_n_of_them_make_n_plus_one_checkpoints(new_storage):
    storage = new_storage()
    workflow = countdown(storage)
    result = await workflow.run(2)
    line = await headers(storage)
    assert [(each.kind, each.superstep) for each in line] == [(ENTRY, 0), *((SUPERSTEP, n) for n in range(1, 6))]
    assert [each.parent_id for each in line] == [None, *(each.id for each in line[:-1])]
    assert (result.supersteps, result.checkpoint_id, workflow.head) == (5, line[-1].id, line[-1].id)
    assert {each.run_id for each in line} == {result.events[0].run_id}


async def test_the_events_name_the_parents_that_the_storage_holds(new_storage):
    storage = new_storage()
    result = await countdown(storage).run(1)
    told = [(e.checkpoint_id, e.parent_id) for e in result.events if isinstance(e, CheckpointSavedEvent)]
    assert told == [(each.id, each.parent_id) for each in await headers(storage)]


async def test_a_second_run_goes_on_from_the_first(new_storage):
    storage = new_storage()
    workflow = countdown(storage)
    first = await workflow.run(0)
    second = await workflow.run(0)
    line = await storage.lineage(second.checkpoint_id)
    assert line[2].id == first.checkpoint_id
    assert [each.kind for each in line] == [SUPERSTEP, ENTRY, SUPERSTEP, ENTRY]


async def test_a_state_derived_from_none_has_no_parent(new_storage):
    storage = new_storage()
    await countdown(storage).run(0)
    anew = await countdown(storage).run(0)
    assert [each.parent_id for each in await storage.lineage(anew.checkpoint_id)][-1] is None
    assert len(await storage.lineage(anew.checkpoint_id)) == 2


async def test_after_a_reset_a_new_root_begins(new_storage):
    storage = new_storage()
    workflow = countdown(storage)
    await workflow.run(0)
    await workflow.reset()
    assert workflow.head is None
    result = await workflow.run(0)
    assert len(await storage.lineage(result.checkpoint_id)) == 2
    assert (await storage.load(result.checkpoint_id)).sequence == 4


@pytest.mark.parametrize("durability", ["superstep", "async", "exit"])
async def test_a_resumed_run_that_fails_then_a_fresh_run_on_the_same_object(new_storage, durability):
    """F28: the entry checkpoint is written, and stands on the last checkpoint of the failed run."""
    storage = new_storage()
    await fails(countdown(storage), 3, config={"fail_at": 2})
    workflow = countdown(storage)
    await fails(workflow, checkpoint_id=LATEST, config={"fail_at": 1}, durability=durability)
    failed_at = (await headers(storage))[-1]
    assert (failed_at.superstep, workflow.head) == (4, failed_at.id)
    await workflow.run(0, durability=durability)
    entry = (await headers(storage))[-2]
    assert (entry.kind, entry.superstep, entry.parent_id) == (ENTRY, 0, failed_at.id)


async def test_a_resumed_run_goes_on_from_the_checkpoint_it_took_up(new_storage):
    storage = new_storage()
    await fails(countdown(storage), 2, config={"fail_at": 1})
    before = await headers(storage)
    await countdown(storage).run(checkpoint_id=LATEST)
    after = await headers(storage)
    assert after[len(before)].parent_id == before[-1].id
    assert [each.superstep for each in after] == [0, 1, 2, 3, 4, 5]
    assert {each.kind for each in after[1:]} == {SUPERSTEP}


async def test_a_cancelled_run_then_a_fresh_one(new_storage):
    storage = new_storage()
    workflow = countdown(storage)
    async with workflow.stream(5, buffer=0) as run:
        async for event in run.events:
            if isinstance(event, CheckpointSavedEvent) and event.superstep == 2:
                break
    head = workflow.head
    result = await workflow.run(0)
    assert head == (await storage.lineage(result.checkpoint_id))[2].id
    assert len(await storage.lineage(head)) == (await one(storage, head)).superstep + 1


# Responses.


async def test_a_pause_and_its_answer_make_one_checkpoint_of_kind_responses_more(new_storage):
    storage = new_storage()
    workflow = asker(storage)
    paused = await workflow.run("tea")
    answered = await workflow.run(responses={"about tea": "yes"})
    assert (paused.supersteps, answered.supersteps) == (1, 1)
    line = await headers(storage)
    assert [(each.kind, each.superstep) for each in line] == [
        (ENTRY, 0),
        (SUPERSTEP, 1),
        (RESPONSES, 1),
        (SUPERSTEP, 2),
    ]
    assert [each.parent_id for each in line[1:]] == [each.id for each in line[:-1]]


async def test_answers_in_another_process_stand_on_the_pause(new_storage):
    storage = new_storage()
    paused = await asker(storage).run("tea")
    await asker(storage).run(responses={"about tea": "yes"}, checkpoint_id=LATEST)
    assert (await headers(storage))[2].parent_id == paused.checkpoint_id


async def test_an_answer_while_the_run_goes_on_is_a_responses_checkpoint_too(new_storage):
    storage = new_storage()
    async with asker(storage).stream("tea", buffer=None, wait_for_responses=True) as run:
        while run.status is not WorkflowRunState.IN_PROGRESS_PENDING_REQUESTS:
            await trio.lowlevel.checkpoint()
        await run.respond("about tea", "yes")
        result = await run.wait()
    line = await headers(storage)
    assert [(each.kind, each.superstep) for each in line][2:] == [(RESPONSES, 1), (SUPERSTEP, 2)]
    assert [each.parent_id for each in line[1:]] == [each.id for each in line[:-1]]
    assert result.outputs == ["tea: yes"]


# Looking.


@pytest.mark.parametrize("look", [{"checkpoint_id": LATEST}, {"checkpoint_id": LATEST, "responses": {}}])
async def test_restoring_a_pause_just_to_look_makes_no_checkpoint(new_storage, look):
    """F12."""
    storage = new_storage()
    paused = await asker(storage).run("tea")
    before = await headers(storage)
    workflow = asker(storage)
    result = await workflow.run(**look)
    assert await headers(storage) == before
    assert (workflow.head, result.checkpoint_id, result.supersteps) == (paused.checkpoint_id, paused.checkpoint_id, 1)
    assert [request.data for request in result.requests] == ["tea"]


async def test_no_responses_at_all_do_nothing(new_storage):
    """F12: not even go on with a failed run."""
    storage = new_storage()
    workflow = countdown(storage)
    await fails(workflow, 3, config={"fail_at": 2})
    before = await headers(storage)
    await workflow.run(responses={})
    assert await headers(storage) == before


# Several storages.


async def test_a_parent_is_always_in_the_same_storage(new_storage):
    """F29: two runs with two storages, alternating; what a state was derived from elsewhere is recorded as such."""
    one_, other = new_storage(), new_storage()
    workflow = countdown()
    heads = [None]
    for storage in (one_, other, other, one_, other):
        result = await workflow.run(0, checkpoint_storage=storage)
        entry = (await storage.lineage(result.checkpoint_id))[1]
        if storage is other and len(heads) == 3:
            assert (entry.parent_id, entry.derived_from) == (heads[-1], None)
        else:
            assert (entry.parent_id, entry.derived_from) == (None, heads[-1])
        heads.append(result.checkpoint_id)
    for storage in (one_, other):
        ids = {each.id for each in await headers(storage)}
        assert all(each.parent_id in {None, *ids} for each in await headers(storage))
    fresh = countdown()
    await fresh.run(checkpoint_id=heads[-1], checkpoint_storage=other)
    assert fresh._core.standing.snapshot.table("state") == {"trace": [0, 0, 0, 0, 0]}


async def test_the_same_file_opened_twice_is_the_same_storage(tmp_path):
    with (
        SqliteCheckpointStorage(tmp_path / "x", synchronous="normal") as one_,
        SqliteCheckpointStorage(tmp_path / "x", synchronous="normal") as other,
    ):
        workflow = countdown()
        first = await workflow.run(0, checkpoint_storage=one_)
        second = await workflow.run(0, checkpoint_storage=other)
        assert (await one_.lineage(second.checkpoint_id))[2].id == first.checkpoint_id


async def test_a_storage_given_to_one_run_is_not_inherited_by_the_next(new_storage):
    """F04."""
    storage = new_storage()
    workflow = countdown()
    await workflow.run(0, checkpoint_storage=storage)
    result = await workflow.run(0)
    assert len(await headers(storage)) == 2
    assert result.checkpoint_id is None


async def test_a_run_without_storage_between_two_with_one(new_storage):
    """The lineage skips what was never stored, the state does not."""
    storage = new_storage()
    workflow = countdown()
    first = await workflow.run(1, checkpoint_storage=storage)
    await workflow.run(2)
    third = await workflow.run(3, checkpoint_storage=storage)
    line = await storage.lineage(third.checkpoint_id)
    assert line[len(line) - 1 - 4].id != first.checkpoint_id
    assert first.checkpoint_id in [each.id for each in line]
    assert [each.kind for each in line].count(ENTRY) == 2
    rebuilt = countdown()
    result = await rebuilt.run(checkpoint_id=LATEST, checkpoint_storage=storage)
    assert rebuilt._core.standing.snapshot.table("state") == {"trace": [1, 0, 2, 1, 0, 3, 2, 1, 0]}
    assert result.outputs == [3, 2, 1, 0]


async def test_latest_of_a_storage_is_what_it_holds_even_if_the_workflow_went_on_without_it(new_storage):
    storage = new_storage()
    workflow = countdown()
    await workflow.run(1, checkpoint_storage=storage)
    await workflow.run(5)
    result = await workflow.run(checkpoint_id=LATEST, checkpoint_storage=storage)
    assert result.outputs == [1, 0]
    assert workflow._core.standing.snapshot.table("state") == {"trace": [1, 0]}


# Failed saves.


@attrs.define(eq=False)
class FailingSaves(InMemoryCheckpointStorage):
    """Refuses the saves whose numbers are named."""

    refused: set[int]
    count: int = 0

    def __attrs_pre_init__(self):
        super().__init__()

    async def save(self, commit):
        self.count += 1
        if self.count in self.refused:
            raise OSError(f"disk full at save {self.count}")
        return await super().save(commit)


@pytest.mark.parametrize("durability", ["superstep", "async", "exit"])
@pytest.mark.parametrize("refused", range(1, 7))
async def test_a_run_after_a_failed_save_stands_on_the_last_that_was_saved(refused, durability):
    storage = FailingSaves({refused})
    workflow = countdown(storage)
    try:
        await workflow.run(2, durability=durability)
    except CheckpointError as error:
        assert isinstance(error.__cause__, OSError)  # noqa: PT017
    saved = await headers(storage)
    assert workflow.head == (saved[-1].id if saved else None)
    storage.refused = set()
    result = await workflow.run(0)
    entry = (await storage.lineage(result.checkpoint_id))[1]
    assert entry.parent_id == (saved[-1].id if saved else None)


# Branches.


async def test_a_checkpoint_taken_up_under_another_id_is_the_parent_of_that_branch(new_storage):
    storage = new_storage()
    await countdown(storage, id="trunk").run(2)
    fork_at = (await headers(storage, "trunk"))[2]
    branch = countdown(storage, id="branch")
    result = await branch.run(checkpoint_id=fork_at.id)
    assert result.outputs == [2, 1, 0]
    line = await storage.lineage(result.checkpoint_id)
    assert [each.workflow_id for each in line] == ["branch"] * 3 + ["trunk"] * 3
    assert line[3].id == fork_at.id
    assert [each.sequence for each in line] == [3, 2, 1, 3, 2, 1]
    assert [each.id for each in await storage.children(fork_at.id)] == [
        (await headers(storage, "trunk"))[3].id,
        line[2].id,
    ]
    assert len(await headers(storage, "trunk")) == 6


async def test_a_fork_of_a_fork(new_storage):
    """R19."""
    storage = new_storage()
    await countdown(storage, id="a").run(3)
    at = (await headers(storage, "a"))[3]
    await countdown(storage, id="b").run(checkpoint_id=at.id)
    at_b = (await headers(storage, "b"))[1]
    result = await countdown(storage, id="c").run(checkpoint_id=at_b.id)
    line = await storage.lineage(result.checkpoint_id)
    assert [each.workflow_id for each in line] == ["c"] * 2 + ["b"] * 2 + ["a"] * 4
    assert result.outputs == [3, 2, 1, 0]
    assert result.supersteps == 7


async def test_a_fresh_message_on_a_branch_stands_on_the_checkpoint_it_looked_at(new_storage):
    storage = new_storage()
    paused = await asker(storage, id="a").run("tea")
    branch = asker(storage, id="b")
    await branch.run(checkpoint_id=paused.checkpoint_id)
    await branch.run("coffee")
    assert (await headers(storage, "b"))[0].parent_id == paused.checkpoint_id
    assert list(branch.pending_requests) == ["about tea", "about coffee"]


async def test_time_travel_within_one_id_makes_a_second_child_and_latest_follows_it(new_storage):
    storage = new_storage()
    workflow = countdown(storage)
    await workflow.run(2)
    old = await headers(storage)
    again = await workflow.run(checkpoint_id=old[2].id)
    new = (await headers(storage))[len(old) :]
    assert [each.id for each in await storage.children(old[2].id)] == [old[3].id, new[0].id]
    assert [each.superstep for each in new] == [3, 4, 5]
    assert again.outputs == [2, 1, 0]
    latest = await storage.latest(workflow_id="W")
    assert latest.id == again.checkpoint_id
    assert await countdown(storage).run(checkpoint_id=LATEST)


async def test_going_back_and_failing_leaves_latest_on_the_newer_line(new_storage):
    """R21: nothing of the line that was left shows in the one that was taken up."""
    storage = new_storage()
    workflow = countdown(storage)
    await workflow.run(3)
    first = (await headers(storage))[1]
    await fails(workflow, checkpoint_id=first.id, config={"fail_at": 1})
    result = await workflow.run(checkpoint_id=LATEST)
    assert result.outputs == [3, 2, 1, 0]
    assert workflow._core.standing.snapshot.table("state") == {"trace": [3, 2, 1, 0]}


# Identity and order.


async def test_workflows_of_one_name_do_not_mix(new_storage):
    """F30: lineage and latest go by workflow id."""
    storage = new_storage()
    await countdown(storage, id="a").run(1)
    await countdown(storage, id="b").run(2)
    await countdown(storage, id="a").run(0)
    result = await countdown(storage, id="b").run(checkpoint_id=LATEST)
    assert result.outputs == [2, 1, 0]
    for each in await headers(storage, "b"):
        assert {link.workflow_id for link in await storage.lineage(each.id)} == {"b"}


async def test_latest_does_not_go_by_the_clock(new_storage, monkeypatch):
    """F30: not even when the clock is set back for every checkpoint."""

    class Backwards:
        hour = 23

        @classmethod
        def now(cls, zone):
            cls.hour -= 1
            return datetime(2020, 1, 1, cls.hour, tzinfo=UTC)

    monkeypatch.setattr(recorder, "datetime", Backwards)
    storage = new_storage()
    result = await countdown(storage).run(2)
    latest = await storage.latest(workflow_id="W")
    assert latest.id == result.checkpoint_id
    assert [each.sequence for each in await headers(storage)] == [1, 2, 3, 4, 5, 6]
    assert (await countdown(storage).run(checkpoint_id=LATEST)).outputs == [2, 1, 0]


_CHILD = """
import sys, trio
sys.path.insert(0, sys.argv[3])
import importlib.util
spec = importlib.util.spec_from_file_location("lineage_of_a_child", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

async def main():
    with module.SqliteCheckpointStorage(sys.argv[2]) as storage:
        result = await module.countdown(storage).run(checkpoint_id=module.LATEST)
        print(result.checkpoint_id, *result.outputs)

trio.run(main)
"""


def test_a_restore_in_another_process_goes_on_from_the_same_checkpoint(tmp_path):
    async def before():
        with SqliteCheckpointStorage(tmp_path / "x") as storage:
            await fails(countdown(storage), 2, config={"fail_at": 1})
            return (await headers(storage))[-1].id

    async def after(checkpoint_id):
        with SqliteCheckpointStorage(tmp_path / "x") as storage:
            return [each.id for each in await storage.lineage(checkpoint_id)]

    head = trio.run(before)
    root = str(Path(actorflow.__file__).parents[1])
    command = [sys.executable, "-c", _CHILD, __file__, str(tmp_path / "x"), root]
    child = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    checkpoint_id, *outputs = child.stdout.split()
    assert outputs == ["2", "1", "0"]
    line = trio.run(after, checkpoint_id)
    assert line[3] == head
    assert len(line) == 6


# Any history.

_STEPS = st.one_of(
    st.tuples(st.just("fresh"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("fail"), st.integers(1, 3), st.integers(0, 2)),
    st.tuples(st.just("latest"), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("travel"), st.integers(0, 20), st.integers(0, 1)),
    st.tuples(st.just("process"), st.just(0), st.just(0)),
    st.tuples(st.just("reset"), st.just(0), st.just(0)),
)
_DURABILITIES = st.sampled_from(["superstep", "async", "exit"])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(_STEPS, _DURABILITIES), min_size=2, max_size=12))
def test_in_any_history_the_parent_is_what_the_state_was_derived_from(steps):
    """F28, F29, R24: the third storage is none at all; after every step the stored head rebuilds to the live state."""
    trio.run(_play, steps)


async def _play(steps):
    storages = [InMemoryCheckpointStorage(), InMemoryCheckpointStorage(), None]
    workflow, origin = countdown(), None  # the model: what the object's state was last stored as
    for (what, number, place), durability in steps:
        storage = storages[place]
        known = [{each.id for each in await each.list()} if each else set() for each in storages]
        behind = workflow.head is not None and workflow._core.standing.ledger.is_behind
        if what == "process":
            workflow, origin = countdown(), None
        elif what == "reset":
            await workflow.reset()
            origin = None
        elif what in ("fresh", "fail"):
            config = {"fail_at": number - 1} if what == "fail" else {}
            try:
                await workflow.run(number, checkpoint_storage=storage, durability=durability, config=config)
            except RuntimeError:
                assert what == "fail"
        else:
            taken_up = await _take_up(workflow, what, number, storage, durability)
            origin = taken_up or origin
        if storage is None or what in ("process", "reset"):
            continue
        origin = await _check_new(storage, known[place], origin)
        assert workflow.head == origin
        assert not behind or what not in ("fresh", "fail") or not workflow._core.standing.ledger.is_behind
        if origin is not None and origin in {each.id for each in await storage.list()}:
            await _check_rebuilt(workflow, storage, origin)


async def _take_up(workflow, what, number, storage, durability):
    stored = await headers(storage)
    chosen: Any = LATEST
    if what == "travel" and stored:
        chosen = stored[number % len(stored)].id
    elif stored:
        stored = stored[-1:]
    try:
        await workflow.run(checkpoint_id=chosen, checkpoint_storage=storage, durability=durability)
    except CheckpointNotFoundError:
        assert not stored
        return None
    return stored[-1].id if chosen is LATEST else chosen


async def _check_new(storage, known, origin):
    """Every new checkpoint stands on the one before it, the first on the model's origin if that is in this storage."""
    for each in await headers(storage):
        if each.id in known:
            continue
        here = origin is not None and origin in known
        assert each.parent_id == (origin if here else None)
        assert each.derived_from == (None if here else origin)
        origin = each.id
        known.add(origin)
    return origin


async def _check_rebuilt(workflow, storage, head):
    rebuilt = countdown()
    checkpoint = await storage.load(head)
    codec = rebuilt._core.definition.codec
    assert _tables(codec.decode(checkpoint.contents, checkpoint.superstep)) == _tables(workflow._core.standing.snapshot)
    assert checkpoint.superstep == workflow._core.standing.snapshot.superstep


def _tables(snapshot):
    return {name: dict(table) for name, table in snapshot.tables.items() if table}
