"""`fsck` and `vacuum` over PostgreSQL: every field of a row is altered behind the storage's back, and found (R09, F39)."""

from __future__ import annotations

import random

import pytest
import trio

from actorflow.checkpoint.postgres.storage import PostgresCheckpointStorage
from actorflow.errors import CheckpointError
from actorflow.testing.storage_conformance import RandomHistory, make_commit, make_entry
from tests.postgres import until

BRANCHED = [
    make_commit("root", changed={"state/x": b"1", "state/y": b"2"}),
    make_commit("a", "root"),
    make_commit("b", "a", run_id="second run"),
    make_commit("branch", "a", workflow_id="other", full=True, workflow_name="another", run_id="third run"),
    make_commit("c", "b", run_id="second run"),
]


@pytest.fixture
def storage(database):
    with PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage:
        yield storage


async def write(storage, commits=BRANCHED):
    for commit in commits:
        await storage.save(commit)


def alter(database, *statements):
    """As one who minds no rule of the tables."""
    with database.session() as session:
        session.execute("SET session_replication_role = replica")  # no foreign keys
        for table in ("checkpoint", "run"):
            for (name,) in session.execute(
                "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'", (table,)
            ).fetchall():
                session.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        for statement in statements:
            session.execute(statement)


def told(report):
    return [(finding.kind, finding.checkpoint_id) for finding in report.findings]


FIELDS = [
    ("id = 'z'", "digest"),
    ("id = '\\xff'", "row"),
    ("parent = 1", "digest"),
    ("parent = NULL", "chain"),
    ("parent = 99", "parent"),
    ("parent = position", "parent"),
    ("workflow = 2", "row"),
    ("definition = 2", "row"),
    ("run = 1", "digest"),
    ("run = 99", "row"),
    ("sequence = 7", "digest"),
    ("superstep = 2", "digest"),
    ("kind = 2", "digest"),
    ("kind = 3", "row"),
    ("kind = -1", "row"),
    ("created_at = created_at + 1", "digest"),
    ("created_at = 9223372036854775807", "row"),
    ("derived_from = 'elsewhere'", "digest"),
    ("derived_from = '\\xff'", "row"),
    ("format_version = 2", "digest"),
    ("is_full = TRUE", "digest"),
    ("digest = NULL", "digest"),
    ("digest = '\\x00'", "digest"),
    ("seal = '\\x00'", "seal"),
    ("payload = ''", "payload"),
    ("payload = payload || '\\x00'", "payload"),
    ("payload = (SELECT payload FROM checkpoint WHERE id = 'a')", "digest"),
]


@pytest.mark.parametrize(("change", "kind"), FIELDS)
async def test_a_field_that_is_altered_is_found_and_nothing_else_accused(database, storage, change, kind):
    await write(storage)
    alter(database, f"UPDATE checkpoint SET {change} WHERE id = 'c'")
    report = await storage.fsck()
    assert [found for found, _ in told(report)] == [kind], report


async def test_names_that_are_altered_are_found_in_every_row_that_has_them(database, storage):
    await write(storage)
    alter(database, "UPDATE workflow SET id = '\\xff' WHERE id = 'other'")
    assert told(await storage.fsck()) == [("row", "branch")]
    alter(database, "UPDATE definition SET name = 'x' WHERE name = 'conformance'")
    assert told(await storage.fsck()) == [("digest", "root"), ("digest", "b"), ("row", "branch")]


async def test_what_is_left_of_others_is_told(database, storage):
    await write(storage)
    await storage.write_journal([make_entry(3, "c")])
    await storage.acquire_lease("nothing", owner="gone")
    assert (await storage.fsck()).ok
    alter(
        database,
        "DELETE FROM checkpoint WHERE id = 'c'",
        "UPDATE workflow SET expires = 0 WHERE id = 'nothing'",
        "INSERT INTO run (id, workflow, definition, graph_signature) VALUES ('x', 77, 77, 'x')",
    )
    report = await storage.fsck()
    assert [finding.kind for finding in report.findings] == ["file", "journal", "lease"]
    assert "'gone'" in str(report)


async def test_a_page_of_large_rows_is_short_and_all_are_read(storage):
    large = bytes(3 * 1024 * 1024)
    for number in range(5):
        await storage.save(make_commit(f"{number}", workflow_id="large", changed={"state/x": large}))
    assert [row.checkpoint_id for row in await storage.read_rows()] == ["0", "1"]
    report = await storage.fsck()
    assert report.ok
    assert report.checkpoints == 5


async def test_a_fsck_beside_writers_and_prunes_finds_nothing(storage):
    async with trio.open_nursery() as nursery:

        async def work(seed):
            history = RandomHistory(seed)
            for _ in range(60):
                await storage.save(history.next_commit())

        nursery.start_soon(work, 1)
        nursery.start_soon(work, 2)
        for _ in range(6):
            report = await storage.fsck()
            assert report.ok, report
            await trio.lowlevel.checkpoint()
    assert (await storage.fsck()).checkpoints == 120


# Vacuum


async def fill(storage, count):
    parent = None
    for number in range(count):
        commit = make_commit(f"{number}", parent, changed={"state/x": random.Random(number).randbytes(4000)})
        parent = (await storage.save(commit)).id


async def test_the_tables_shrink_by_what_a_prune_freed(database, storage):
    await storage.list()
    off = "(autovacuum_enabled = off, toast.autovacuum_enabled = off)"
    database.execute(f"ALTER TABLE checkpoint SET {off}")
    await fill(storage, 200)
    await storage.prune(keep_last=2)
    assert await storage.vacuum() > 500_000
    assert await storage.vacuum() == 0
    assert (await storage.load("199")).contents == {"state/x": random.Random(199).randbytes(4000)}
    assert (await storage.fsck()).ok
    await storage.save(make_commit("next", "199"))


async def test_a_vacuum_waits_for_others_and_can_be_cancelled(database, storage):
    await fill(storage, 3)
    with database.session() as session, session.transaction():
        session.execute("LOCK TABLE checkpoint IN ACCESS SHARE MODE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.vacuum)
            await until(lambda: database.waiting() == 1)
            nursery.cancel_scope.cancel()
        hasty = PostgresCheckpointStorage(database.dsn, schema=database.schema, lock_timeout=0.05)
        with hasty, pytest.raises(CheckpointError, match="lock_timeout"):
            await hasty.vacuum()
    await until(lambda: database.waiting() == 0)
    assert await storage.vacuum() >= 0
    assert (await storage.fsck()).checkpoints == 3
