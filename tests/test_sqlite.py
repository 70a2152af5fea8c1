"""What the SQLite storage promises beyond the clauses every storage keeps (see test_storage_conformance).

Its errors name the file and the way out and cost nothing that was committed; several storages and processes share one
file; kill -9 at any moment loses nothing that was acknowledged; a superstep costs what changed.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import apsw
import pytest
import trio
import trio.testing

from actorflow.checkpoint.headers import Page
from actorflow.checkpoint.sqlite import rows as sqlite_rows
from actorflow.checkpoint.sqlite import tables as sqlite_tables
from actorflow.checkpoint.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION, SqliteFile
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.errors import CheckpointError, CheckpointNotFoundError
from actorflow.testing.storage_conformance import make_commit


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints.db"


@pytest.fixture
def storage(path):
    with SqliteCheckpointStorage(path, synchronous="normal", busy_timeout=0.05) as storage:
        yield storage


@contextmanager
def refused(path, *words):
    with pytest.raises(CheckpointError) as caught:
        yield
    assert str(path) in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, apsw.Error)


@contextmanager
def other_writer(path):
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


@contextmanager
def unprivileged():
    """Give up root's power to ignore permissions for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def ids(storage):
    return [info.id for info in await storage.list()]


# Opening and closing


@pytest.mark.parametrize("synchronous", ["off", "FULL", "extra", None, 1])
def test_a_synchronous_that_is_neither_full_nor_normal_is_refused(path, synchronous):
    with pytest.raises(ValueError, match="'full' or 'normal'"):
        SqliteCheckpointStorage(path, synchronous=synchronous)


@pytest.mark.parametrize("bad", ["", ":memory:", "\ud800"])
def test_a_path_that_names_no_file_is_refused(bad):
    with pytest.raises(ValueError, match="name a file"):
        SqliteCheckpointStorage(bad)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_a_busy_timeout_that_is_no_time_is_refused(path, timeout):
    with pytest.raises(ValueError, match="busy_timeout"):
        SqliteCheckpointStorage(path, busy_timeout=timeout)


async def test_nothing_is_opened_before_the_first_use(tmp_path):
    storage = SqliteCheckpointStorage(str(tmp_path / "later" / "x.db"))
    storage.close()
    (tmp_path / "later").mkdir()
    assert list((tmp_path / "later").iterdir()) == []
    assert await storage.list() == []
    storage.close()
    assert [file.name for file in (tmp_path / "later").iterdir()] == ["x.db"]


def test_one_object_serves_several_runs_and_is_usable_after_close(storage):
    trio.run(storage.save, make_commit("a"))
    trio.run(storage.save, make_commit("b", "a"))
    storage.close()
    storage.close()
    trio.run(storage.save, make_commit("c", "b"))
    assert trio.run(ids, storage) == ["c", "b", "a"]


async def test_a_close_while_readers_and_writers_work_harms_neither(path):
    with SqliteCheckpointStorage(path) as storage:  # with the time to wait that it has: each close means a set-up anew
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(storage.save, make_commit(f"{number}"))
                nursery.start_soon(storage.list)
                await trio.lowlevel.checkpoint()
                storage.close()
        assert len(await storage.list()) == 10


async def test_the_durability_asked_for_is_the_one_set(tmp_path):
    for name, level in (("full", 2), ("normal", 1)):
        with SqliteCheckpointStorage(tmp_path / name, synchronous=name) as storage:
            await storage.save(make_commit("a"))
            connection = storage._writer._connection
            assert connection.pragma("synchronous") == level
            assert connection.pragma("journal_mode") == "wal"
            assert connection.pragma("foreign_keys") == 1


async def test_the_path_is_the_one_it_was_when_the_storage_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SqliteCheckpointStorage("x?mode=memory#%41 ä.db") as storage:
        monkeypatch.chdir("/")
        await storage.save(make_commit("a"))
    assert [file.name for file in tmp_path.iterdir()] == ["x?mode=memory#%41 ä.db"]


# Sharing a file


async def test_two_storages_on_one_file_see_each_other(path, storage):
    with SqliteCheckpointStorage(path) as other:
        await storage.save(make_commit("a"))
        await other.save(make_commit("b", "a"))
        assert (await storage.save(make_commit("c", "b"))).sequence == 3
        assert await ids(other) == ["c", "b", "a"]
        await other.delete("c")
        with pytest.raises(CheckpointNotFoundError):
            await storage.load("c")


async def test_a_reader_sees_one_moment_however_often_it_looks(path, storage):
    """A load is a header and then a chain; what is deleted or written in between does not show."""
    await storage.save(make_commit("a"))
    count = "SELECT count(*) FROM checkpoint"

    def look_twice(connection):
        first = connection.execute(count).fetchone()
        other = SqliteCheckpointStorage(path)
        trio.run(other.save, make_commit("b"))
        other.close()
        return [first, connection.execute(count).fetchone()]

    assert await trio.to_thread.run_sync(storage._readers.read, look_twice) == [(1,), (1,)]
    assert await ids(storage) == ["b", "a"]


async def test_work_that_fails_half_way_is_undone_alone(storage):
    """Whatever of a batch raises, and whatever it had written, the rest of the batch is committed without it."""

    def write(name, error=None):
        def work(connection):
            connection.execute("INSERT INTO definition (name) VALUES (?)", (name,))
            if error is not None:
                raise error

        return work

    works = [write("a"), write("b", KeyError()), write("c"), write("a"), write("d")]
    outcomes = await trio.to_thread.run_sync(storage._writer.commit, works)
    assert [getattr(one, "error", None).__class__.__name__ for one in outcomes] == [
        "NoneType",
        "KeyError",
        "NoneType",
        "CheckpointError",
        "NoneType",
    ]
    names = storage._writer._connection.execute("SELECT name FROM definition ORDER BY key").fetchall()
    assert names == [("a",), ("c",), ("d",)]
    works = [write("e"), write("f", KeyError()), write("g")]
    await trio.to_thread.run_sync(storage._writer.commit, works)
    names = storage._writer._connection.execute("SELECT name FROM definition ORDER BY key").fetchall()
    assert names == [("a",), ("c",), ("d",), ("e",), ("g",)]


async def test_savers_on_many_storages_get_every_sequence_once(path):
    """Also the set-up of the tables is raced here (R16)."""
    storages = [SqliteCheckpointStorage(path, synchronous="normal") for _ in range(6)]
    sequences = []

    async def save(number, storage):
        for step in range(5):
            sequences.append((await storage.save(make_commit(f"{number}-{step}"))).sequence)

    async with trio.open_nursery() as nursery:
        for number, storage in enumerate(storages):
            nursery.start_soon(save, number, storage)
    for storage in storages:
        storage.close()
    assert sorted(sequences) == list(range(1, 31))


async def test_a_file_that_others_still_set_up_is_waited_for(path):
    """R16: SQLite does not wait for its busy timeout when write-ahead logging is turned on."""
    reader = apsw.Connection(str(path))
    sqlite_tables.set_up(reader, path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM checkpoint").fetchall()
    with SqliteCheckpointStorage(path, busy_timeout=0) as storage, refused(path, "locked"):
        await storage.list()
    with SqliteCheckpointStorage(path) as storage:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.save, make_commit("a"))
            await trio.testing.wait_all_tasks_blocked(0.01)
            reader.execute("COMMIT")
        assert await ids(storage) == ["a"]
    reader.close()


def test_turning_on_the_log_is_tried_again_while_others_are_at_it():
    """R16: in some races SQLite answers at once that the file is busy."""

    class BusyTwice:
        answers = [apsw.BusyError(), apsw.BusyError(), None]

        def pragma(self, name, value):
            if answer := self.answers.pop(0):
                raise answer

    SqliteFile(Path(), "full", 10)._turn_on_wal(connection := BusyTwice())
    assert connection.answers == []


RACER = """
import sys, trio
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.testing.storage_conformance import make_commit

async def main():
    sys.stdin.readline()
    with SqliteCheckpointStorage(sys.argv[1], synchronous="normal") as storage:
        for step in range(20):
            await storage.save(make_commit(f"{sys.argv[2]}-{step}"))

print("ready", flush=True)
trio.run(main)
"""


def test_processes_that_race_to_create_the_file_all_succeed(path):
    """R16."""
    racers = [start(RACER, path, number) for number in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    assert [racer.communicate(timeout=30)[0] for racer in racers] == [b""] * 3
    assert [racer.returncode for racer in racers] == [0] * 3
    with SqliteCheckpointStorage(path) as storage:
        headers = trio.run(storage.list)
    assert sorted(info.sequence for info in headers) == list(range(1, 61))


def start(code, *args):
    command = [sys.executable, "-c", code, *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


# Errors


async def test_a_missing_folder_is_named_and_can_be_made_good(tmp_path):
    path = tmp_path / "absent" / "x.db"
    with SqliteCheckpointStorage(path) as storage:
        with refused(path, "no folder", "create it"):
            await storage.save(make_commit("a"))
        with refused(path, "no folder"):
            await storage.list()
        path.parent.mkdir()
        await storage.save(make_commit("a"))
        assert await ids(storage) == ["a"]


async def test_a_folder_in_place_of_the_file_is_named(path, storage):
    path.mkdir()
    for verb in (storage.save(make_commit("a")), storage.list()):
        with refused(path, "is a folder"):
            await verb
    path.rmdir()
    await storage.save(make_commit("a"))


async def test_a_file_that_is_no_database_is_left_as_it_is(path, storage):
    path.write_bytes(b"precious text, longer than a header of SQLite would be " * 20)
    before = path.read_bytes()
    for verb in (storage.save(make_commit("a")), storage.list()):
        with refused(path, "not an SQLite database"):
            await verb
    assert path.read_bytes() == before
    path.unlink()
    await storage.save(make_commit("a"))


async def test_a_database_of_another_program_is_left_as_it_is(path, storage):
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode = wal")
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    for verb in (storage.save(make_commit("a")), storage.list()):
        with refused(path, "another program", "a file of their own"):
            await verb
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    other.close()


async def test_a_file_that_another_connection_is_growing_is_no_stranger(path, storage):
    """R16: for a moment the header speaks of pages that are not written yet."""
    await storage.save(make_commit("a"))
    storage.close()
    os.truncate(path, 4096)
    storage._file._refuse_foreign_file()


async def test_an_empty_file_is_taken(path, storage):
    path.touch()
    await storage.save(make_commit("a"))
    assert apsw.Connection(str(path)).pragma("application_id") == APPLICATION_ID


async def test_a_file_of_a_later_version_is_left_as_it_is(path, storage):
    await storage.save(make_commit("a"))
    storage.close()
    raw = apsw.Connection(str(path))
    raw.pragma("user_version", SCHEMA_VERSION + 1)
    raw.close()
    before = path.read_bytes()
    with refused(path, "later actorflow", "upgrade"):
        await storage.latest(workflow_id="workflow")
    assert path.read_bytes() == before
    raw = apsw.Connection(str(path))
    raw.pragma("user_version", SCHEMA_VERSION)
    raw.close()
    assert await ids(storage) == ["a"]


@pytest.mark.parametrize("missing", ["file", "folder", "both"])
async def test_a_read_only_file_or_folder_is_named(missing):
    with open_folder() as folder, SqliteCheckpointStorage(path := folder / "x.db") as storage:
        await storage.save(make_commit("a"))
        storage.close()
        path.chmod(0o644 if missing == "folder" else 0o444)
        folder.chmod(0o777 if missing == "file" else 0o555)
        with unprivileged(), refused(path, "change the permissions"):
            await storage.save(make_commit("b", "a"))
        path.chmod(0o666)
        folder.chmod(0o777)
        await storage.save(make_commit("b", "a"))
        assert await ids(storage) == ["b", "a"]


@contextmanager
def open_folder():
    """A folder that unprivileged users can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name).resolve()


@pytest.mark.parametrize("savers", [1, 5])
async def test_a_full_disk_costs_nothing_committed_and_writing_goes_on_when_there_is_room(path, storage, savers):
    """R09: whether one or many are written together."""
    await storage.save(make_commit("root"))
    connection = storage._writer._connection
    connection.pragma("max_page_count", connection.pragma("page_count") + 3)
    large = {"state/large": b"x" * 100_000}
    saved = []

    async def save(number):
        if number == 0:
            with refused(path, "full", "make room"):
                await storage.save(make_commit("too large", "root", changed=large))
        else:
            saved.append((await storage.save(make_commit(f"{number}", "root"))).id)

    async with trio.open_nursery() as nursery:
        for number in range(savers):
            nursery.start_soon(save, number)
    assert sorted(await ids(storage)) == sorted(["root", *saved])
    assert len(saved) == savers - 1
    connection.pragma("max_page_count", 2**30)
    await storage.save(make_commit("too large", "root", changed=large))
    assert (await storage.load("too large")).contents == {"state/last": b"root", **large}


@pytest.mark.parametrize("savers", [1, 5])
async def test_a_lock_held_beyond_the_busy_timeout_is_an_error_for_all_at_once(path, storage, savers):
    """The wait is paid once for a batch, and nobody's save is left half done."""
    await storage.save(make_commit("root"))

    async def save(number):
        with refused(path, "locked", "busy_timeout"):
            await storage.save(make_commit(f"{number}", "root"))

    attempts = []
    storage._writer._connection.set_exec_trace(lambda _, statement, values: attempts.append(statement) or True)
    with other_writer(path):
        async with trio.open_nursery() as nursery:
            for number in range(savers):
                nursery.start_soon(save, number)
        assert await ids(storage) == ["root"]
    assert attempts.count("BEGIN IMMEDIATE") <= 2
    await storage.save(make_commit("0", "root"))
    assert await ids(storage) == ["0", "root"]


async def test_a_lock_given_up_in_time_is_only_waited_for(path):
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        await storage.save(make_commit("root"))
        async with trio.open_nursery() as nursery:
            with other_writer(path):
                nursery.start_soon(storage.save, make_commit("a", "root"))
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert await ids(storage) == ["root"]
        assert await ids(storage) == ["a", "root"]


async def test_a_deadline_does_not_fire_because_the_storage_is_at_work(path, autojump_clock):
    """R04: the virtual clock stands still while a save waits for another process."""
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        await storage.save(make_commit("root"))
        for number in range(20):
            with trio.fail_after(1):
                await storage.save(make_commit(f"{number}", "root"))
                await storage.latest(workflow_id="workflow")
    assert trio.current_time() == 0


async def test_a_file_deleted_under_the_storage_is_noticed(path, storage):
    """P8: nothing is acknowledged into a file that has no name any more."""
    await storage.save(make_commit("a"))
    assert await ids(storage) == ["a"]
    for file in path.parent.iterdir():
        file.unlink()
    with refused(path, "parent 'a'"):
        await storage.save(make_commit("b", "a"))
    assert await ids(storage) == []
    await storage.save(make_commit("c"))
    with SqliteCheckpointStorage(path) as other:
        assert await ids(other) == ["c"]


async def test_a_damaged_file_is_named(path, storage):
    await storage.save(make_commit("a", changed={"state/x": b"x" * 20_000}))
    storage.close()
    pages = bytearray(path.read_bytes())
    pages[4096:] = b"\xff" * (len(pages) - 4096)
    path.write_bytes(pages)
    with refused(path, "damaged"):
        await storage.load("a")


# What is kept, and what it costs


KILLED = """
import os, signal, sys, time, trio
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.testing.storage_conformance import make_commit

path, rounds = sys.argv[1], int(sys.argv[2])

async def save_for_ever(storage, name, pipe):
    parent = None
    for step in range(1_000_000):
        parent = (await storage.save(make_commit(f"{name}-{step}", parent, workflow_id=name))).id
        os.write(pipe, f"{parent}\\n".encode())

async def saving(number, pipe):
    storage = SqliteCheckpointStorage(path)
    async with trio.open_nursery() as nursery:
        for saver in range(3):
            nursery.start_soon(save_for_ever, storage, f"{number}-{saver}", pipe)

for number in range(rounds):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        trio.run(saving, number, writing)
    os.close(writing)
    acknowledged = b""
    while acknowledged.count(b"\\n") < 1 + 7 * number:
        acknowledged += os.read(reading, 4096)
    time.sleep(number * 37 % 20 / 10_000)  # real processes are killed in real time
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while chunk := os.read(reading, 65536):
        acknowledged += chunk
    os.close(reading)
    sys.stdout.buffer.write(acknowledged)
sys.stdout.flush()
"""


async def test_kill_nine_at_any_moment_loses_nothing_acknowledged(path):
    """F39, R07, R09: twenty rounds of three savers on one file, each killed at another moment."""
    process = start(KILLED, path, 20)
    acknowledged = process.communicate(timeout=60)[0].decode().split()
    assert process.returncode == 0
    assert len(acknowledged) > 1000
    with SqliteCheckpointStorage(path) as storage:
        headers = {info.id: info for info in await storage.list()}
        assert headers.keys() >= set(acknowledged)
        for workflow_id in {info.workflow_id for info in headers.values()}:
            latest = await storage.latest(workflow_id=workflow_id)
            assert latest.sequence == len(await storage.lineage(latest.id)) == len(await storage.list(workflow_id))
            assert latest.contents == {"state/last": latest.id.encode()}
    assert apsw.Connection(str(path)).pragma("integrity_check") == "ok"


async def test_a_superstep_grows_the_file_by_its_payload_and_little_more(storage):
    """P10: flat in the length of the history."""
    payload = len(make_commit("x", "y", changed={"state/key": b"x" * 330}).payload)
    pages = []
    parent = None
    for number in range(601):
        commit = make_commit(
            f"{number:036}", parent, changed={"state/key": b"x" * 330}, workflow_id="w" * 36, run_id="r" * 36
        )
        parent = (await storage.save(commit)).id
        if number % 300 == 0:
            pages.append(storage._writer._connection.pragma("page_count"))
    for earlier, later in pairwise(pages[1:]):
        assert (later - earlier) * 4096 / 300 <= payload + 300


async def test_what_repeats_is_written_once_and_goes_with_its_last_checkpoint(storage):
    """R20."""
    await storage.save(make_commit("a", run_id="one"))
    await storage.save(make_commit("b", "a", run_id="one"))
    await storage.save(make_commit("c", "b", run_id="two"))
    assert rows(storage) == {"workflow": 1, "definition": 1, "run": 2, "checkpoint": 3}
    for leaf in ("c", "b"):
        await storage.delete(leaf)
    assert rows(storage) == {"workflow": 1, "definition": 1, "run": 1, "checkpoint": 1}
    await storage.delete("a")
    assert rows(storage) == {"workflow": 0, "definition": 1, "run": 0, "checkpoint": 0}


def rows(storage):
    connection = storage._writer._connection
    tables = ("workflow", "definition", "run", "checkpoint")
    return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


@pytest.mark.parametrize("workflow_id", [None, "w"])
@pytest.mark.parametrize("name", [None, "n"])
@pytest.mark.parametrize("before", [None, "a"])
async def test_every_listing_walks_an_index_in_its_order(storage, workflow_id, name, before):
    """F37: no scan of all rows for a filter, and no sorting of what was found."""
    await storage.save(make_commit("a"))
    connection = storage._writer._connection
    statements = []
    connection.set_exec_trace(lambda cursor, statement, values: statements.append((statement, values)) or True)
    sqlite_rows.list_headers(connection, Page(workflow_id, name, 5, before), "here")
    connection.set_exec_trace(None)
    statement, values = statements[-1]
    steps = [plan[3] for plan in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert not any("TEMP B-TREE" in step for step in steps), steps
    if workflow_id or name:
        assert not any(step.startswith("SCAN") for step in steps), steps


async def test_a_long_chain_of_small_deltas_loads(storage):
    """P10: ten thousand would too; a thousand proves the recursion is not Python's."""
    parent = None
    for number in range(1200):
        parent = (
            await storage.save(make_commit(f"{number}", parent, changed={f"state/{number % 7}": b"%d" % number}))
        ).id
    loaded = await storage.load(parent)
    assert loaded.contents == {f"state/{n % 7}": b"%d" % n for n in range(1193, 1200)}
    assert len(await storage.lineage(parent)) == 1200


def test_the_package_leaves_no_thread_of_its_own_behind(path):
    """R25: what outlives a run is trio's own idle pool, nothing of ours."""
    with SqliteCheckpointStorage(path) as storage:
        trio.run(storage.save, make_commit("a"))
        assert all("Trio" in thread.name or thread is threading.main_thread() for thread in threading.enumerate())
    assert Path(path).exists()


async def test_one_that_is_refused_costs_the_others_of_its_batch_no_sync_each(path):
    """Group commit: they are written again together, in one transaction, and it alone fails."""
    with SqliteCheckpointStorage(path) as storage:
        await storage.list()
        await storage.save(make_commit("taken"))
        statements, refused = [], []
        storage._writer._connection.set_exec_trace(
            lambda _cursor, statement, _values: statements.append(statement) or True
        )

        async def save(commit):
            try:
                await storage.save(commit)
            except CheckpointError as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(save, make_commit("leads", workflow_id="leads"))
            await trio.testing.wait_all_tasks_blocked()
            for number in range(20):
                nursery.start_soon(save, make_commit(f"{number}", workflow_id=f"of {number}"))
            nursery.start_soon(save, make_commit("taken", workflow_id="another"))
        assert len(refused) == 1
        assert "checkpoint id 'taken' is taken" in refused[0]
        assert len(await storage.list()) == 22
        assert statements.count("COMMIT") <= 4
