"""Leases, and the row for which the writers of a workflow id queue. All of this runs in the transaction of a write.

The time is the server's, read in the statement that locks or writes the row, so that holders on different machines are
told by one clock. Only under a MockClock, in tests, the virtual time is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import attrs
import psycopg

from actorflow.checkpoint.lease_rules import Holding, check_current, check_free, check_writer, this_host
from actorflow.checkpoint.processes import this_process
from actorflow.checkpoint.records import Lease
from actorflow.errors import InternalError

__all__ = [
    "COLUMNS",
    "WorkflowRow",
    "acquire",
    "add_all",
    "check_may_write",
    "lock",
    "lock_or_add",
    "lock_to_write",
    "look",
    "release",
    "renew",
    "row_of",
]

COLUMNS: LiteralString = """
    w.key, w.epoch, w.owner, w.host, w.process, w.ttl, w.acquired, w.expires,
    coalesce(%(now)s::float8, extract(epoch FROM clock_timestamp())::float8)
"""
"""What `row_of` is made of."""

_LOOK: LiteralString = f"SELECT {COLUMNS} FROM workflow w WHERE w.id = %(id)s"  # noqa: S608 - of constants

_LOCK: LiteralString = _LOOK + " FOR UPDATE"

_ADD = "INSERT INTO workflow (id) VALUES (%s) ON CONFLICT DO NOTHING"

_ADD_ALL = "INSERT INTO workflow (id) SELECT unnest(%b::bytea[]) ON CONFLICT DO NOTHING"

_GRANT = """
    UPDATE workflow SET epoch = nextval('lease_epoch'), owner = %s, host = %s, process = %s, ttl = %s,
        acquired = t.now, expires = t.now + %s
    FROM (SELECT coalesce(%s::float8, extract(epoch FROM clock_timestamp())::float8) AS now) t
    WHERE key = %s RETURNING epoch
"""

_RENEW = """
    UPDATE workflow SET expires = coalesce(%s::float8, extract(epoch FROM clock_timestamp())::float8) + %s WHERE key = %s
"""

_END = """
    UPDATE workflow SET epoch = NULL, owner = NULL, host = NULL, process = NULL, ttl = NULL, acquired = NULL, expires = NULL
    WHERE key = %s
"""

_DROP_UNUSED = """
    DELETE FROM workflow WHERE key = %(key)s AND epoch IS NULL
        AND NOT EXISTS (SELECT FROM checkpoint WHERE workflow = %(key)s)
        AND NOT EXISTS (SELECT FROM journal WHERE workflow = %(key)s)
"""

_TRIES = 20


@attrs.frozen
class WorkflowRow:
    """The row of a workflow id; once it is locked, nobody else may write to it until the transaction ends.

    Attributes:
        key: Its key.
        holding: The lease it is under, or None.
        now: The time at which that is judged.
    """

    key: int
    holding: Holding | None
    now: float

    def end_lease(self, connection: psycopg.Connection) -> None:
        """End whatever lease there is."""
        connection.execute(_END, (self.key,))

    def drop_if_unused(self, connection: psycopg.Connection) -> None:
        """Keep nothing of a workflow id without checkpoints, journal and lease."""
        connection.execute(_DROP_UNUSED, {"key": self.key})


def lock(connection: psycopg.Connection, workflow_id: str, now: float | None) -> WorkflowRow | None:
    """Lock the row of a workflow id, if there is one.

    Args:
        connection: In a transaction.
        workflow_id: Whose row.
        now: The time under a virtual clock; None for the server's.
    """
    row = connection.execute(_LOCK, {"now": now, "id": workflow_id.encode()}, binary=True).fetchone()
    return None if row is None else row_of(workflow_id, row)


def look(connection: psycopg.Connection, name: bytes, now: float | None) -> WorkflowRow | None:
    """Look at the row of a workflow id, whatever bytes that is, without locking it."""
    row = connection.execute(_LOOK, {"now": now, "id": name}, binary=True).fetchone()
    return None if row is None else row_of(name.decode("utf-8", "replace"), row)


def row_of(workflow_id: str, columns: Any) -> WorkflowRow:
    """The row of a workflow id, of its `COLUMNS`."""
    key, epoch, owner, host, process, ttl, acquired, expires, time = columns
    if epoch is None:
        return WorkflowRow(key, None, time)
    lease = Lease(workflow_id=workflow_id, owner=owner.decode(), host=host.decode(), epoch=epoch, ttl=ttl)
    return WorkflowRow(key, Holding(lease, acquired, expires, process.decode()), time)


def lock_or_add(connection: psycopg.Connection, workflow_id: str, now: float | None) -> WorkflowRow:
    """Lock the row of a workflow id, adding it if there is none."""
    for _ in range(_TRIES):  # between adding and locking it somebody else may have dropped it
        locked = lock(connection, workflow_id, now)
        if locked is not None:
            return locked
        connection.execute(_ADD, (workflow_id.encode(),))
    raise InternalError(f"the row of workflow {workflow_id!r} was dropped {_TRIES} times while this wanted to lock it")


def add_all(connection: psycopg.Connection, workflow_ids: Sequence[str]) -> None:
    """Add the rows of workflow ids that have none."""
    names = sorted(workflow_id.encode() for workflow_id in workflow_ids)  # the same order for all, or they deadlock
    connection.execute(_ADD_ALL, (names,))


def lock_to_write(
    connection: psycopg.Connection, workflow_id: str, lease: Lease | None, now: float | None
) -> tuple[WorkflowRow, bool]:
    """Lock the row of a workflow id for a writer; refuse one whose lease is not the current one, or who has none.

    Returns:
        The row, and whether the write must end the lease it is under.
    """
    locked = lock_or_add(connection, workflow_id, now)
    return locked, check_may_write(locked, lease)


def check_may_write(locked: WorkflowRow, lease: Lease | None) -> bool:
    """Refuse a writer whose lease is not the current one, or who has none while another has.

    Returns:
        Whether the write must end the lease that is there.
    """
    return check_writer(lease, locked.holding, locked.now)


def acquire(connection: psycopg.Connection, workflow_id: str, owner: str, ttl: float, now: float | None) -> Lease:
    """Grant a lease with a new epoch, in the place of one that is over."""
    locked = lock_or_add(connection, workflow_id, now)
    check_free(locked.holding, owner, locked.now)
    host = this_host()
    values = (owner.encode(), host.encode(), this_process().encode(), ttl, ttl, now, locked.key)
    row: Any = connection.execute(_GRANT, values).fetchone()
    return Lease(workflow_id=workflow_id, owner=owner, host=host, epoch=row[0], ttl=ttl)


def renew(connection: psycopg.Connection, lease: Lease, now: float | None) -> None:
    """Let a lease last from now on, if it is the current one."""
    locked = lock(connection, lease.workflow_id, now)
    check_current(lease, locked.holding if locked else None)
    assert locked is not None
    connection.execute(_RENEW, (now, lease.ttl, locked.key))


def release(connection: psycopg.Connection, lease: Lease) -> None:
    """End a lease, if it is the current one."""
    locked = lock(connection, lease.workflow_id, None)
    if locked is None or locked.holding is None:
        return
    held = locked.holding.lease
    if (held.epoch, held.owner) == (lease.epoch, lease.owner):
        locked.end_lease(connection)
        locked.drop_if_unused(connection)
