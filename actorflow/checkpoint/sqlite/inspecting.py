"""Damage outside of the rows of checkpoints, and giving room back. Called outside of any transaction of writers.

Both may take long, and ask every so often whether their caller was cancelled. SQLite's own check runs in a reader's
snapshot, which holds no writer up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import apsw
import trio

from actorflow.checkpoint.lease_rules import is_live
from actorflow.checkpoint.sqlite import leases
from actorflow.checkpoint.stored_rows import MOST_ORPHANS, Finding, orphaned_entry, orphaned_lease

__all__ = ["inspect", "vacuum"]

_STEPS = 50_000
"""Steps of SQLite's machine between two looks at the caller: some milliseconds."""

_LOST_RUNS = """
    SELECT r.key FROM run r
    WHERE NOT EXISTS (SELECT 1 FROM workflow WHERE key = r.workflow)
       OR NOT EXISTS (SELECT 1 FROM definition WHERE key = r.definition)
"""

_ORPHANED_ENTRIES = """
    SELECT CASE typeof(w.id) WHEN 'text' THEN CAST(w.id AS BLOB) END, j.place, j.follows
    FROM journal j LEFT JOIN workflow w ON w.key = j.workflow
    WHERE w.key IS NULL OR (j.follows <> 0 AND NOT EXISTS (SELECT 1 FROM checkpoint WHERE position = j.follows))
    ORDER BY j.rowid LIMIT ?
"""

_LEASES_OF_NOTHING = """
    SELECT workflow_id FROM lease l
    WHERE typeof(workflow_id) = 'text' AND NOT EXISTS (
        SELECT 1 FROM workflow w JOIN checkpoint c ON c.workflow = w.key WHERE w.id = l.workflow_id
    )
"""


def inspect(connection: apsw.Connection, now: float) -> list[Finding]:
    """What is wrong; see `CheckpointStorage.inspect`."""
    with _cancellable(connection):
        try:
            return [*_file_faults(connection), *_entry_faults(connection), *_lease_faults(connection, now)]
        except (apsw.CorruptError, apsw.TooBigError, UnicodeDecodeError) as error:
            return [Finding("file", "", "", f"SQLite cannot read all of it ({type(error).__name__}: {error})")]


def vacuum(connection: apsw.Connection) -> int:
    """Build the file anew without gaps, and cut the log beside it; return by how many bytes the file is smaller."""
    with _cancellable(connection):
        before = _size(connection)
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return before - _size(connection)


def _size(connection: apsw.Connection) -> int:
    return int(connection.pragma("page_count")) * int(connection.pragma("page_size"))


def _file_faults(connection: apsw.Connection) -> Iterator[Finding]:
    for (message,) in connection.execute("PRAGMA integrity_check"):
        if message != "ok" and not _is_told_by_row(message):
            yield Finding("file", "", "", f"SQLite's integrity check says: {message}")
    for (run,) in connection.execute(_LOST_RUNS):
        yield Finding("file", "", "", f"table run: row {run} names a workflow or definition that is not there")


def _is_told_by_row(message: str) -> bool:
    # Looking at the rows one by one names the checkpoint as well.
    return message.startswith(("CHECK constraint failed in checkpoint", "NULL value in checkpoint."))


def _entry_faults(connection: apsw.Connection) -> Iterator[Finding]:
    for workflow_id, place, follows in connection.execute(_ORPHANED_ENTRIES, (MOST_ORPHANS,)):
        yield orphaned_entry((workflow_id or b"").decode("utf-8", "replace"), place, f"the row at position {follows}")


def _lease_faults(connection: apsw.Connection, now: float) -> Iterator[Finding]:
    names = (row[0] for row in connection.execute(_LEASES_OF_NOTHING))
    holdings = (leases.holding(connection, name) for name in names)
    over = (each for each in holdings if each is not None and not is_live(each, now))
    for holding in islice(over, MOST_ORPHANS):
        yield orphaned_lease(holding.lease.workflow_id, holding.lease.owner)


@contextmanager
def _cancellable(connection: apsw.Connection) -> Iterator[None]:
    def go_on() -> bool:
        trio.from_thread.check_cancelled()
        return False

    connection.set_progress_handler(go_on, _STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None)
