"""The sessions a storage keeps. All of this runs in worker threads.

They are kept in a plain list and opened as concurrent callers need them. psycopg's own pool keeps threads at work between
the calls and beyond the run that needed them; here nothing is at work while no verb is, and nothing needs to be started.

A transaction's commit is its point of no return. Before it, whatever interrupts or fails has changed nothing: the server
undoes the transaction, and a session that is not as it was before is closed, never handed out again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from typing import Any, Protocol, TypeVar, runtime_checkable

import outcome
import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus

from actorflow.checkpoint.interruption import Interrupted, Interruption
from actorflow.checkpoint.postgres.errors import WORTH_ANOTHER_TRY, explain, unknown_commit
from actorflow.checkpoint.postgres.server import Server, cancel, has_died
from actorflow.errors import CheckpointError, InternalError

__all__ = ["Blocked", "Joint", "Sessions", "Work"]

T = TypeVar("T")
Work = Callable[[psycopg.Connection], T]

_TRIES = 8

_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_OTHER_TABLES = (pg.UndefinedTable, pg.UndefinedColumn)


@runtime_checkable
class Joint(Protocol):
    """A piece of work that is cheaper together with others of its kind."""

    @property
    def queue(self) -> str:
        """What it queues for: those with the same are done one after the other."""

    def __call__(self, connection: psycopg.Connection, /) -> Any:
        """Do it by itself."""

    def together(self, connection: psycopg.Connection, works: Sequence[Any], /) -> list[Any]:
        """Do several at once, each of another queue; returns their results."""


class Blocked(Exception):  # noqa: N818  # a reason to go another way, that reaches no user
    """A piece of work of a batch met another session; it must be done by itself."""


class _SessionFailed(Exception):  # noqa: N818  # tells the failure of a session from that of a piece of work
    def __init__(self, error: CheckpointError) -> None:
        super().__init__(error)
        self.error = error


class Sessions:
    """Sessions with the same limits: those at rest, and the ways to use one.

    Args:
        server: Where they are opened.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection] = []
        self._closings = 0

    def close(self) -> None:
        """Close those at rest; those at work close when their work is done."""
        with self._lock:
            self._closings += 1
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def read(self, work: Work[T], interruption: Interruption) -> T:
        """Do one piece of work that only reads, in one snapshot of the database."""
        with self._explained(), self._session(interruption) as connection:
            connection.execute(_READ)
            result = work(connection)
            connection.execute("COMMIT")
            return result

    def write(self, work: Work[T], interruption: Interruption) -> T:
        """Do one piece of work in a transaction of its own, again if another session came between."""
        with self._explained():
            for _ in range(_TRIES - 1):
                try:
                    return self._transact(work, interruption)
                except WORTH_ANOTHER_TRY:
                    interruption.check()
            return self._transact(work, interruption)

    def write_batch(self, batch: Sequence[Work[Any]], interruption: Interruption) -> list[outcome.Outcome[Any]]:
        """Do several pieces of work in one transaction; each fails alone, and its outcome is a value.

        The outcome of one that must wait for another session is `Blocked`.
        """
        try:
            try:
                return self._transact(partial(_all, batch), interruption)
            except (Interrupted, _SessionFailed):
                raise
            except Exception as error:  # noqa: BLE001  # it is given to whose work raised it
                if len(batch) == 1:
                    return [outcome.Error(self._told(error))]
            # Savepoints cost two round trips a piece, and hardly ever is there anything to undo: so only now.
            return self._transact(partial(self._each, batch, interruption), interruption)
        except _SessionFailed as failed:
            # One exception object raised in many tasks would gather the tracebacks and notes of all of them.
            return [outcome.Error(_copied(failed.error)) for _ in batch]
        except psycopg.Error as error:
            return [outcome.Error(explain(error, self._server.place)) for _ in batch]

    def maintain(self, work: Work[T], interruption: Interruption) -> T:
        """Do one piece of work that is no transaction, however long it takes, in a session of its own."""
        with self._explained(), self._session(interruption) as connection:
            connection.execute("SET statement_timeout = 0")
            result = work(connection)
            connection.close()
            return result

    def _transact(self, work: Work[T], interruption: Interruption) -> T:
        with self._session(interruption) as connection:
            connection.execute(_WRITE)
            result = work(connection)
            interruption.pass_point_of_no_return()
            self._commit(connection)
            return result

    def _commit(self, connection: psycopg.Connection) -> None:
        try:
            done = connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if connection.closed:
                raise _SessionFailed(unknown_commit(error, self._server.place)) from error
            raise
        if done != "COMMIT":
            raise InternalError(f"a transaction that had failed was to be committed; the server says {done!r}")

    def _each(
        self, batch: Sequence[Work[Any]], interruption: Interruption, connection: psycopg.Connection
    ) -> list[outcome.Outcome[Any]]:
        outcomes = []
        for work in batch:
            interruption.check()
            connection.execute("SAVEPOINT one_of_a_batch")
            result = outcome.capture(work, connection)
            if isinstance(result, outcome.Error):
                if connection.closed or (isinstance(result.error, psycopg.Error) and interruption.asked):
                    raise result.error
                connection.execute("ROLLBACK TO one_of_a_batch")
                if isinstance(result.error, pg.LockNotAvailable):
                    connection.execute("SET LOCAL lock_timeout = 1")  # the batch has waited long enough
                result = outcome.Error(self._told(result.error))
            connection.execute("RELEASE one_of_a_batch")
            outcomes.append(result)
        return outcomes

    def _told(self, error: BaseException) -> BaseException:
        if isinstance(error, (pg.LockNotAvailable, *WORTH_ANOTHER_TRY)):
            return Blocked()
        return explain(error, self._server.place) if isinstance(error, psycopg.Error) else error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _SessionFailed as failed:
            raise failed.error from failed.error.__cause__
        except psycopg.Error as error:
            raise explain(error, self._server.place) from error

    @contextmanager
    def _session(self, interruption: Interruption) -> Iterator[psycopg.Connection]:
        interruption.check()
        with self._lock:
            closings = self._closings
        connection = self._take()
        usable = connection is not None
        if connection is None:
            connection = self._open()
        try:
            with interruption.cancelling_by(partial(cancel, connection)):
                if not usable:  # in here, because others may be at it for as long as a migration takes
                    self._set_up(connection)
                    usable = True
                yield connection
        except psycopg.Error as error:
            if interruption.asked and not interruption.passed:
                raise Interrupted from None
            if connection.closed or not usable:
                raise _SessionFailed(explain(error, self._server.place)) from error
            if isinstance(error, _OTHER_TABLES):
                connection.close()  # the next one looks at the version, and sets the schema up again
            raise
        finally:
            if usable:
                self._put_back(connection, closings)
            else:
                connection.close()

    def _take(self) -> psycopg.Connection | None:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None or not has_died(connection):
                return connection
            connection.close()

    def _open(self) -> psycopg.Connection:
        try:
            return self._server.connect()
        except psycopg.Error as error:
            raise _SessionFailed(explain(error, self._server.place)) from error

    def _set_up(self, connection: psycopg.Connection) -> None:
        try:
            self._server.set_up(connection)
        except CheckpointError as error:
            raise _SessionFailed(error) from error

    def _put_back(self, connection: psycopg.Connection, closings: int) -> None:
        usable = _is_at_rest(connection)
        with self._lock:
            if usable and closings == self._closings:
                self._idle.append(connection)
                return
        connection.close()


def _all(batch: Sequence[Work[Any]], connection: psycopg.Connection) -> list[outcome.Outcome[Any]]:
    results: dict[int, Any] = {}
    for places in _rounds(batch):
        works = [batch[place] for place in places]
        first = works[0]
        if len(works) > 1 and isinstance(first, Joint):
            results.update(zip(places, first.together(connection, works), strict=True))
        else:
            results[places[0]] = first(connection)
    return [outcome.Value(results[place]) for place in range(len(batch))]


def _rounds(batch: Sequence[Work[Any]]) -> Iterator[list[int]]:
    """Places in a batch, such that each round is one piece of work, or several that are cheaper together."""
    queues: dict[str, list[int]] = {}
    for place, work in enumerate(batch):
        if isinstance(work, Joint):
            queues.setdefault(work.queue, []).append(place)
        else:
            yield [place]
    for row in zip_longest(*queues.values()):
        yield [place for place in row if place is not None]


def _is_at_rest(connection: psycopg.Connection) -> bool:
    """Undo what a session has under way; whether that succeeded."""
    if connection.closed:
        return False
    try:
        if connection.info.transaction_status != TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error:
        return False
    return connection.info.transaction_status == TransactionStatus.IDLE


def _copied(error: CheckpointError) -> CheckpointError:
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
