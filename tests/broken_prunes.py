"""As broken_stores, of pruning: each is broken in one way, and a clause must find it out."""

from __future__ import annotations

import attrs
import trio

from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.checkpoint.pruning import Pruning
from actorflow.errors import CheckpointError


def _replace_header(storage, info):
    record = attrs.evolve(storage._records[info.id], info=info)
    storage._records[info.id] = storage._workflows[info.workflow_id][info.id] = record


class PrunesTheChain(InMemoryCheckpointStorage):
    """Cuts a child off from its parent, and leaves it the delta."""

    def _cut_off(self, child):
        info = attrs.evolve(child.info, parent_id=None, derived_from=child.info.parent_id)
        del self._children[child.info.parent_id][info.id]
        record = attrs.evolve(child, info=info, full=True)
        self._records[info.id] = self._workflows[info.workflow_id][info.id] = record
        self._children.setdefault(child.info.parent_id, {}).pop(info.id, None)
        if not self._children[child.info.parent_id]:
            del self._children[child.info.parent_id]


class PrunesTheParent(InMemoryCheckpointStorage):
    """Rewrites a child in full, and leaves it the name of a parent that is not there."""

    def _cut_off(self, child):
        super()._cut_off(child)
        _replace_header(self, child.info)


class PrunesTheOrigin(InMemoryCheckpointStorage):
    def _cut_off(self, child):
        super()._cut_off(child)
        _replace_header(self, attrs.evolve(self._records[child.info.id].info, derived_from=None))


class PrunesFromTheOldest(InMemoryCheckpointStorage):
    async def prune(self, *, workflow_id=None, keep_last=None, older_than=None):
        Pruning.asked(keep_last, older_than)
        headers = await self.list(workflow_id)
        doomed = headers[keep_last or 1 :]
        for info in doomed:
            for child in [*self._children.get(info.id, {}).values()]:
                self._cut_off(child)
            self._remove(self._records[info.id])
        return len(doomed)


class PrunesWhatRuns(InMemoryCheckpointStorage):
    def _prune_workflow(self, workflow_id, wanted, kept):
        return super()._prune_workflow(workflow_id, wanted, set())


class NeverPrunesWhatRan(InMemoryCheckpointStorage):
    def _prune_workflow(self, workflow_id, wanted, kept):
        journals = self._journal._entries
        return super()._prune_workflow(
            workflow_id, wanted, {one for name in journals for one in self._journal.followed(name)}
        )


class PrunesByEitherCondition(InMemoryCheckpointStorage):
    async def prune(self, *, workflow_id=None, keep_last=None, older_than=None):
        deleted = 0
        if older_than is not None or keep_last is None:
            deleted += await super().prune(workflow_id=workflow_id, older_than=older_than)
        return deleted + (await super().prune(workflow_id=workflow_id, keep_last=keep_last) if keep_last else 0)


class PrunesEverything(InMemoryCheckpointStorage):
    async def prune(self, *, workflow_id=None, keep_last=None, older_than=None):
        await trio.lowlevel.checkpoint()
        return self._prune_workflow("workflow", Pruning(keep_last or 1, None), set())


class MiscountsWhatItPrunes(InMemoryCheckpointStorage):
    async def prune(self, **what):
        return bool(await super().prune(**what))


class ForgetsWhyItWasCutOff(InMemoryCheckpointStorage):
    async def save(self, commit):
        existing = self._records.get(commit.info.id)
        if existing is not None and existing.info.parent_id != commit.info.parent_id:
            raise CheckpointError("taken")
        return await super().save(commit)


class PrunesWhatItCannotRead(InMemoryCheckpointStorage):
    def _cut_off(self, child):
        try:
            super()._cut_off(child)
        except CheckpointError:
            PrunesTheChain._cut_off(self, child)


class PrunesHalfAndRaisesCancelled(InMemoryCheckpointStorage):
    """Deletes, and cuts off what stood on it in another step."""

    async def prune(self, *, workflow_id=None, keep_last=None, older_than=None):
        for name in [*self._workflows]:
            for record in [*self._workflows[name].values()][:-keep_last][::-1]:
                whole = []
                for child in [*self._children.get(record.info.id, {}).values()]:
                    self._cut_off(child)
                    whole.append(self._records[child.info.id])
                    self._put(child)
                self._remove(record)
                await trio.lowlevel.checkpoint()
                for child in whole:
                    self._put(child)

    def _put(self, record):
        self._records[record.info.id] = self._workflows[record.info.workflow_id][record.info.id] = record


BROKEN = [
    (PrunesTheChain, "test_what_a_prune_leaves_is_what_it_was"),
    (PrunesTheParent, "test_writing_goes_on_after_a_prune"),
    (PrunesTheOrigin, "test_what_a_prune_leaves_is_what_it_was"),
    (PrunesFromTheOldest, "test_what_a_prune_leaves_is_what_it_was"),
    (PrunesWhatRuns, "test_what_a_running_superstep_follows_stays"),
    (NeverPrunesWhatRan, "test_what_a_running_superstep_follows_stays"),
    (PrunesByEitherCondition, "test_a_prune_takes_what_is_neither_new_nor_young"),
    (PrunesEverything, "test_a_prune_that_would_take_anything_is_refused"),
    (MiscountsWhatItPrunes, "test_a_prune_takes_what_is_neither_new_nor_young"),
    (ForgetsWhyItWasCutOff, "test_writing_goes_on_after_a_prune"),
    (PrunesWhatItCannotRead, "test_a_prune_keeps_what_it_cannot_rewrite"),
    (PrunesTheChain, "test_a_prune_while_others_write_takes_nothing_from_them"),
    (PrunesHalfAndRaisesCancelled, "test_a_prune_cancelled_at_any_step_leaves_a_storage_as_good_as_any"),
]
