"""Storages that are each broken in one way, with the clause of the conformance suite that must find it out."""

from __future__ import annotations

import attrs
import trio

from actorflow.checkpoint import commit_rules as rules
from actorflow.checkpoint.digests import chained
from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.checkpoint.stored_rows import Finding
from actorflow.errors import CheckpointError


class LatestByTheClock(InMemoryCheckpointStorage):
    async def latest(self, *, workflow_id):
        headers = await self.list(workflow_id)
        newest = max(headers, key=lambda info: info.created_at, default=None)
        return await self.load(newest.id) if newest else None


class OneSequenceForAll(InMemoryCheckpointStorage):
    def _insert(self, commit):
        info = super()._insert(commit)
        info = attrs.evolve(info, sequence=len(self._records))
        self._replace(info)
        return info

    def _replace(self, info):
        record = attrs.evolve(self._records[info.id], info=info)
        self._records[info.id] = self._workflows[info.workflow_id][info.id] = record


class SharesWhatItLoads(InMemoryCheckpointStorage):
    def __init__(self):
        super().__init__()
        self.loaded = {}

    async def load(self, checkpoint_id):
        if checkpoint_id not in self.loaded:
            self.loaded[checkpoint_id] = await super().load(checkpoint_id)
        return self.loaded[checkpoint_id]


class TakesAnyParent(InMemoryCheckpointStorage):
    def _workflow_of(self, checkpoint_id):
        return super()._workflow_of(checkpoint_id) or "anything"


class DeltasAcrossWorkflowIds(InMemoryCheckpointStorage):
    async def save(self, commit):
        try:
            return await super().save(commit)
        except CheckpointError:
            if commit.info.parent_id not in self._records:
                raise
            return self._insert(commit)


class NotIdempotent(InMemoryCheckpointStorage):
    async def save(self, commit):
        await trio.lowlevel.checkpoint()
        if commit.info.id in self._records:
            raise CheckpointError("there already")
        return self._insert(commit)


class Overwrites(InMemoryCheckpointStorage):
    async def save(self, commit):
        await trio.lowlevel.checkpoint()
        rules.check_commit(commit)
        rules.check_parent(commit, self._workflow_of(commit.info.parent_id), "here")
        return self._insert(commit)


class RacesForTheSequence(InMemoryCheckpointStorage):
    async def save(self, commit):
        sequence = 1 + len(await self.list(commit.info.workflow_id))
        await super().save(commit)
        info = attrs.evolve(commit.info, sequence=sequence)
        OneSequenceForAll._replace(self, info)
        return info


class CommitsAndThenRaisesCancelled(InMemoryCheckpointStorage):
    async def save(self, commit):
        info = await super().save(commit)
        await trio.lowlevel.checkpoint()
        return info


class DeletesAndThenRaisesCancelled(InMemoryCheckpointStorage):
    async def delete(self, checkpoint_id):
        await super().delete(checkpoint_id)
        await trio.lowlevel.checkpoint()


class AnswersTheCancelled(InMemoryCheckpointStorage):
    async def children(self, checkpoint_id):
        return [record.info for record in self._children.get(self._find(checkpoint_id).info.id, {}).values()]


class HeaderBeforeContents(InMemoryCheckpointStorage):
    def __init__(self):
        super().__init__()
        self.complete = set()

    async def save(self, commit):
        info = await super().save(commit)
        for _ in range(3):
            await trio.lowlevel.cancel_shielded_checkpoint()
        self.complete.add(info.id)
        return info

    async def load(self, checkpoint_id):
        loaded = await super().load(checkpoint_id)
        return loaded if checkpoint_id in self.complete else attrs.evolve(loaded, contents={})


class DeletesInnerNodes(InMemoryCheckpointStorage):
    async def delete(self, checkpoint_id):
        self._children.pop(checkpoint_id, None)
        await super().delete(checkpoint_id)


class MergesWhateverWasWrittenSince(InMemoryCheckpointStorage):
    def _ancestry(self, record):
        older = [one for one in self._workflows[record.info.workflow_id].values() if one.position <= record.position]
        return iter(older[::-1])


class PagesByOffset(InMemoryCheckpointStorage):
    async def list(self, workflow_id=None, workflow_name=None, limit=None, before=None):
        headers = await super().list(workflow_id, workflow_name)
        if before is None:
            self.offset = 0
        start = self.offset
        self.offset += limit or 0
        return headers[start:][:limit]


class ListsByTheClock(InMemoryCheckpointStorage):
    async def list(self, *args, **kwargs):
        return sorted(await super().list(*args, **kwargs), key=lambda info: info.created_at, reverse=True)


class StopsLineageAtTheBranch(InMemoryCheckpointStorage):
    async def lineage(self, checkpoint_id):
        line = await super().lineage(checkpoint_id)
        return [info for info in line if info.workflow_id == line[0].workflow_id]


class TrimsIds(InMemoryCheckpointStorage):
    async def save(self, commit):
        info = attrs.evolve(commit.info, id=commit.info.id.strip() or "empty")
        return await super().save(attrs.evolve(commit, info=info))


class ForgetsTheTimeZone(InMemoryCheckpointStorage):
    def _insert(self, commit):
        info = super()._insert(commit)
        info = attrs.evolve(info, created_at=info.created_at.replace(tzinfo=None))
        OneSequenceForAll._replace(self, info)
        return info


class TakesWhatItCannotKeep(InMemoryCheckpointStorage):
    async def save(self, commit):
        await trio.lowlevel.checkpoint()
        return self._insert(commit)


class OneFailureForAll(InMemoryCheckpointStorage):
    broken = False

    async def save(self, commit):
        try:
            info = await super().save(commit)
        except CheckpointError:
            self.broken = True
            raise
        if self.broken:
            raise CheckpointError("an earlier one failed")
        return info


class TruncatesLargePayloads(InMemoryCheckpointStorage):
    async def load(self, checkpoint_id):
        loaded = await super().load(checkpoint_id)
        return attrs.evolve(loaded, contents={key: value[:65536] for key, value in loaded.contents.items()})


class StrandsTheNextSaver(InMemoryCheckpointStorage):
    def __init__(self):
        super().__init__()
        self.busy = False

    async def save(self, commit):
        if self.busy:
            raise CheckpointError("a saver before this one never let go")
        self.busy = True
        info = await super().save(commit)
        self.busy = False
        return info


class NothingIsNotFound(InMemoryCheckpointStorage):
    async def lineage(self, checkpoint_id):
        return await super().lineage(checkpoint_id) if checkpoint_id in self._records else []


class LooksForTheLatestOfAll(InMemoryCheckpointStorage):
    """Takes a workflow id that has nothing for none."""

    async def history(self, workflow_id):
        return await super().history(workflow_id) or [await self.load(one.id) for one in await self.list(limit=1)]


class MissesWhatItIsNotTold(InMemoryCheckpointStorage):
    async def list(self, workflow_id=None, workflow_name=None, limit=None, before=None):
        found = await super().list(workflow_id, workflow_name, limit, before)
        if workflow_id and not found:
            raise CheckpointError(f"no workflow {workflow_id!r}")
        return found


class IgnoresFilters(InMemoryCheckpointStorage):
    async def list(self, workflow_id=None, workflow_name=None, limit=None, before=None):
        return await super().list(workflow_id, None, limit, before)


class ReadsAnyBytes(InMemoryCheckpointStorage):
    async def load(self, checkpoint_id):
        try:
            return await super().load(checkpoint_id)
        except CheckpointError:
            return None


class ChainsToNothing(InMemoryCheckpointStorage):
    """Seals each checkpoint by itself."""

    def _insert(self, commit):
        info = super()._insert(commit)
        record = self._records[info.id]
        OneSequenceForAll._replace(self, chained(info, record.payload, record.full, ""))
        return self._records[info.id].info


class BelievesTheWriter(InMemoryCheckpointStorage):
    """Keeps the digest that the commit brings, where it brings one."""

    def _insert(self, commit):
        info = super()._insert(commit)
        info = attrs.evolve(info, digest=commit.info.digest or info.digest)
        OneSequenceForAll._replace(self, info)
        return info


class SealsTheHeaderOnly(InMemoryCheckpointStorage):
    def _insert(self, commit):
        info = super()._insert(commit)
        parent = self._records.get(info.parent_id)
        info = chained(info, b"", True, parent.info.digest if parent else "")
        OneSequenceForAll._replace(self, info)
        return info


class DigestsARetryAnew(InMemoryCheckpointStorage):
    async def save(self, commit):
        info = await super().save(commit)
        parent = self._records.get(info.parent_id)
        info = chained(info, commit.payload, commit.full, parent.info.digest if parent else "")
        OneSequenceForAll._replace(self, info)
        return info


class DigestsAnewWhatItCutsOff(InMemoryCheckpointStorage):
    def _cut_off(self, child):
        super()._cut_off(child)
        record = self._records[child.info.id]
        OneSequenceForAll._replace(self, chained(record.info, record.payload, record.full, ""))


class SkipsRowsBetweenPages(InMemoryCheckpointStorage):
    async def read_rows(self, after=0, limit=100, *, workflow_id=None):
        rows = await super().read_rows(after, limit, workflow_id=workflow_id)
        return rows if after == 0 else rows[1:]


class SaysNothingOfParents(InMemoryCheckpointStorage):
    async def read_rows(self, after=0, limit=100, *, workflow_id=None):
        rows = await super().read_rows(after, limit, workflow_id=workflow_id)
        return [attrs.evolve(row, parent=None) for row in rows]


class ReadsAnyNumberOfRows(InMemoryCheckpointStorage):
    async def read_rows(self, after=0, limit=100, *, workflow_id=None):
        return await super().read_rows(after, limit or 1, workflow_id=workflow_id)


class ReadsAllRowsHoweverLarge(InMemoryCheckpointStorage):
    async def read_rows(self, after=0, limit=100, *, workflow_id=None):
        rows = []
        while len(rows) < limit and (page := await super().read_rows(after, limit, workflow_id=workflow_id)):
            rows, after = rows + page, page[-1].position
        return rows[:limit]


class SealsNothing(InMemoryCheckpointStorage):
    async def read_rows(self, after=0, limit=100, *, workflow_id=None):
        rows = await super().read_rows(after, limit, workflow_id=workflow_id)
        return [attrs.evolve(row, seal=None) for row in rows]


class AccusesTheSound(InMemoryCheckpointStorage):
    async def inspect(self):
        return [*await super().inspect(), Finding("file", "", "", "something")]


BROKEN = [
    (SkipsRowsBetweenPages, "test_pages_of_rows_join_to_all_that_was_written"),
    (SaysNothingOfParents, "test_pages_of_rows_join_to_all_that_was_written"),
    (ReadsAnyNumberOfRows, "test_a_page_of_rows_has_at_least_one"),
    (ReadsAllRowsHoweverLarge, "test_a_page_ends_when_its_payloads_are_large"),
    (SealsNothing, "test_what_was_cut_off_has_a_seal"),
    (SealsNothing, "test_a_storage_finds_itself_sound"),
    (DigestsAnewWhatItCutsOff, "test_a_storage_finds_itself_sound"),
    (AccusesTheSound, "test_a_storage_finds_itself_sound"),
    (ChainsToNothing, "test_a_digest_seals_a_checkpoint_and_chains_to_its_parent"),
    (BelievesTheWriter, "test_a_digest_seals_a_checkpoint_and_chains_to_its_parent"),
    (SealsTheHeaderOnly, "test_a_digest_tells_checkpoints_apart_by_every_field"),
    (DigestsARetryAnew, "test_a_retry_of_a_save_returns_the_digest_that_is_there"),
    (DigestsAnewWhatItCutsOff, "test_a_prune_keeps_the_digests_of_what_stays"),
    (Overwrites, "test_a_save_refused_changes_no_digest"),
    (LatestByTheClock, "test_the_latest_is_the_last_written_whatever_its_time_of_day"),
    (ListsByTheClock, "test_the_latest_is_the_last_written_whatever_its_time_of_day"),
    (OneSequenceForAll, "test_sequences_of_a_workflow_id_count_from_one"),
    (RacesForTheSequence, "test_concurrent_savers_get_every_sequence_once"),
    (SharesWhatItLoads, "test_loading_twice_gives_the_same_whatever_was_done_to_the_first"),
    (TakesAnyParent, "test_an_unknown_parent_is_refused"),
    (DeltasAcrossWorkflowIds, "test_a_delta_needs_a_parent_of_its_own_workflow_id"),
    (NotIdempotent, "test_saving_the_same_again_changes_nothing"),
    (NotIdempotent, "test_one_id_saved_by_many_at_once_is_one_checkpoint"),
    (Overwrites, "test_saving_the_same_again_changes_nothing"),
    (Overwrites, "test_an_id_taken_by_another_checkpoint_is_refused"),
    (CommitsAndThenRaisesCancelled, "test_a_save_cancelled_at_any_step_is_all_or_nothing"),
    (CommitsAndThenRaisesCancelled, "test_savers_cancelled_together_leave_the_storage_usable"),
    (DeletesAndThenRaisesCancelled, "test_a_delete_cancelled_at_any_step_is_all_or_nothing"),
    (AnswersTheCancelled, "test_a_verb_called_in_a_cancelled_scope_raises_and_changes_nothing"),
    (StrandsTheNextSaver, "test_a_cancelled_saver_takes_no_other_with_it"),
    (HeaderBeforeContents, "test_nothing_is_seen_by_halves"),
    (DeletesInnerNodes, "test_only_leaves_can_be_deleted"),
    (MergesWhateverWasWrittenSince, "test_branches_in_one_workflow_id_may_interleave"),
    (MergesWhateverWasWrittenSince, "test_loading_equals_replaying"),
    (PagesByOffset, "test_pages_join_without_gap_or_repeat_while_others_write"),
    (IgnoresFilters, "test_filters_and_pages_cut_the_same_listing"),
    (StopsLineageAtTheBranch, "test_lineage_crosses_workflow_ids"),
    (StopsLineageAtTheBranch, "test_headers_and_lineage_equal_the_model"),
    (TrimsIds, "test_ids_may_be_any_text"),
    (ForgetsTheTimeZone, "test_a_saved_checkpoint_comes_back_exactly"),
    (TakesWhatItCannotKeep, "test_what_cannot_be_kept_exactly_is_refused"),
    (OneFailureForAll, "test_one_bad_save_among_many_fails_alone"),
    (TruncatesLargePayloads, "test_a_megabyte_comes_back"),
    (NothingIsNotFound, "test_an_empty_storage_says_so"),
    (NothingIsNotFound, "test_a_workflow_id_need_have_no_checkpoint_but_a_named_one_must_exist"),
    (LooksForTheLatestOfAll, "test_a_workflow_id_need_have_no_checkpoint_but_a_named_one_must_exist"),
    (MissesWhatItIsNotTold, "test_a_workflow_id_need_have_no_checkpoint_but_a_named_one_must_exist"),
    (ReadsAnyBytes, "test_a_payload_that_is_no_delta_is_an_error_of_its_checkpoint_alone"),
]
