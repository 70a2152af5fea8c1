"""The tables, version by version, and what is refused.

Names and ids are ``bytea``: any text that UTF-8 can hold is one, the one with a NUL in it too, whatever the encoding and
the collation of the database. ``SET bytea_output = 'escape'`` shows them as text in psql.

What repeats is written once: a checkpoint row names its run by number, and the run names the workflow and the graph.
One superstep is one row in ``checkpoint``. ``position`` is the order of writing over all workflow ids; a parent always
has a lower one, so ancestry has no cycles and any listing has a total order without a clock.

A row of ``workflow`` is what writers of one workflow id queue for (``FOR UPDATE``), and it holds the lease; the epoch is
drawn from a sequence, which never gives a number twice.

The second version adds the index by which the checkpoints of one workflow id are paged through in order of writing.
"""

from __future__ import annotations

from typing import LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql

from actorflow.checkpoint.migrations import Versions, later_version, take_steps
from actorflow.errors import CheckpointError

__all__ = ["SCHEMA_VERSION", "set_up", "vacuum"]

SCHEMA_VERSION = 2
"""Version of the tables below, kept in ``actorflow_schema``; a schema of a later one is refused."""

_FIRST: tuple[LiteralString, ...] = (
    "CREATE TABLE actorflow_schema (version integer NOT NULL, one boolean PRIMARY KEY DEFAULT true CHECK (one))",
    "INSERT INTO actorflow_schema (version) VALUES (1)",
    "CREATE SEQUENCE lease_epoch",
    """
    CREATE TABLE workflow (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id bytea NOT NULL UNIQUE,
        epoch bigint, -- of the lease, as all below; NULL while nobody holds one
        owner bytea,
        host bytea,
        process bytea,
        ttl double precision, -- seconds
        acquired double precision, -- seconds since 1970-01-01 UTC
        expires double precision
    )
    """,
    "CREATE TABLE definition (key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name bytea NOT NULL UNIQUE)",
    """
    CREATE TABLE run (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id bytea NOT NULL,
        workflow bigint NOT NULL REFERENCES workflow,
        definition bigint NOT NULL REFERENCES definition,
        graph_signature bytea NOT NULL,
        UNIQUE (workflow, id, definition, graph_signature)
    )
    """,
    """
    CREATE TABLE checkpoint (
        position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id bytea NOT NULL UNIQUE,
        parent bigint REFERENCES checkpoint CHECK (parent < position),
        workflow bigint NOT NULL REFERENCES workflow,
        definition bigint NOT NULL REFERENCES definition,
        run bigint NOT NULL REFERENCES run,
        sequence bigint NOT NULL,
        superstep bigint NOT NULL,
        kind smallint NOT NULL,
        created_at bigint NOT NULL, -- microseconds since 1970-01-01 UTC
        derived_from bytea,
        format_version bigint NOT NULL,
        is_full boolean NOT NULL,
        digest bytea,
        seal bytea,
        payload bytea NOT NULL,
        UNIQUE (workflow, sequence)
    )
    """,
    "CREATE INDEX checkpoint_by_parent ON checkpoint (parent)",
    "CREATE INDEX checkpoint_by_definition ON checkpoint (definition, position)",
    "CREATE INDEX checkpoint_by_run ON checkpoint (run)",
    """
    CREATE TABLE journal (
        workflow bigint NOT NULL REFERENCES workflow,
        follows bigint NOT NULL, -- position of a checkpoint, or 0
        place bigint NOT NULL,
        payload bytea NOT NULL,
        UNIQUE (workflow, follows, place)
    )
    """,
)

_PAGES = ("CREATE INDEX checkpoint_by_workflow ON checkpoint (workflow, position)",)

_VERSIONS: Versions[psycopg.Connection] = (_FIRST, _PAGES)
"""What makes each version of the one before; the first one's is nothing."""

_TABLES = ("checkpoint", "journal", "run", "definition", "workflow")

# Any number does that other programs are not likely to lock: the first 8 bytes of "actorflow".
_SET_UP_LOCK = int.from_bytes(b"actorflo")

_RELATIONS = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s"


def set_up(connection: psycopg.Connection, schema: str, place: str) -> None:
    """Bring a schema to the present version, whole or not at all; other openers may try at the same time.

    Raises:
        CheckpointError: The schema is another program's, or of a later version. It was left as it is.
    """
    version = _version(connection, place)
    if version is None or version < SCHEMA_VERSION:
        with connection.transaction():
            # Whoever is before us makes what we want to make, and to build an index anew takes what it takes.
            connection.execute("SET LOCAL lock_timeout = 0")
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SET_UP_LOCK,))
            _migrate(connection, schema, place)
    elif version > SCHEMA_VERSION:
        raise later_version(place, version, SCHEMA_VERSION)


def vacuum(connection: psycopg.Connection) -> int:
    """Write each table anew without gaps; return by how many bytes they and their indexes got smaller."""
    before = _size(connection)
    for table in _TABLES:
        connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.Identifier(table)))
    return before - _size(connection)


def _size(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT sum(pg_total_relation_size(name::regclass))::bigint FROM unnest(%s::text[]) name", ([*_TABLES],)
    ).fetchone()
    assert row is not None
    return int(row[0])


def _migrate(connection: psycopg.Connection, schema: str, place: str) -> None:
    there = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if there is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    version = _version(connection, place) or 0
    if version > SCHEMA_VERSION:
        raise later_version(place, version, SCHEMA_VERSION)
    if version == 0:
        _refuse_foreign(connection, schema, place)
    take_steps(connection, _VERSIONS, version)
    connection.execute("UPDATE actorflow_schema SET version = %s", (SCHEMA_VERSION,))


def _version(connection: psycopg.Connection, place: str) -> int | None:
    # current_schema is NULL where the one we look in is not there, or may not be used.
    found = connection.execute("SELECT to_regclass(quote_ident(current_schema) || '.actorflow_schema')").fetchone()
    if found is None or found[0] is None:
        return None
    try:
        with connection.transaction():
            rows = connection.execute("SELECT version FROM actorflow_schema").fetchall()
    except pg.UndefinedColumn:
        rows = []
    if len(rows) != 1:
        raise CheckpointError(
            f"{place} has a table actorflow_schema that is not ours; it was left as it is: name another"
        )
    return int(rows[0][0])


def _refuse_foreign(connection: psycopg.Connection, schema: str, place: str) -> None:
    row = connection.execute(_RELATIONS, (schema,)).fetchone()
    assert row is not None
    if row[0]:
        raise CheckpointError(
            f"{place} holds {row[0]} tables, indexes or views of another program; it was left as it is: give the "
            f"checkpoints a schema of their own"
        )
