"""What a crash leaves: the bytes of a storage at one instant, and a storage opened over such bytes alone."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import attrs

from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.checkpoint.sqlite.schema import SqliteFile
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.testing.failing_disk import FailingDisk

__all__ = ["CrashableMemory", "CrashableSqlite", "CrashableStorage"]

BytesT = TypeVar("BytesT")


class CrashableStorage(Protocol[BytesT]):
    """A storage whose bytes can be taken at any instant. Every method is synchronous.

    A storage whose writes can also *fail* halfway, while the process lives on, has a method `failing` as `CrashableSqlite`
    has it. Without it a torn write comes with a kill alone.

    Attributes:
        tears: In how many ways a write can be torn; 0 if a write of this storage cannot be.
    """

    tears: int

    def open(self) -> CheckpointStorage:
        """Open the storage, which has nothing in it."""
        ...

    def snapshot(self) -> BytesT:
        """Take what a new process would find of the storage opened last if this one were gone now. It may be at work."""
        ...

    def tear(self, before: BytesT, after: BytesT, variant: int) -> BytesT:
        """Make what a power cut in the middle of the write between two snapshots leaves, in one of `tears` ways."""
        ...

    def reopen(self, snapshot: BytesT) -> CheckpointStorage:
        """Open another storage over these bytes. It shares nothing with any that was opened before."""
        ...

    def close(self) -> None:
        """Close every storage that was opened, and remove what they wrote."""
        ...


class CrashableMemory:
    """The in-memory storage, copied whole. It writes in one step, so there is no torn write."""

    tears = 0

    def __init__(self) -> None:
        self._storage = InMemoryCheckpointStorage()

    def open(self) -> InMemoryCheckpointStorage:
        """Give the one storage."""
        return self._storage

    def snapshot(self) -> InMemoryCheckpointStorage:
        """Copy all records."""
        return copy.deepcopy(self._storage)

    def tear(
        self, before: InMemoryCheckpointStorage, after: InMemoryCheckpointStorage, variant: int
    ) -> InMemoryCheckpointStorage:
        """Refuse: nothing here can be torn."""
        raise ValueError(f"an in-memory storage writes in one step: {before!r} and {after!r} have no tear {variant}")

    def reopen(self, snapshot: InMemoryCheckpointStorage) -> InMemoryCheckpointStorage:
        """Give a copy, which is the one storage from now on."""
        self._storage = copy.deepcopy(snapshot)
        return self._storage

    def close(self) -> None:
        """Nothing is open."""


Files = Mapping[str, bytes]
"""Contents by the end of the file's name."""


class CrashableSqlite:
    """The SQLite storage in a folder of its own; a snapshot is the bytes of the file and of the log beside it.

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
        storage = SqliteCheckpointStorage(path, synchronous="normal")
        storage._writer._file = attrs.evolve(storage._file, vfs=self._disk.name)  # noqa: SLF001 - the kit looks inside
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
