"""What a crash leaves: the bytes of a storage at one instant, and a storage opened over such bytes alone."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.checkpoint.sqlite.schema import SqliteFile
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.checkpoint.storage import CheckpointStorage

__all__ = ["CrashableMemory", "CrashableSqlite", "CrashableStorage"]

BytesT = TypeVar("BytesT")


class CrashableStorage(Protocol[BytesT]):
    """A storage whose bytes can be taken at any instant. Every method is synchronous.

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
        """Give the copy, which is the one storage from now on."""
        self._storage = snapshot
        return snapshot

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
        self._opened.append(storage)
        return storage

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
    first = next(
        (place for place, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(before)
    )
    kept = after[: (first + len(after)) // 2]
    if variant == 0:
        return kept + before[len(kept) :]
    return kept + bytes(len(after) - len(kept))


@cache
def _empty_files() -> Files:
    """A file with its tables: making them anew for each of hundreds of rounds is most of what a round costs."""
    with tempfile.TemporaryDirectory(prefix="actorflow-crash-") as folder:
        path = Path(folder) / "empty.db"
        SqliteFile(path, "normal", 10.0).connect().close()
        return {"": path.read_bytes()}
