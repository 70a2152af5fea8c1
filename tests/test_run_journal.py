"""What finished deliveries did is kept in the storage when their superstep does not commit (P6, F38, R21)."""

from __future__ import annotations

from typing import Any, Never

import attrs
import pytest
import trio

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    SqliteCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    handler,
    response_handler,
)
from actorflow.errors import CheckpointError


class Splitter(Executor):
    @handler
    async def split(self, count: int, ctx: WorkflowContext[int]) -> None:
        for number in range(count):
            ctx.send_message(number)


@attrs.define
class Seen:
    numbers: list[int] = attrs.Factory(list)


class Worker(Executor):
    """Remembers in its own state, writes shared state, yields, asks and sends: all that must be kept."""

    state: Seen

    @handler
    async def work(self, number: int, ctx: WorkflowContext[str, int]) -> None:
        ctx.config["ran"].append(number)
        self.state.numbers.append(number)
        ctx.set_state("last", number)
        ctx.set_state("sum", ctx.get_state("sum", 0) + number)
        await ctx.yield_output(number)
        if number == 1:
            ctx.request_info("ok?", bool)
        if number == ctx.config.get("fails_at"):
            raise RuntimeError("told to fail")
        if number == ctx.config.get("hangs_at"):
            await trio.sleep_forever()
        ctx.send_message(f"{number}")

    @response_handler
    async def answered(self, question: str, answer: bool, ctx: WorkflowContext) -> None:
        pass


class Collector(Executor):
    @handler
    async def collect(self, text: str, ctx: WorkflowContext[Never, int]) -> None:
        ctx.set_state("texts", [*ctx.get_state("texts", []), text])


def build(storage: Any, workflow_id: str = "W") -> Workflow:
    return (
        WorkflowBuilder(name="journal", start_executor=Splitter("splitter"), checkpoint_storage=storage)
        .add_chain(["splitter", Worker("worker"), Collector("collector")])
        .build(id=workflow_id)
    )


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield InMemoryCheckpointStorage()
        return
    with SqliteCheckpointStorage(tmp_path / "x.db") as opened:
        yield opened


def seen(workflow, result):
    state = workflow.executors["worker"].state
    return result.outputs, result.supersteps, result.status, len(result.requests), state


async def uninterrupted():
    workflow = build(None)
    return seen(workflow, await workflow.run(5, config={"ran": []}))


@pytest.mark.parametrize("durability", ["superstep", "async", "exit", "delivery"])
async def test_after_a_failure_another_process_runs_only_what_did_not_finish(durability, storage):
    ran: list[int] = []
    with pytest.raises(RuntimeError, match="told to fail"):
        await build(storage).run(5, config={"ran": ran, "fails_at": 3}, durability=durability)

    ran.clear()
    resumed = build(storage)
    result = await resumed.run(checkpoint_id=LATEST, config={"ran": ran}, durability=durability)

    assert ran == [3, 4]
    assert seen(resumed, result) == await uninterrupted()


@pytest.mark.parametrize("durability", ["superstep", "delivery"])
async def test_after_a_cancellation_another_process_runs_only_what_did_not_finish(durability, storage, autojump_clock):
    ran: list[int] = []
    with trio.move_on_after(5):
        await build(storage).run(5, config={"ran": ran, "hangs_at": 2}, durability=durability)

    ran.clear()
    resumed = build(storage)
    result = await resumed.run(checkpoint_id=LATEST, config={"ran": ran})

    assert ran == [2, 3, 4]
    assert seen(resumed, result) == await uninterrupted()


async def test_an_explicit_checkpoint_and_a_branch_do_not_see_it(storage):
    ran: list[int] = []
    failing = build(storage)
    with pytest.raises(RuntimeError):
        await failing.run(5, config={"ran": ran, "fails_at": 3})

    ran.clear()
    await build(storage, "branch").run(checkpoint_id=failing.head, config={"ran": ran})
    in_branch, ran[:] = list(ran), []
    await build(storage).run(checkpoint_id=failing.head, config={"ran": ran})

    assert in_branch == ran == [0, 1, 2, 3, 4]


async def test_it_is_not_listed_and_the_next_commit_wipes_it(storage):
    ran: list[int] = []
    with pytest.raises(RuntimeError):
        await build(storage).run(5, config={"ran": ran, "fails_at": 3})
    head = await storage.latest(workflow_id="W")
    assert [each.superstep for each in await storage.list(workflow_id="W")] == [1, 0]
    assert [entry.index for entry in await storage.read_journal("W", head.id)] == [0, 1, 2]

    await build(storage).run(2, config={"ran": ran})

    assert await storage.read_journal("W", head.id) == []


class Dying(InMemoryCheckpointStorage):
    """Loses what is written after the process died, and the lease runs out by itself."""

    dead = False

    async def write_journal(self, entries, *, lease=None):
        if not self.dead:
            await super().write_journal(entries, lease=lease)

    async def release_lease(self, lease):
        if not self.dead:
            await super().release_lease(lease)


async def test_with_delivery_durability_finished_work_survives_the_death_of_the_process(autojump_clock):
    storage = Dying()
    ran: list[int] = []
    async with build(storage).stream(5, config={"ran": ran, "hangs_at": 3}, durability="delivery"):
        await trio.sleep(1)
        storage.dead = True

    storage.dead = False
    ran.clear()
    resumed = build(storage)
    result = await resumed.run(checkpoint_id=LATEST, config={"ran": ran}, wait=True)

    assert ran == [3, 4]
    assert seen(resumed, result) == await uninterrupted()


async def test_with_superstep_durability_a_death_runs_the_superstep_again(autojump_clock):
    storage = Dying()
    ran: list[int] = []
    async with build(storage).stream(5, config={"ran": ran, "hangs_at": 3}):
        await trio.sleep(1)
        storage.dead = True

    storage.dead = False
    ran.clear()
    resumed = build(storage)
    result = await resumed.run(checkpoint_id=LATEST, config={"ran": ran}, wait=True)

    assert ran == [0, 1, 2, 3, 4]
    assert seen(resumed, result) == await uninterrupted()


class Full(InMemoryCheckpointStorage):
    async def write_journal(self, entries, *, lease=None):
        raise CheckpointError("disk full")


async def test_with_delivery_durability_a_journal_that_cannot_be_written_fails_the_run():
    workflow = build(Full())

    with pytest.raises(CheckpointError, match="could not be kept"):
        await workflow.run(5, config={"ran": []}, durability="delivery")

    assert workflow.executors["worker"].state.numbers == []


async def test_when_a_failed_run_cannot_write_the_journal_the_handlers_error_is_raised_all_the_same():
    workflow = build(Full())

    with pytest.raises(RuntimeError, match="told to fail") as raised:
        await workflow.run(5, config={"ran": [], "fails_at": 3})

    assert any("could not be kept" in note for note in raised.value.__notes__)
