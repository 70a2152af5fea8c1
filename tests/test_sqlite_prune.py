"""What pruning an SQLite file promises beyond the clauses every storage keeps (see test_storage_conformance).

It goes in transactions of bounded size between which others write, rewrites nothing that goes, gives its room back to what
is written next, and may be killed at any moment (R15).
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import apsw
import pytest
import trio

from actorflow.checkpoint.sqlite import pruning as sqlite_prune
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.testing.storage_conformance import make_commit, make_entry


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints.db"


@pytest.fixture
def storage(path):
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        yield storage


async def write_line(storage, length, workflow_id="workflow", size=8, first=0):
    parent = f"{workflow_id}-{first - 1}" if first else None
    for number in range(first, first + length):
        commit = make_commit(
            f"{workflow_id}-{number}",
            parent,
            workflow_id=workflow_id,
            run_id=f"run-{number // 10}",
            changed={f"state/{number % 7}": b"%*d" % (size, number)},
        )
        parent = (await storage.save(commit)).id


def contents(last, size=8):
    return {f"state/{number % 7}": b"%*d" % (size, number) for number in range(max(0, last - 6), last + 1)}


def watch(connection):
    """Notes the rows that each transaction changed, and every statement."""
    steps, statements, since = [], [], connection.total_changes()

    def note(cursor, statement, values):
        nonlocal since
        statements.append(statement)
        if statement == "COMMIT":
            steps.append(connection.total_changes() - since)
            since = connection.total_changes()
        return True

    connection.set_exec_trace(note)
    return steps, statements


async def test_a_prune_goes_in_steps_of_bounded_size(storage, monkeypatch):
    monkeypatch.setattr(sqlite_prune, "STEP", 10)
    for name in ("red", "green", "blue", "single"):
        await write_line(storage, 1 if name == "single" else 33, name)
    steps, statements = watch(storage._writer._connection)
    assert await storage.prune(keep_last=4) == 3 * 29
    assert len(steps) > 9
    assert max(steps) <= 12
    assert sum("UPDATE checkpoint" in one for one in statements) == 3  # the oldest that stays of each, once
    for name in ("red", "green", "blue"):
        assert [info.sequence for info in await storage.list(name)] == [33, 32, 31, 30]
        assert (await storage.load(f"{name}-29")).contents == contents(29)
        assert (await storage.load(f"{name}-32")).contents == contents(32)


async def test_a_prune_that_takes_nothing_writes_nothing_in_steps_as_short(storage, monkeypatch):
    monkeypatch.setattr(sqlite_prune, "STEP", 10)
    await write_line(storage, 50)
    steps, _ = watch(storage._writer._connection)
    assert await storage.prune(older_than=timedelta(days=365 * 1000)) == 0
    assert sum(steps) == 0
    assert len(steps) >= 5


async def test_an_age_in_seconds_is_refused_by_name(storage):
    with pytest.raises(TypeError, match="older_than is 3600; it is a timedelta"):
        await storage.prune(older_than=3600)


async def test_writers_come_in_between(storage, monkeypatch):
    """A writer waits for a step, not for the prune."""
    monkeypatch.setattr(sqlite_prune, "STEP", 5)
    await write_line(storage, 200)
    pruned = trio.Event()

    async def prune():
        assert await storage.prune(workflow_id="workflow", keep_last=2) == 198
        pruned.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(prune)
        await trio.lowlevel.checkpoint()
        for number in range(10):
            await storage.save(make_commit(f"other-{number}", workflow_id="other"))
        assert not pruned.is_set()


async def test_a_cancelled_prune_keeps_the_steps_it_did_and_the_next_one_goes_on(storage, monkeypatch):
    """R15."""
    monkeypatch.setattr(sqlite_prune, "STEP", 10)
    await write_line(storage, 100)
    deleted = 0
    for _ in range(3):
        before = len(await storage.list())
        with trio.CancelScope() as scope:
            steps, _ = watch(storage._writer._connection)

            async def cancel_after_two(steps=steps, scope=scope):
                while len(steps) < 2:
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_after_two)
                await storage.prune(keep_last=3)
        assert scope.cancelled_caught
        gone = before - len(await storage.list())
        assert 10 <= gone < 40
        deleted += gone
        assert (await storage.load("workflow-97")).contents == contents(97)
        assert (await storage.load("workflow-5")).contents == contents(5)
    assert await storage.prune(keep_last=3) == 97 - deleted
    assert [info.id for info in await storage.lineage("workflow-99")] == [f"workflow-{n}" for n in (99, 98, 97)]


PRUNER = """
import os, signal, sys, time, trio
from actorflow.checkpoint.sqlite import pruning as sqlite_prune
from actorflow.checkpoint.sqlite import storage as sqlite

sqlite_prune.STEP = 8
whole_step = sqlite.prune_step

def pruning(pipe):
    def step(*args, **more):
        done = whole_step(*args, **more)
        os.write(pipe, b".")  # inside the transaction, just before it is committed
        return done

    sqlite.prune_step = step
    trio.run(lambda: sqlite.SqliteCheckpointStorage(sys.argv[1]).prune(keep_last=3))
    os._exit(0)

for number in range(12):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        pruning(writing)
    os.close(writing)
    for _ in range(1 + number % 4):
        os.read(reading, 1)
    time.sleep(number * 137 % 500 / 1_000_000)  # real processes are killed in real time
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
"""


async def test_a_prune_killed_at_any_moment_leaves_a_file_as_good_as_any(path, storage):
    """R15: twelve times; what is left loads, and the next prune does the rest."""
    for name in ("red", "green"):
        await write_line(storage, 600, name)
    storage.close()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PRUNER, str(path)]
    await trio.to_thread.run_sync(lambda: subprocess.run(command, check=True, env=environment, timeout=60))
    headers = await storage.list()
    for info in headers:
        assert (await storage.load(info.id)).contents == contents(int(info.id.split("-")[1]))
    assert 6 < len(headers) < 1200
    assert await storage.prune(keep_last=3) == len(headers) - 6
    for name in ("red", "green"):
        assert [info.id for info in await storage.list(name)] == [f"{name}-{number}" for number in (599, 598, 597)]
    assert apsw.Connection(str(path)).pragma("integrity_check") == "ok"
    assert apsw.Connection(str(path)).execute("PRAGMA foreign_key_check").fetchall() == []


async def test_the_room_is_used_again(storage):
    """R20, F40: a file that is pruned as it grows stays as large as what it keeps, about."""
    await write_line(storage, 300, size=500)
    connection = storage._writer._connection
    pages = connection.pragma("page_count")
    for first in range(300, 1800, 300):
        assert await storage.prune(keep_last=5) in (295, 300)
        await write_line(storage, 300, size=500, first=first)
    assert connection.pragma("page_count") <= 1.1 * pages
    assert (await storage.load("workflow-1799")).contents == contents(1799, 500)


async def test_what_named_only_what_went_goes_too(storage):
    """R20: runs that have no checkpoint any more, and journals; workflow ids keep their latest."""
    await write_line(storage, 100)
    await storage.write_journal([make_entry(number, f"workflow-{number + 90}") for number in range(10)])
    assert await storage.prune(keep_last=1) == 99
    connection = storage._writer._connection
    tables = ("run", "workflow", "journal")
    assert [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables] == [1, 1, 1]


async def test_pruning_costs_in_proportion_to_what_it_looks_at(storage):
    """P10: no statement of it goes through all checkpoints or runs of a file."""
    await write_line(storage, 30)
    connection = storage._writer._connection
    statements = []
    connection.set_exec_trace(lambda cursor, statement, values: statements.append((statement, values)) or True)
    await storage.prune(keep_last=2)
    connection.set_exec_trace(None)
    for statement, values in statements:
        if not statement.startswith(("BEGIN", "COMMIT", "SELECT DISTINCT follows")):
            steps = [plan[3] for plan in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            scans = [step for step in steps if step.startswith("SCAN")]
            assert all(step in ("SCAN line", "SCAN l", "SCAN CONSTANT ROW") for step in scans), (statement, steps)
