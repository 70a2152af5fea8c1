"""Rows of checkpoints as they are, whatever is in them. All are called inside a transaction.

SQLite keeps any type in any column, and text that is no UTF-8. So each field comes with its type, and text as its bytes:
a field of the wrong type, a kind that is not known, or a run that is not there make a row that tells of its damage. So does a
field that is longer than this connection reads at all: only its length is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import attrs

from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.raw_fields import row_of
from actorflow.checkpoint.stored_rows import StoredRow, page_of

__all__ = ["read"]


@attrs.frozen
class _Column:
    """One value to be read, and the types it may have."""

    name: str
    source: str
    types: tuple[str, ...]

    @property
    def selected(self) -> str:
        if self.types == _BYTES:  # what is too large is not read; its length is known without
            kept = f"CASE WHEN typeof({self.source}) = 'blob' AND length({self.source}) <= :max_payload THEN {self.source} END"
            return f"typeof({self.source}), {kept}"
        # Of any other type nothing is fetched: it could be text that is none.
        value = f"CAST({self.source} AS BLOB)" if "text" in self.types else self.source
        names = ", ".join(f"'{name}'" for name in self.types)
        type_, length = f"typeof({self.source})", f"octet_length({self.source})"
        return (
            f"CASE WHEN {length} > :most THEN {length} ELSE {type_} END, "
            f"CASE WHEN {type_} IN ({names}) AND ifnull({length}, 0) <= :most THEN {value} END"
        )


_TEXT, _NUMBER, _BYTES = ("text",), ("integer",), ("blob",)

_COLUMNS = (
    _Column("id", "c.id", _TEXT),
    _Column("workflow id", "w.id", _TEXT),
    _Column("payload", "c.payload", _BYTES),
    _Column("is_full", "c.is_full", _NUMBER),
    _Column("digest", "c.digest", ("blob", "null")),
    _Column("seal", "c.seal", ("blob", "null")),
    _Column("parent", "c.parent", ("integer", "null")),
    _Column("workflow name", "d.name", _TEXT),
    _Column("run id", "r.id", _TEXT),
    _Column("graph signature", "r.graph_signature", _TEXT),
    _Column("workflow of its run", "r.workflow", _NUMBER),
    _Column("definition of its run", "r.definition", _NUMBER),
    _Column("workflow", "c.workflow", _NUMBER),
    _Column("definition", "c.definition", _NUMBER),
    _Column("superstep", "c.superstep", _NUMBER),
    _Column("kind", "c.kind", _NUMBER),
    _Column("created_at", "c.created_at", _NUMBER),
    _Column("sequence", "c.sequence", _NUMBER),
    _Column("derived_from", "c.derived_from", ("text", "null")),
    _Column("format_version", "c.format_version", _NUMBER),
)

_NAMES = tuple(column.name for column in _COLUMNS)
_COUNT = len(_COLUMNS)

# What is read of the parent is no fault of the row that names it.
_OF_PARENT = """
    p.position, CASE WHEN typeof(p.id) = 'text' AND octet_length(p.id) <= :most THEN CAST(p.id AS BLOB) END,
    CASE WHEN typeof(q.id) = 'text' AND octet_length(q.id) <= :most THEN CAST(q.id AS BLOB) END,
    CASE WHEN typeof(p.digest) = 'blob' AND octet_length(p.digest) <= :most THEN p.digest END
"""

_PAGE = f"""
    SELECT c.position, length(c.payload), {", ".join(column.selected for column in _COLUMNS)}, {_OF_PARENT}
    FROM checkpoint c
    LEFT JOIN workflow w ON w.key = c.workflow
    LEFT JOIN definition d ON d.key = c.definition
    LEFT JOIN run r ON r.key = c.run
    LEFT JOIN checkpoint p ON p.position = c.parent
    LEFT JOIN workflow q ON q.key = p.workflow
    WHERE c.position > :after {{only}} ORDER BY c.position LIMIT :limit
"""  # noqa: S608 - of constants

_ALL = _PAGE.format(only="")
_OF_WORKFLOW = _PAGE.format(only="AND +c.workflow = (SELECT key FROM workflow WHERE id = :workflow_id)")


def read(
    connection: apsw.Connection, after: int, limit: int, workflow_id: str | None, max_payload: int
) -> list[StoredRow]:
    """A page of rows in order of writing; of a payload that is too large only the size."""
    if workflow_id is not None and not commit_rules.is_storable(workflow_id):
        return []
    most = connection.limit(apsw.SQLITE_LIMIT_LENGTH)
    wanted = {"after": after, "limit": limit, "max_payload": max_payload, "most": most, "workflow_id": workflow_id}
    cursor = connection.cursor()
    try:
        found = cursor.execute(_ALL if workflow_id is None else _OF_WORKFLOW, wanted)
        return page_of((_row(values, max_payload) for values in found), limit)
    finally:
        cursor.close()  # a page that is full leaves rows unread


def _row(values: Any, max_payload: int) -> StoredRow:
    position, size, *cells = values
    types, found, of_parent = cells[: 2 * _COUNT : 2], cells[1 : 2 * _COUNT : 2], cells[2 * _COUNT :]
    fault = _type_fault(types) or commit_rules.payload_fault(size, max_payload)
    return row_of(position, dict(zip(_NAMES, found, strict=True)), of_parent, fault)


def _type_fault(types: Sequence[str | int]) -> str:
    for column, type_ in zip(_COLUMNS, types, strict=True):
        if isinstance(type_, int):
            return (
                f"its {column.name} takes {type_} bytes, more than this storage reads; open it with a larger max_payload, or "
                f"take the row for damaged"
            )
        if type_ not in column.types:
            return f"its {column.name} is of type {type_}, not {' or '.join(column.types)}"
    return ""
