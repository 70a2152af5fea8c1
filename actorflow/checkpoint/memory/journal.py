"""The journal of an in-memory storage. Nothing here awaits, so each call is a transaction."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator

import attrs

from actorflow.checkpoint.records import CheckpointID, JournalEntry

__all__ = ["Journal"]


@attrs.define(eq=False)
class Journal:
    """What finished deliveries of unfinished supersteps did, by workflow id and place."""

    _entries: dict[str, dict[tuple[CheckpointID | None, int], JournalEntry]] = attrs.field(factory=dict, init=False)

    def write(self, entries: Iterable[JournalEntry]) -> None:
        """Add entries whose places are free."""
        for entry in entries:
            self._entries.setdefault(entry.workflow_id, {}).setdefault((entry.checkpoint_id, entry.index), entry)

    def read(self, workflow_id: str, checkpoint_id: CheckpointID | str | None) -> list[JournalEntry]:
        """Entries of one superstep, in order."""
        found = [one for one in self._entries.get(workflow_id, {}).values() if one.checkpoint_id == checkpoint_id]
        return sorted(found, key=lambda entry: entry.index)

    def followed(self, workflow_id: str) -> set[str]:
        """The checkpoints that entries of a workflow id follow."""
        return {
            one.checkpoint_id for one in self._entries.get(workflow_id, {}).values() if one.checkpoint_id is not None
        }

    def orphans(self, checkpoint_ids: Container[str]) -> Iterator[JournalEntry]:
        """Entries that follow a checkpoint which is none of these."""
        for entries in self._entries.values():
            for entry in entries.values():
                if entry.checkpoint_id is not None and entry.checkpoint_id not in checkpoint_ids:
                    yield entry

    def drop_of_workflow(self, workflow_id: str) -> None:
        """Forget what a workflow id has."""
        self._entries.pop(workflow_id, None)

    def drop_following(self, checkpoint_ids: Collection[str]) -> None:
        """Forget what follows checkpoints that are gone, of whatever workflow id."""
        for workflow_id, entries in [*self._entries.items()]:
            kept = {place: entry for place, entry in entries.items() if entry.checkpoint_id not in checkpoint_ids}
            if kept:
                self._entries[workflow_id] = kept
            else:
                del self._entries[workflow_id]
