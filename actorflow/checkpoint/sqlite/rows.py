"""Checkpoints as rows: every statement that reads or writes one. All are called inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apsw
import attrs

from actorflow.checkpoint import commit_rules, lease_rules
from actorflow.checkpoint.deltas import merge, unpack_delta
from actorflow.checkpoint.digests import chained
from actorflow.checkpoint.headers import KINDS, Page, digest_in, header_of
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, Commit
from actorflow.checkpoint.sqlite import journal, leases
from actorflow.clock import microseconds

__all__ = [
    "chain_of",
    "children",
    "delete",
    "drop_unused_run",
    "header_at",
    "insert",
    "latest",
    "lineage",
    "list_headers",
    "load",
]

# CROSS JOIN keeps the order of the tables: from the checkpoint to what it names, each by its key.
_HEADERS = """
    {line}
    SELECT c.id, p.id, d.name, w.id, r.id, c.superstep, c.kind, r.graph_signature, c.created_at, c.sequence,
           c.derived_from, c.format_version, c.digest
    FROM {source}
    CROSS JOIN run r ON r.key = c.run
    CROSS JOIN workflow w ON w.key = c.workflow
    CROSS JOIN definition d ON d.key = c.definition
    LEFT JOIN checkpoint p ON p.position = c.parent
    {rest}
"""

_FIND_HEADER = _HEADERS.format(line="", source="checkpoint c", rest="WHERE c.id = ?")

_HEADER_AT = _HEADERS.format(line="", source="checkpoint c", rest="WHERE c.position = ?")

_CHILDREN = _HEADERS.format(line="", source="checkpoint c", rest="WHERE c.parent = ? ORDER BY c.position")

_LINEAGE = _HEADERS.format(
    line="""
    WITH RECURSIVE line(position) AS (
        VALUES (?) UNION ALL
        SELECT c.parent FROM line CROSS JOIN checkpoint c ON c.position = line.position WHERE c.parent IS NOT NULL
    )
    """,
    source="line CROSS JOIN checkpoint c ON c.position = line.position",
    rest="ORDER BY c.position DESC",
)

_CHAIN = """
    WITH RECURSIVE line(position) AS (
        VALUES (?) UNION ALL
        SELECT c.parent FROM line CROSS JOIN checkpoint c ON c.position = line.position WHERE NOT c.is_full
    )
    SELECT c.payload, c.is_full FROM line CROSS JOIN checkpoint c ON c.position = line.position ORDER BY c.position
"""

_CHAIN_SIZE = _CHAIN.replace("c.payload, c.is_full", "sum(length(c.payload))").replace("ORDER BY c.position", "")

# All that a save must know, each by its key, in one statement.
_LOOK = f"""
    SELECT {leases.COLUMNS}, e.position, p.position, q.id, p.digest, r.key, r.workflow, r.definition,
           coalesce((SELECT max(sequence) FROM checkpoint WHERE workflow = w.key), 0) + 1,
           EXISTS (SELECT 1 FROM journal WHERE workflow = w.key)
    FROM (SELECT 1)
    LEFT JOIN lease l ON l.workflow_id = ?1
    LEFT JOIN checkpoint e ON e.id = ?2
    LEFT JOIN checkpoint p ON p.id = ?3
    LEFT JOIN workflow q ON q.key = p.workflow
    LEFT JOIN workflow w ON w.id = ?1
    LEFT JOIN definition d ON d.name = ?4
    LEFT JOIN run r ON r.workflow = w.key AND r.id = ?5 AND r.definition = d.key AND r.graph_signature = ?6
"""  # noqa: S608 - of constants

# Within a workflow id, sequences and positions rise together.
_EARLIER = """
    c.sequence < coalesce(
        (SELECT b.sequence FROM checkpoint b WHERE b.position = ? AND b.workflow = (SELECT key FROM workflow WHERE id = ?)),
        9223372036854775807
    )
"""

_INSERT = """
    INSERT INTO checkpoint (id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from,
                            format_version, digest, is_full, payload)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def insert(connection: apsw.Connection, commit: Commit, now: float, place: str) -> CheckpointInfo:
    """Write one checkpoint and give it its sequence; or return the header that is there."""
    info = commit.info
    names = (info.workflow_id, info.id, info.parent_id, info.workflow_name, info.run_id, info.graph_signature)
    looked: Any = connection.execute(_LOOK, names).fetchone()
    *held, there, parent, parent_workflow, parent_digest, run, workflow, definition, sequence, has_journal = looked
    overtakes = lease_rules.check_writer(commit.lease, leases.holding_in(info.workflow_id, held), now)
    if there is not None:
        header = header_at(connection, there)
        commit_rules.check_same(header, commit, place)
        return header
    commit_rules.check_parent(commit, parent_workflow, place)
    if run is None:
        run, workflow, definition = _add_run(connection, info)
    info = chained(info, commit.payload, commit.full, digest_in(parent_digest, info.parent_id), sequence)
    connection.execute(
        _INSERT,
        (
            *(info.id, parent, workflow, definition, run, sequence, info.superstep, KINDS.index(info.kind)),
            *(microseconds(info.created_at), info.derived_from, info.format_version),
            *(bytes.fromhex(info.digest), commit.full, commit.payload),
        ),
    )
    if has_journal:
        journal.drop_of_workflow(connection, workflow)
    if overtakes:
        leases.end(connection, info.workflow_id)
    return info


def _add_run(connection: apsw.Connection, info: CheckpointInfo) -> tuple[int, int, int]:
    connection.execute("INSERT OR IGNORE INTO workflow (id) VALUES (?)", (info.workflow_id,))
    connection.execute("INSERT OR IGNORE INTO definition (name) VALUES (?)", (info.workflow_name,))
    workflow = _value(connection, "SELECT key FROM workflow WHERE id = ?", info.workflow_id)
    definition = _value(connection, "SELECT key FROM definition WHERE name = ?", info.workflow_name)
    connection.execute(
        "INSERT INTO run (id, workflow, definition, graph_signature) VALUES (?, ?, ?, ?)",
        (info.run_id, workflow, definition, info.graph_signature),
    )
    return connection.last_insert_rowid(), workflow, definition


def load(connection: apsw.Connection, checkpoint_id: CheckpointID | str, place: str) -> Checkpoint:
    """Read one checkpoint: its header, and the rows from its nearest full ancestor on."""
    position = _find(connection, checkpoint_id, place)
    (info,) = _headers(connection.execute(_FIND_HEADER, (checkpoint_id,)))
    contents = merge(unpack_delta(payload, is_full) for payload, is_full in chain_of(connection, position))
    return Checkpoint(**attrs.asdict(info, recurse=False), contents=contents)


def chain_of(connection: apsw.Connection, position: int) -> Iterator[tuple[bytes, bool]]:
    """Payloads from the nearest full ancestor of a checkpoint to itself, and whether each is full.

    Raises:
        CheckpointError: They are many times larger than any that this package would write.
    """
    _check_chain(connection, position)
    rows: list[Any] = connection.execute(_CHAIN, (position,)).fetchall()
    return ((payload, bool(is_full)) for payload, is_full in rows)


def _check_chain(connection: apsw.Connection, position: int) -> None:
    # The sizes are read without the payloads. A chain grows to ten times the state it stands for (see the ledger), and a
    # full checkpoint of that state had to be no longer than a row may be.
    most = 16 * connection.limit(apsw.SQLITE_LIMIT_LENGTH)
    ((size,),) = connection.execute(_CHAIN_SIZE, (position,))
    commit_rules.refuse_chain(size, most)


def latest(connection: apsw.Connection, workflow_id: str, place: str) -> Checkpoint | None:
    """Read the checkpoint with the highest sequence of a workflow id."""
    if not commit_rules.is_storable(workflow_id):
        return None
    row = connection.execute(
        "SELECT id FROM checkpoint WHERE workflow = (SELECT key FROM workflow WHERE id = ?) "
        "ORDER BY sequence DESC LIMIT 1",
        (workflow_id,),
    ).fetchone()
    return load(connection, row[0], place) if row is not None else None


def list_headers(connection: apsw.Connection, page: Page, place: str) -> list[CheckpointInfo]:
    """Headers, newest first."""
    conditions = ["TRUE"]
    values: list[str | int] = []
    if page.before is not None:
        conditions.append("c.position < ?")
        values.append(_find(connection, page.before, place))
        if (
            page.workflow_id is not None
        ):  # a later page begins in the middle of the index: it does not pass by the earlier
            conditions.append(_EARLIER)
            values += [values[0], page.workflow_id]
    for condition, wanted in zip(_conditions(page), (page.workflow_id, page.workflow_name), strict=True):
        if wanted is not None:
            if not commit_rules.is_storable(wanted):
                return []
            conditions.append(condition)
            values.append(wanted)
    order = "c.position" if page.workflow_id is None else "c.sequence"
    rest = f"WHERE {' AND '.join(conditions)} ORDER BY {order} DESC LIMIT ?"
    values.append(-1 if page.limit is None else page.limit)
    return _headers(connection.execute(_HEADERS.format(line="", source="checkpoint c", rest=rest), values))


def _conditions(page: Page) -> tuple[str, str]:
    # With both filters the index by workflow is the narrower one; the + keeps SQLite from choosing the other.
    name = "(SELECT key FROM definition WHERE name = ?)"
    return (
        "c.workflow = (SELECT key FROM workflow WHERE id = ?)",
        f"c.definition = {name}" if page.workflow_id is None else f"+c.definition = {name}",
    )


def lineage(connection: apsw.Connection, checkpoint_id: CheckpointID | str, place: str) -> list[CheckpointInfo]:
    """Headers from a checkpoint to its root."""
    return _headers(connection.execute(_LINEAGE, (_find(connection, checkpoint_id, place),)))


def children(connection: apsw.Connection, checkpoint_id: CheckpointID | str, place: str) -> list[CheckpointInfo]:
    """Headers of the children of a checkpoint, oldest first."""
    return _headers(connection.execute(_CHILDREN, (_find(connection, checkpoint_id, place),)))


def delete(connection: apsw.Connection, checkpoint_id: CheckpointID | str, place: str) -> None:
    """Delete a leaf, and with the last checkpoint of a run or workflow id what named it."""
    position = _find(connection, checkpoint_id, place)
    child = connection.execute("SELECT id FROM checkpoint WHERE parent = ? LIMIT 1", (position,)).fetchone()
    if child is not None:
        raise commit_rules.has_children(checkpoint_id, child[0], place)
    journal.drop_following(connection, (position,))
    (gone,) = connection.execute("DELETE FROM checkpoint WHERE position = ? RETURNING run, workflow", (position,))
    run, workflow = gone
    drop_unused_run(connection, run)
    connection.execute(
        "DELETE FROM workflow WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM checkpoint WHERE workflow = ?1) "
        "AND NOT EXISTS (SELECT 1 FROM journal WHERE workflow = ?1)",
        (workflow,),
    )


def drop_unused_run(connection: apsw.Connection, run: int) -> None:
    """Forget a run that has no checkpoint any more."""
    connection.execute(
        "DELETE FROM run WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM checkpoint WHERE run = ?1)", (run,)
    )


def _find(connection: apsw.Connection, checkpoint_id: CheckpointID | str, place: str) -> int:
    if not commit_rules.is_storable(checkpoint_id):
        raise commit_rules.not_found(checkpoint_id, place)
    row = connection.execute("SELECT position FROM checkpoint WHERE id = ?", (checkpoint_id,)).fetchone()
    if row is None:
        raise commit_rules.not_found(checkpoint_id, place)
    return int(row[0])


def _value(connection: apsw.Connection, statement: str, value: str | int) -> int:
    ((found,),) = connection.execute(statement, (value,))
    return int(found)


def header_at(connection: apsw.Connection, position: int) -> CheckpointInfo:
    """The header of the checkpoint at a position, which is there."""
    (info,) = _headers(connection.execute(_HEADER_AT, (position,)))
    return info


def _headers(rows: Iterable[Any]) -> list[CheckpointInfo]:
    return [header_of(row) for row in rows]
