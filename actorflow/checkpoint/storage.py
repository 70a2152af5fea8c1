"""The protocol every storage backend implements."""

from __future__ import annotations

import builtins
from typing import Protocol, runtime_checkable

from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, Commit

__all__ = ["CheckpointStorage"]


@runtime_checkable
class CheckpointStorage(Protocol):
    """Where checkpoints live. Every verb is async; none of them half-happens.

    **Cancellation.** A verb either raises ``Cancelled`` having changed nothing, or, once its change can no longer be
    withdrawn, finishes it and returns normally; the cancellation then arrives at the caller's next checkpoint.

    **Errors.** A verb that fails raises `CheckpointError` (or a subclass), with the driver's error as its cause, having
    changed nothing.
    """

    async def save(self, commit: Commit) -> CheckpointInfo:
        """Write one checkpoint atomically and make it the latest of its workflow id.

        Saving an id that is there already, with the same parent and workflow id, changes nothing and returns the
        header that is there: a retry after a lost acknowledgement is safe.

        Returns:
            The header as stored, with its sequence.

        Raises:
            CheckpointError: It could not be written; a parent that is not in this storage; an id taken by another.
        """
        ...

    async def load(self, checkpoint_id: CheckpointID | str) -> Checkpoint:
        """Read one checkpoint with its contents.

        Raises:
            CheckpointNotFoundError: There is none of that id.
        """
        ...

    async def latest(self, *, workflow_id: str) -> Checkpoint | None:
        """Read the checkpoint with the highest sequence of a workflow id, or None. Never goes by clock (F30)."""
        ...

    async def list(
        self,
        workflow_id: str | None = None,
        workflow_name: str | None = None,
        limit: int | None = None,
        before: CheckpointID | str | None = None,
    ) -> builtins.list[CheckpointInfo]:
        """Headers, newest first.

        Args:
            workflow_id: Only this workflow id.
            workflow_name: Only this definition name.
            limit: At most so many.
            before: Only those written before this checkpoint: the last id of a page gives the next page.

        Raises:
            CheckpointNotFoundError: `before` is not there.
            ValueError: `limit` is less than 1.
        """
        ...

    async def lineage(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers from this checkpoint to its root, across branches.

        Raises:
            CheckpointNotFoundError: There is none of that id.
        """
        ...

    async def children(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers of the checkpoints whose parent this is, oldest first.

        Raises:
            CheckpointNotFoundError: There is none of that id.
        """
        ...

    async def delete(self, checkpoint_id: CheckpointID | str) -> None:
        """Delete a leaf.

        Raises:
            CheckpointNotFoundError: There is none of that id.
            CheckpointError: It has children.
        """
        ...
