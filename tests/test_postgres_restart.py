"""A PostgreSQL server that is shut down, or crashes, and comes back: at rest, under verbs, and in the middle of runs (R15, P8).

Nothing that was acknowledged is lost; verbs during the outage say so; sessions that died with the server are replaced by
the next verb; a lease lasts through a restart, or is lost as any other is.
"""

from __future__ import annotations

import os
from functools import partial

import psycopg
import pytest
import trio

from actorflow import LATEST, Executor, WorkflowBuilder, WorkflowContext, handler
from actorflow.checkpoint.postgres.storage import PostgresCheckpointStorage
from actorflow.errors import CheckpointError, LeaseLostError
from actorflow.testing.storage_conformance import make_commit, make_entry
from tests.postgres import GIVEN, fresh_database, restartable_server, until

pytestmark = pytest.mark.skipif(GIVEN in os.environ, reason="a server that was given is not ours to stop")

MODES = ("fast", "immediate")


@pytest.fixture(scope="module")
def module_server():
    with restartable_server() as server:
        yield server


@pytest.fixture
def server(module_server):
    """It runs before and after each test."""
    yield module_server
    module_server.start()


@pytest.fixture
def database(server):
    with fresh_database(server.dsn) as database:
        yield database
        server.start()


@pytest.fixture
def storage(database):
    with open_storage(database) as storage:
        yield storage


def open_storage(database, **options):
    return PostgresCheckpointStorage(database.dsn, schema=database.schema, **options)


async def in_thread(work, *args):
    await trio.to_thread.run_sync(work, *args)


# At rest


@pytest.mark.parametrize("mode", MODES)
async def test_a_restart_between_two_verbs_is_noticed_by_none(server, storage, mode):
    """All pooled sessions are dead, those of readers, of batches and of single writers."""
    lease = await storage.acquire_lease("workflow", owner="me")
    await storage.save(make_commit("a", lease=lease))
    await storage.write_journal([make_entry(0, "a")], lease=lease)
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(storage.list)
        nursery.start_soon(partial(storage.prune, keep_last=5))
    assert len(storage._others._idle) > 2

    await in_thread(server.restart, mode)

    assert await storage.read_journal("workflow", "a") == [make_entry(0, "a")]
    await storage.renew_lease(lease)
    assert (await storage.save(make_commit("b", "a", lease=lease))).sequence == 2
    assert (await storage.latest(workflow_id="workflow")).id == "b"
    assert await storage.prune(keep_last=5) == 0
    assert (await storage.fsck()).ok
    await storage.release_lease(lease)


@pytest.mark.parametrize("mode", MODES)
async def test_verbs_during_the_outage_say_so_and_those_after_it_work(server, storage, mode):
    await storage.save(make_commit("a"))
    await storage.list()
    await in_thread(server.stop, mode)
    errors = []

    async def fails(verb):
        with pytest.raises(CheckpointError, match="cannot be reached, or the connection was lost") as caught:
            await verb()
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(fails, partial(storage.save, make_commit(f"{number}", "a")))
            nursery.start_soon(fails, storage.list)
            nursery.start_soon(fails, partial(storage.acquire_lease, "workflow", owner="me"))
    assert len({id(error) for error in errors}) == len(errors) == 9
    assert all(isinstance(error.__cause__, psycopg.OperationalError) for error in errors)

    await in_thread(server.start)

    assert [info.id for info in await storage.list()] == ["a"]
    await storage.save(make_commit("b", "a"))


# Under writers


@pytest.mark.parametrize("mode", MODES)
async def test_what_was_acknowledged_before_the_server_stopped_is_there_after_it(server, storage, mode):
    """R15: with eight that write all the time, through group commits; what failed may be written again."""
    acknowledged, failed = [], []

    async def write(number):
        parent = None
        while True:
            commit = make_commit(f"{number}-{len(acknowledged)}", parent, workflow_id=f"{number}")
            try:
                parent = (await storage.save(commit)).id
            except CheckpointError as error:
                failed.append((commit, error))
                return
            acknowledged.append(parent)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(write, number)
        await until(lambda: len(acknowledged) >= 100)
        await in_thread(server.stop, mode)
    await in_thread(server.start)

    there = [info.id for info in await storage.list()]
    assert set(acknowledged) <= set(there) <= {*acknowledged, *(commit.info.id for commit, _ in failed)}
    assert len(failed) == 8
    for commit, _ in failed:
        await storage.save(commit)
    assert len(await storage.list()) == len(acknowledged) + 8
    report = await storage.fsck()
    assert report.ok, report


# In runs


class Counter(Executor):
    """Counts to ten, and lets something happen at five, once."""

    def __init__(self, name, at_five):
        super().__init__(name)
        self.at_five = at_five

    @handler
    async def count(self, number: int, ctx: WorkflowContext[int, int]) -> None:
        ctx.set_state("sum", ctx.get_state("sum", 0) + number)
        await ctx.yield_output(number)
        if number == 5 and self.at_five is not None:
            happens, self.at_five = self.at_five, None
            await happens()
        if number < 10:
            ctx.send_message(number + 1)


def build(storage, at_five=None):
    builder = WorkflowBuilder(name="count", start_executor=Counter("ping", at_five), checkpoint_storage=storage)
    return builder.add_edge("ping", Counter("pong", None)).add_edge("pong", "ping").build(id="W")


async def assert_is_whole(storage, result):
    assert result.outputs == [*range(1, 11)]
    head = await storage.latest(workflow_id="W")
    assert [info.superstep for info in await storage.lineage(head.id)] == [*range(10, -1, -1)]
    report = await storage.fsck()
    assert report.ok, report


@pytest.mark.parametrize("durability", ["superstep", "delivery"])  # with "async" it may be between none
@pytest.mark.parametrize("mode", MODES)
async def test_a_run_whose_server_restarts_between_two_writes_goes_on(server, database, storage, mode, durability):
    """P7: its lease is a row, which lasts; it is renewed and given back through sessions that were opened after."""
    result = await build(storage, partial(in_thread, server.restart, mode)).run(1, durability=durability)
    await assert_is_whole(storage, result)
    assert database.execute("SELECT count(*) FROM workflow WHERE epoch IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("durability", ["superstep", "async", "delivery"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_run_whose_server_is_gone_fails_and_is_resumed_to_the_same_end(server, database, mode, durability):
    """P6, P8: it says what failed and why, and stands on its last commit."""
    with open_storage(database) as storage:
        workflow = build(storage, partial(in_thread, server.stop, mode))
        # With "async" a write may be under way at that very moment.
        with pytest.raises(CheckpointError, match=r"PostgreSQL .*(cannot be reached|shut down|was lost)"):
            await workflow.run(1, durability=durability)
        await in_thread(server.start)
        # It could not be given back, and runs out by itself; this is as if that had happened.
        assert database.execute("UPDATE workflow SET expires = 0 WHERE epoch IS NOT NULL RETURNING id") == [(b"W",)]
        result = await workflow.run(checkpoint_id=LATEST)
        await assert_is_whole(storage, result)
        assert database.execute("SELECT count(*) FROM journal") == [(0,)]


async def test_a_run_sits_out_an_outage_that_is_shorter_than_its_lease(server, database):
    """P7: renewals fail meanwhile and are tried again."""
    with open_storage(database, lease_ttl=5) as storage:

        async def outage():
            await in_thread(server.stop, "immediate")
            await trio.sleep(1.8)  # a renewal fell due
            await in_thread(server.start)

        await assert_is_whole(storage, await build(storage, outage).run(1))


async def test_a_lease_that_ran_out_during_the_outage_is_lost_when_another_took_it(server, database):
    """P7: who was overtaken writes nothing and ends with LeaseLostError; the other one goes on from the last commit."""
    with open_storage(database, lease_ttl=0.3) as storage, open_storage(database) as other:
        taken = []

        async def outage():
            await in_thread(server.restart, "immediate")
            with trio.CancelScope(shield=True):  # the run may already know; let the other one have come
                await trio.sleep(0.3)
                await take_over()

        async def take_over():
            await in_thread(database.execute, "UPDATE workflow SET expires = 0")  # a renewal may have come between
            taken.append(await other.acquire_lease("W", owner="other"))

        with pytest.raises(LeaseLostError):
            await build(storage, outage).run(1)
        assert [info.superstep for info in await other.list("W")] == [*range(4, -1, -1)]
        await other.release_lease(taken[0])
        result = await build(other).run(checkpoint_id=LATEST)
        await assert_is_whole(other, result)
