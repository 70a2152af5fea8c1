"""The journal of finished deliveries as rows. All are called inside a transaction.

What a row follows is the position of a checkpoint, or 0 where there is none yet. Rows live for a superstep at most, so
looking through all of them is cheaper than an index more for every one written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw

from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.records import CheckpointID, JournalEntry, Lease
from actorflow.checkpoint.sqlite import leases

__all__ = ["drop_following", "drop_of_workflow", "followed_by_runs", "read", "write"]

_NOTHING = 0

_INSERT = "INSERT INTO journal (workflow, follows, place, payload) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"

_READ = """
    SELECT place, payload FROM journal
    WHERE workflow = (SELECT key FROM workflow WHERE id = ?) AND follows = ? ORDER BY place
"""

_FOLLOWED = """
    SELECT DISTINCT j.follows
    FROM lease l
    CROSS JOIN workflow w ON w.id = l.workflow_id
    CROSS JOIN journal j ON j.workflow = w.key
    WHERE ?1 < l.expires AND l.expires <= ?1 + 2 * l.ttl
"""


def write(
    connection: apsw.Connection, entries: Sequence[JournalEntry], lease: Lease | None, now: float, place: str
) -> None:
    """Write entries whose places are free."""
    for workflow_id in dict.fromkeys(entry.workflow_id for entry in entries):
        if leases.check_may_write(connection, workflow_id, lease, now):
            leases.end(connection, workflow_id)
    for entry in entries:
        follows = _position(connection, entry.checkpoint_id)
        if follows is None:
            raise commit_rules.unknown_head(entry, place)
        connection.execute("INSERT OR IGNORE INTO workflow (id) VALUES (?)", (entry.workflow_id,))
        ((key,),) = connection.execute("SELECT key FROM workflow WHERE id = ?", (entry.workflow_id,))
        connection.execute(_INSERT, (key, follows, entry.index, entry.payload))


def read(connection: apsw.Connection, workflow_id: str, checkpoint_id: CheckpointID | str | None) -> list[JournalEntry]:
    """Entries of one superstep, in order."""
    if not commit_rules.is_storable(workflow_id) or not commit_rules.is_storable(checkpoint_id or ""):
        return []
    rows = connection.execute(_READ, (workflow_id, _position(connection, checkpoint_id)))
    head = None if checkpoint_id is None else CheckpointID(checkpoint_id)
    return [
        JournalEntry(workflow_id=workflow_id, checkpoint_id=head, index=index, payload=payload)
        for index, payload in rows
    ]


def drop_of_workflow(connection: apsw.Connection, workflow: int) -> None:
    """Delete what a workflow id, by its key, has in the journal."""
    connection.execute("DELETE FROM journal WHERE workflow = ?", (workflow,))


def drop_following(connection: apsw.Connection, positions: Iterable[int]) -> None:
    """Delete what follows these checkpoints, of whatever workflow id."""
    followed = [(row[0],) for row in connection.execute("SELECT DISTINCT follows FROM journal")]
    gone = set(positions)
    connection.executemany("DELETE FROM journal WHERE follows = ?", [row for row in followed if row[0] in gone])


def followed_by_runs(connection: apsw.Connection, now: float) -> set[int]:
    """Positions of the checkpoints that journals of workflow ids with a lease that has not expired follow."""
    return {row[0] for row in connection.execute(_FOLLOWED, (now,))}


def _position(connection: apsw.Connection, checkpoint_id: CheckpointID | str | None) -> int | None:
    if checkpoint_id is None:
        return _NOTHING
    row = connection.execute("SELECT position FROM checkpoint WHERE id = ?", (checkpoint_id,)).fetchone()
    return None if row is None else int(row[0])
