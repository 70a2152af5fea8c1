"""The journal of finished deliveries as rows. All are called inside a transaction.

What a row follows is the position of a checkpoint, or 0 where there is none yet. Rows live for a superstep at most, so
looking through all of them is cheaper than an index more for every one written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg

from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.postgres import leases
from actorflow.checkpoint.records import CheckpointID, JournalEntry, Lease

__all__ = ["drop_following", "followed_by_runs", "read", "write"]

_NOTHING = 0

_INSERT = "INSERT INTO journal (workflow, follows, place, payload) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"

_ROWS: LiteralString = """
    SELECT {wanted} FROM journal
    WHERE workflow = (SELECT key FROM workflow WHERE id = %(workflow_id)s)
      AND follows = CASE WHEN %(head)s::bytea IS NULL THEN 0 ELSE (SELECT position FROM checkpoint WHERE id = %(head)s) END
"""

_READ = _ROWS.format(wanted="place, payload") + " ORDER BY place"

_LARGEST = _ROWS.format(wanted="place, octet_length(payload)") + " ORDER BY 2 DESC LIMIT 1"

_FOLLOWED = """
    SELECT DISTINCT j.follows
    FROM journal j
    JOIN workflow w ON w.key = j.workflow
    CROSS JOIN (SELECT coalesce(%s::float8, extract(epoch FROM clock_timestamp())::float8) AS now) t
    WHERE t.now < w.expires AND w.expires <= t.now + 2 * w.ttl
"""


def write(
    connection: psycopg.Connection, entries: Sequence[JournalEntry], lease: Lease | None, now: float | None, place: str
) -> None:
    """Write entries whose places are free."""
    keys: dict[str, int] = {}
    for workflow_id in sorted({entry.workflow_id for entry in entries}):  # the same order for all, or they deadlock
        locked, overtakes = leases.lock_to_write(connection, workflow_id, lease, now)
        if overtakes:
            locked.end_lease(connection)
        keys[workflow_id] = locked.key
    heads = {head: _locked_position(connection, head) for head in {entry.checkpoint_id for entry in entries}}
    for entry in entries:
        follows = heads[entry.checkpoint_id]
        if follows is None:
            raise commit_rules.unknown_head(entry, place)
        connection.execute(_INSERT, (keys[entry.workflow_id], follows, entry.index, entry.payload))


def read(
    connection: psycopg.Connection, workflow_id: str, checkpoint_id: CheckpointID | str | None, max_payload: int
) -> list[JournalEntry]:
    """Entries of one superstep, in order; refused as a whole if one of them is larger than would be saved."""
    if not commit_rules.is_storable(workflow_id) or not commit_rules.is_storable(checkpoint_id or ""):
        return []
    names = {"workflow_id": workflow_id.encode(), "head": None if checkpoint_id is None else checkpoint_id.encode()}
    largest: Any = connection.execute(_LARGEST, names, binary=True).fetchone()
    if largest is None:
        return []
    place, size = largest
    commit_rules.refuse_stored(f"journal entry {place} of workflow {workflow_id!r}", size, max_payload)
    rows: list[Any] = connection.execute(_READ, names, binary=True).fetchall()
    head = None if checkpoint_id is None else CheckpointID(checkpoint_id)
    return [
        JournalEntry(workflow_id=workflow_id, checkpoint_id=head, index=index, payload=payload)
        for index, payload in rows
    ]


def drop_following(connection: psycopg.Connection, positions: Sequence[int]) -> None:
    """Delete what follows these checkpoints, of whatever workflow id."""
    if positions:
        connection.execute("DELETE FROM journal WHERE follows = ANY(%s::bigint[])", ([*positions],))


def followed_by_runs(connection: psycopg.Connection, now: float | None) -> set[int]:
    """Positions of the checkpoints that journals of workflow ids with a lease that has not expired follow."""
    return {row[0] for row in connection.execute(_FOLLOWED, (now,))}


def _locked_position(connection: psycopg.Connection, checkpoint_id: CheckpointID | None) -> int | None:
    if checkpoint_id is None:
        return _NOTHING
    # Locked, so that whoever deletes it meanwhile sees the entry that follows it.
    find = "SELECT position FROM checkpoint WHERE id = %s FOR KEY SHARE"
    row = connection.execute(find, (checkpoint_id.encode(),)).fetchone()
    return None if row is None else int(row[0])
