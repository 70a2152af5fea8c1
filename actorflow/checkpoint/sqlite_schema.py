"""The SQLite file: its tables, how it is opened, and what is refused.

What repeats is written once: a checkpoint row names its run by number, and the run names the workflow and the graph.
One superstep is one row in ``checkpoint``. The payload is its last column, so that what does not fit a page lies on
pages of its own, which reading headers never touches. ``position`` is the order of writing over all workflow ids; a
parent always has a lower one, so ancestry has no cycles and any listing has a total order without a clock.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import apsw
import attrs

from actorflow.errors import CheckpointError

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "SqliteFile", "has_moved"]

APPLICATION_ID = 0x61637466
"""Marks a database file as ours ("actf"); SQLite keeps it in the file's header."""

SCHEMA_VERSION = 1
"""Version of the tables below, kept as ``user_version``; a file of a later one is refused."""

_SCHEMA = (
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
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


@attrs.frozen
class SqliteFile:
    """One database file and how connections to it are made.

    Attributes:
        path: The file, absolute.
        synchronous: "full" or "normal".
        busy_timeout: Seconds to wait for another writer.
    """

    path: Path
    synchronous: str
    busy_timeout: float

    def connect(self) -> apsw.Connection:
        """Open a connection, creating the file and its tables where they are missing.

        Raises:
            CheckpointError: The file is somebody else's, or of a later version.
            apsw.Error: SQLite could not; see `explain`.
        """
        self._refuse_foreign_file()
        connection = apsw.Connection(str(self.path))
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_foreign_file(self) -> None:
        # Looked at through an immutable connection: it writes nothing, replays no journal, and leaves no file behind.
        # Reading the header by hand would do the same, but closing that descriptor would drop the locks that SQLite
        # holds on this file for every other connection of the process. It takes no locks, so it may see the file while
        # others grow it: the two numbers never change once there are any, and writable_schema keeps SQLite from calling
        # a file corrupt that is shorter yet than its header says.
        if not _has_pages(self.path):
            return
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(f"{self.path.as_uri()}?immutable=1", flags=flags)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1)
            mark, version = connection.pragma("application_id"), connection.pragma("user_version")
        finally:
            connection.close()
        if mark != APPLICATION_ID:
            raise CheckpointError(
                f"{self.path} is an SQLite database of another program (application_id {mark:#x}); "
                f"it was left as it is: give the checkpoints a file of their own"
            )
        if version > SCHEMA_VERSION:
            raise CheckpointError(
                f"{self.path} was written by a later actorflow (schema {version}, this one knows up to "
                f"{SCHEMA_VERSION}); it was left as it is: upgrade actorflow, or use another file"
            )

    def _prepare(self, connection: apsw.Connection) -> None:
        connection.set_busy_timeout(int(self.busy_timeout * 1000))
        if connection.pragma("user_version") == 0:
            _create_tables(connection)
        self._turn_on_wal(connection)
        connection.pragma("synchronous", self.synchronous)
        connection.pragma("foreign_keys", True)
        # Without it SQLite plans a statement anew whenever its parameters change, which is ten times its running.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)

    def _turn_on_wal(self, connection: apsw.Connection) -> None:
        # SQLite does not wait for its busy timeout here when several openers create the file at once (R16).
        end = time.monotonic() + self.busy_timeout
        while True:
            try:
                connection.pragma("journal_mode", "wal")
                return
            except apsw.BusyError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.005)


def _has_pages(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:  # not there, or not to be looked at: opening it will tell
        return False


def has_moved(connection: apsw.Connection) -> bool:
    """Whether the file was deleted, moved or replaced since the connection opened it.

    What is written through such a connection is acknowledged, and gone with it.
    """
    flag = ctypes.c_int(0)
    connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(flag))
    return flag.value != 0


def _create_tables(connection: apsw.Connection) -> None:
    # Before write-ahead logging is turned on, so that the mark in the header is in the file itself from its first
    # page on, and a file without it is never half of ours.
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.pragma("user_version") == 0:  # another opener may have been faster
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
