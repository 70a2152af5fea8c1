"""The SQLite file: how it is opened, and what is refused."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import apsw
import attrs

from actorflow.checkpoint.commit_rules import MAX_PAYLOAD
from actorflow.checkpoint.migrations import later_version
from actorflow.checkpoint.sqlite.tables import APPLICATION_ID, SCHEMA_VERSION, set_up
from actorflow.errors import CheckpointError

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "SqliteFile", "has_moved"]

_BESIDE_PAYLOAD = 2**20
"""Bytes of a row that ids and numbers may take."""


@attrs.frozen
class SqliteFile:
    """One database file and how connections to it are made.

    Attributes:
        path: The file, absolute.
        synchronous: "full" or "normal".
        busy_timeout: Seconds to wait for another writer.
        max_payload: Bytes that one row's payload may have.
        vfs: Name of the SQLite file system to go through; empty for the one of this operating system.
    """

    path: Path
    synchronous: str
    busy_timeout: float
    max_payload: int = MAX_PAYLOAD
    vfs: str = ""

    def connect(self) -> apsw.Connection:
        """Open a connection, creating the file and its tables where they are missing.

        Raises:
            CheckpointError: The file is somebody else's, or of a later version.
            apsw.Error: SQLite could not; see `explain`.
        """
        self._refuse_foreign_file()
        connection = apsw.Connection(str(self.path), vfs=self.vfs or None)
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
            raise later_version(self.path, version, SCHEMA_VERSION)

    def _prepare(self, connection: apsw.Connection) -> None:
        # SQLite looks at the size of a row before it reads it, so that a hostile one costs no memory.
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, self.max_payload + _BESIDE_PAYLOAD)
        connection.set_busy_timeout(int(self.busy_timeout * 1000))
        set_up(
            connection, self.path
        )  # it looks at the version again: a later one may be in the log beside the file only
        self._turn_on_wal(connection)
        connection.pragma("synchronous", self.synchronous)
        connection.pragma("foreign_keys", True)
        # Without it SQLite plans a statement anew whenever its parameters change, which is ten times its running.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)

    def _turn_on_wal(self, connection: apsw.Connection) -> None:
        # SQLite does not wait for its busy timeout here when several openers create the file at once.
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
