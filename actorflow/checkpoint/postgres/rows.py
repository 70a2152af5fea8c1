"""Checkpoints as rows: every statement that reads or deletes one. All are called inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, LiteralString

import attrs
import psycopg

from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.deltas import merge, unpack_delta
from actorflow.checkpoint.headers import Page, header_of
from actorflow.checkpoint.postgres import journal, leases
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo

__all__ = [
    "chain_of",
    "children",
    "delete",
    "drop_unused_run",
    "find_header",
    "header_at",
    "latest",
    "lineage",
    "list_headers",
    "load",
    "value_of",
]

_ALL = 2**63 - 1
_LONGEST_CHAIN = 16

_HEADERS: LiteralString = """
    {line}
    SELECT c.id, p.id, d.name, w.id, r.id, c.superstep, c.kind, r.graph_signature, c.created_at, c.sequence,
           c.derived_from, c.format_version, c.digest
    FROM {source}
    JOIN run r ON r.key = c.run
    JOIN workflow w ON w.key = c.workflow
    JOIN definition d ON d.key = c.definition
    LEFT JOIN checkpoint p ON p.position = c.parent
    {rest}
"""

_FIND_HEADER = _HEADERS.format(line="", source="checkpoint c", rest="WHERE c.id = %s")

_HEADER_AT = _HEADERS.format(line="", source="checkpoint c", rest="WHERE c.position = %s")

_LATEST = _HEADERS.format(
    line="",
    source="checkpoint c",
    rest="WHERE c.workflow = (SELECT key FROM workflow WHERE id = %s) ORDER BY c.sequence DESC LIMIT 1",
)

_CHILDREN = _HEADERS.format(line="", source="checkpoint c", rest="WHERE c.parent = %s ORDER BY c.position")

# Which ones is decided before anything is joined: the planner takes each workflow id for one of average length, and would
# rather sort a long one as a whole than walk its index for a page.
_LIST: LiteralString = _HEADERS.format(
    line="",
    source="""
    (SELECT c.position FROM checkpoint c WHERE {wanted} ORDER BY c.position DESC LIMIT %s::bigint) page
    JOIN checkpoint c ON c.position = page.position
    """,
    rest="ORDER BY c.position DESC",
)

_LINEAGE = _HEADERS.format(
    line="""
    WITH RECURSIVE line (position, parent) AS (
        SELECT position, parent FROM checkpoint WHERE id = %s
        UNION ALL
        SELECT c.position, c.parent FROM line JOIN checkpoint c ON c.position = line.parent
    )
    """,
    source="line JOIN checkpoint c ON c.position = line.position",
    rest="ORDER BY c.position DESC",
)

_LINE: LiteralString = """
    WITH RECURSIVE line (position, parent, is_full) AS (
        SELECT position, parent, is_full FROM checkpoint WHERE id = %s
        UNION ALL
        SELECT c.position, c.parent, c.is_full
        FROM line JOIN checkpoint c ON c.position = line.parent WHERE NOT line.is_full
    )
    SELECT {wanted} FROM line JOIN checkpoint c ON c.position = line.position
"""

_CHAIN = _LINE.format(wanted="c.payload, c.is_full") + " ORDER BY c.position"

# The lengths of values that lie apart are known without fetching them.
_CHAIN_SIZES = _LINE.format(wanted="max(octet_length(c.payload)), sum(octet_length(c.payload))::bigint")


def load(connection: psycopg.Connection, checkpoint_id: CheckpointID | str, max_payload: int, place: str) -> Checkpoint:
    """Read one checkpoint: its header, and the rows from its nearest full ancestor on."""
    row = None
    if commit_rules.is_storable(checkpoint_id):
        row = connection.execute(_FIND_HEADER, (checkpoint_id.encode(),), binary=True).fetchone()
    if row is None:
        raise commit_rules.not_found(checkpoint_id, place)
    return _with_contents(connection, _header(row), max_payload)


def latest(connection: psycopg.Connection, workflow_id: str, max_payload: int) -> Checkpoint | None:
    """Read the checkpoint with the highest sequence of a workflow id."""
    if not commit_rules.is_storable(workflow_id):
        return None
    row = connection.execute(_LATEST, (workflow_id.encode(),), binary=True).fetchone()
    return None if row is None else _with_contents(connection, _header(row), max_payload)


def _with_contents(connection: psycopg.Connection, info: CheckpointInfo, max_payload: int) -> Checkpoint:
    chain = chain_of(connection, info.id, max_payload)
    contents = merge(unpack_delta(payload, is_full) for payload, is_full in chain)
    return Checkpoint(**attrs.asdict(info, recurse=False), contents=contents)


def chain_of(connection: psycopg.Connection, checkpoint_id: str, max_payload: int) -> Iterator[tuple[bytes, bool]]:
    """Payloads from the nearest full ancestor of a checkpoint to itself, and whether each is full.

    Raises:
        CheckpointError: One of them is larger than would be saved, or all are many times larger than any that this
            package would write.
    """
    name = (checkpoint_id.encode(),)
    sizes: Any = connection.execute(_CHAIN_SIZES, name, binary=True).fetchone()
    commit_rules.refuse_stored(f"a row that checkpoint {checkpoint_id!r} stands on", sizes[0], max_payload)
    # A chain grows to ten times the state it stands for (see the ledger), and a full checkpoint of that has to fit.
    commit_rules.refuse_chain(sizes[1], _LONGEST_CHAIN * max_payload)
    rows: list[Any] = connection.execute(_CHAIN, name, binary=True).fetchall()
    return iter(rows)


def list_headers(connection: psycopg.Connection, page: Page, place: str) -> list[CheckpointInfo]:
    """Headers, newest first."""
    conditions: list[LiteralString] = ["TRUE"]
    values: list[bytes | int] = []
    if page.before is not None:
        conditions.append("c.position < %s")
        values.append(_find(connection, page.before, place))
    if page.workflow_id is not None:
        if not commit_rules.is_storable(page.workflow_id):
            return []
        conditions.append("c.workflow = (SELECT key FROM workflow WHERE id = %s)")
        values.append(page.workflow_id.encode())
    if page.workflow_name is not None:
        if not commit_rules.is_storable(page.workflow_name):
            return []
        conditions.append("c.definition = (SELECT key FROM definition WHERE name = %s)")
        values.append(page.workflow_name.encode())
    query = _LIST.format(wanted=" AND ".join(conditions))
    limit = None if page.limit is None else min(page.limit, _ALL)
    return _headers(connection.execute(query, (*values, limit), binary=True))


def lineage(connection: psycopg.Connection, checkpoint_id: CheckpointID | str, place: str) -> list[CheckpointInfo]:
    """Headers from a checkpoint to its root."""
    if not commit_rules.is_storable(checkpoint_id):
        raise commit_rules.not_found(checkpoint_id, place)
    line = _headers(connection.execute(_LINEAGE, (checkpoint_id.encode(),), binary=True))
    if not line:
        raise commit_rules.not_found(checkpoint_id, place)
    return line


def children(connection: psycopg.Connection, checkpoint_id: CheckpointID | str, place: str) -> list[CheckpointInfo]:
    """Headers of the children of a checkpoint, oldest first."""
    return _headers(connection.execute(_CHILDREN, (_find(connection, checkpoint_id, place),), binary=True))


def delete(connection: psycopg.Connection, checkpoint_id: CheckpointID | str, place: str) -> None:
    """Delete a leaf, and with the last checkpoint of a run or workflow id what named it."""
    workflow_id = _lock_workflow_of(connection, checkpoint_id)
    position = _find(connection, checkpoint_id, place)
    child: Any = connection.execute("SELECT id FROM checkpoint WHERE parent = %s LIMIT 1", (position,)).fetchone()
    if child is not None:
        raise commit_rules.has_children(checkpoint_id, child[0].decode(), place)
    run = value_of(connection, "DELETE FROM checkpoint WHERE position = %s RETURNING run", position)
    journal.drop_following(connection, [position])
    drop_unused_run(connection, run)
    if workflow_id is not None:
        workflow_id.drop_if_unused(connection)


def _lock_workflow_of(connection: psycopg.Connection, checkpoint_id: CheckpointID | str) -> leases.WorkflowRow | None:
    if not commit_rules.is_storable(checkpoint_id):
        return None
    find = "SELECT w.id FROM checkpoint c JOIN workflow w ON w.key = c.workflow WHERE c.id = %s"
    row: Any = connection.execute(find, (checkpoint_id.encode(),)).fetchone()
    return None if row is None else leases.lock(connection, row[0].decode(), None)


def drop_unused_run(connection: psycopg.Connection, run: int) -> None:
    """Forget a run that has no checkpoint any more."""
    connection.execute(
        "DELETE FROM run WHERE key = %(run)s AND NOT EXISTS (SELECT FROM checkpoint WHERE run = %(run)s)", {"run": run}
    )


def _find(connection: psycopg.Connection, checkpoint_id: CheckpointID | str, place: str) -> int:
    if not commit_rules.is_storable(checkpoint_id):
        raise commit_rules.not_found(checkpoint_id, place)
    find = "SELECT position FROM checkpoint WHERE id = %s"
    row = connection.execute(find, (checkpoint_id.encode(),)).fetchone()
    if row is None:
        raise commit_rules.not_found(checkpoint_id, place)
    return int(row[0])


def value_of(connection: psycopg.Connection, statement: LiteralString, *values: bytes | int) -> int:
    """The one number that a statement gives."""
    row: Any = connection.execute(statement, values).fetchone()
    return int(row[0])


def find_header(connection: psycopg.Connection, checkpoint_id: CheckpointID) -> CheckpointInfo | None:
    """The header of a checkpoint, if it is there."""
    row = connection.execute(_FIND_HEADER, (checkpoint_id.encode(),), binary=True).fetchone()
    return None if row is None else _header(row)


def header_at(connection: psycopg.Connection, position: int) -> CheckpointInfo:
    """The header of the checkpoint at a position, which is there."""
    return _header(connection.execute(_HEADER_AT, (position,), binary=True).fetchone())


def _headers(rows: Iterable[Any]) -> list[CheckpointInfo]:
    return [_header(row) for row in rows]


def _header(row: Any) -> CheckpointInfo:
    *named, digest = row
    return header_of([*(value.decode() if isinstance(value, bytes) else value for value in named), digest])
