"""Leases as rows. All of this is called inside the transaction of the write that depends on it.

A row is there while the lease is held. Its epoch is its key, which SQLite never gives a second time (AUTOINCREMENT), so
epochs grow over releases and takeovers although nothing is kept of a lease that is over.
"""

from __future__ import annotations

from typing import Any, LiteralString

import apsw

from actorflow.checkpoint.lease_rules import Holding, check_current, check_free, check_writer, this_host
from actorflow.checkpoint.processes import this_process
from actorflow.checkpoint.records import Lease

__all__ = ["COLUMNS", "acquire", "check_may_write", "end", "holding", "holding_in", "release", "renew"]

COLUMNS: LiteralString = "l.epoch, l.owner, l.host, l.process, l.ttl, l.acquired, l.expires"
"""Of a lease ``l``; all are NULL where an outer join found none."""

_FIND = f"SELECT {COLUMNS} FROM lease l WHERE l.workflow_id = ?"  # noqa: S608 - of a constant

_GRANT = """
    INSERT INTO lease (workflow_id, owner, host, process, ttl, acquired, expires) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING epoch
"""


def acquire(connection: apsw.Connection, workflow_id: str, owner: str, ttl: float, now: float) -> Lease:
    """Grant a lease with a new epoch, in the place of one that is over."""
    check_free(holding(connection, workflow_id), owner, now)
    end(connection, workflow_id)
    host = this_host()
    ((epoch,),) = connection.execute(_GRANT, (workflow_id, owner, host, this_process(), ttl, now, now + ttl))
    return Lease(workflow_id=workflow_id, owner=owner, host=host, epoch=int(epoch), ttl=ttl)


def renew(connection: apsw.Connection, lease: Lease, now: float) -> None:
    """Let a lease last from now on, if it is the current one."""
    check_current(lease, holding(connection, lease.workflow_id))
    connection.execute(
        "UPDATE lease SET ttl = ?, expires = ? WHERE epoch = ?", (lease.ttl, now + lease.ttl, lease.epoch)
    )


def release(connection: apsw.Connection, lease: Lease) -> None:
    """End a lease, if it is the current one."""
    named = (lease.epoch, lease.workflow_id, lease.owner)
    connection.execute("DELETE FROM lease WHERE epoch = ? AND workflow_id = ? AND owner = ?", named)


def check_may_write(connection: apsw.Connection, workflow_id: str, lease: Lease | None, now: float) -> bool:
    """Refuse a writer whose lease is not the current one, or who has none while another has.

    Returns:
        Whether the write must `end` the lease that is there.
    """
    return check_writer(lease, holding(connection, workflow_id), now)


def end(connection: apsw.Connection, workflow_id: str) -> None:
    """End whatever lease there is."""
    connection.execute("DELETE FROM lease WHERE workflow_id = ?", (workflow_id,))


def holding(connection: apsw.Connection, workflow_id: str) -> Holding | None:
    """What is there of a lease of a workflow id."""
    row: Any = connection.execute(_FIND, (workflow_id,)).fetchone()
    return None if row is None else holding_in(workflow_id, row)


def holding_in(workflow_id: str, columns: Any) -> Holding | None:
    """What is there of a lease, as its `COLUMNS` tell."""
    epoch, owner, host, process, ttl, acquired, expires = columns
    if epoch is None:
        return None
    lease = Lease(workflow_id=workflow_id, owner=owner, host=host, epoch=epoch, ttl=ttl)
    return Holding(lease, acquired, expires, process)
