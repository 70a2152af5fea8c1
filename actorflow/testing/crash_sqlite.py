"""What a crash leaves of an SQLite file: the bytes of the file and of the log beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import trio

from actorflow.checkpoint.group_commit import GroupCommit, Job
from actorflow.checkpoint.sqlite.connections import Work
from actorflow.checkpoint.sqlite.schema import SqliteFile
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.testing.failing_disk import FailingDisk
from actorflow.threads import T

__all__ = ["CrashableSqlite"]

Files = Mapping[str, bytes]
"""Contents by the end of the file's name."""


class CrashableSqlite:
    """The SQLite storage in a folder of its own; a snapshot is the bytes of the file and of the log beside it.

    SQLite works in the event loop here, and not in a thread, so that the order of things is the seed's alone.

    A torn write is one of which the log has the first half: in one way cut off there, in the other filled up with zeros,
    as a disk leaves blocks that it had allocated and not written.
    """

    tears = 2

    def __init__(self) -> None:
        # In memory where that can be had: what a disk would still have after a power cut is emulated, not waited for.
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a folder of its own is made in it
        self._folder = Path(tempfile.mkdtemp(prefix="actorflow-crash-", dir=place))
        self._opened: list[SqliteCheckpointStorage] = []
        self._disk = FailingDisk()

    def open(self) -> SqliteCheckpointStorage:
        """Open a file that has its tables and nothing in them."""
        return self.reopen(_empty_files())

    def snapshot(self) -> Files:
        """Read the files of the storage opened last, the log after the file: what a checkpoint of SQLite moves is in both."""
        path = self._path(len(self._opened) - 1)
        found = ((end, Path(f"{path}{end}")) for end in _ENDS)
        return {end: file.read_bytes() for end, file in found if file.exists()}

    def tear(self, before: Files, after: Files, variant: int) -> Files:
        """Leave the first half of what one write changed in the log."""
        torn = {end: _torn(before.get(end, b""), contents, variant) for end, contents in after.items()}
        return {**before, **torn}

    def reopen(self, snapshot: Files) -> SqliteCheckpointStorage:
        """Write the bytes to a new place and open them."""
        path = self._path(len(self._opened))
        for end, contents in snapshot.items():
            Path(f"{path}{end}").write_bytes(contents)
        storage = _InTheLoop(path, self._disk)
        self._opened.append(storage)
        return storage

    def failing(self, variant: int) -> AbstractContextManager[None]:
        """Let every write fail meanwhile with some of it in the log, in one of `tears` ways; the process lives on.

        In one way the disk is full in the first page of the transaction, in the other it breaks in the last one.
        """
        return self._disk.failing(variant)

    def close(self) -> None:
        """Close the files and remove the folder."""
        for storage in self._opened:
            storage.close()
        shutil.rmtree(self._folder)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.db"


_ENDS = ("", "-wal")


def _torn(before: bytes, after: bytes, variant: int) -> bytes:
    if before == after:
        return after
    first = _first_difference(before, after)
    kept = after[: (first + len(after)) // 2]
    if variant == 0:
        return kept + before[len(kept) :]
    return kept + bytes(len(after) - len(kept))


def _first_difference(before: bytes, after: bytes) -> int:
    length = min(len(before), len(after))
    for start in range(0, length, _BLOCK):
        old, new = before[start : start + _BLOCK], after[start : start + _BLOCK]
        if old != new:
            return start + next((place for place, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]))
    return length


_BLOCK = 512


@cache
def _empty_files() -> Files:
    """A file with its tables: making them anew for each of hundreds of rounds is most of what a round costs."""
    with tempfile.TemporaryDirectory(prefix="actorflow-crash-") as folder:
        path = Path(folder) / "empty.db"
        SqliteFile(path, "normal", 10.0).connect().close()
        return {"": path.read_bytes()}


class _InTheLoop(SqliteCheckpointStorage):
    """Does its work where it is called, with a step of the loop before and after: so a thread would leave room for others."""

    def __init__(self, path: Path, disk: FailingDisk) -> None:
        super().__init__(path, synchronous="normal")
        self._writer._file = attrs.evolve(self._file, vfs=disk.name)  # noqa: SLF001 - the kit looks inside
        self._commits = _CommitsInTheLoop(self._writer.commit, self._writing)

    async def _read(self, work: Work[T]) -> T:
        await trio.lowlevel.checkpoint()
        result = self._writer.maintain(work)  # nobody else is at work; one connection is half of what opening costs
        await trio.lowlevel.cancel_shielded_checkpoint()
        return result


class _CommitsInTheLoop(GroupCommit[Any]):
    async def _perform_batch(self, batch: list[Job[Any]]) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()
        results = self._perform([job.work for job in batch])
        await trio.lowlevel.cancel_shielded_checkpoint()
        for taken, result in zip(batch, results, strict=True):
            taken.result = result
