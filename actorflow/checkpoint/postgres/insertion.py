"""Writing checkpoints as rows, one or many in a transaction.

What has to be known before a checkpoint is written is asked for in one statement, which locks the row of its workflow id.
Where several are written together, these statements are sent one after the other without waiting for each answer, and what
comes of them is inserted as one: the server answers twice, however many they are, and more often only for workflow ids,
runs and definitions that it has not met before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import attrs
import psycopg
from psycopg.types.numeric import Int8

from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.digests import chained
from actorflow.checkpoint.headers import KINDS, digest_in
from actorflow.checkpoint.postgres import leases
from actorflow.checkpoint.postgres.rows import find_header, value_of
from actorflow.checkpoint.records import CheckpointInfo, Commit
from actorflow.clock import microseconds

__all__ = ["Insertion"]

# A session that waits for the row sees all the rest as it was before. What somebody else wrote meanwhile then violates a
# unique or foreign key at the insert, and a second look sees it; the lease is in the row itself and is never out of date.
_LOCK_AND_LOOK: LiteralString = f"""
    SELECT {leases.COLUMNS}, EXISTS (SELECT FROM checkpoint WHERE id = %(id)s), p.position, q.id, p.digest, r.key, d.key,
           (SELECT coalesce(max(sequence), 0) + 1 FROM checkpoint WHERE workflow = w.key)
    FROM workflow w
    LEFT JOIN checkpoint p ON p.id = %(parent)s
    LEFT JOIN workflow q ON q.key = p.workflow
    LEFT JOIN definition d ON d.name = %(name)s
    LEFT JOIN run r ON r.workflow = w.key AND r.id = %(run)s AND r.definition = d.key
        AND r.graph_signature = %(signature)s
    WHERE w.id = %(workflow_id)s FOR UPDATE OF w
"""  # noqa: S608 - of constants

_TYPES: dict[str, LiteralString] = {
    "id": "bytea",
    "parent": "bigint",
    "workflow": "bigint",
    "definition": "bigint",
    "run": "bigint",
    "sequence": "bigint",
    "superstep": "bigint",
    "kind": "smallint",
    "created_at": "bigint",
    "derived_from": "bytea",
    "format_version": "bigint",
    "digest": "bytea",
    "is_full": "boolean",
    "payload": "bytea",
}

_COLUMNS: LiteralString = ", ".join(_TYPES)

_INSERT: LiteralString = """
    WITH done AS (DELETE FROM journal WHERE workflow = %(workflow)s)
    INSERT INTO checkpoint ({columns}) VALUES ({values})
""".format(columns=_COLUMNS, values=", ".join(f"%({name})s" for name in _TYPES))  # noqa: S608 - of constants

_INSERT_ALL: LiteralString = """
    WITH done AS (DELETE FROM journal WHERE workflow = ANY(%(workflow)b::bigint[]))
    INSERT INTO checkpoint ({columns}) SELECT * FROM unnest({arrays})
""".format(columns=_COLUMNS, arrays=", ".join(f"%({name})b::{type_}[]" for name, type_ in _TYPES.items()))  # noqa: S608 - of constants

# A message takes up to 1 GiB, and the server ends a session that stands still for long while the next one is made.
_AT_ONCE = 2**24

_INTEGERS = [name for name, type_ in _TYPES.items() if type_ in ("bigint", "smallint")]


@attrs.frozen(eq=False)
class Insertion:
    """Writes one checkpoint and gives it its sequence, or finds it there.

    Attributes:
        commit: What is written.
        now: The time under a virtual clock; None for the server's.
        place: The storage, for errors.
    """

    commit: Commit
    now: float | None
    place: str

    @property
    def queue(self) -> str:
        """Those of one workflow id are written one after the other: each is numbered after the one before."""
        return self.commit.info.workflow_id

    def __call__(self, connection: psycopg.Connection) -> CheckpointInfo:
        """Write it; returns its header."""
        row = connection.execute(_LOCK_AND_LOOK, _names(self), binary=True).fetchone()
        info, values = _judged(self, connection, row)
        if values is not None:
            connection.execute(_INSERT, values)
        return info

    def together(self, connection: psycopg.Connection, insertions: Sequence[Insertion]) -> list[CheckpointInfo]:
        """Write several, of different workflow ids; returns their headers."""
        found = _look_at_all(connection, insertions)
        new = [each for each, row in zip(insertions, found, strict=True) if row is None]
        if new:
            leases.add_all(connection, [each.queue for each in new])
            again = iter(_look_at_all(connection, new))
            found = [next(again) if row is None else row for row in found]
        infos, rows = [], _Rows(connection)
        for each, row in zip(insertions, found, strict=True):
            info, values = _judged(each, connection, row)
            infos.append(info)
            if values is not None:
                rows.add(values)
        rows.insert()
        return infos


@attrs.define(eq=False)
class _Rows:
    """Rows to be inserted as one, or as several where they are large."""

    connection: psycopg.Connection
    rows: list[dict[str, Any]] = attrs.Factory(list)
    size: int = 0

    def add(self, values: dict[str, Any]) -> None:
        self.rows.append(values)
        self.size += len(values["payload"])
        if self.size >= _AT_ONCE:
            self.insert()

    def insert(self) -> None:
        if len(self.rows) == 1:
            self.connection.execute(_INSERT, self.rows[0])
        elif self.rows:
            self.connection.execute(_INSERT_ALL, _by_column(self.rows))
        self.rows, self.size = [], 0


def _look_at_all(connection: psycopg.Connection, insertions: Sequence[Insertion]) -> list[Any]:
    with connection.pipeline():
        looks = [connection.execute(_LOCK_AND_LOOK, _names(each), binary=True) for each in insertions]
    return [look.fetchone() for look in looks]


def _names(of: Insertion) -> dict[str, object]:
    info = of.commit.info
    return {
        "now": of.now,
        "id": info.id.encode(),
        "parent": _bytes(info.parent_id),
        "workflow_id": info.workflow_id.encode(),
        "name": info.workflow_name.encode(),
        "run": info.run_id.encode(),
        "signature": info.graph_signature.encode(),
    }


def _judged(of: Insertion, connection: psycopg.Connection, row: Any) -> tuple[CheckpointInfo, dict[str, Any] | None]:
    """The header, and what is to be inserted; None if it is there already."""
    info = of.commit.info
    if row is None:
        leases.lock_or_add(connection, info.workflow_id, of.now)
        row = connection.execute(_LOCK_AND_LOOK, _names(of), binary=True).fetchone()
    *columns, there, parent, parent_workflow, parent_digest, run, definition, sequence = row
    locked = leases.row_of(info.workflow_id, columns)
    overtakes = leases.check_may_write(locked, of.commit.lease)
    if there:
        header = find_header(connection, info.id)
        if header is None:  # it was deleted while this waited for the row
            return _judged(of, connection, connection.execute(_LOCK_AND_LOOK, _names(of), binary=True).fetchone())
        commit_rules.check_same(header, of.commit, of.place)
        return header, None
    commit_rules.check_parent(of.commit, _text(parent_workflow), of.place)
    if run is None:
        definition = _add_definition(connection, info) if definition is None else definition
        run = _add_run(connection, info, locked.key, definition)
    if overtakes:
        locked.end_lease(connection)
    digest = digest_in(parent_digest, info.parent_id)
    info = chained(info, of.commit.payload, of.commit.full, digest, sequence)
    keys = {"parent": parent, "workflow": locked.key, "definition": definition, "run": run}
    return info, {**keys, **_values(info, of.commit)}


def _values(info: CheckpointInfo, commit: Commit) -> dict[str, Any]:
    return {
        "id": info.id.encode(),
        "sequence": info.sequence,
        "superstep": info.superstep,
        "kind": KINDS.index(info.kind),
        "created_at": microseconds(info.created_at),
        "derived_from": _bytes(info.derived_from),
        "format_version": info.format_version,
        "digest": bytes.fromhex(info.digest),
        "is_full": commit.full,
        "payload": commit.payload,
    }


def _by_column(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in _TYPES}
    for name in _INTEGERS:  # else the type of an array is that of its largest number, and each is planned anew
        columns[name] = [None if value is None else Int8(value) for value in columns[name]]
    return columns


def _add_definition(connection: psycopg.Connection, info: CheckpointInfo) -> int:
    name = info.workflow_name.encode()
    connection.execute("INSERT INTO definition (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))
    return value_of(connection, "SELECT key FROM definition WHERE name = %s", name)


def _add_run(connection: psycopg.Connection, info: CheckpointInfo, workflow: int, definition: int) -> int:
    values = (info.run_id.encode(), workflow, definition, info.graph_signature.encode())
    add = "INSERT INTO run (id, workflow, definition, graph_signature) VALUES (%s, %s, %s, %s) RETURNING key"
    return value_of(connection, add, *values)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _text(name: bytes | None) -> str | None:
    return None if name is None else name.decode()
