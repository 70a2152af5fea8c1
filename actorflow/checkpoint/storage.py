"""The protocol every storage backend implements."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol, runtime_checkable

from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, Commit, JournalEntry, Lease
from actorflow.checkpoint.stored_rows import Finding, StoredRow

__all__ = ["CheckpointStorage", "is_storage"]


@runtime_checkable
class CheckpointStorage(Protocol):
    """Where checkpoints live. Every verb is async; none of them half-happens.

    **Cancellation.** A verb either raises ``Cancelled`` having changed nothing, or, once its change can no longer be
    withdrawn, finishes it and returns normally; the cancellation then arrives at the caller's next checkpoint.

    **Errors.** A verb that fails raises `CheckpointError` (or a subclass), with the driver's error as its cause, having
    changed nothing. A writer that may not write gets `LeaseHeldError` or `LeaseLostError`.

    `prune` works in steps, each of which either happened or did not.

    **Fencing.** Whoever advances a workflow id holds its lease. The lease's time to live is for liveness only: it says
    when others may take the workflow id over from a holder that crashed. What keeps a holder out that was merely slow is
    its epoch, which `save` and `write_journal` compare in the same transaction that writes. So a lease is not lost by
    expiring, only by being overtaken or released: until then nobody else has written, and its holder may go on. A writer
    without a lease is refused while a lease lasts; the lease that has expired it overtakes, as an acquirer would.

    **Time.** Leases go by the wall clock that the processes on one host share, or by the server's. It is read before the
    transaction waits its turn, so a wait makes an old lease seem younger, never a young one old. A clock that is set may
    end a lease early or late (at most twice its time to live from then); it never lets a fenced holder write.
    """

    async def save(self, commit: Commit) -> CheckpointInfo:
        """Write one checkpoint atomically, make it the latest of its workflow id, and drop that one's journal.

        Saving an id that is there already, with the same parent and workflow id, changes nothing and returns the
        header that is there: a retry after a lost acknowledgement is safe. The lease is looked at first, so a holder
        that was overtaken hears of it even if this checkpoint is one that it had written before.

        In the same transaction the storage computes the digest, from the digest that the parent has there (see
        `actorflow.storage.chained`), and keeps it.

        Returns:
            The header as stored, with its sequence and digest.

        Raises:
            CheckpointNotFoundError: The parent is not in this storage. A run whose head was pruned goes by this: it saves
                the same again as a full checkpoint without a parent.
            CheckpointError: It could not be written; an id taken by another; a lease of another workflow id.
            LeaseLostError: The commit's lease is not the current one of the workflow id.
            LeaseHeldError: The commit has no lease and somebody else has one.
        """
        ...

    async def load(self, checkpoint_id: CheckpointID | str) -> Checkpoint:
        """Read one checkpoint with its contents.

        Raises:
            CheckpointNotFoundError: There is none of that id.
        """
        ...

    async def latest(self, *, workflow_id: str) -> Checkpoint | None:
        """Read the checkpoint with the highest sequence of a workflow id, or None. Never goes by clock."""
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
        """Delete a leaf, and the journal of a superstep that followed it.

        Raises:
            CheckpointNotFoundError: There is none of that id.
            CheckpointError: It has children.
        """
        ...

    async def prune(
        self, *, workflow_id: str | None = None, keep_last: int | None = None, older_than: timedelta | None = None
    ) -> int:
        """Delete old checkpoints, in steps that hold no writer up for long.

        What stays always: the latest of every workflow id, and what a running superstep with a journal follows. What
        stays loads as before: where it stood on something that went it is rewritten to stand alone. If its own parent
        went, it has no parent any more and names that one in `derived_from`. Its digest stays as well, for those that
        chain to it (see `actorflow.storage.reseal`). Journals that follow what went, go.

        A cancellation, an error or a crash between two steps leaves the steps done that were done; calling again does
        the rest.

        Args:
            workflow_id: Only this workflow id; each by itself if None.
            keep_last: Delete only what is not among so many newest of its workflow id.
            older_than: Delete only what was made longer ago than this.

        Returns:
            How many checkpoints were deleted.

        Raises:
            ValueError: Neither `keep_last` nor `older_than` is given; `keep_last` is less than 1; `older_than` is
                negative.
            TypeError: `older_than` is no timedelta.
            CheckpointError: What must be rewritten to stand alone cannot be read.
        """
        ...

    async def acquire_lease(self, workflow_id: str, *, owner: str) -> Lease:
        """Take the lease of a workflow id, if nobody has it or the one that has it let it expire.

        An owner that has it gets it again, with a higher epoch, and its earlier grant is lost: that makes a retry after
        a lost acknowledgement safe, and of two holders that share a name only the later can write.

        Args:
            workflow_id: What is to be advanced; there need be no checkpoint of it.
            owner: Who asks; unique per grant, e.g. a run id.

        Raises:
            LeaseHeldError: Another owner has it.
            CheckpointError: One of the arguments is empty, or text that UTF-8 cannot hold.
        """
        ...

    async def renew_lease(self, lease: Lease) -> None:
        """Let a lease last its time to live from now, even if it has expired, as long as nobody has overtaken it.

        Raises:
            LeaseLostError: It is not the current one of its workflow id.
        """
        ...

    async def release_lease(self, lease: Lease) -> None:
        """Give a lease back, so that the next acquirer has it at once. Does nothing if it is lost already."""
        ...

    async def write_journal(self, entries: Sequence[JournalEntry], *, lease: Lease | None = None) -> None:
        """Write, all or none, what finished deliveries of an unfinished superstep did.

        An entry with the workflow id, checkpoint id and index of one that is there changes nothing: the first one stays.

        Args:
            entries: What to write.
            lease: The lease of the workflow id of all entries, which must be the current one; None for a writer without.

        Raises:
            CheckpointNotFoundError: An entry follows a checkpoint that is not in this storage.
            CheckpointError: It could not be written; a lease of another workflow id.
            LeaseLostError: The lease is not the current one of the workflow id.
            LeaseHeldError: There is no lease given and somebody else has one.
        """
        ...

    async def read_journal(
        self, workflow_id: str, checkpoint_id: CheckpointID | str | None
    ) -> builtins.list[JournalEntry]:
        """Entries of the superstep of a workflow id that follows this checkpoint and no other, in order of index."""
        ...

    async def read_rows(
        self, after: int = 0, limit: int = 100, *, workflow_id: str | None = None
    ) -> builtins.list[StoredRow]:
        """What is stored, in order of writing and as it is: for `fsck`, which calls this over and over.

        A page is read in one moment, each row together with what it tells of its parent. A row that makes no checkpoint
        comes with what can be read of it and is no error.

        Args:
            after: Position of the last row of the page before; 0 for the first page.
            limit: At most so many rows; fewer where they are large. None at all means that there are no more.
            workflow_id: Only rows of this workflow id.

        Raises:
            CheckpointError: The storage itself cannot be read.
        """
        ...

    async def inspect(self) -> builtins.list[Finding]:
        """Look for damage outside of the rows of checkpoints: in files and indexes, in the journal, among the leases.

        A journal entry is an orphan if the checkpoint it follows is not there; a lease, if nobody holds it any more and
        its workflow id has no checkpoint. At most a thousand of each are told. It holds no writer up, and may be cancelled.

        Raises:
            CheckpointError: The storage itself cannot be read.
        """
        ...


_NEEDED = ("save", "load", "latest", "list", "lineage", "children", "delete")


def is_storage(value: object) -> bool:
    """Whether a value can serve runs as a storage: it has the verbs that commit, read and list.

    Leases, the journal and pruning may be missing, in a wrapper or in a backend of a third party: its runs are then not
    fenced, and what they finished of a superstep that failed is kept in their process only.
    """
    return not isinstance(value, type) and all(callable(getattr(value, verb, None)) for verb in _NEEDED)
