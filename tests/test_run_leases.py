"""Runs and leases (P7, R08, F41): one workflow object or process at a time advances a workflow id in a storage."""

from __future__ import annotations

from typing import Any, Never

import pytest
import trio

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    PostgresCheckpointStorage,
    SqliteCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    handler,
)
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.testing import empty_house


class Sleeper(Executor):
    @handler
    async def sleep(self, seconds: float, ctx: WorkflowContext[float]) -> None:
        await trio.sleep(seconds)
        ctx.send_message(seconds)


class Teller(Executor):
    @handler
    async def tell(self, seconds: float, ctx: WorkflowContext[Never, float]) -> None:
        ctx.set_state("slept", seconds)
        await ctx.yield_output(seconds)


def sleepy(storage: Any) -> Workflow:
    return (
        WorkflowBuilder(name="sleepy", start_executor=Sleeper("sleeper"), checkpoint_storage=storage)
        .add_edge("sleeper", Teller("teller"))
        .build(id="W")
    )


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield InMemoryCheckpointStorage()
        return
    if request.param == "sqlite":
        opened = SqliteCheckpointStorage(tmp_path / "x.db")
    else:
        database = request.getfixturevalue("database")
        opened = PostgresCheckpointStorage(database.dsn, schema=database.schema)
    with opened:
        yield opened


async def test_two_workflows_of_one_id_cannot_run_at_once(storage, autojump_clock):
    first, second = sleepy(storage), sleepy(storage)

    async with empty_house(), first.stream(60.0):
        await trio.sleep(1)
        with pytest.raises(LeaseHeldError) as refused:
            await second.run(1.0)
    result = await second.run(1.0)

    assert refused.value.workflow_id == "W"
    assert result.outputs == [1.0]


async def test_a_run_that_waits_gets_the_lease_when_the_other_run_ends(storage, autojump_clock):
    first, second = sleepy(storage), sleepy(storage)
    ended = []

    async def run(workflow, seconds):
        await workflow.run(seconds, wait=True)
        ended.append(seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, first, 60.0)
        await trio.sleep(1)
        nursery.start_soon(run, second, 0.5)

    assert ended == [60.0, 0.5]
    assert [each.superstep for each in await storage.list(workflow_id="W")] == [2, 1, 0, 2, 1, 0]


async def test_a_waiter_that_gives_up_leaves_its_workflow_free(storage, autojump_clock):
    first, second = sleepy(storage), sleepy(storage)

    async with first.stream(60.0):
        await trio.sleep(1)
        with trio.move_on_after(5):
            await second.run(1.0, wait=True)

    assert (await second.run(1.0)).outputs == [1.0]


@pytest.mark.parametrize("how", ["success", "failure", "cancelled", "cancelled from outside", "refused"])
async def test_the_lease_is_released_on_every_way_out(how, storage, autojump_clock):
    workflow = sleepy(storage)
    match how:
        case "success":
            await workflow.run(1.0)
        case "failure":
            with pytest.raises(ValueError, match="told to fail"):
                await _failing(storage).run(1.0)
        case "cancelled":
            async with workflow.stream(60.0) as run:
                run.cancel()
        case "cancelled from outside":
            with trio.move_on_after(1):
                await workflow.run(60.0)
        case _:
            with pytest.raises(CheckpointError):
                await workflow.run(checkpoint_id="no such checkpoint")

    lease = await storage.acquire_lease("W", owner="another")

    assert lease.owner == "another"


class Failing(Executor):
    @handler
    async def fail(self, message: float, ctx: WorkflowContext) -> None:
        raise ValueError("told to fail")


def _failing(storage):
    return WorkflowBuilder(name="x", start_executor=Failing("f"), checkpoint_storage=storage).build(id="W")


async def test_a_lease_is_renewed_as_long_as_a_run_lasts(storage, autojump_clock):
    first, second = sleepy(storage), sleepy(storage)

    async with first.stream(1000.0) as run:
        await trio.sleep(900)
        with pytest.raises(LeaseHeldError):
            await second.run(1.0)
        assert (await run.wait()).outputs == [1000.0]


class Unreachable(InMemoryCheckpointStorage):
    """Cannot be reached for renewals, as for a process that is stopped; can be written to."""

    reachable = True

    async def renew_lease(self, lease):
        if not self.reachable:
            raise CheckpointError("unreachable")
        await super().renew_lease(lease)


async def test_an_overtaken_run_ends_with_lease_lost_and_writes_nothing_more(autojump_clock):
    """P7: the fence is in the write; the cancellation stops the work."""
    storage = Unreachable()
    first, second = sleepy(storage), sleepy(storage)

    async def overtaken():
        with pytest.raises(LeaseLostError):
            await first.run(40.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(overtaken)
        await trio.sleep(1)
        storage.reachable = False
        await trio.sleep(30.5)
        storage.reachable = True
        taken_over = await second.run(checkpoint_id=LATEST)

    assert taken_over.outputs == [40.0]
    assert (await storage.latest(workflow_id="W")).id == second.head


async def test_a_run_that_cannot_renew_for_a_whole_time_to_live_stops_by_itself(autojump_clock):
    storage = Unreachable()
    workflow = sleepy(storage)
    storage.reachable = False

    with pytest.raises(LeaseLostError) as lost:
        await workflow.run(1000.0)

    assert isinstance(lost.value.__cause__, CheckpointError)
    assert trio.current_time() < 60


async def test_a_save_of_an_overtaken_run_is_refused_by_the_storage(autojump_clock):
    """R08: the overtaken run does not know yet, and writes."""

    class Parked(InMemoryCheckpointStorage):
        async def renew_lease(self, lease):
            """Says yes and does nothing: the process believes that it holds the lease."""

    storage = Parked()
    first, second = sleepy(storage), sleepy(storage)

    async with trio.open_nursery() as nursery:
        run = await nursery.start(first.start, 40.0)
        await trio.sleep(31)
        async with second.stream(checkpoint_id=LATEST):  # holds the lease while the first one's superstep ends
            with pytest.raises(LeaseLostError):
                await run.wait()

    written = await storage.list(workflow_id="W")
    assert [each.superstep for each in written] == [0]


async def test_a_storage_without_leases_serves_runs_that_are_not_fenced(autojump_clock):
    class Plain:
        def __init__(self, inner):
            self.save, self.load, self.latest = inner.save, inner.load, inner.latest
            self.list, self.lineage, self.children, self.delete = (
                inner.list,
                inner.lineage,
                inner.children,
                inner.delete,
            )

    storage = Plain(InMemoryCheckpointStorage())

    result = await sleepy(storage).run(1.0)

    assert result.outputs == [1.0]
    assert (await sleepy(storage).run(checkpoint_id=LATEST)).outputs == [1.0]


@pytest.mark.parametrize(("options", "renewals"), [({}, 3), ({"lease_renewal": 4}, 7), ({"lease_renewal": 29}, 1)])
async def test_a_run_renews_its_lease_as_often_as_the_storage_says(tmp_path, autojump_clock, options, renewals):
    """Every third of the time to live unless told otherwise."""
    opened = [InMemoryCheckpointStorage(**options), SqliteCheckpointStorage(tmp_path / "x.db", **options)]
    for storage in opened:
        count, renew = 0, storage.renew_lease

        async def counted(lease, renew=renew):
            nonlocal count
            count += 1
            await renew(lease)

        storage.renew_lease = counted
        with storage:
            await sleepy(storage).run(30.5)
        assert count == renewals


@pytest.mark.parametrize("renewal", [0, -1, 30, 31, float("nan"), True, "1"])
def test_a_renewal_that_would_let_the_lease_run_out_is_refused(tmp_path, renewal):
    for make in (InMemoryCheckpointStorage, lambda **given: SqliteCheckpointStorage(tmp_path / "x.db", **given)):
        with pytest.raises(ValueError, match="lease_renewal"):
            make(lease_renewal=renewal)
