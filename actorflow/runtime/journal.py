"""The journal: what finished deliveries of an unfinished superstep did, kept in the storage beside the head (P6).

It is written when a run fails or is cancelled, so that a resume runs again only what did not finish; with
``durability="delivery"`` each delivery is written as it finishes, so that this holds when the process dies, too. The next
commit of the workflow id wipes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from actorflow.checkpoint.codec.sections import SectionCodec
from actorflow.checkpoint.records import CheckpointID, JournalEntry, Lease
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.effects import Finished
from actorflow.errors import CheckpointError, CodecError
from actorflow.graph.nesting import Names, Planned
from actorflow.runtime.storing import storage_errors

__all__ = ["Journal", "read_finished"]


@attrs.define(eq=False)
class Journal:
    """Writes finished deliveries of one run.

    Attributes:
        storage: Where to.
        workflow_id: Whose journal.
        codec: Encodes them.
        lease: The storage's grant.
    """

    storage: CheckpointStorage
    workflow_id: str
    codec: SectionCodec
    lease: Lease | None
    _written: tuple[CheckpointID | None, set[int]] = attrs.field(factory=lambda: (None, set()))

    async def write(self, head: CheckpointID | None, finished: Mapping[int, tuple[Names, Finished]]) -> None:
        """Write what is not written yet, all or none. One that cannot be encoded is left to be run again.

        Args:
            head: The checkpoint the superstep follows.
            finished: What is finished of it and where in the tree of workflows, by place in the canonical order.

        Raises:
            CheckpointError: The storage failed.
            LeaseLostError: Another process has the workflow id now.
        """
        if self._written[0] != head:
            self._written = (head, set())
        entries = [
            entry
            for index, (names, each) in finished.items()
            if index not in self._written[1] and (entry := self._entry(head, index, names, each))
        ]
        if not entries:
            return
        what = f"what {len(entries)} deliveries of workflow {self.workflow_id!r} did could not be kept"
        try:
            with storage_errors(what):
                await self.storage.write_journal(entries, lease=self.lease)
        except CheckpointError as error:
            error.add_note(what)
            raise
        self._written[1].update(entry.index for entry in entries)

    def _entry(self, head: CheckpointID | None, index: int, names: Names, finished: Finished) -> JournalEntry | None:
        try:
            payload = self.codec.at(names).encode_finished(finished)
        except CodecError:  # the commit of the superstep raises it, and says where the value sits
            return None
        return JournalEntry(workflow_id=self.workflow_id, checkpoint_id=head, index=index, payload=payload)


async def read_finished(
    storage: CheckpointStorage, workflow_id: str, head: CheckpointID, planned: Sequence[Planned], codec: SectionCodec
) -> dict[int, Finished]:
    """What is finished of the superstep that follows a workflow id's head.

    Args:
        storage: Where the journal is.
        workflow_id: Whose journal.
        head: The checkpoint.
        planned: The superstep's deliveries.
        codec: Decodes them, with those of the workflows that run inside.

    Raises:
        CheckpointError: The storage failed, or an entry is damaged.
    """
    if not planned or not hasattr(storage, "read_journal"):
        return {}
    with storage_errors(f"the journal of workflow {workflow_id!r} could not be read"):
        entries = await storage.read_journal(workflow_id, head)
    return {
        entry.index: codec.at(each.names).decode_finished(each.delivery, entry.payload)
        for entry in entries
        if entry.index < len(planned) and (each := planned[entry.index])
    }
