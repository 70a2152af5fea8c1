"""What a crash leaves: the bytes of a storage at one instant, and a storage opened over such bytes alone."""

from __future__ import annotations

import copy
from typing import Protocol, TypeVar

from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.checkpoint.storage import CheckpointStorage

__all__ = ["CrashableMemory", "CrashableStorage"]

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
