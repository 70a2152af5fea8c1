"""The connections a storage keeps to its file: one that writes, a few that read. All of this runs in worker threads.

A connection that met an error which may have broken it, or may mean that the file is not what it was, is closed; the
next call opens a new one with every check. So a storage object is usable again as soon as the cause is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import apsw
import outcome

from actorflow.checkpoint.sqlite.errors import explain, leaves_connection_usable
from actorflow.checkpoint.sqlite.schema import SqliteFile, has_moved
from actorflow.errors import CheckpointError

__all__ = ["Readers", "Work", "Writer"]

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]


class Writer:
    """The one connection that writes."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None

    def commit(self, batch: Sequence[Work[Any]]) -> list[outcome.Outcome[Any]]:
        """Do several pieces of work in one transaction; each fails alone, and its outcome is a value."""
        with self._lock:
            if len(batch) == 1:
                return [outcome.capture(self._alone, batch[0])]
            # Savepoints cost as much as the work, and hardly ever is there anything to undo: so only the second time.
            for perform in (_all, _each):
                begun = outcome.capture(self._begin)
                if isinstance(begun, outcome.Error):  # locked or not to be opened: the same for all, waited for once
                    return [outcome.Error(_again(begun.error)) for _ in batch]
                together = outcome.capture(self._finish, begun.value, partial(perform, batch))
                if isinstance(together, outcome.Value):
                    return together.value
            # SQLite itself failed and has undone the whole transaction: let the culprit fail alone.
            return [outcome.capture(self._alone, work) for work in batch]

    def maintain(self, work: Work[T]) -> T:
        """Do one piece of work that is no transaction, between two batches."""
        with self._lock, self._explained():
            return work(self._opened())

    def close(self) -> None:
        """Close the connection as soon as the work in hand is done."""
        with self._lock:
            self._drop()

    def _alone(self, work: Work[T]) -> T:
        return self._finish(self._begin(), work)

    def _finish(self, connection: apsw.Connection, work: Work[T]) -> T:
        with self._explained(), _transaction(connection):
            return work(connection)

    def _begin(self) -> apsw.Connection:
        with self._explained():
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            return connection

    def _opened(self) -> apsw.Connection:
        if self._connection is not None and has_moved(self._connection):
            self._drop()
        if self._connection is None:
            self._connection = self._file.connect()
        return self._connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            if not leaves_connection_usable(error):
                self._drop()
            raise explain(error, self._file.path) from error

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Readers:
    """Connections that read, opened as concurrent readers need them and kept for the next."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._closings = 0

    def read(self, work: Work[T]) -> T:
        """Do one piece of work in one snapshot of the file."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
            closings = self._closings
        if connection is not None and has_moved(connection):
            connection.close()
            connection = None
        try:
            if connection is None:
                connection = self._open()
            result = _in_snapshot(connection, work)
        except apsw.Error as error:
            if connection is not None:
                connection.close()
            raise explain(error, self._file.path) from error
        except BaseException:
            self._put_back(connection, closings)
            raise
        self._put_back(connection, closings)
        return result

    def close(self) -> None:
        """Close all connections; those at work close when their work is done."""
        with self._lock:
            self._closings += 1
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _open(self) -> apsw.Connection:
        connection = self._file.connect()
        connection.pragma("query_only", True)
        return connection

    def _put_back(self, connection: apsw.Connection | None, closings: int) -> None:
        if connection is None:
            return
        with self._lock:
            keep = closings == self._closings
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()


@contextmanager
def _transaction(connection: apsw.Connection) -> Iterator[None]:
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors of SQLite have rolled back already
            connection.execute("ROLLBACK")
        raise


def _all(batch: Sequence[Work[Any]], connection: apsw.Connection) -> list[outcome.Outcome[Any]]:
    return [outcome.Value(work(connection)) for work in batch]


def _each(batch: Sequence[Work[Any]], connection: apsw.Connection) -> list[outcome.Outcome[Any]]:
    return [_in_savepoint(connection, work) for work in batch]


def _in_savepoint(connection: apsw.Connection, work: Work[T]) -> outcome.Outcome[T]:
    connection.execute("SAVEPOINT one_of_a_batch")
    result = outcome.capture(work, connection)
    if isinstance(result, outcome.Error):
        if isinstance(result.error, apsw.Error):
            raise result.error
        connection.execute("ROLLBACK TO one_of_a_batch")
    connection.execute("RELEASE one_of_a_batch")
    return result


def _in_snapshot(connection: apsw.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _again(error: BaseException) -> BaseException:
    # One exception object raised in many tasks would gather the tracebacks and notes of all of them.
    if not isinstance(error, CheckpointError):
        return error
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
