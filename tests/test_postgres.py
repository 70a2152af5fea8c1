"""What the PostgreSQL storage promises beyond the clauses every storage keeps (see test_storage_conformance).

Its set-up may be raced (R16); its errors name the place and the way out, and never a password; a session that died is
replaced, one that dies during a verb costs that verb only, and one that is lost during a commit leaves a save that may be
repeated (R15). What is cancelled is cancelled on the server too, and has changed nothing (R06).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from functools import partial

import psycopg
import pytest
import trio
import trio.testing
from psycopg import sql

from actorflow.checkpoint.deltas import pack_delta
from actorflow.checkpoint.postgres import schema as postgres_schema
from actorflow.checkpoint.postgres import server as postgres_server
from actorflow.checkpoint.postgres.schema import SCHEMA_VERSION
from actorflow.checkpoint.postgres.storage import PostgresCheckpointStorage
from actorflow.checkpoint.records import Delta
from actorflow.errors import CheckpointError
from actorflow.testing import empty_house
from actorflow.testing.storage_conformance import make_commit, make_entry
from tests.postgres import Line, until


@pytest.fixture
def open_for_test(database):
    """A function that opens a storage, which is closed when the test ends in any way."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(open_storage(database))


@pytest.fixture
def storage(database):
    with open_storage(database) as storage:
        yield storage


def open_storage(database, **limits):
    return PostgresCheckpointStorage(database.dsn, schema=database.schema, **limits)


async def ids(storage):
    return [info.id for info in await storage.list()]


def start(code, *args):
    command = [sys.executable, "-c", code, *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


# What it is given


@pytest.mark.parametrize("dsn", ["secret", "host=x password='secret", "postgres://user:secret@[x"])
def test_a_dsn_that_is_none_is_refused_and_not_repeated(dsn):
    with pytest.raises(ValueError, match="dsn") as caught:
        PostgresCheckpointStorage(dsn)
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"
    assert caught.value.__suppress_context__


def test_a_dsn_that_is_no_text_is_refused():
    with pytest.raises(TypeError, match="dsn is a connection string or URI of libpq, not int"):
        PostgresCheckpointStorage(5432)


@pytest.mark.parametrize("schema", ["", "a\0b", "\ud800", "x" * 64, "ä" * 32, "pg_own", "information_schema", None])
def test_a_schema_that_can_be_none_of_ours_is_refused(schema):
    with pytest.raises(ValueError, match="schema"):
        PostgresCheckpointStorage("host=x", schema=schema)


@pytest.mark.parametrize("name", ["lease_ttl", "lock_timeout", "statement_timeout", "idle_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "1"])
def test_a_limit_that_is_no_time_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        PostgresCheckpointStorage("host=x", **{name: value})


def test_neither_its_repr_nor_its_errors_tell_the_password(tmp_path):
    storage = PostgresCheckpointStorage(f"host={tmp_path} user=me password=secret dbname=things", schema="mine")

    with pytest.raises(CheckpointError) as caught:
        trio.run(storage.list)

    assert all(word in str(caught.value) for word in ("'mine'", "'things'", str(tmp_path), "cannot be reached"))
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert "secret" not in f"{storage!r} {caught.value} {caught.value.__cause__} {storage._others._server!r}"


def test_without_its_extra_the_import_says_what_to_install():
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import actorflow; from actorflow import *\n"
        "try:\n    actorflow.PostgresCheckpointStorage\n"
        "except ImportError as error:\n    print(error)"
    )
    with start(code) as process:
        assert b"pip install 'actorflow[postgres]'" in process.stdout.read()


def test_it_is_imported_on_use():
    code = "import sys, actorflow; print('psycopg' in sys.modules); print(actorflow.PostgresCheckpointStorage.__name__)"
    with start(code) as process:
        assert process.stdout.read().split() == [b"False", b"PostgresCheckpointStorage"]


# Sessions


async def test_nothing_is_opened_before_the_first_use_nor_left_by_close(database):
    storage = open_storage(database)
    storage.close()
    assert database.sessions() == 0
    async with empty_house():
        await storage.save(make_commit("a"))
        assert await ids(storage) == ["a"]
    assert database.sessions() == 2
    storage.close()
    await until(lambda: database.sessions() == 0)


def test_one_object_serves_several_runs_and_is_usable_after_close(storage):
    trio.run(storage.save, make_commit("a"))
    trio.run(storage.save, make_commit("b", "a"))
    storage.close()
    storage.close()
    trio.run(storage.save, make_commit("c", "b"))
    assert trio.run(ids, storage) == ["c", "b", "a"]


async def test_a_close_while_readers_and_writers_work_harms_neither(storage):
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(storage.save, make_commit(f"{number}"))
            nursery.start_soon(storage.list)
            await trio.lowlevel.checkpoint()
            storage.close()
    assert len(await storage.list()) == 10


async def test_many_callers_at_once_take_nine_sessions_at_most(database, storage):
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(storage.save, make_commit(f"{number}"))
            nursery.start_soon(storage.list)
            nursery.start_soon(partial(storage.prune, keep_last=100))
    assert 2 <= database.sessions() <= 9


async def test_a_session_that_died_at_rest_is_replaced(database, storage):
    """A server that restarts between two verbs is noticed by neither."""
    for number in range(3):
        await storage.save(make_commit(f"{number}"))
        assert len(await ids(storage)) == number + 1
        database.end_sessions()


async def test_the_limits_are_set_in_every_session(database):
    with open_storage(database, lock_timeout=7, statement_timeout=0.0001, idle_timeout=3) as storage:
        settings = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "search_path")
        found = {}

        def look(connection):
            for name in settings:
                found[name] = connection.execute(f"SHOW {name}").fetchone()[0]

        with pytest.raises(CheckpointError, match="statement_timeout"):
            await storage._read(lambda connection: connection.execute("SELECT pg_sleep(1)"))
    with open_storage(database, lock_timeout=7, statement_timeout=9, idle_timeout=3) as storage:
        await storage._read(look)
        assert found == dict(zip(settings, ("7s", "9s", "3s", f'"{database.schema}"'), strict=True))
        await storage._write(look)
        assert found["lock_timeout"] == "50ms"


# Setting up


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


def test_processes_that_race_to_set_up_the_schema_all_succeed(database, storage):
    """R16."""
    racers = [start(RACER, database.dsn, database.schema, number) for number in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    assert [racer.communicate(timeout=30)[0] for racer in racers] == [b""] * 3
    assert [racer.returncode for racer in racers] == [0] * 3
    assert len(trio.run(storage.list)) == 9


async def test_many_that_set_up_one_schema_at_once_all_succeed(open_for_test):
    """R16."""
    storages = [open_for_test() for _ in range(8)]
    async with trio.open_nursery() as nursery:
        for number, storage in enumerate(storages):
            nursery.start_soon(storage.save, make_commit(f"{number}"))
            nursery.start_soon(storage.list)
    assert len(await storages[0].list()) == 8


async def test_a_schema_of_a_later_version_is_refused_and_left_alone(database, storage):
    await storage.save(make_commit("a"))
    database.execute("UPDATE actorflow_schema SET version = %s", SCHEMA_VERSION + 1)
    storage.close()

    for verb in (storage.list, lambda: storage.save(make_commit("b", "a"))):
        with pytest.raises(CheckpointError, match="later actorflow"):
            await verb()

    assert database.execute("SELECT version FROM actorflow_schema") == [(SCHEMA_VERSION + 1,)]
    assert database.execute("SELECT count(*) FROM checkpoint") == [(1,)]


@pytest.mark.parametrize("statement", ["CREATE TABLE mine (x int)", "CREATE VIEW mine AS SELECT 1 AS x"])
async def test_a_schema_of_another_program_is_refused_and_left_alone(database, storage, statement):
    database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(database.schema)))
    database.execute(statement)

    with pytest.raises(CheckpointError, match="another program"):
        await storage.save(make_commit("a"))

    names = "SELECT relname FROM pg_class WHERE relnamespace = quote_ident(current_schema)::regnamespace"
    assert database.execute(names) == [("mine",)]


@pytest.mark.parametrize("columns", ["version int", "something text", ""])
async def test_a_table_of_our_name_that_is_not_ours_is_refused(database, storage, columns):
    database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(database.schema)))
    database.execute(f"CREATE TABLE actorflow_schema ({columns})")

    with pytest.raises(CheckpointError, match="not ours"):
        await storage.list()


async def test_a_schema_that_is_empty_is_used(database, storage):
    """As an administrator makes it, for a role that may not."""
    database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(database.schema)))
    await storage.save(make_commit("a"))
    assert await ids(storage) == ["a"]


async def test_a_set_up_that_fails_half_way_changes_nothing(database, storage, monkeypatch):
    """R16: the next one does it all."""
    whole = postgres_schema._VERSIONS
    monkeypatch.setattr(postgres_schema, "_VERSIONS", ((*whole[0], "no such statement"),))
    with pytest.raises(CheckpointError):
        await storage.list()
    assert database.execute("SELECT nspname FROM pg_namespace WHERE nspname = %s", database.schema) == []
    monkeypatch.setattr(postgres_schema, "_VERSIONS", whole)
    assert await storage.list() == []


async def test_a_schema_that_was_dropped_is_an_error_once(database, storage):
    await storage.save(make_commit("a"))
    database.drop()
    with pytest.raises(CheckpointError):
        await storage.save(make_commit("b"))
    await storage.save(make_commit("b"))
    assert await ids(storage) == ["b"]


async def test_two_schemas_of_one_database_know_nothing_of_each_other(database, storage):
    await storage.save(make_commit("a"))
    with PostgresCheckpointStorage(database.dsn, schema=f'{database.schema} "2"') as other:
        assert await other.list() == []
        await other.save(make_commit("a", workflow_id="other"))
    database.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(f'{database.schema} "2"')))
    assert [info.workflow_id for info in await storage.list()] == ["workflow"]


# Hostile bytes


async def test_rows_that_somebody_broke_are_errors_of_their_own(database, storage):
    """F34: what is stored is data, whatever it is; the rest goes on."""
    for name in "abc":
        await storage.save(make_commit(name, workflow_id=name))
    for payload in (b"", b"\xc1", b"\x80" * 99, pack_delta(Delta(changed={}, full=True)) + b"!"):
        database.execute("UPDATE checkpoint SET payload = %s WHERE id = 'a'", payload)
        with pytest.raises(CheckpointError):
            await storage.load("a")
    database.execute("UPDATE checkpoint SET kind = 77 WHERE id = 'b'")
    with pytest.raises(CheckpointError, match="kind 77"):
        await storage.load("b")
    assert (await storage.load("c")).contents == {"state/last": b"c"}


async def test_an_id_too_long_for_an_index_is_refused(storage):
    """It is compared byte by byte in an index; what a checkpoint holds may be large, what it is called may not."""
    long = os.urandom(4000).hex()
    with pytest.raises(CheckpointError, match="ids are short"):
        await storage.save(make_commit(long))
    with pytest.raises(CheckpointError, match="ids are short"):
        await storage.acquire_lease(long, owner="me")
    await storage.save(make_commit("a", run_id="x" * 500))
    assert await ids(storage) == ["a"]


# Cancellation


def lock_row(database, workflow_id="workflow"):
    """Another session in a transaction, that has the row of a workflow id."""
    connection = psycopg.connect(database.server)
    connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(database.schema)))
    connection.execute("SELECT FROM workflow WHERE id = %s FOR UPDATE", (workflow_id.encode(),))
    return connection


VERBS = {
    "save": lambda storage, lease: storage.save(make_commit("new", "a", lease=lease)),
    "journal": lambda storage, lease: storage.write_journal([make_entry(0, "a")], lease=lease),
    "renew": lambda storage, lease: storage.renew_lease(lease),
    "release": lambda storage, lease: storage.release_lease(lease),
    "acquire": lambda storage, lease: storage.acquire_lease("workflow", owner="me"),
    "delete": lambda storage, lease: storage.delete("b"),
    "prune": lambda storage, lease: storage.prune(keep_last=1),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
async def test_a_verb_that_waits_for_another_session_can_be_cancelled(database, storage, verb):
    """R06: nothing is changed, no session goes on waiting in the server, and the storage is as usable as before."""
    lease = await storage.acquire_lease("workflow", owner="me")
    for commit in (make_commit("a", lease=lease), make_commit("b", "a", lease=lease)):
        await storage.save(commit)
    before = database.execute("SELECT * FROM workflow")

    with lock_row(database) as other:
        async with empty_house(), trio.open_nursery() as nursery:
            nursery.start_soon(verb, storage, lease)
            await until(lambda: database.waiting() == 1)
            await storage.save(make_commit("elsewhere", workflow_id="elsewhere"))
            nursery.cancel_scope.cancel()
        await until(lambda: database.waiting() == 0)
        other.rollback()
    other.close()

    assert database.execute("SELECT * FROM workflow WHERE id = 'workflow'") == before
    assert await ids(storage) == ["elsewhere", "b", "a"]
    assert await storage.read_journal("workflow", "a") == []
    await storage.save(make_commit("new", "b", lease=lease))


async def test_a_verb_that_waited_for_another_session_goes_on_when_that_ends(database, storage):
    await storage.save(make_commit("a"))
    with lock_row(database) as other:
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(storage.save, make_commit(f"{number}", "a"))
            await until(lambda: database.waiting() == 4)
            other.rollback()
    other.close()
    assert len(await storage.list()) == 7


async def test_a_wait_that_lasts_too_long_is_an_error(database):
    with open_storage(database, lock_timeout=0.1) as storage:
        await storage.save(make_commit("a"))
        with lock_row(database) as other:
            with pytest.raises(CheckpointError, match="lock_timeout") as caught:
                await storage.save(make_commit("b", "a"))
            other.rollback()
        other.close()
        assert isinstance(caught.value.__cause__, psycopg.errors.LockNotAvailable)
        await storage.save(make_commit("b", "a"))


async def test_a_save_the_server_is_at_work_on_can_be_cancelled(database, storage):
    """R06."""
    await storage.save(make_commit("a"))
    database.slow("insert", 30)
    with trio.fail_after(10):
        async with empty_house(), trio.open_nursery() as nursery:
            nursery.start_soon(storage.save, make_commit("b", "a"))
            await until(lambda: database.asleep() == 1)
            nursery.cancel_scope.cancel()
    assert database.asleep() == 0
    assert await ids(storage) == ["a"]


async def test_a_save_whose_commit_was_sent_is_finished(database, storage):
    """The cancellation waits, the verb returns, and the row is there."""
    await storage.save(make_commit("a"))
    database.slow("commit", 0.3)
    returned = []

    async def save():
        returned.append(await storage.save(make_commit("b", "a")))
        await trio.lowlevel.checkpoint()
        returned.append("went on")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(save)
        await until(lambda: database.asleep() == 1)
        nursery.cancel_scope.cancel()
    assert [info.id for info in returned] == ["b"]
    assert await ids(storage) == ["b", "a"]


@pytest.mark.parametrize("workflow_id", ["workflow", "workflow-{}"], ids=["one after the other", "together"])
async def test_of_a_batch_the_cancelled_leave_and_the_rest_is_written(database, storage, workflow_id):
    """R06, R24: whoever is cancelled while the batch is at work has written nothing, the others all they wanted."""
    await storage.save(make_commit("a"))
    database.slow("insert", 0.05)
    saved = []
    scopes = [trio.CancelScope() for _ in range(8)]

    async def save(number):
        with scopes[number]:
            commit = make_commit(f"{number}", "a", workflow_id=workflow_id.format(number), full=True)
            saved.append((await storage.save(commit)).id)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(save, number)
        for number in (0, 3, 4):
            await until(lambda: database.asleep() == 1)
            scopes[number].cancel()
    assert sorted(saved) == sorted(set(await ids(storage)) - {"a"})
    assert set(saved) >= {"1", "2", "5", "6", "7"}
    assert all(scopes[number].cancelled_caught == (f"{number}" not in saved) for number in range(8))
    assert len(saved) < 8


async def test_readers_can_be_cancelled(database, storage):
    await storage.save(make_commit("a"))
    with psycopg.connect(database.server) as other:
        other.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(database.schema)))
        other.execute("LOCK TABLE checkpoint IN ACCESS EXCLUSIVE MODE")
        for read in (storage.list, lambda: storage.load("a"), lambda: storage.latest(workflow_id="workflow")):
            async with empty_house(), trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await until(lambda: database.waiting() == 1)
                nursery.cancel_scope.cancel()
            await until(lambda: database.waiting() == 0)
    other.close()
    assert await ids(storage) == ["a"]


async def test_savers_cancelled_at_any_moment_are_told_the_truth(database, storage):
    """R06: cancelled after so many microseconds of real time, raised means not there and returned means there."""
    await storage.save(make_commit("a"))
    seen = set()
    for number in range(250):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_after, scope, number * 20e-6)
                await storage.save(make_commit(f"{number}", "a"))
                nursery.cancel_scope.cancel()
                seen.add(f"{number}")
    assert set(await ids(storage)) - {"a"} == seen
    assert database.sessions() <= 3


async def cancel_after(scope, seconds):
    end = trio.current_time() + seconds
    while trio.current_time() < end:
        await trio.lowlevel.checkpoint()
    scope.cancel()


# Lost connections


async def test_a_session_that_is_ended_during_a_verb_is_an_error_of_that_verb(database, storage):
    await storage.save(make_commit("a"))
    errors = []

    async def fails(verb):
        with pytest.raises(CheckpointError) as caught:
            await verb()
        errors.append(caught.value)

    with lock_row(database) as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, lambda: storage.save(make_commit("b", "a")))
            nursery.start_soon(fails, lambda: storage.acquire_lease("workflow", owner="me"))
            await until(lambda: database.waiting(0.2) == 2)  # longer than any batch does
            database.end_sessions()
        other.rollback()
    other.close()
    assert [type(error.__cause__) for error in errors] == [psycopg.errors.AdminShutdown] * 2
    assert await ids(storage) == ["a"]
    await storage.save(make_commit("b", "a"))


async def test_an_administrator_may_cancel_a_statement(database, storage):
    """It is not taken for a cancellation of ours."""
    await storage.save(make_commit("a"))
    database.slow("insert", 30)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_backends, database)
        with pytest.raises(CheckpointError, match="administrator") as caught:
            await storage.save(make_commit("b", "a"))
    assert isinstance(caught.value.__cause__, psycopg.errors.QueryCanceled)
    assert await ids(storage) == ["a"]


async def cancel_backends(database):
    await until(lambda: database.asleep() == 1)
    database.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = %s", database.name)


async def test_a_batch_whose_session_is_ended_fails_as_a_whole_each_with_an_error_of_its_own(database, storage):
    await storage.save(make_commit("a"))
    database.slow("insert", 0.2)
    errors = []

    async def save(number):
        try:
            await storage.save(make_commit(f"{number}", "a"))
        except CheckpointError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(save, number)
        await until(lambda: database.asleep() == 1)
        database.end_sessions()
    assert errors
    assert len({id(error) for error in errors}) == len(errors)
    assert len(await ids(storage)) == 7 - len(errors)


@pytest.fixture
def line(database):
    with Line(database) as line:
        yield line


async def test_a_line_that_is_cut_during_the_commit_leaves_a_save_that_may_be_repeated(database, line):
    """R15: nobody can know; the same again finds what is there."""
    with PostgresCheckpointStorage(line.dsn, schema=database.schema) as storage:
        lease = await storage.acquire_lease("workflow", owner="me")
        await storage.save(make_commit("a", lease=lease))
        line.cut_at = b"COMMIT\0"
        with pytest.raises(CheckpointError, match="doing the same again is safe") as caught:
            await storage.save(make_commit("b", "a", lease=lease))
        assert isinstance(caught.value.__cause__, psycopg.OperationalError)
        line.cut_at = None
        await until(lambda: database.execute("SELECT count(*) FROM checkpoint") == [(2,)])
        assert (await storage.save(make_commit("b", "a", lease=lease))).sequence == 2
        assert await ids(storage) == ["b", "a"]


@pytest.mark.parametrize("moment", [b"BEGIN", b"FOR UPDATE", b"coalesce(max(sequence)", b"INSERT INTO checkpoint"])
async def test_a_line_that_is_cut_before_the_commit_leaves_nothing(database, line, moment):
    """R15."""
    with PostgresCheckpointStorage(line.dsn, schema=database.schema) as storage:
        await storage.list()
        line.cut_at = moment
        with pytest.raises(CheckpointError, match="connection was lost"):
            await storage.save(make_commit("a"))
        line.cut_at = None
        assert await ids(storage) == []
        await storage.save(make_commit("a"))


async def test_a_server_that_goes_silent_can_still_be_cancelled(database, line, monkeypatch):
    """R06: it does not even answer that it shall cancel, so it is hung up on."""
    monkeypatch.setattr(postgres_server, "_CANCEL_PATIENCE", 0.1)
    with PostgresCheckpointStorage(line.dsn, schema=database.schema) as storage:
        await storage.save(make_commit("a"))
        await storage.list()
        line.silent = True
        for verb in (storage.list, lambda: storage.save(make_commit("b", "a"))):
            with trio.fail_after(10), trio.move_on_after(0.05) as scope:
                await verb()
            assert scope.cancelled_caught
        line.silent = False
        assert await ids(storage) == ["a"]
        await storage.save(make_commit("b", "a"))
