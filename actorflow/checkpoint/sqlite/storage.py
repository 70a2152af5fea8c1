"""Checkpoints in one SQLite file: the durable storage that needs no server."""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import attrs
import trio

from actorflow.checkpoint import commit_rules, lease_rules
from actorflow.checkpoint.group_commit import GroupCommit
from actorflow.checkpoint.headers import Page
from actorflow.checkpoint.pruning import Pruning
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, Commit, JournalEntry, Lease
from actorflow.checkpoint.sqlite import inspecting, journal, leases, raw_rows, rows
from actorflow.checkpoint.sqlite.connections import Readers, Work, Writer
from actorflow.checkpoint.sqlite.pruning import PruneStep, prune_step
from actorflow.checkpoint.sqlite.schema import SqliteFile
from actorflow.checkpoint.stored_rows import Finding, StoredRow
from actorflow.checkpoint.tools import StorageTools
from actorflow.clock import wall_time
from actorflow.threads import T, run_in_thread

__all__ = ["SqliteCheckpointStorage"]

_READERS = 4
_LARGEST_PAYLOAD = 1_000_000_000  # what SQLite keeps in one row


class SqliteCheckpointStorage(StorageTools):
    """A `CheckpointStorage` in one file, with a write-ahead log beside it.

    The file is opened, and created with its tables if it is not there, by the first call that needs it. Any number of
    storage objects and processes may use one file at a time, on a local disk. One object serves one ``trio.run`` at a
    time, and any number one after the other; after `close` the next call opens the file again.

    What concurrent callers write is committed together, in one transaction. A write that a transaction has taken up is
    waited for, however cancelled the caller is; SQLite waits at most `busy_timeout` for another writer. A process that
    is stopped in the middle of a transaction keeps all others from writing until it goes on or ends, whatever the leases.

    Args:
        path: The file. Its folder must exist.
        synchronous: "full" makes every commit durable before `save` returns, through a power cut. "normal" is faster,
            and as safe against a crash of the process; a power cut may take the last commits, never mix or tear them.
        busy_timeout: Seconds to wait for another process that is writing.
        lease_ttl: Seconds after which a lease that is not renewed may be overtaken.
        lease_renewal: Seconds between renewals of a lease while its run lasts; a third of `lease_ttl` if None.
        max_payload: Bytes that one checkpoint, or one entry of the journal, may take, at most 1,000,000,000; more is refused
            when it is saved, and when it is found in the file. A full checkpoint holds the whole state, so that has to fit.

    Raises:
        ValueError: An argument is none of these.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Literal["full", "normal"] = "full",
        busy_timeout: float = 10.0,
        lease_ttl: float = 30.0,
        lease_renewal: float | None = None,
        max_payload: int = commit_rules.MAX_PAYLOAD,
    ) -> None:
        if synchronous not in ("full", "normal"):
            raise ValueError(f"synchronous is {synchronous!r}; it is 'full' or 'normal'")
        if not 0 <= busy_timeout <= 1_000_000:
            raise ValueError(f"busy_timeout is {busy_timeout!r}; it is seconds, 0 to 1000000")
        lease_rules.check_ttl(lease_ttl)
        lease_rules.check_renewal(lease_renewal, lease_ttl)
        commit_rules.check_max_payload(max_payload, _LARGEST_PAYLOAD)
        name = os.fspath(path)
        if name in ("", ":memory:") or not commit_rules.is_storable(name):
            raise ValueError(f"path is {name!r}; name a file, or use InMemoryCheckpointStorage()")
        self._file = SqliteFile(Path(os.path.abspath(name)), synchronous, busy_timeout, max_payload)  # noqa: PTH100  # no look at the disk
        self._writer = Writer(self._file)
        self._readers = Readers(self._file)
        self._writing = trio.CapacityLimiter(1)
        self._commits = GroupCommit(self._writer.commit, self._writing)
        self._reading = trio.CapacityLimiter(_READERS)
        self._place = str(self._file.path)
        self._lease_ttl = float(lease_ttl)
        self._lease_renewal = lease_renewal

    def __repr__(self) -> str:
        return f"SqliteCheckpointStorage({self._place!r}, synchronous={self._file.synchronous!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Plain and synchronous; waits for a write in hand. The next verb opens it again."""
        self._writer.close()
        self._readers.close()

    async def save(self, commit: Commit) -> CheckpointInfo:
        """Write one checkpoint; see `CheckpointStorage.save`. Durable when it returns, as `synchronous` says."""
        commit_rules.check_commit(commit)
        commit_rules.check_size(commit, self._file.max_payload)
        work = partial(rows.insert, commit=commit, now=wall_time(), place=self._place)
        return await self._commits.submit(work)

    async def load(self, checkpoint_id: CheckpointID | str) -> Checkpoint:
        """Read one checkpoint with its contents; see `CheckpointStorage.load`."""
        return await self._read(partial(rows.load, checkpoint_id=checkpoint_id, place=self._place))

    async def latest(self, *, workflow_id: str) -> Checkpoint | None:
        """Read the checkpoint with the highest sequence; see `CheckpointStorage.latest`."""
        return await self._read(partial(rows.latest, workflow_id=workflow_id, place=self._place))

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
        await self._commits.submit(partial(rows.delete, checkpoint_id=checkpoint_id, place=self._place))

    async def prune(
        self, *, workflow_id: str | None = None, keep_last: int | None = None, older_than: timedelta | None = None
    ) -> int:
        """Delete old checkpoints, some hundreds in a transaction; see `CheckpointStorage.prune`.

        The room they took is used again; the file does not shrink.
        """
        wanted = Pruning.asked(keep_last, older_than)
        deleted, step = 0, PruneStep()
        while not step.done:
            work = partial(prune_step, wanted=wanted, workflow_id=workflow_id, since=step, now=wall_time())
            step = await self._commits.submit(work)
            deleted += step.deleted
        return deleted

    async def acquire_lease(self, workflow_id: str, *, owner: str) -> Lease:
        """Take the lease of a workflow id; see `CheckpointStorage.acquire_lease`."""
        lease_rules.check_request(workflow_id, owner)
        work = partial(leases.acquire, workflow_id=workflow_id, owner=owner, ttl=self._lease_ttl, now=wall_time())
        return attrs.evolve(await self._commits.submit(work), renewal=self._lease_renewal)

    async def renew_lease(self, lease: Lease) -> None:
        """Let a lease last from now on; see `CheckpointStorage.renew_lease`."""
        await self._commits.submit(partial(leases.renew, lease=lease, now=wall_time()))

    async def release_lease(self, lease: Lease) -> None:
        """Give a lease back; see `CheckpointStorage.release_lease`."""
        await self._commits.submit(partial(leases.release, lease=lease))

    async def write_journal(self, entries: Sequence[JournalEntry], *, lease: Lease | None = None) -> None:
        """Write entries of the journal, all or none; see `CheckpointStorage.write_journal`."""
        wanted = tuple(entries)
        commit_rules.check_entries(wanted, lease)
        commit_rules.check_entry_sizes(wanted, self._file.max_payload)
        work = partial(journal.write, entries=wanted, lease=lease, now=wall_time(), place=self._place)
        await self._commits.submit(work)

    async def read_journal(
        self, workflow_id: str, checkpoint_id: CheckpointID | str | None
    ) -> builtins.list[JournalEntry]:
        """Entries of the superstep after a checkpoint; see `CheckpointStorage.read_journal`."""
        return await self._read(partial(journal.read, workflow_id=workflow_id, checkpoint_id=checkpoint_id))

    async def read_rows(
        self, after: int = 0, limit: int = 100, *, workflow_id: str | None = None
    ) -> builtins.list[StoredRow]:
        """A page of what is stored; see `CheckpointStorage.read_rows`."""
        commit_rules.check_limit(limit)
        page = partial(raw_rows.read, after=after, limit=limit, workflow_id=workflow_id)
        return await self._read(partial(page, max_payload=self._file.max_payload))

    async def inspect(self) -> builtins.list[Finding]:
        """SQLite's own check of the file, and a look for orphans; see `CheckpointStorage.inspect`."""
        return await self._read(partial(inspecting.inspect, now=wall_time()))

    async def vacuum(self) -> int:
        """Give the room back that deleted and pruned checkpoints took: build the file anew, and cut the log beside it.

        It needs as much free room on the disk as the file takes, twice over while it lasts, and time in proportion.
        Writers of this object wait for it; those of other objects and processes wait too, and fail with a
        CheckpointError after their `busy_timeout`. Readers go on. What a prune frees is used again by itself, so this is
        for a file that is to stay smaller.

        If cancelled or interrupted by a crash, the file is what it was.

        Returns:
            By how many bytes the file got smaller.

        Raises:
            CheckpointError: The disk is full, or another process is writing.
        """
        return await run_in_thread(self._writer.maintain, inspecting.vacuum, limiter=self._writing)

    async def _read(self, work: Work[T]) -> T:
        return await run_in_thread(self._readers.read, work, limiter=self._reading)
