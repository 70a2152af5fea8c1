"""A prune takes the checkpoint that somebody stands on, without being the latest of its id: nobody is stopped by it.

The next save stands alone and says what it was derived from; ancestry stays true (P5), and nothing that was done is lost.
"""

from __future__ import annotations

import pytest
import trio

from actorflow import LATEST, Executor, InMemoryCheckpointStorage, SqliteCheckpointStorage, WorkflowBuilder, handler
from actorflow import WorkflowContext as Context
from actorflow.errors import CheckpointError, CheckpointNotFoundError
from actorflow.events import CheckpointFailedEvent, CheckpointSavedEvent

pytestmark = pytest.mark.filterwarnings("ignore::actorflow.graph.validation.SelfLoopWarning")

DURABILITIES = ["superstep", "async", "exit", "delivery"]


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield InMemoryCheckpointStorage()
    else:
        with SqliteCheckpointStorage(tmp_path / "checkpoints.db", synchronous="normal") as opened:
            yield opened


class Adder(Executor):
    """Adds up all it is sent, counting down; prunes when told to."""

    @handler
    async def add(self, number: int, ctx: Context[int, int]) -> None:
        if "prune" in ctx.config and ctx.superstep == ctx.config.get("at", 1):
            await ctx.config["prune"].prune(keep_last=1)
        ctx.set_state("sum", ctx.get_state("sum", 0) + number)
        ctx.set_state(f"at {number}", "x" * 50)
        if number == ctx.config.get("fail_at"):
            raise ArithmeticError(f"told to fail at {number}")
        if number:
            ctx.send_message(number - 1)
        else:
            await ctx.yield_output(ctx.get_state("sum"))


def adding(storage, id="mine"):  # noqa: A002
    builder = WorkflowBuilder(name="adding", start_executor=lambda: Adder("add"), checkpoint_storage=storage)
    return builder.add_edge("add", "add").build(id=id)


async def test_an_object_that_another_one_has_overtaken_goes_on_from_where_it_stands(storage):
    idle, busy = adding(storage), adding(storage)
    await idle.run(3)
    head = idle.head
    await busy.run(checkpoint_id=LATEST)
    await busy.run(4)
    await storage.prune(keep_last=1)
    with pytest.raises(CheckpointNotFoundError):
        await storage.load(head)

    result = await idle.run(5)

    assert result.outputs == [6 + 15]
    entry = (await storage.history("mine"))[0]
    assert (entry.kind, entry.parent_id, entry.derived_from) == ("entry", None, head)
    assert (await adding(storage).run(checkpoint_id=LATEST)).outputs == [21]
    assert (await storage.fsck()).ok


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_run_that_goes_on_from_an_old_checkpoint_survives_a_prune_of_it(storage, durability):
    await adding(storage).run(5)
    old = next(info for info in await storage.list("mine") if info.superstep == 2)

    result = await adding(storage).run(
        checkpoint_id=old.id, durability=durability, config={"prune": storage, "at": old.superstep + 1}
    )

    assert result.outputs == [15]
    history = await storage.history("mine")
    first = history[0]
    assert (first.parent_id, first.derived_from) == (None, old.id)
    assert first.superstep == (6 if durability == "exit" else 3)
    saved = [event for event in result.events if isinstance(event, CheckpointSavedEvent)]
    assert (saved[0].checkpoint_id, saved[0].parent_id) == (first.id, None)
    assert [info.id for info in history] == [event.checkpoint_id for event in saved]
    failed = [event for event in result.events if isinstance(event, CheckpointFailedEvent)]
    assert len(failed) == (1 if durability == "delivery" else 0)
    assert (await adding(storage).run(checkpoint_id=LATEST)).outputs == [15]
    assert (await storage.fsck()).ok


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_branch_survives_a_prune_of_what_it_branches_from(storage, durability):
    await adding(storage).run(5)
    old = next(info for info in await storage.list("mine") if info.superstep == 2)

    branch = adding(storage, id="branch")
    result = await branch.run(
        checkpoint_id=old.id, durability=durability, config={"prune": storage, "at": old.superstep + 1}
    )

    assert result.outputs == [15]
    first = (await storage.history("branch"))[0]
    assert (first.workflow_id, first.parent_id, first.derived_from) == ("branch", None, old.id)
    assert (await adding(storage, id="branch").run(checkpoint_id=LATEST)).outputs == [15]
    assert (await storage.fsck()).ok


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_run_that_failed_on_a_checkpoint_that_was_pruned_can_be_followed_by_another(storage, durability):
    await adding(storage).run(5)
    old = next(info for info in await storage.list("mine") if info.superstep == 2)
    workflow = adding(storage)
    with pytest.raises(ArithmeticError):
        await workflow.run(checkpoint_id=old.id, durability=durability, config={"fail_at": 3})
    assert workflow.head == old.id
    await storage.prune(keep_last=1)

    assert (await workflow.run(1)).outputs == [5 + 4 + 1]
    assert (await storage.history("mine"))[0].derived_from == old.id


async def test_a_run_that_is_cancelled_after_its_head_was_pruned_ends_as_cancelled(storage):
    await adding(storage).run(5)
    old = next(info for info in await storage.list("mine") if info.superstep == 2)
    workflow = adding(storage)

    async with workflow.stream(checkpoint_id=old.id, buffer=None) as run:
        await storage.prune(keep_last=1)
        run.cancel()
    assert run.status == "CANCELLED"
    assert (await workflow.run(0)).outputs == [9]


async def test_a_storage_that_has_lost_everything_is_begun_anew(tmp_path):
    """Even the latest: somebody deleted it, which only leaves allow."""
    with SqliteCheckpointStorage(tmp_path / "checkpoints.db") as storage:
        workflow = adding(storage)
        await workflow.run(1)
        for info in await storage.list():
            await storage.delete(info.id)
        assert (await workflow.run(2)).outputs == [1 + 3]
        assert (await storage.history("mine"))[0].derived_from is not None


async def test_what_fails_for_another_reason_is_not_tried_again():
    class Full(InMemoryCheckpointStorage):
        tries = 0

        async def save(self, commit):
            self.tries += 1
            await trio.lowlevel.checkpoint()
            raise CheckpointError("the disk is full") if commit.full else CheckpointNotFoundError("no such checkpoint")

    full = Full()
    with pytest.raises(CheckpointError, match="the disk is full"):
        await adding(full).run(1)
    assert full.tries == 1
