"""Storages that are each broken in one way, with the clause of the conformance suite that must find it out."""

from __future__ import annotations

import attrs
import trio

from actorflow.checkpoint import rules
from actorflow.checkpoint.clock import wall_time
from actorflow.checkpoint.lease_rules import Holding, is_live
from actorflow.checkpoint.memory import InMemoryCheckpointStorage
from actorflow.checkpoint.memory_journal import Journal
from actorflow.checkpoint.memory_leases import Leases
from actorflow.checkpoint.pruning import Pruning
from actorflow.errors import CheckpointError, LeaseLostError


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


class IgnoresFilters(InMemoryCheckpointStorage):
    async def list(self, workflow_id=None, workflow_name=None, limit=None, before=None):
        return await super().list(workflow_id, None, limit, before)


class ReadsAnyBytes(InMemoryCheckpointStorage):
    async def load(self, checkpoint_id):
        try:
            return await super().load(checkpoint_id)
        except CheckpointError:
            return None


class WithLeases(InMemoryCheckpointStorage):
    leases = Leases

    def __init__(self):
        super().__init__()
        self._leases = self.leases(self._leases.ttl)


class NeverLooksAtLeases(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            pass


class FencesByTheClock(WithLeases):
    """Takes a lease that has expired for lost, and one that has not for good."""

    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            holding = self._holdings.get(workflow_id)
            if lease is not None and not (holding and is_live(holding, now)):
                raise LeaseLostError(workflow_id, lease.owner, lease.epoch)


class FencesByTheOwner(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            holding = self._holdings.get(workflow_id)
            if lease is not None and holding is not None and holding.lease.owner == lease.owner:
                lease = holding.lease
            super().check_may_write(workflow_id, lease, now)


class FencesByTheEpoch(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            holding = self._holdings.get(workflow_id)
            if lease is not None and holding is not None and holding.lease.epoch == lease.epoch:
                lease = holding.lease
            super().check_may_write(workflow_id, lease, now)


class FencesBeforeItWrites(InMemoryCheckpointStorage):
    """Looks at the lease, and then takes its time to write."""

    async def save(self, commit):
        self._leases.check_may_write(commit.info.workflow_id, commit.lease, wall_time())
        for _ in range(3):
            await trio.lowlevel.cancel_shielded_checkpoint()
        return self._insert(commit)


class CountsEpochsOfWhatIsHeld(WithLeases):
    class leases(Leases):
        def acquire(self, workflow_id, owner, now):
            holding = self._holdings.get(workflow_id)
            lease = super().acquire(workflow_id, owner, now)
            lease = attrs.evolve(lease, epoch=holding.lease.epoch + 1 if holding else 1)
            self._holdings[workflow_id] = attrs.evolve(self._holdings[workflow_id], lease=lease)
            return lease


class GrantsToAll(WithLeases):
    class leases(Leases):
        def acquire(self, workflow_id, owner, now):
            self._holdings.pop(workflow_id, None)
            return super().acquire(workflow_id, owner, now)


class RacesForTheLease(InMemoryCheckpointStorage):
    async def acquire_lease(self, workflow_id, *, owner):
        held = self._leases._holdings.get(workflow_id)
        await trio.lowlevel.checkpoint()
        if held is None:
            self._leases._holdings.pop(workflow_id, None)
        return self._leases.acquire(workflow_id, owner, wall_time())


class KeepsOwnersOutOfTheirOwn(WithLeases):
    class leases(Leases):
        def acquire(self, workflow_id, owner, now):
            return super().acquire(workflow_id, f"{owner}{now}{next(self._epochs)}", now)


class NeverExpires(WithLeases):
    class leases(Leases):
        def acquire(self, workflow_id, owner, now):
            lease = super().acquire(workflow_id, owner, now)
            self._holdings[workflow_id] = attrs.evolve(self._holdings[workflow_id], expires=now + 1.9 * lease.ttl)
            return lease


class RenewsWhatExpiredOnly(WithLeases):
    class leases(Leases):
        def renew(self, lease, now):
            holding = self._holdings.get(lease.workflow_id)
            super().renew(lease, now)
            if is_live(holding, now):
                self._holdings[lease.workflow_id] = holding


class RenewsWhatIsLost(WithLeases):
    class leases(Leases):
        def renew(self, lease, now):
            self._holdings[lease.workflow_id] = Holding(lease, now, now + lease.ttl)


class ReleasesWhateverIsHeld(WithLeases):
    class leases(Leases):
        def release(self, lease):
            self._holdings.pop(lease.workflow_id, None)


class LosesWhatExpired(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            holding = self._holdings.get(workflow_id)
            if holding is not None and not is_live(holding, now):
                del self._holdings[workflow_id]
            super().check_may_write(workflow_id, lease, now)


class LetsToolsWriteBesideALease(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            if lease is not None:
                super().check_may_write(workflow_id, lease, now)


class LetsToolsWriteBesideAnExpiredLease(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            holding = self._holdings.get(workflow_id)
            super().check_may_write(workflow_id, lease, now)
            if holding is not None:
                self._holdings[workflow_id] = holding


class TakesAnyLease(InMemoryCheckpointStorage):
    async def save(self, commit):
        if commit.lease is not None:
            commit = attrs.evolve(commit, lease=attrs.evolve(commit.lease, workflow_id=commit.info.workflow_id))
        try:
            return await super().save(commit)
        except LeaseLostError:
            return self._insert(commit)


class TakesAnyName(WithLeases):
    async def acquire_lease(self, workflow_id, *, owner):
        await trio.lowlevel.checkpoint()
        return self._leases.acquire(workflow_id, owner, wall_time())


class LetsTheStaleRepeatThemselves(InMemoryCheckpointStorage):
    async def save(self, commit):
        if commit.info.id in self._records:
            commit = attrs.evolve(commit, lease=None)
            await trio.lowlevel.checkpoint()
            return self._records[commit.info.id].info
        return await super().save(commit)


class JournalsForTheStale(InMemoryCheckpointStorage):
    async def write_journal(self, entries, *, lease=None):
        await trio.lowlevel.checkpoint()
        rules.check_entries(entries, lease)
        self._journal.write(entries)


class WithJournal(InMemoryCheckpointStorage):
    journal = Journal

    def __init__(self):
        super().__init__()
        self._journal = self.journal()


class JournalOutlivesItsSave(WithJournal):
    class journal(Journal):
        def drop_of_workflow(self, workflow_id):
            pass


class OneJournalForAll(WithJournal):
    class journal(Journal):
        def drop_of_workflow(self, workflow_id):
            self._entries.clear()


class JournalOutlivesItsCheckpoint(WithJournal):
    class journal(Journal):
        def drop_following(self, checkpoint_ids):
            pass


class JournalIsInOrderOfWriting(WithJournal):
    class journal(Journal):
        def read(self, workflow_id, checkpoint_id):
            found = self._entries.get(workflow_id, {}).values()
            return [entry for entry in found if entry.checkpoint_id == checkpoint_id]


class JournalShowsWhateverIsThere(WithJournal):
    class journal(Journal):
        def read(self, workflow_id, checkpoint_id):
            return sorted(self._entries.get(workflow_id, {}).values(), key=lambda entry: entry.index)


class LastJournalEntryStays(WithJournal):
    class journal(Journal):
        def write(self, entries):
            for entry in entries:
                self._entries.setdefault(entry.workflow_id, {})[entry.checkpoint_id, entry.index] = entry


class JournalInPieces(InMemoryCheckpointStorage):
    async def write_journal(self, entries, *, lease=None):
        for entry in entries:
            await super().write_journal([entry], lease=lease)


class RepeatedSavesEndTheJournal(InMemoryCheckpointStorage):
    async def save(self, commit):
        info = await super().save(commit)
        self._journal.drop_of_workflow(info.workflow_id)
        return info


class JournalsAndThenRaisesCancelled(InMemoryCheckpointStorage):
    async def write_journal(self, entries, *, lease=None):
        await super().write_journal(entries, lease=lease)
        await trio.lowlevel.checkpoint()


class LeasesAndThenRaisesCancelled(InMemoryCheckpointStorage):
    async def acquire_lease(self, workflow_id, *, owner):
        lease = await super().acquire_lease(workflow_id, owner=owner)
        await trio.lowlevel.checkpoint()
        return lease


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
        OneSequenceForAll._replace(self, child.info)


class PrunesTheOrigin(InMemoryCheckpointStorage):
    def _cut_off(self, child):
        super()._cut_off(child)
        OneSequenceForAll._replace(self, attrs.evolve(self._records[child.info.id].info, derived_from=None))


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


class PrunesWhatRuns(WithJournal):
    class journal(Journal):
        def followed(self, workflow_id):
            return set()


class NeverPrunesWhatRan(WithLeases):
    class leases(Leases):
        def live(self, now):
            return list(self._holdings)


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
    (ReadsAnyBytes, "test_a_payload_that_is_no_delta_is_an_error_of_its_checkpoint_alone"),
    (NeverLooksAtLeases, "test_who_was_overtaken_writes_nothing"),
    (NeverLooksAtLeases, "test_random_histories_of_leases_equal_the_model"),
    (FencesByTheClock, "test_who_was_overtaken_writes_nothing"),
    (FencesByTheClock, "test_a_lease_that_nobody_overtook_is_not_lost"),
    (FencesByTheOwner, "test_an_owner_that_acquires_again_loses_its_earlier_grant"),
    (FencesByTheOwner, "test_random_histories_of_leases_equal_the_model"),
    (FencesByTheEpoch, "test_a_forged_lease_is_refused"),
    (FencesBeforeItWrites, "test_the_lease_is_compared_in_the_write_itself"),
    (CountsEpochsOfWhatIsHeld, "test_epochs_grow_over_everything"),
    (CountsEpochsOfWhatIsHeld, "test_random_histories_of_leases_equal_the_model"),
    (GrantsToAll, "test_of_many_that_race_for_a_lease_one_gets_it"),
    (RacesForTheLease, "test_of_many_that_race_for_a_lease_one_gets_it"),
    (KeepsOwnersOutOfTheirOwn, "test_an_owner_that_acquires_again_loses_its_earlier_grant"),
    (NeverExpires, "test_a_lease_that_is_not_renewed_can_be_overtaken"),
    (RenewsWhatExpiredOnly, "test_a_lease_that_is_not_renewed_can_be_overtaken"),
    (RenewsWhatIsLost, "test_who_was_overtaken_writes_nothing"),
    (ReleasesWhateverIsHeld, "test_releasing_what_is_lost_harms_nobody"),
    (LosesWhatExpired, "test_a_lease_that_nobody_overtook_is_not_lost"),
    (LetsToolsWriteBesideALease, "test_who_has_no_lease_waits_for_the_one_who_has"),
    (LetsToolsWriteBesideAnExpiredLease, "test_who_has_no_lease_overtakes_one_that_expired"),
    (TakesAnyLease, "test_a_lease_is_good_for_its_own_workflow_id"),
    (TakesAnyName, "test_names_that_cannot_be_kept_are_refused"),
    (LetsTheStaleRepeatThemselves, "test_who_was_overtaken_writes_nothing"),
    (JournalsForTheStale, "test_who_was_overtaken_writes_nothing"),
    (JournalsForTheStale, "test_a_journal_is_written_whole_or_not_at_all"),
    (JournalOutlivesItsSave, "test_a_save_ends_the_journal_of_its_workflow_id"),
    (OneJournalForAll, "test_a_save_ends_the_journal_of_its_workflow_id"),
    (RepeatedSavesEndTheJournal, "test_a_save_ends_the_journal_of_its_workflow_id"),
    (RepeatedSavesEndTheJournal, "test_a_save_repeated_under_its_lease_changes_nothing"),
    (JournalOutlivesItsCheckpoint, "test_deleting_a_checkpoint_ends_the_journal_that_follows_it"),
    (JournalIsInOrderOfWriting, "test_journal_entries_come_back_exactly_and_in_order"),
    (JournalShowsWhateverIsThere, "test_only_the_superstep_that_was_asked_for_is_read"),
    (LastJournalEntryStays, "test_the_first_entry_of_a_place_stays"),
    (JournalInPieces, "test_a_journal_is_written_whole_or_not_at_all"),
    (JournalsAndThenRaisesCancelled, "test_a_journal_entry_cancelled_at_any_step_is_all_or_nothing"),
    (LeasesAndThenRaisesCancelled, "test_leasing_cancelled_at_any_step_is_all_or_nothing"),
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
