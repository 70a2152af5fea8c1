"""Rows of checkpoints as they are, whatever is in them, and what else may be damaged. All inside a transaction of a reader.

The server keeps the types of its columns, and its foreign keys; text that is not UTF-8, numbers out of range and whatever
was written with its triggers turned off it keeps too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, LiteralString

import psycopg

from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.lease_rules import is_live
from actorflow.checkpoint.postgres import leases
from actorflow.checkpoint.raw_fields import row_of, shown
from actorflow.checkpoint.stored_rows import MOST_ORPHANS, Finding, StoredRow, orphaned_entry, orphaned_lease, page_of

__all__ = ["inspect", "read"]

_NAMES = (
    *("id", "workflow id", "payload", "is_full", "digest", "seal", "parent", "workflow name", "run id"),
    *("graph signature", "workflow of its run", "definition of its run", "workflow", "definition", "superstep", "kind"),
    *("created_at", "sequence", "derived_from", "format_version"),
)

_MAY_BE_NULL = ("payload", "digest", "seal", "parent", "derived_from")
"""The payload where it is too large: the server lets no row be without one."""

_PAGE: LiteralString = """
    SELECT c.position, octet_length(c.payload), c.id, w.id,
           CASE WHEN octet_length(c.payload) <= %s THEN c.payload END, c.is_full, c.digest, c.seal, c.parent, d.name, r.id, r.graph_signature,
           r.workflow, r.definition, c.workflow, c.definition, c.superstep, c.kind, c.created_at, c.sequence,
           c.derived_from, c.format_version, p.position, p.id, q.id, p.digest
    FROM (SELECT c.position FROM checkpoint c WHERE c.position > %s {only} ORDER BY c.position LIMIT %s) page
    JOIN checkpoint c ON c.position = page.position
    LEFT JOIN workflow w ON w.key = c.workflow
    LEFT JOIN definition d ON d.key = c.definition
    LEFT JOIN run r ON r.key = c.run
    LEFT JOIN checkpoint p ON p.position = c.parent
    LEFT JOIN workflow q ON q.key = p.workflow
    ORDER BY c.position
"""

_ALL = _PAGE.format(only="")
_OF_WORKFLOW = _PAGE.format(only="AND c.workflow = (SELECT key FROM workflow WHERE id = %s)")

_FETCHED = 20
"""Rows on their way at a time: a page that is full after a few large ones leaves the rest unsent."""

_LOST_RUNS = """
    SELECT r.key FROM run r
    WHERE NOT EXISTS (SELECT FROM workflow WHERE key = r.workflow)
       OR NOT EXISTS (SELECT FROM definition WHERE key = r.definition)
    ORDER BY r.key LIMIT %s
"""

_ORPHANED_ENTRIES = """
    SELECT w.id, j.place, j.follows FROM journal j LEFT JOIN workflow w ON w.key = j.workflow
    WHERE w.key IS NULL OR (j.follows <> 0 AND NOT EXISTS (SELECT FROM checkpoint WHERE position = j.follows))
    ORDER BY j.workflow, j.follows, j.place LIMIT %s
"""

_LEASES_OF_NOTHING = """
    SELECT id FROM workflow w
    WHERE epoch IS NOT NULL AND NOT EXISTS (SELECT FROM checkpoint WHERE workflow = w.key)
    ORDER BY key
"""


def read(
    connection: psycopg.Connection, after: int, limit: int, workflow_id: str | None, max_payload: int
) -> list[StoredRow]:
    """A page of rows in order of writing; of a payload that is too large only the size."""
    if workflow_id is not None and not commit_rules.is_storable(workflow_id):
        return []
    with connection.cursor("page", binary=True) as cursor:
        cursor.itersize = _FETCHED
        if workflow_id is None:
            cursor.execute(_ALL, (max_payload, after, limit))
        else:
            cursor.execute(_OF_WORKFLOW, (max_payload, after, workflow_id.encode(), limit))
        return page_of((_row(values, max_payload) for values in cursor), limit)


def _row(values: Any, max_payload: int) -> StoredRow:
    position, size, *found = values
    count = len(_NAMES)
    fault = _null_fault(found[:count]) or commit_rules.payload_fault(size, max_payload)
    return row_of(position, dict(zip(_NAMES, found[:count], strict=True)), found[count:], fault)


def _null_fault(found: list[Any]) -> str:
    for name, value in zip(_NAMES, found, strict=True):
        if value is None and name not in _MAY_BE_NULL:
            return f"its {name} is not there"
    return ""


def inspect(connection: psycopg.Connection, now: float | None) -> list[Finding]:
    """What is wrong; see `CheckpointStorage.inspect`."""
    return [*_run_faults(connection), *_entry_faults(connection), *_lease_faults(connection, now)]


def _run_faults(connection: psycopg.Connection) -> Iterator[Finding]:
    for (run,) in connection.execute(_LOST_RUNS, (MOST_ORPHANS,)).fetchall():
        yield Finding("file", "", "", f"table run: row {run} names a workflow or definition that is not there")


def _entry_faults(connection: psycopg.Connection) -> Iterator[Finding]:
    for name, place, follows in connection.execute(_ORPHANED_ENTRIES, (MOST_ORPHANS,)).fetchall():
        yield orphaned_entry(shown(name), place, f"the row at position {follows}")


def _lease_faults(connection: psycopg.Connection, now: float | None) -> Iterator[Finding]:
    names = [row[0] for row in connection.execute(_LEASES_OF_NOTHING).fetchall()]
    held = (leases.look(connection, name, now) for name in names)
    over = (each.holding for each in held if each and each.holding and not is_live(each.holding, each.now))
    for holding in islice(over, MOST_ORPHANS):
        yield orphaned_lease(holding.lease.workflow_id, holding.lease.owner)
