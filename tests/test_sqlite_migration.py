"""SQLite files of the version before leases are brought up to date whole or not at all, however many open them (R16)."""

from __future__ import annotations

import os
import subprocess
import sys

import apsw
import attrs
import pytest
import trio

from actorflow.checkpoint.digests import chained
from actorflow.checkpoint.sqlite import tables as sqlite_tables
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.checkpoint.sqlite.tables import APPLICATION_ID, SCHEMA_VERSION
from actorflow.errors import CheckpointError
from actorflow.testing.storage_conformance import make_commit, make_entry


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
    assert version(first_version) == SCHEMA_VERSION == 3


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
