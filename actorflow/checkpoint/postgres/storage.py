"""Checkpoints in a PostgreSQL database: the durable storage that many machines share."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import attrs
import psycopg
import trio

from actorflow.checkpoint import commit_rules, lease_rules
from actorflow.checkpoint.headers import Page
from actorflow.checkpoint.interruptible_commit import InterruptibleGroupCommit
from actorflow.checkpoint.interruption import run_interruptibly
from actorflow.checkpoint.postgres import journal, leases, raw_rows, rows
from actorflow.checkpoint.postgres.connections import Blocked, Sessions, Work
from actorflow.checkpoint.postgres.insertion import Insertion
from actorflow.checkpoint.postgres.pruning import prune_step
from actorflow.checkpoint.postgres.schema import vacuum
from actorflow.checkpoint.postgres.server import Server, name_of
from actorflow.checkpoint.prune_walk import PruneStep
from actorflow.checkpoint.pruning import Pruning
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, Commit, JournalEntry, Lease
from actorflow.checkpoint.stored_rows import Finding, StoredRow
from actorflow.checkpoint.tools import StorageTools
from actorflow.clock import runs_on_virtual_time, wall_time

__all__ = ["PostgresCheckpointStorage"]

T = TypeVar("T")

_READERS = 4
_WAITERS = 4
_BATCH_PATIENCE = 0.05
_LONGEST = 1_000_000.0
_LONGEST_NAME = 63
_LARGEST_PAYLOAD = 1_000_000_000


class PostgresCheckpointStorage(StorageTools):
    """A `CheckpointStorage` in a schema of a PostgreSQL database. Needs the extra ``postgres``.

    The first call that needs it connects, and creates the schema and its tables if they are not there. Any number of
    storage objects, processes and machines may use one schema at a time. One object serves one ``trio.run`` at a time,
    and any number one after the other; after `close` the next call connects again. It keeps at most nine sessions, and
    no thread of its own. It needs sessions of its own: a pooler in between must pool by session.

    Every verb can be cancelled until its commit is sent: it is then cancelled on the server too, has changed nothing, and
    raises ``Cancelled``. Connecting is bounded by ``connect_timeout`` of the DSN (10 seconds by default) instead. A
    connection that is lost makes the verb raise `CheckpointError`; the next call gets another one. If it is lost during
    the commit, nobody can know whether that happened: the same `save` again is safe.

    What concurrent callers write is committed together, in one transaction. A write that would have to wait for another
    session leaves the others and waits by itself, for `lock_timeout` at most. A process that is stopped in the middle of
    a transaction is thrown out by the server after `idle_timeout`, and has written nothing.

    `save` is as durable as ``synchronous_commit`` of the server makes a commit.

    Leases go by the server's clock. Under a `trio.testing.MockClock` they go by that clock's time, for tests.

    Args:
        dsn: A connection string or URI of libpq; what it leaves out comes from the ``PG...`` environment variables.
        schema: The schema, of this storage alone. Up to 63 bytes of UTF-8.
        lease_ttl: Seconds after which a lease that is not renewed may be overtaken.
        lease_renewal: Seconds between renewals of a lease while its run lasts; a third of `lease_ttl` if None.
        lock_timeout: Seconds to wait for a row that another session has locked.
        statement_timeout: Seconds a statement may take.
        idle_timeout: Seconds a process may stand still in the middle of a transaction.
        max_payload: Bytes that one checkpoint, or one entry of the journal, may take, at most 1,000,000,000; more is refused
            when it is saved and before it is read. A full checkpoint holds the whole state, so that has to fit.

    Raises:
        ValueError: An argument is none of these.
        TypeError: The DSN is no text.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "actorflow",
        lease_ttl: float = 30.0,
        lease_renewal: float | None = None,
        lock_timeout: float = 10.0,
        statement_timeout: float = 60.0,
        idle_timeout: float = 5.0,
        max_payload: int = commit_rules.MAX_PAYLOAD,
    ) -> None:
        lease_rules.check_ttl(lease_ttl)
        lease_rules.check_renewal(lease_renewal, lease_ttl)
        commit_rules.check_max_payload(max_payload, _LARGEST_PAYLOAD)
        _check_schema(schema)
        limits = {"lock_timeout": lock_timeout, "statement_timeout": statement_timeout, "idle_timeout": idle_timeout}
        for name, value in limits.items():
            _check_limit(name, value)
        if not isinstance(dsn, str):
            raise TypeError(f"dsn is a connection string or URI of libpq, not {type(dsn).__name__}")
        try:
            self._place = name_of(dsn, schema)
        except psycopg.ProgrammingError:
            # Without its cause: libpq quotes what it does not understand, and that may be a password.
            text = "dsn is no connection string or URI of libpq; try 'host=... dbname=... user=...'"
            raise ValueError(text) from None
        server = Server(dsn, schema, place=self._place, **limits)
        self._batches = Sessions(attrs.evolve(server, lock_timeout=min(lock_timeout, _BATCH_PATIENCE)))
        self._others = Sessions(server)
        self._commits = InterruptibleGroupCommit(self._batches.write_batch, trio.CapacityLimiter(1))
        self._reading = trio.CapacityLimiter(_READERS)
        self._waiting = trio.CapacityLimiter(_WAITERS)
        self._lease_ttl = float(lease_ttl)
        self._lease_renewal = lease_renewal
        self._max_payload = max_payload

    def __repr__(self) -> str:
        return f"<PostgresCheckpointStorage in {self._place}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all sessions; those at work close when their work is done. The next verb connects again."""
        self._batches.close()
        self._others.close()

    async def save(self, commit: Commit) -> CheckpointInfo:
        """Write one checkpoint; see `CheckpointStorage.save`."""
        commit_rules.check_commit(commit)
        commit_rules.check_size(commit, self._max_payload)
        return await self._write(Insertion(commit, _virtual_time(), self._place))

    async def load(self, checkpoint_id: CheckpointID | str) -> Checkpoint:
        """Read one checkpoint with its contents; see `CheckpointStorage.load`."""
        return await self._read(
            partial(rows.load, checkpoint_id=checkpoint_id, max_payload=self._max_payload, place=self._place)
        )

    async def latest(self, *, workflow_id: str) -> Checkpoint | None:
        """Read the checkpoint with the highest sequence; see `CheckpointStorage.latest`."""
        return await self._read(partial(rows.latest, workflow_id=workflow_id, max_payload=self._max_payload))

    async def list(
        self,
        workflow_id: str | None = None,
        workflow_name: str | None = None,
        limit: int | None = None,
        before: CheckpointID | str | None = None,
    ) -> list[CheckpointInfo]:
        """Headers, newest first; see `CheckpointStorage.list`."""
        commit_rules.check_limit(limit)
        wanted = Page(workflow_id, workflow_name, limit, before)
        return await self._read(partial(rows.list_headers, page=wanted, place=self._place))

    async def lineage(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers from this checkpoint to its root; see `CheckpointStorage.lineage`."""
        return await self._read(partial(rows.lineage, checkpoint_id=checkpoint_id, place=self._place))

    async def children(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers of the children, oldest first; see `CheckpointStorage.children`."""
        return await self._read(partial(rows.children, checkpoint_id=checkpoint_id, place=self._place))

    async def delete(self, checkpoint_id: CheckpointID | str) -> None:
        """Delete a leaf; see `CheckpointStorage.delete`."""
        await self._write(partial(rows.delete, checkpoint_id=checkpoint_id, place=self._place))

    async def prune(
        self, *, workflow_id: str | None = None, keep_last: int | None = None, older_than: timedelta | None = None
    ) -> int:
        """Delete old checkpoints, some hundreds in a transaction; see `CheckpointStorage.prune`.

        The room they took is used again after the server's autovacuum.
        """
        wanted = Pruning.asked(keep_last, older_than)
        deleted, step = 0, PruneStep()
        while not step.done:
            asked = partial(prune_step, wanted=wanted, workflow_id=workflow_id, max_payload=self._max_payload)
            step = await self._write_alone(partial(asked, since=step, now=_virtual_time()))
            deleted += step.deleted
        return deleted

    async def acquire_lease(self, workflow_id: str, *, owner: str) -> Lease:
        """Take the lease of a workflow id; see `CheckpointStorage.acquire_lease`."""
        lease_rules.check_request(workflow_id, owner)
        ttl, now = self._lease_ttl, _virtual_time()
        work = partial(leases.acquire, workflow_id=workflow_id, owner=owner, ttl=ttl, now=now)
        return attrs.evolve(await self._write(work), renewal=self._lease_renewal)

    async def renew_lease(self, lease: Lease) -> None:
        """Let a lease last from now on; see `CheckpointStorage.renew_lease`."""
        await self._write(partial(leases.renew, lease=lease, now=_virtual_time()))

    async def release_lease(self, lease: Lease) -> None:
        """Give a lease back; see `CheckpointStorage.release_lease`."""
        await self._write(partial(leases.release, lease=lease))

    async def write_journal(self, entries: Sequence[JournalEntry], *, lease: Lease | None = None) -> None:
        """Write entries of the journal, all or none; see `CheckpointStorage.write_journal`."""
        wanted = tuple(entries)
        commit_rules.check_entries(wanted, lease)
        commit_rules.check_entry_sizes(wanted, self._max_payload)
        await self._write(partial(journal.write, entries=wanted, lease=lease, now=_virtual_time(), place=self._place))

    async def read_journal(
        self, workflow_id: str, checkpoint_id: CheckpointID | str | None
    ) -> builtins.list[JournalEntry]:
        """Entries of the superstep after a checkpoint; see `CheckpointStorage.read_journal`."""
        wanted = partial(journal.read, workflow_id=workflow_id, checkpoint_id=checkpoint_id)
        return await self._read(partial(wanted, max_payload=self._max_payload))

    async def read_rows(
        self, after: int = 0, limit: int = 100, *, workflow_id: str | None = None
    ) -> builtins.list[StoredRow]:
        """A page of what is stored; see `CheckpointStorage.read_rows`."""
        commit_rules.check_limit(limit)
        page = partial(raw_rows.read, after=after, limit=limit, workflow_id=workflow_id)
        return await self._read(partial(page, max_payload=self._max_payload))

    async def inspect(self) -> builtins.list[Finding]:
        """Look for orphans; see `CheckpointStorage.inspect`. Files and indexes are for the tools of the server."""
        return await self._read(partial(raw_rows.inspect, now=_virtual_time()))

    async def vacuum(self) -> int:
        """Give the room back that deleted and pruned checkpoints took, by writing each table anew.

        Readers and writers of all storages on this schema wait while a table is written, and fail after their
        `lock_timeout`. What a prune frees is used again by itself, so this is for tables that are to stay smaller.

        If cancelled, a table is as it was before or written anew, and all of its rows are there.

        Returns:
            By how many bytes the tables and their indexes got smaller.

        Raises:
            CheckpointError: The disk is full, others work too long, or the role does not own the tables.
        """
        return await run_interruptibly(partial(self._others.maintain, vacuum), limiter=self._waiting)

    async def _read(self, work: Work[T]) -> T:
        return await run_interruptibly(partial(self._others.read, work), limiter=self._reading)

    async def _write(self, work: Work[T]) -> T:
        try:
            return await self._commits.submit(work)
        except Blocked:  # by another session: let it wait for that in nobody's way
            return await self._write_alone(work)

    async def _write_alone(self, work: Work[T]) -> T:
        return await run_interruptibly(partial(self._others.write, work), limiter=self._waiting)


def _virtual_time() -> float | None:
    return wall_time() if runs_on_virtual_time() else None


def _check_schema(schema: str) -> None:
    if not isinstance(schema, str) or not schema or "\0" in schema or not commit_rules.is_storable(schema):
        raise ValueError(f"schema is {schema!r}; it is the name of a schema")
    if len(schema.encode()) > _LONGEST_NAME:
        raise ValueError(f"schema is {schema!r}; PostgreSQL would cut it off after {_LONGEST_NAME} bytes")
    if schema.startswith("pg_") or schema == "information_schema":
        raise ValueError(f"schema is {schema!r}; PostgreSQL keeps that for itself")


def _check_limit(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; it is seconds")
    if not 0 < value <= _LONGEST:
        raise ValueError(f"{name} is {value!r}; it is seconds, more than 0 and at most {_LONGEST:.0f}")
