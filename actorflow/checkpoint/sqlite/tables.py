"""The tables of the SQLite file, version by version.

What repeats is written once: a checkpoint row names its run by number, and the run names the workflow and the graph.
One superstep is one row in ``checkpoint``. The payload is its last column, so that what does not fit a page lies on
pages of its own, which reading headers never touches. ``position`` is the order of writing over all workflow ids; a
parent always has a lower one, so ancestry has no cycles and any listing has a total order without a clock.

A row of ``lease`` is there while a lease is held; its key is the epoch and is never given twice. ``journal`` has its own
row numbers besides the unique key: without them rows of 1 to 2 KB would take twice their size.

``digest`` and ``seal`` are the 32 bytes of `actorflow.checkpoint.digests`: no digest in what was written before the
third version, no seal but in what was rewritten.

The fourth version adds nothing to the third: it looks for files that were made while the second one was being written.
"""

from __future__ import annotations

import apsw

from actorflow.checkpoint.migrations import Versions, later_version, take_steps

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "set_up"]

APPLICATION_ID = 0x61637466
"""Marks a database file as ours ("actf"); SQLite keeps it in the file's header."""

SCHEMA_VERSION = 4
"""Version of the tables below, kept as ``user_version``; a file of a later one is refused."""

_FIRST = (
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
)

_LEASES_AND_JOURNAL = (
    """
    CREATE TABLE lease (
        epoch INTEGER PRIMARY KEY AUTOINCREMENT,
        workflow_id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        host TEXT NOT NULL,
        process TEXT NOT NULL,
        ttl REAL NOT NULL, -- seconds
        acquired REAL NOT NULL, -- seconds since 1970-01-01 UTC
        expires REAL NOT NULL
    )
    """,
    """
    CREATE TABLE journal (
        workflow INTEGER NOT NULL REFERENCES workflow(key),
        follows INTEGER NOT NULL, -- position of a checkpoint, or 0
        place INTEGER NOT NULL,
        payload BLOB NOT NULL,
        UNIQUE (workflow, follows, place)
    )
    """,
    "CREATE INDEX checkpoint_by_run ON checkpoint (run)",
)

# Built anew rather than added to, so that the payload stays the last column.
_DIGESTS = (
    """
    CREATE TABLE checkpoint_with_digest (
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
        digest BLOB,
        seal BLOB,
        is_full INTEGER NOT NULL,
        payload BLOB NOT NULL,
        UNIQUE (workflow, sequence)
    )
    """,
    """
    INSERT INTO checkpoint_with_digest
    SELECT position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from,
           format_version, NULL, NULL, is_full, payload
    FROM checkpoint ORDER BY position
    """,
    "DROP TABLE checkpoint",
    "ALTER TABLE checkpoint_with_digest RENAME TO checkpoint",
    "CREATE INDEX checkpoint_by_parent ON checkpoint (parent)",
    "CREATE INDEX checkpoint_by_definition ON checkpoint (definition)",
    "CREATE INDEX checkpoint_by_run ON checkpoint (run)",
)


def _name_processes(connection: apsw.Connection) -> None:
    """Leases told nothing of the process that holds them when there first were any.

    The column is added, not the table built anew: the counter that keeps SQLite from giving an epoch twice stays.
    """
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(lease)")]
    if "process" not in columns:
        connection.execute("ALTER TABLE lease ADD COLUMN process TEXT NOT NULL DEFAULT ''")


_VERSIONS: Versions[apsw.Connection] = (_FIRST, _LEASES_AND_JOURNAL, _DIGESTS, (_name_processes,))
"""What makes each version of the one before; the first one's is nothing."""


def set_up(connection: apsw.Connection, place: object) -> None:
    """Bring a file to the present version, whole or not at all; other openers may try at the same time.

    Raises:
        CheckpointError: It is of a later version. It was left as it is.
    """
    if _version(connection, place) == SCHEMA_VERSION:
        return
    # In a fresh file this is before write-ahead logging is turned on, so that the mark in the header is in the file
    # itself from its first page on, and a file without it is never half of ours.
    connection.execute("BEGIN IMMEDIATE")
    try:
        take_steps(connection, _VERSIONS, _version(connection, place))
        connection.pragma("user_version", SCHEMA_VERSION)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: apsw.Connection, place: object) -> int:
    version = int(connection.pragma("user_version"))
    if version > SCHEMA_VERSION:
        raise later_version(place, version, SCHEMA_VERSION)
    return version
