"""As broken_stores, of leases, fencing and the journal: each is broken in one way, and a clause must find it out."""

from __future__ import annotations

import attrs
import trio

from actorflow.checkpoint import commit_rules as rules
from actorflow.checkpoint.lease_rules import Holding, is_live
from actorflow.checkpoint.memory.journal import Journal
from actorflow.checkpoint.memory.leases import Leases
from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.clock import wall_time
from actorflow.errors import LeaseLostError


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
            return super().check_may_write(workflow_id, lease, now)


class FencesByTheEpoch(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            holding = self._holdings.get(workflow_id)
            if lease is not None and holding is not None and holding.lease.epoch == lease.epoch:
                lease = holding.lease
            return super().check_may_write(workflow_id, lease, now)


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
            return super().acquire(workflow_id, f"{owner}{now}{len(self._holdings) + self._epoch}", now)


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


class LetsReleasedLeasesRunOut(WithLeases):
    class leases(Leases):
        def release(self, lease):
            pass


class LeasesByTheNameInSmallLetters(WithLeases):
    class leases(Leases):
        def acquire(self, workflow_id, owner, now):
            return super().acquire(workflow_id.lower(), owner, now)


class LosesWhatExpired(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            holding = self._holdings.get(workflow_id)
            if holding is not None and not is_live(holding, now):
                del self._holdings[workflow_id]
            return super().check_may_write(workflow_id, lease, now)


class LetsToolsWriteBesideALease(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            return lease is not None and super().check_may_write(workflow_id, lease, now)


class LetsToolsWriteBesideAnExpiredLease(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            super().check_may_write(workflow_id, lease, now)


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


class RacesForTheJournal(InMemoryCheckpointStorage):
    async def write_journal(self, entries, *, lease=None):
        there = {name: {**entries} for name, entries in self._journal._entries.items()}
        await super().write_journal(entries, lease=lease)
        added = Journal()
        added._entries = there
        added.write(entries)
        self._journal = added


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


class OvertakesBeforeItWrites(WithLeases):
    class leases(Leases):
        def check_may_write(self, workflow_id, lease, now):
            if super().check_may_write(workflow_id, lease, now):
                self.end(workflow_id)


BROKEN = [
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
    (LetsReleasedLeasesRunOut, "test_a_released_lease_is_free_at_once"),
    (LeasesByTheNameInSmallLetters, "test_workflow_ids_are_leased_each_by_itself"),
    (LosesWhatExpired, "test_a_lease_that_nobody_overtook_is_not_lost"),
    (LetsToolsWriteBesideALease, "test_who_has_no_lease_waits_for_the_one_who_has"),
    (LetsToolsWriteBesideAnExpiredLease, "test_who_has_no_lease_overtakes_one_that_expired"),
    (OvertakesBeforeItWrites, "test_what_writes_nothing_overtakes_nobody"),
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
    (JournalInPieces, "test_a_journal_refused_among_many_leaves_nothing"),
    (RacesForTheJournal, "test_many_may_write_to_the_journal_at_once"),
    (JournalsAndThenRaisesCancelled, "test_a_journal_entry_cancelled_at_any_step_is_all_or_nothing"),
    (LeasesAndThenRaisesCancelled, "test_leasing_cancelled_at_any_step_is_all_or_nothing"),
]
