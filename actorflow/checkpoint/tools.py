"""What a storage offers beyond its protocol, made of nothing but the protocol's verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from actorflow.checkpoint import diffs, forking
from actorflow.checkpoint import fsck as checking
from actorflow.checkpoint.codec.generic import GenericCodec
from actorflow.checkpoint.diffs import Diff
from actorflow.checkpoint.fsck import FsckReport
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo
from actorflow.checkpoint.storage import CheckpointStorage

__all__ = ["StorageTools"]


class StorageTools:
    """Mixin for a `CheckpointStorage`: tools for whoever looks after checkpoints or wonders what happened.

    A storage of a third party inherits it and has them all. Each calls verbs of the protocol and nothing else.
    """

    async def history(self: CheckpointStorage, workflow_id: str) -> list[CheckpointInfo]:
        """What happened, in order: the lineage of the latest checkpoint of a workflow id, oldest first.

        It crosses branches: that of a fork begins with what the original did before. It begins later where the older
        ones were pruned. What was gone back from is no part of it; `CheckpointStorage.list` has that as well. It only
        reads, so a cancellation leaves nothing behind.

        Args:
            workflow_id: Whose history.

        Returns:
            The headers; none if the workflow id has no checkpoint, as `CheckpointStorage.latest` and
            `CheckpointStorage.list` have none: an id may be one that is about to begin.

        Raises:
            CheckpointError: The storage failed.
        """
        for latest in await self.list(workflow_id=workflow_id, limit=1):
            return (await self.lineage(latest.id))[::-1]
        return []

    async def diff(
        self: CheckpointStorage, a: CheckpointID | str, b: CheckpointID | str, *, types: Iterable[object] = ()
    ) -> Diff:
        """What differs between two checkpoints, of whatever workflow ids. It only reads: cancel it at will.

        Args:
            a: The first.
            b: The second.
            types: Classes to decode values into, as annotated; ``workflow.stored_types`` are those of a workflow. A value
                of any other class is shown as a `Record` of its fields: no class is looked up or imported for it.

        Raises:
            CheckpointNotFoundError: There is none of that id.
            CodecError: One of them is damaged.
            CheckpointError: One of them was written in a format that this version does not know.
            StateTypeError: Two of the types have one stored name.
        """
        codec = GenericCodec(types)
        return diffs.diff_of(await self.load(a), await self.load(b), codec)

    async def fork(
        self: CheckpointStorage,
        checkpoint_id: CheckpointID | str,
        *,
        workflow_id: str,
        state: Mapping[str, Any] | None = None,
        types: Iterable[object] = (),
    ) -> CheckpointInfo:
        """Write a branch: the state of a checkpoint, edited, as the first checkpoint of another workflow id.

        Messages in flight, timers, open requests, joins, executors' states and outputs are those of the original; the shared state
        is, but for the edits. ``builder.build(id=workflow_id)`` and ``run(checkpoint_id=LATEST)`` go on from it. The
        original is left alone. Delivery ids differ from the original's, as in any branch; request ids do not.

        If cancelled, either nothing was written, or all is and this returns.

        Args:
            checkpoint_id: What to branch from; the parent of the new one.
            workflow_id: The branch's own; it must have no checkpoints in this storage.
            state: New values by key of the shared state, if any; `ABSENT` deletes the key. No reducer is asked.
            types: The classes that new values are of, as annotated; ``workflow.stored_types`` has those of a workflow.

        Returns:
            The header of the new checkpoint.

        Raises:
            ValueError: A workflow id that is the original's or no id; keys that are not str.
            CodecError: A value cannot be stored; its path says which.
            CheckpointNotFoundError: There is no such checkpoint.
            LeaseHeldError: Somebody advances that workflow id.
            CheckpointError: The workflow id has checkpoints already; the original was written in a format that this version
                does not know; or it could not be written.
        """
        return await forking.fork(self, checkpoint_id, workflow_id, {} if state is None else state, types)

    async def fsck(
        self: CheckpointStorage,
        *,
        workflow_id: str | None = None,
        check: Callable[[Checkpoint], object] | None = None,
        deep: bool = False,
    ) -> FsckReport:
        """Look whether everything is as it was written.

        Every row is compared with its digest, its parent is looked for, its payload is unpacked; the file, the journal and
        the leases are looked at as the storage can. See `Finding.kind` for what there is to be found. It reads a page at a
        time, holds no writer up, and changes nothing; cancel it at will.

        Damage is a finding, never an error. What follows a damaged checkpoint is not accused of what may be that one's
        damage: mend, and look again.

        Args:
            workflow_id: Look at the rows of this workflow id only, and at nothing that is no row.
            check: Called with the latest checkpoint of every workflow id, in the event loop; if it raises, that is a
                finding. ``workflow.check_checkpoint`` is one: it decodes all there is.
            deep: Call `check` with every checkpoint.

        Returns:
            The report; its `ok` is True if nothing was found.

        Raises:
            CheckpointError: The storage cannot be read at all.
        """
        return await checking.fsck(self, workflow_id=workflow_id, check=check, deep=deep)
