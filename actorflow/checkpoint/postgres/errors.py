"""What went wrong with a PostgreSQL database, in words that name it and the way out."""

from __future__ import annotations

import psycopg
from psycopg import errors as pg

from actorflow.errors import CheckpointError

__all__ = ["WORTH_ANOTHER_TRY", "explain", "unknown_commit"]

WORTH_ANOTHER_TRY = (
    pg.UniqueViolation,
    pg.ForeignKeyViolation,
    pg.DeadlockDetected,
    pg.SerializationFailure,
)
"""Another session wrote between our look and our write: a second look sees what it wrote."""

_WAYS_OUT: tuple[tuple[type[psycopg.Error], str], ...] = (
    (pg.LockNotAvailable, "has the row locked by another session; let that one finish, or raise lock_timeout"),
    (pg.QueryCanceled, "took longer than statement_timeout, or an administrator stopped it; raise it, or try again"),
    (
        pg.IdleInTransactionSessionTimeout,
        "gave up waiting for this process, which stood still in a transaction; try again",
    ),
    (pg.AdminShutdown, "shut down, or an administrator ended the session; try again"),
    (pg.InvalidPassword, "refused the password; change the DSN"),
    (pg.InvalidAuthorizationSpecification, "refused the user; change the DSN"),
    (pg.InvalidCatalogName, "does not exist; create the database first"),
    (pg.InsufficientPrivilege, "may not be used so by this role; grant it the schema, or CREATE on the database"),
    (pg.UndefinedTable, "lost its tables since it was opened; the next call sets it up again"),
    (pg.UndefinedColumn, "has other tables than when it was opened; the next call looks which, and what it may do"),
    (pg.ReadOnlySqlTransaction, "cannot be written: it is a standby, or read-only; name the primary in the DSN"),
    (pg.TooManyConnections, "has no connection left; raise max_connections, or close what else is connected"),
    (pg.DiskFull, "cannot grow: the disk is full; make room and try again"),
    (pg.ProgramLimitExceeded, "cannot take a value of this size; ids are short, and large values are kept outside"),
    (pg.OutOfMemory, "cannot take a value of this size; keep large values outside and store where they are"),
)


def explain(error: psycopg.Error, place: str) -> CheckpointError:
    """Make the error a storage raises from the one psycopg raised, which becomes its cause."""
    text = str(error).strip() or type(error).__name__
    return _caused(f"{place} {_way_out(error)} ({type(error).__name__}: {text})", error)


def unknown_commit(error: psycopg.Error, place: str) -> CheckpointError:
    """The error for a connection that was lost while the server committed."""
    return _caused(
        f"{place} was lost while it committed, so this is written or it is not; doing the same again is safe: what is "
        f"there already is found ({type(error).__name__}: {str(error).strip()})",
        error,
    )


def _caused(text: str, cause: psycopg.Error) -> CheckpointError:
    explained = CheckpointError(text)
    explained.__cause__ = cause
    return explained


def _way_out(error: psycopg.Error) -> str:
    for kind, text in _WAYS_OUT:
        if isinstance(error, kind):
            return text
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return "cannot be reached, or the connection was lost; check the server and the DSN, and try again"
    return "could not be used: the server refused an operation; see the cause"
