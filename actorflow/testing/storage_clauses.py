"""What the clauses of the conformance suite share: the hook, and the ways to look at a storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable
from contextlib import AbstractAsyncContextManager

from actorflow.checkpoint.records import CheckpointInfo, Commit
from actorflow.checkpoint.storage import CheckpointStorage

__all__ = ["StorageClauses", "expect_error", "ids", "save_all"]


class StorageClauses(ABC):
    """Base of the clauses; see `actorflow.testing.storage_conformance.StorageConformance`."""

    @abstractmethod
    def open_storage(self) -> AbstractAsyncContextManager[CheckpointStorage]:
        """Open a fresh, empty storage; it is closed and thrown away when the block ends."""


async def save_all(storage: CheckpointStorage, commits: Iterable[Commit]) -> list[CheckpointInfo]:
    """Save commits one after the other."""
    return [await storage.save(commit) for commit in commits]


def ids(headers: Iterable[CheckpointInfo]) -> list[str]:
    """The ids of headers, in their order."""
    return [header.id for header in headers]


async def expect_error(verb: Awaitable[object], *kinds: type[Exception]) -> None:
    """Await a verb that must raise an error of one of these kinds, exactly so or a subclass."""
    try:
        result = await verb
    except kinds:
        return
    raise AssertionError(f"expected {' or '.join(kind.__name__ for kind in kinds)}, but it returned {result!r}")
