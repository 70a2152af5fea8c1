"""SQLite files of earlier versions are brought up to date whole or not at all, however many open them (R16).

``tests/frozen/sqlite_*.sql`` are what earlier versions made: a run killed in a superstep, with its lease and its journal. It
goes on right after the migration, and ends as if nothing had been.
"""

from __future__ import annotations

import os
import subprocess
import sys

import apsw
import attrs
import pytest
import trio

from actorflow import LATEST
from actorflow.checkpoint.digests import chained
from actorflow.checkpoint.sqlite import schema as sqlite_schema
from actorflow.checkpoint.sqlite import tables as sqlite_tables
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.checkpoint.sqlite.tables import APPLICATION_ID, SCHEMA_VERSION
from actorflow.errors import CheckpointError, LeaseHeldError
from actorflow.testing.storage_conformance import make_commit, make_entry
from tests import migrated


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints.db"


def start(code, *args):
    command = [sys.executable, "-c", code, *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


FIRST_VERSION = (
    "CREATE TABLE workflow (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE)",
    "CREATE TABLE definition (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """
    CREATE TABLE run (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        workflow INTEGER NOT NULL REFERENCES workflow(key),
        definition INTEGER NOT NULL REFERENCES definition(key),
        graph_signature TEXT NOT NULL,
        UNIQUE (workflow, id, definition, graph_signature)
    )
    """,
    """
    CREATE TABLE checkpoint (
        position INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        parent INTEGER REFERENCES checkpoint(position) CHECK (parent < position),
        workflow INTEGER NOT NULL REFERENCES workflow(key),
        definition INTEGER NOT NULL REFERENCES definition(key),
        run INTEGER NOT NULL REFERENCES run(key),
        sequence INTEGER NOT NULL,
        superstep INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        created_at INTEGER NOT NULL, -- microseconds since 1970-01-01 UTC
        derived_from TEXT,
        format_version INTEGER NOT NULL,
        is_full INTEGER NOT NULL,
        payload BLOB NOT NULL,
        UNIQUE (workflow, sequence)
    )
    """,
    "CREATE INDEX checkpoint_by_parent ON checkpoint (parent)",
    "CREATE INDEX checkpoint_by_definition ON checkpoint (definition)",
    "PRAGMA application_id = 1633907814",
    "PRAGMA user_version = 1",
)
COMMITS = [make_commit("a", changed={"state/x": b"1"}), make_commit("b", "a"), make_commit("c", "b")]


@pytest.fixture
def first_version(path):
    connection = apsw.Connection(str(path))
    for statement in FIRST_VERSION:
        connection.execute(statement)
    connection.pragma("journal_mode", "wal")
    for statement in (
        "INSERT INTO workflow VALUES (1, 'workflow')",
        "INSERT INTO definition VALUES (1, 'conformance')",
        "INSERT INTO run VALUES (1, 'run', 1, 1, 'signature')",
    ):
        connection.execute(statement)
    for number, commit in enumerate(COMMITS, start=1):
        row = (number, commit.info.id, number - 1 or None, number, commit.full, commit.payload)
        connection.execute("INSERT INTO checkpoint VALUES (?, ?, ?, 1, 1, 1, ?, 1, 1, 0, NULL, 1, ?, ?)", row)
    connection.close()
    return path


def version(path):
    connection = apsw.Connection(str(path))
    try:
        return connection.pragma("user_version")
    finally:
        connection.close()


def tables(path):
    connection = apsw.Connection(str(path))
    try:
        return sorted(connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall(), key=str)
    finally:
        connection.close()


async def test_a_file_of_the_first_version_is_brought_up_to_date(first_version):
    """R03, R16: by a reader or a writer; what was in it is there, and goes on at once."""
    with SqliteCheckpointStorage(first_version) as storage:
        assert (await storage.load("c")).contents == {"state/x": b"1", "state/last": b"c"}
        lease = await storage.acquire_lease("workflow", owner="owner")
        await storage.write_journal([make_entry(0, "c")], lease=lease)
        assert (await storage.save(make_commit("d", "c", lease=lease))).sequence == 4
        assert await storage.prune(keep_last=2) == 2
        assert (await storage.load("d")).contents == {"state/x": b"1", "state/last": b"d"}
    assert version(first_version) == SCHEMA_VERSION == 4


async def test_what_was_written_before_there_were_digests_has_none_and_what_follows_chains(first_version):
    """R03: the first digest after the old rows chains to nothing, the next one to it, and a prune changes neither."""
    with SqliteCheckpointStorage(first_version) as storage:
        saved = [await storage.save(commit) for commit in (make_commit("d", "c"), make_commit("e", "d"))]
        expected = chained(
            attrs.evolve(make_commit("d", "c").info, sequence=4), make_commit("d", "c").payload, False, ""
        )
        assert saved[0] == expected
        assert [info.digest for info in await storage.list()] == [saved[1].digest, saved[0].digest, "", "", ""]
        await storage.prune(keep_last=3)
        assert [info.digest for info in await storage.list()] == [saved[1].digest, saved[0].digest, ""]


async def test_an_updated_file_is_like_a_new_one(first_version, tmp_path):
    for path in (first_version, tmp_path / "new.db"):
        with SqliteCheckpointStorage(path) as storage:
            await storage.list()
    assert tables(first_version) == tables(tmp_path / "new.db")
    assert APPLICATION_ID == 1633907814


async def test_an_update_that_fails_half_way_changes_nothing(first_version, monkeypatch):
    """R16: the next one does it all."""
    before = tables(first_version)
    whole = sqlite_tables._VERSIONS
    monkeypatch.setattr(sqlite_tables, "_VERSIONS", (whole[0], (*whole[1], "no such statement")))
    with SqliteCheckpointStorage(first_version) as storage:
        with pytest.raises(CheckpointError):
            await storage.list()
        assert (version(first_version), tables(first_version)) == (1, before)
        monkeypatch.setattr(sqlite_tables, "_VERSIONS", whole)
        assert len(await storage.list()) == 3


async def test_many_that_update_one_file_at_once_all_succeed(first_version):
    """R16."""
    storages = [SqliteCheckpointStorage(first_version, synchronous="normal") for _ in range(6)]
    async with trio.open_nursery() as nursery:
        for number, storage in enumerate(storages):
            nursery.start_soon(storage.save, make_commit(f"{number}", "c"))
            nursery.start_soon(storage.load, "c")
    assert len(await storages[0].list()) == 9
    for storage in storages:
        storage.close()


RACER = """
import sys, trio
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.testing.storage_conformance import make_commit

async def main():
    sys.stdin.readline()
    with SqliteCheckpointStorage(sys.argv[1], synchronous="normal") as storage:
        for step in range(5):
            await storage.save(make_commit(f"{sys.argv[2]}-{step}", "c"))

print("ready", flush=True)
trio.run(main)
"""


def test_processes_that_race_to_update_the_file_all_succeed(first_version):
    """R16."""
    racers = [start(RACER, first_version, number) for number in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    assert [racer.communicate(timeout=30)[0] for racer in racers] == [b""] * 3
    assert [racer.returncode for racer in racers] == [0] * 3
    with SqliteCheckpointStorage(first_version) as storage:
        assert len(trio.run(storage.list)) == 18


# A run under way


def without_process(statements):
    """As the second version was for a while: leases did not tell of their process."""
    changed = statements.replace("    process TEXT NOT NULL,\n", "").replace("host, process, ttl", "host, ttl")
    changed = changed.replace("'elsewhere (process 1)', ''", "'elsewhere (process 1)'")
    assert changed.count("process") == statements.count("process") - 2
    return changed


FROZEN = {
    "2": migrated.frozen("sqlite_2.sql"),
    "3": migrated.frozen("sqlite_3.sql"),
    "2 without process": without_process(migrated.frozen("sqlite_2.sql")),
    "3 without process": without_process(migrated.frozen("sqlite_3.sql")),
}


@pytest.fixture(params=FROZEN)
def under_way(request, path):
    make_file(path, FROZEN[request.param])
    return path


def make_file(path, statements):
    connection = apsw.Connection(str(path))
    connection.execute(statements)
    connection.pragma("journal_mode", "wal")
    connection.close()


async def test_a_run_under_way_is_resumed_right_after_the_migration(under_way):
    """R16, P6: its finished delivery is taken from the journal, its lease overtaken, and every digest is right."""
    with SqliteCheckpointStorage(under_way) as storage:
        workflow, invoked = migrated.build(storage), []
        async with workflow.stream(checkpoint_id=LATEST) as run:
            async for event in run.events:
                if event.type == "executor_invoked":
                    invoked.append((event.executor_id, event.data))
            result = await run.wait()
        assert result.outputs == await migrated.outputs_of_one_run()
        assert ("left", migrated.STOPPED_AT) not in invoked
        assert ("right", migrated.STOPPED_AT) in invoked
        report = await storage.fsck()
        assert report.ok, report
        head = await storage.latest(workflow_id="under-way")
        assert [info.superstep for info in await storage.lineage(head.id)] == [*range(12, -1, -1)]
        assert await storage.prune(keep_last=1) == 13
        assert (await storage.fsck()).ok
    assert version(under_way) == SCHEMA_VERSION


async def test_epochs_go_on_where_they_were(under_way):
    """P7: the lease table is added to, not made anew, so the counter of epochs that were given stays."""
    connection = apsw.Connection(str(under_way))
    connection.execute("UPDATE lease SET epoch = 41; UPDATE sqlite_sequence SET seq = 41 WHERE name = 'lease'")
    connection.execute("DELETE FROM lease")  # it was given back: only the counter tells of it
    connection.close()
    with SqliteCheckpointStorage(under_way) as storage:
        assert (await storage.acquire_lease("under-way", owner="next")).epoch == 42


async def test_a_lease_that_tells_of_no_process_lasts_as_long_as_it_lasts(path):
    """R08: nothing is concluded from what is not there."""
    make_file(
        path,
        FROZEN["2 without process"]
        .replace("1700000030.0", "4000000000.0")
        .replace("30.0, 1700000000.0", "4000000000.0, 0.0"),
    )
    with SqliteCheckpointStorage(path) as storage:
        with pytest.raises(LeaseHeldError, match="elsewhere"):
            await storage.acquire_lease("under-way", owner="next")
        await storage.acquire_lease("other", owner="next")


async def test_a_migration_that_is_cut_off_at_any_step_changes_nothing(under_way, monkeypatch):
    """R16: and the next one does it all."""

    def fail(_):
        raise apsw.IOError("cut off")

    there, before, whole = version(under_way), tables(under_way), sqlite_tables._VERSIONS
    steps = [(number, place) for number in range(there, len(whole)) for place in range(len(whole[number]) + 1)]
    for number, place in steps:
        cut = (*whole[number][:place], fail, *whole[number][place:])
        monkeypatch.setattr(sqlite_tables, "_VERSIONS", (*whole[:number], cut, *whole[number + 1 :]))
        with SqliteCheckpointStorage(under_way) as storage, pytest.raises(CheckpointError):
            await storage.list()
        assert (version(under_way), tables(under_way)) == (there, before)
    monkeypatch.setattr(sqlite_tables, "_VERSIONS", whole)
    with SqliteCheckpointStorage(under_way) as storage:
        assert (await migrated.build(storage).run(checkpoint_id=LATEST)).outputs == await migrated.outputs_of_one_run()


KILLED = """
import os, sys, trio
from actorflow.checkpoint.sqlite import tables
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage

version, place = int(sys.argv[2]), int(sys.argv[3])
steps = [*tables._VERSIONS]
steps[version] = (*steps[version][:place], lambda _: os._exit(9), *steps[version][place:])
tables._VERSIONS = tuple(steps)
trio.run(SqliteCheckpointStorage(sys.argv[1]).list)
"""


@pytest.mark.parametrize("place", [2, 4])
def test_a_process_killed_in_the_middle_of_a_migration_leaves_the_version_before(path, place):
    """R15, R16: after the rows were copied, and after the old table was dropped."""
    make_file(path, FROZEN["2"])
    with start(KILLED, path, 2, place) as process:
        process.communicate(timeout=30)
    assert process.returncode == 9
    assert version(path) == 2
    with SqliteCheckpointStorage(path) as storage:
        assert trio.run(storage.fsck).ok
        assert len(trio.run(storage.list)) == 10


def test_processes_that_race_to_update_a_file_with_a_run_under_way_all_succeed(path):
    """R16: from the version whose leases told of no process."""
    make_file(path, FROZEN["2 without process"])
    racers = [start(RACER.replace('"c")', "None)"), path, number) for number in range(4)]
    for racer in racers:
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    assert [racer.communicate(timeout=30)[0] for racer in racers] == [b""] * 4
    assert [racer.returncode for racer in racers] == [0] * 4
    with SqliteCheckpointStorage(path) as storage:
        assert len(trio.run(storage.list)) == 10 + 20
        assert trio.run(storage.fsck).ok


async def test_a_storage_of_the_version_before_goes_on_and_a_new_one_is_refused(path, monkeypatch):
    """A process that was at work when another one migrated ends its run; it does not begin anew."""
    make_file(path, FROZEN["3"])
    whole = sqlite_tables._VERSIONS

    def become(number):
        monkeypatch.setattr(sqlite_tables, "_VERSIONS", whole[:number])
        monkeypatch.setattr(sqlite_tables, "SCHEMA_VERSION", number)
        monkeypatch.setattr(sqlite_schema, "SCHEMA_VERSION", number)

    become(3)
    with SqliteCheckpointStorage(path) as old:
        await old.save(make_commit("a"))
        await old.list()
        become(4)
        with SqliteCheckpointStorage(path) as new:
            await new.save(make_commit("b", "a"))
            become(3)
            await old.save(make_commit("c", "b"))
            assert [info.id for info in await old.list("workflow")] == ["c", "b", "a"]
            old.close()
            with pytest.raises(CheckpointError, match=r"later actorflow \(schema version 4, this one knows up to 3\)"):
                await old.list()
            become(4)
            assert (await new.fsck()).ok
    assert version(path) == 4
