"""Checkpoints in one SQLite file: the durable storage that needs no server."""

from __future__ import annotations

import builtins
import os
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from actorflow.checkpoint import rules, sqlite_rows
from actorflow.checkpoint.group_commit import GroupCommit
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, Commit
from actorflow.checkpoint.sqlite_connections import Readers, Work, Writer
from actorflow.checkpoint.sqlite_schema import SqliteFile
from actorflow.checkpoint.threads import T, run_in_thread

__all__ = ["SqliteCheckpointStorage"]

_READERS = 4


class SqliteCheckpointStorage:
    """A `CheckpointStorage` in one file, with a write-ahead log beside it.

    The file is opened, and created with its tables if it is not there, by the first call that needs it. Any number of
    storage objects and processes may use one file at a time, on a local disk. One object serves one ``trio.run`` at a
    time, and any number one after the other; after `close` the next call opens the file again.

    What concurrent callers write is committed together, in one transaction. A write that a transaction has taken up is
    waited for, however cancelled the caller is; SQLite waits at most `busy_timeout` for another writer.

    Args:
        path: The file. Its folder must exist.
        synchronous: "full" makes every commit durable before `save` returns, through a power cut. "normal" is faster,
            and as safe against a crash of the process; a power cut may take the last commits, never mix or tear them.
        busy_timeout: Seconds to wait for another process that is writing.

    Raises:
        ValueError: An argument is none of these.
    """

    def __init__(self, path: str | os.PathLike[str], *, synchronous: str = "full", busy_timeout: float = 10.0) -> None:
        if synchronous not in ("full", "normal"):
            raise ValueError(f"synchronous is {synchronous!r}; it is 'full' or 'normal'")
        if not 0 <= busy_timeout <= 1_000_000:
            raise ValueError(f"busy_timeout is {busy_timeout!r}; it is seconds, 0 to 1000000")
        name = os.fspath(path)
        if name in ("", ":memory:") or not rules.is_storable(name):
            raise ValueError(f"path is {name!r}; name a file, or use InMemoryCheckpointStorage()")
        self._file = SqliteFile(Path(os.path.abspath(name)), synchronous, busy_timeout)  # noqa: PTH100  # no look at the disk
        self._writer = Writer(self._file)
        self._readers = Readers(self._file)
        self._commits = GroupCommit(self._writer.commit, trio.CapacityLimiter(1))
        self._reading = trio.CapacityLimiter(_READERS)
        self._place = str(self._file.path)

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
        rules.check_commit(commit)
        return await self._commits.submit(partial(sqlite_rows.insert, commit=commit, place=self._place))

    async def load(self, checkpoint_id: CheckpointID | str) -> Checkpoint:
        """Read one checkpoint with its contents; see `CheckpointStorage.load`."""
        return await self._read(partial(sqlite_rows.load, checkpoint_id=checkpoint_id, place=self._place))

    async def latest(self, *, workflow_id: str) -> Checkpoint | None:
        """Read the checkpoint with the highest sequence; see `CheckpointStorage.latest`."""
        return await self._read(partial(sqlite_rows.latest, workflow_id=workflow_id, place=self._place))

    async def list(
        self,
        workflow_id: str | None = None,
        workflow_name: str | None = None,
        limit: int | None = None,
        before: CheckpointID | str | None = None,
    ) -> list[CheckpointInfo]:
        """Headers, newest first; see `CheckpointStorage.list`."""
        rules.check_limit(limit)
        wanted = sqlite_rows.Page(workflow_id, workflow_name, limit, before)
        return await self._read(partial(sqlite_rows.list_headers, page=wanted, place=self._place))

    async def lineage(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers from this checkpoint to its root; see `CheckpointStorage.lineage`."""
        return await self._read(partial(sqlite_rows.lineage, checkpoint_id=checkpoint_id, place=self._place))

    async def children(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers of the children, oldest first; see `CheckpointStorage.children`."""
        return await self._read(partial(sqlite_rows.children, checkpoint_id=checkpoint_id, place=self._place))

    async def delete(self, checkpoint_id: CheckpointID | str) -> None:
        """Delete a leaf; see `CheckpointStorage.delete`."""
        await self._commits.submit(partial(sqlite_rows.delete, checkpoint_id=checkpoint_id, place=self._place))

    async def _read(self, work: Work[T]) -> T:
        return await run_in_thread(self._readers.read, work, limiter=self._reading)
