"""What leases in one SQLite file promise between processes, and what they cost.

A holder that was stopped beyond its lease writes nothing when it wakes (P7, R08), and a lease costs a save one look.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import trio

from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.testing.storage_conformance import make_commit, make_entry


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints.db"


@pytest.fixture
def storage(path):
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        yield storage


def start(code, *args):
    command = [sys.executable, "-c", code, *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


# Between processes


HOLDER = """
import itertools, os, signal, sys, trio
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.errors import LeaseLostError
from actorflow.testing.storage_conformance import make_commit, make_entry

path, rounds, tries = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

async def hold(storage, number):
    workflow_id = f"round-{number}"
    make = lambda name: make_commit(f"{workflow_id}/{name}", workflow_id=workflow_id, run_id="stale", lease=lease)
    lease = await storage.acquire_lease(workflow_id, owner="stale")
    for step in range(number % 3):
        await storage.save(make(step))
    signal.raise_signal(signal.SIGSTOP)
    refused = 0
    for step in range(tries):
        for verb in (
            lambda: storage.save(make(f"late-{step}")),
            lambda: storage.write_journal([make_entry(step, workflow_id=workflow_id)], lease=lease),
            lambda: storage.renew_lease(lease),
        ):
            try:
                await verb()
            except LeaseLostError as error:
                assert error.holder == "next"
                refused += 1
    print(refused, flush=True)

async def main():
    with SqliteCheckpointStorage(path, synchronous="normal", lease_ttl=0.05) as storage:
        for number in range(rounds):
            await hold(storage, number)

trio.run(main)
"""


async def overtake(storage, workflow_id):
    """As soon as the lease has run out, in real time: it was granted by another process."""
    refusals = []
    while True:
        try:
            return refusals, await storage.acquire_lease(workflow_id, owner="next")
        except LeaseHeldError as error:
            refusals.append(error)
            await trio.sleep(error.expires_in / 2)


async def test_a_holder_that_was_stopped_beyond_its_lease_never_writes_again(path):
    """P7, R08, F41: eight times a process is stopped and overtaken; each of its 240 late writes is refused."""
    rounds, tries = 8, 10
    with start(HOLDER, path, rounds, tries) as holder, SqliteCheckpointStorage(path, lease_ttl=60) as storage:
        for number in range(rounds):
            await wait_until_stopped(holder)
            workflow_id = f"round-{number}"
            refusals, lease = await overtake(storage, workflow_id)
            assert {error.owner for error in refusals} <= {"stale"}
            await storage.save(make_commit(f"{workflow_id}/next", workflow_id=workflow_id, lease=lease))
            await storage.write_journal([make_entry(99, workflow_id=workflow_id)], lease=lease)
            holder.send_signal(signal.SIGCONT)
            assert int(await trio.to_thread.run_sync(holder.stdout.readline)) == 3 * tries
            assert [info.run_id for info in await storage.list(workflow_id)] == ["run"] + ["stale"] * (number % 3)
            assert await storage.read_journal(workflow_id, None) == [make_entry(99, workflow_id=workflow_id)]
            await storage.renew_lease(lease)
        assert await trio.to_thread.run_sync(holder.wait, 10) == 0


async def wait_until_stopped(process):
    """Its own stop is the only sign that nothing of it runs any more."""
    state = await trio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert state.si_code == os.CLD_STOPPED
    await trio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, os.WSTOPPED)


INSIDE = """
import os, signal, sys, trio
from actorflow.checkpoint import lease_rules
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.testing.storage_conformance import make_commit

async def main():
    with SqliteCheckpointStorage(sys.argv[1], synchronous="normal", lease_ttl=0.01) as storage:
        lease = await storage.acquire_lease("workflow", owner="stale")
        check = lease_rules.check_writer

        def check_and_stop(*args):
            overtakes = check(*args)
            signal.raise_signal(signal.SIGSTOP)
            return overtakes

        lease_rules.check_writer = check_and_stop
        await storage.save(make_commit("stale", lease=lease))
        print("saved", flush=True)

trio.run(main)
"""


async def test_a_holder_stopped_between_its_check_and_its_write_cannot_be_overtaken_there(path):
    """P7: the two are one transaction, so whoever would overtake it waits for it, and what it writes comes before."""
    with start(INSIDE, path) as holder, SqliteCheckpointStorage(path, busy_timeout=0.05) as storage:
        await wait_until_stopped(holder)
        await trio.sleep(0.02)
        with pytest.raises(CheckpointError, match="locked"):
            await storage.acquire_lease("workflow", owner="next")
        holder.send_signal(signal.SIGCONT)
        assert await trio.to_thread.run_sync(holder.stdout.readline) == b"saved\n"
        assert await trio.to_thread.run_sync(holder.wait, 10) == 0
        lease = await storage.acquire_lease("workflow", owner="next")
        await storage.save(make_commit("next", lease=lease))
        assert [info.id for info in await storage.list()] == ["next", "stale"]


KILLED = """
import sys, trio
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage

async def main():
    await SqliteCheckpointStorage(sys.argv[1], lease_ttl=0.2).acquire_lease("workflow", owner="killed")
    print("held", flush=True)
    sys.stdin.read()

trio.run(main)
"""


async def test_the_lease_of_a_killed_process_runs_out(path, storage):
    """R08: nothing is released, and nothing needs to be."""
    with start(KILLED, path) as holder:
        assert await trio.to_thread.run_sync(holder.stdout.readline) == b"held\n"
        holder.kill()
    with trio.fail_after(5):
        refusals, lease = await overtake(storage, "workflow")
    assert {error.owner for error in refusals} <= {"killed"}
    assert all(f"process {holder.pid}" in error.host for error in refusals)
    await storage.save(make_commit("a", lease=lease))


async def test_two_storages_on_one_file_grant_one_lease(path, storage):
    with SqliteCheckpointStorage(path) as other:
        first = await storage.acquire_lease("workflow", owner="first")
        with pytest.raises(LeaseHeldError):
            await other.acquire_lease("workflow", owner="second")
        await other.renew_lease(first)
        await other.release_lease(first)
        second = await other.acquire_lease("workflow", owner="second")
        with pytest.raises(LeaseLostError):
            await storage.save(make_commit("a", lease=first))
        await storage.save(make_commit("a", lease=second))


async def test_epochs_grow_over_closing_the_file(path):
    epochs = []
    for _ in range(3):
        with SqliteCheckpointStorage(path) as storage:
            lease = await storage.acquire_lease("workflow", owner="owner")
            await storage.release_lease(lease)
            epochs.append(lease.epoch)
    assert epochs == [1, 2, 3]


# What it costs


async def test_a_lease_costs_a_superstep_no_row(storage):
    """P10: it is looked at in the transaction of the save; only renewing writes, and one row."""
    lease = await storage.acquire_lease("workflow", owner="owner")
    await storage.save(make_commit("a", lease=lease))
    connection = storage._writer._connection

    async def rows_written(verb):
        before = connection.total_changes()
        await verb
        return connection.total_changes() - before

    assert await rows_written(storage.save(make_commit("b", "a", lease=lease))) == 1
    assert await rows_written(storage.save(make_commit("b", "a", lease=lease))) == 0
    assert await rows_written(storage.renew_lease(lease)) == 1
    assert await rows_written(storage.write_journal([make_entry(0, "b"), make_entry(1, "b")], lease=lease)) == 2
    assert await rows_written(storage.save(make_commit("c", "b", lease=lease))) == 3


async def test_no_write_looks_through_a_table_that_grows(storage):
    """P10, F37: whatever is looked up for a save, a lease or a journal entry is found by an index."""
    await storage.save(make_commit("a"))
    connection = storage._writer._connection
    statements = []
    connection.set_exec_trace(lambda cursor, statement, values: statements.append((statement, values)) or True)
    lease = await storage.acquire_lease("workflow", owner="owner")
    await storage.write_journal([make_entry(0, "a")], lease=lease)
    await storage.save(make_commit("b", "a", lease=lease))
    await storage.renew_lease(lease)
    await storage.delete("b")
    await storage.release_lease(lease)
    connection.set_exec_trace(None)
    for statement, values in statements:
        if not statement.startswith(("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "SELECT DISTINCT follows")):
            steps = [plan[3] for plan in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            scans = [step for step in steps if step.startswith("SCAN") and "CONSTANT ROW" not in step]
            assert all("(subquery-" in step for step in scans), (statement, steps)  # a row of constants


async def test_nothing_is_left_of_what_is_over(storage):
    """R20, R25: of leases that were released, and of workflow ids that have gone."""
    for number in range(20):
        workflow_id = f"workflow-{number}"
        lease = await storage.acquire_lease(workflow_id, owner="owner")
        await storage.save(make_commit("a", workflow_id=workflow_id, lease=lease))
        await storage.write_journal([make_entry(0, "a", workflow_id=workflow_id)], lease=lease)
        await storage.release_lease(lease)
        await storage.delete("a")
    connection = storage._writer._connection
    for table in ("lease", "journal", "checkpoint", "run", "workflow"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
