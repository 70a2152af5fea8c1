"""What a storage offers beyond its protocol, made of nothing but the protocol's verbs."""

from __future__ import annotations

from collections.abc import Callable

from actorflow.checkpoint import fsck as _fsck
from actorflow.checkpoint.fsck import FsckReport, Inspectable
from actorflow.checkpoint.records import Checkpoint

__all__ = ["StorageTools"]


class StorageTools:
    """Mixin for a `CheckpointStorage`: tools for whoever looks after checkpoints or wonders what happened.

    A storage of a third party inherits it and has them all.
    """

    async def fsck(
        self: Inspectable,
        *,
        workflow_id: str | None = None,
        check: Callable[[Checkpoint], object] | None = None,
        deep: bool = False,
    ) -> FsckReport:
        """Look whether everything is as it was written.

        Every row is compared with its digest, its parent is looked for, its payload is unpacked; the file, the journal and
        the leases are looked at as the storage can. See `Finding.kind` for what there is to be found. It reads a page at a
        time, holds no writer up, and changes nothing; cancel it at will.

        Damage is a finding, never an error. What follows a damaged checkpoint is compared with that one's stored digest,
        or not at all: mend, and look again.

        Args:
            workflow_id: Look at the rows of this workflow id only, and at nothing that is no row.
            check: Called with the latest checkpoint of every workflow id, in the event loop; if it raises, that is a
                finding. `Workflow.check_checkpoint` is one: it decodes all there is.
            deep: Call `check` with every checkpoint.

        Returns:
            The report; its `ok` is True if nothing was found.

        Raises:
            CheckpointError: The storage cannot be read at all.
        """
        return await _fsck.fsck(self, workflow_id=workflow_id, check=check, deep=deep)
