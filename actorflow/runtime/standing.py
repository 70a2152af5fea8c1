"""Where a workflow stands between runs.

Its committed state, the checkpoint that state was derived from, and what a superstep that did not commit had finished.

The parent of the next checkpoint is read off here and nowhere else (P5): it is the head, if the head lies in the storage
that is about to be written. No flag says that a run was resumed.
"""

from __future__ import annotations

import attrs

from actorflow.checkpoint.ledger import Ledger
from actorflow.checkpoint.records import CheckpointID, CheckpointInfo
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.effects import Finished
from actorflow.core.snapshot import Snapshot
from actorflow.core.trials import Trials
from actorflow.errors import CheckpointNotFoundError
from actorflow.events import RequestInfoEvent
from actorflow.graph.nesting import Names
from actorflow.graph.routing import Dropped
from actorflow.runtime.definition import Definition
from actorflow.runtime.storing import storage_errors

__all__ = ["Standing"]


@attrs.define(eq=False)
class Standing:
    """What a workflow stands on.

    Attributes:
        snapshot: The committed state.
        head: The checkpoint that state was derived from; None if it was derived from none.
        storage: Where the head lies.
        ledger: Mirror of the head as bytes, and what has changed since.
        finished: Finished deliveries of the superstep that did not commit, by their position in it.
        trials: What was tried of it, and restarts.
        leftovers: What a reset let go, to be reported by the next run.
        told: The events that told of requests, by request id.
    """

    snapshot: Snapshot = attrs.Factory(Snapshot)
    head: CheckpointInfo | None = None
    storage: CheckpointStorage | None = None
    ledger: Ledger | None = None
    finished: dict[int, Finished] = attrs.Factory(dict)
    trials: Trials = attrs.Factory(Trials)
    leftovers: list[tuple[Names, Dropped]] = attrs.Factory(list)
    told: dict[str, RequestInfoEvent] = attrs.Factory(dict)

    @property
    def is_stored(self) -> bool:
        """Whether the head holds all of the state."""
        return self.ledger is not None and not self.ledger.is_behind

    @property
    def head_id(self) -> CheckpointID | None:
        """Id of the head."""
        return self.head.id if self.head else None

    async def parent_in(self, storage: CheckpointStorage, definition: Definition) -> CheckpointID | None:
        """The parent of the next checkpoint in a storage: the head, if it lies there.

        If not, the next commit stands alone, whatever was written elsewhere.

        Raises:
            CheckpointError: The storage cannot be read.
        """
        here = self.head is not None and (self.storage is storage or await _has(storage, self.head.id))
        if not here or self.ledger is None:
            self.ledger = Ledger(definition.codec)
            self.ledger.skip(dict.fromkeys(self.snapshot.sections()))
        if here:
            self.storage = storage
        return self.head_id if here else None


async def _has(storage: CheckpointStorage, checkpoint_id: CheckpointID) -> bool:
    try:
        with storage_errors(f"whether {storage!r} has checkpoint {checkpoint_id!r} could not be read"):
            await storage.children(checkpoint_id)
    except CheckpointNotFoundError:
        return False
    return True
