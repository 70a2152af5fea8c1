"""What the clauses of the conformance suite share: the hook, and the ways to look at a storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import trio

from actorflow.checkpoint.records import CheckpointInfo, Commit
from actorflow.checkpoint.storage import CheckpointStorage

__all__ = ["StorageClauses", "expect_error", "ids", "save_all"]

ErrorT = TypeVar("ErrorT", bound=Exception)


class StorageClauses(ABC):
    """Base of the clauses; see `actorflow.testing.storage_conformance.StorageConformance`."""

    @abstractmethod
    def open_storage(self) -> AbstractAsyncContextManager[CheckpointStorage]:
        """Open a fresh, empty storage; it is closed and thrown away when the block ends."""

    async def let_pass(self, seconds: float) -> None:
        """Let time pass for the leases of a storage; called under a virtual clock only.

        A storage whose leases do not go by `actorflow.clock.wall_time` overrides this.
        """
        await trio.sleep(seconds)


async def save_all(storage: CheckpointStorage, commits: Iterable[Commit]) -> list[CheckpointInfo]:
    """Save commits one after the other."""
    return [await storage.save(commit) for commit in commits]


def ids(headers: Iterable[CheckpointInfo]) -> list[str]:
    """The ids of headers, in their order."""
    return [header.id for header in headers]


async def expect_error(verb: Awaitable[object], *kinds: type[ErrorT]) -> ErrorT:
    """Await a verb that must raise an error of one of these kinds, exactly so or a subclass, and return the error."""
    try:
        result = await verb
    except kinds as error:
        return error
    raise AssertionError(f"expected {' or '.join(kind.__name__ for kind in kinds)}, but it returned {result!r}")
