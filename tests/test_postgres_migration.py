"""Schemas of earlier versions are brought up to date whole or not at all, and what was under way in them goes on (R16).

``tests/frozen/postgres_1.sql`` is what the first version made: a run killed in a superstep, with its lease, its journal and
its digests. However many migrate it at once, and at whatever statement one is cut off, it ends as if nothing had been.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio
from psycopg import sql

from actorflow import LATEST
from actorflow.checkpoint.postgres import schema as postgres_schema
from actorflow.checkpoint.postgres.schema import SCHEMA_VERSION
from actorflow.checkpoint.postgres.storage import PostgresCheckpointStorage
from actorflow.errors import CheckpointError
from actorflow.testing import empty_house
from actorflow.testing.storage_conformance import make_commit
from tests import migrated
from tests.postgres import Line, fresh_database, until

RELATIONS = """
    SELECT c.relname::text, c.relkind::text, coalesce(pg_get_indexdef(c.oid), ''),
           (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull, ', '
            ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)
    FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema) ORDER BY 1
"""


@pytest.fixture
def first_version(database):
    """A schema as the first version left it."""
    fill(database)
    return database


def fill(database):
    database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(database.schema)))
    with database.session() as session:
        session.execute(migrated.frozen("postgres_1.sql"))


def open_storage(database, **options):
    return PostgresCheckpointStorage(database.dsn, schema=database.schema, **options)


def version(database):
    return database.execute("SELECT version FROM actorflow_schema")[0][0]


def relations(database):
    """What is in the schema, names of the schema itself aside."""
    name = sql.Identifier(database.schema).as_string()
    return [tuple(str(each).replace(f"{name}.", "") for each in row) for row in database.execute(RELATIONS)]


def rows(database):
    tables = ("workflow", "definition", "run", "checkpoint", "journal")
    return {table: sorted(database.execute(f"SELECT * FROM {table}"), key=str) for table in tables}


async def test_a_run_under_way_is_resumed_right_after_the_migration(first_version):
    """R16, P6: its finished delivery is taken from the journal, its lease overtaken, and every digest is right."""
    before = rows(first_version)
    with open_storage(first_version) as storage:
        result = await migrated.build(storage).run(checkpoint_id=LATEST)
        assert result.outputs == await migrated.outputs_of_one_run()
        report = await storage.fsck()
        assert report.ok, report
        assert all(info.digest for info in await storage.list())
        head = await storage.latest(workflow_id="under-way")
        assert [info.superstep for info in await storage.lineage(head.id)] == [*range(12, -1, -1)]
    assert version(first_version) == SCHEMA_VERSION == 2
    after = rows(first_version)
    assert set(before["checkpoint"]) < set(after["checkpoint"])
    assert len(after["checkpoint"]) == 2 + 13
    assert after["journal"] == []


async def test_a_finished_delivery_of_before_the_migration_is_not_done_again(first_version):
    with open_storage(first_version) as storage:
        workflow, invoked = migrated.build(storage), []
        async with workflow.stream(checkpoint_id=LATEST) as run:
            async for event in run.events:
                if event.type == "executor_invoked":
                    invoked.append((event.executor_id, event.data))
    assert ("left", migrated.STOPPED_AT) not in invoked
    assert ("right", migrated.STOPPED_AT) in invoked


async def test_what_was_pruned_before_the_migration_is_sound_after_it(first_version):
    with open_storage(first_version) as storage:
        assert (await storage.fsck(workflow_id="pruned", deep=True, check=lambda checkpoint: None)).ok
        assert await storage.prune(workflow_id="pruned", keep_last=1) == 1
        assert (await storage.fsck()).ok


async def test_epochs_go_on_where_they_were(first_version):
    """P7: no lease of after the migration has an epoch of before it."""
    ((epoch,),) = first_version.execute("SELECT epoch FROM workflow WHERE id = 'under-way'")
    with open_storage(first_version) as storage:
        assert (await storage.acquire_lease("under-way", owner="next")).epoch > epoch


async def test_a_migrated_schema_is_like_a_new_one(first_version, postgres_server):
    with fresh_database(postgres_server) as new:
        for database in (first_version, new):
            with open_storage(database) as storage:
                await storage.list()
        assert relations(first_version) == relations(new)


# Raced


RACER = """
import sys, trio
from actorflow import PostgresCheckpointStorage
from actorflow.testing.storage_conformance import make_commit

async def main():
    sys.stdin.readline()
    with PostgresCheckpointStorage(sys.argv[1], schema=sys.argv[2]) as storage:
        for step in range(3):
            await storage.save(make_commit(f"{sys.argv[3]}-{step}"))

print("ready", flush=True)
trio.run(main)
"""


def test_four_processes_that_race_to_migrate_all_succeed(first_version):
    """R16."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", RACER, first_version.dsn, first_version.schema]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment}
    racers = [subprocess.Popen([*command, f"{number}"], **pipes) for number in range(4)]
    for racer in racers:
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    assert [racer.communicate(timeout=30)[0] for racer in racers] == [b""] * 4
    assert [racer.returncode for racer in racers] == [0] * 4
    assert version(first_version) == SCHEMA_VERSION
    with open_storage(first_version) as storage:
        assert trio.run(storage.fsck).ok
        assert len(trio.run(storage.list, "workflow")) == 12


async def test_many_storages_that_migrate_at_once_all_succeed(first_version):
    """R16."""
    storages = [open_storage(first_version) for _ in range(4)]
    async with trio.open_nursery() as nursery:
        for number, storage in enumerate(storages):
            nursery.start_soon(storage.save, make_commit(f"{number}"))
            nursery.start_soon(storage.list, "under-way")
    assert version(first_version) == SCHEMA_VERSION
    for storage in storages:
        assert len(await storage.list("workflow")) == 4
        storage.close()


# Interrupted


async def test_a_migration_cut_off_at_any_message_has_happened_or_has_not(database, postgres_server):
    """R16, R15: whatever got through to the server before the line was cut, what is there is one version, whole."""
    fill(database)
    old, before = relations(database), rows(database)
    with fresh_database(postgres_server) as fresh, open_storage(fresh) as storage:
        await storage.list()
        new = relations(fresh)
    found = []
    with Line(database) as line:
        while version(database) < SCHEMA_VERSION:
            line.cut_after = len(found) + 1
            storage = PostgresCheckpointStorage(line.dsn, schema=database.schema)
            with storage, pytest.raises(CheckpointError, match="the connection was lost"):
                await storage.list()
            await until(lambda: database.sessions() == 0)
            found.append(version(database))
            assert relations(database) == (old if found[-1] == 1 else new)
            assert rows(database) == before
    assert found == [1] * (len(found) - 1) + [SCHEMA_VERSION]
    assert len(found) > 10  # the commit itself is the last message of these
    with open_storage(database) as storage:
        assert (await migrated.build(storage).run(checkpoint_id=LATEST)).outputs == await migrated.outputs_of_one_run()
        assert (await storage.fsck()).ok


async def test_a_migration_that_fails_at_any_step_changes_nothing(first_version, monkeypatch):
    before, whole = relations(first_version), postgres_schema._VERSIONS
    for place in range(len(whole[1]) + 1):
        broken = (*whole[1][:place], "no such statement", *whole[1][place:])
        monkeypatch.setattr(postgres_schema, "_VERSIONS", (whole[0], broken))
        with open_storage(first_version) as storage, pytest.raises(CheckpointError, match="SyntaxError"):
            await storage.list()
        assert (version(first_version), relations(first_version)) == (1, before)


@pytest.mark.parametrize("verb", ["list", "save"])
async def test_whoever_waits_for_the_migration_of_another_can_be_cancelled(first_version, verb):
    """R06: an index over a large table takes its time, and a caller need not."""
    with first_version.session() as session, session.transaction():
        session.execute("SELECT pg_advisory_xact_lock(%s)", (postgres_schema._SET_UP_LOCK,))
        with open_storage(first_version, lock_timeout=0.01, statement_timeout=0.05) as storage:
            async with empty_house(), trio.open_nursery() as nursery:
                nursery.start_soon(lambda: storage.list() if verb == "list" else storage.save(make_commit("a")))
                await until(lambda: first_version.waiting(0.2) == 1)  # longer than any other statement may
                nursery.cancel_scope.cancel()
            await until(lambda: first_version.sessions() == 0)
    assert version(first_version) == 1
    with open_storage(first_version) as storage:
        await storage.save(make_commit("a"))


# Beside sessions of the version before


@pytest.fixture
def as_first_version(monkeypatch):
    """A function that lets this process be of the first version, or of the present one again."""
    whole = postgres_schema._VERSIONS

    def become(is_first):
        monkeypatch.setattr(postgres_schema, "_VERSIONS", whole[:1] if is_first else whole)
        monkeypatch.setattr(postgres_schema, "SCHEMA_VERSION", 1 if is_first else len(whole))

    return become


async def test_sessions_of_the_version_before_go_on_and_new_ones_are_refused(first_version, as_first_version):
    """A process that was at work when another one migrated ends its run; it does not begin anew."""
    as_first_version(True)
    with open_storage(first_version) as old:
        lease = await old.acquire_lease("workflow", owner="old")
        for number in range(8):  # so that its statements are prepared
            await old.save(make_commit(f"{number}", f"{number - 1}" if number else None, lease=lease))
            await old.list()
        as_first_version(False)
        with open_storage(first_version) as new:
            assert len(await new.list("workflow")) == 8
            as_first_version(True)
            await old.save(make_commit("8", "7", lease=lease))
            await old.renew_lease(lease)
            assert len(await old.list("workflow")) == 9
            old.close()
            for verb in (old.list, lambda: old.save(make_commit("9", "8", lease=lease))):
                with pytest.raises(
                    CheckpointError, match=r"later actorflow \(schema version 2, this one knows up to 1\)"
                ):
                    await verb()
            assert (await new.fsck()).ok


async def test_a_version_that_takes_something_away_stops_the_sessions_of_the_one_before(database):
    """They fail at their next statement, which writes nothing, and then say what they found."""
    with open_storage(database) as old:
        await old.save(make_commit("a"))
        await old.list()
        database.execute("ALTER TABLE checkpoint RENAME COLUMN payload TO body")
        database.execute("UPDATE actorflow_schema SET version = %s", SCHEMA_VERSION + 1)
        for verb in (lambda: old.load("a"), lambda: old.save(make_commit("b", "a"))):
            with pytest.raises(CheckpointError, match="has other tables than when it was opened"):
                await verb()
            with pytest.raises(CheckpointError, match="later actorflow"):
                await verb()
    assert database.execute("SELECT count(*) FROM checkpoint") == [(1,)]
