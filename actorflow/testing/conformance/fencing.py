"""Clauses on fencing: whoever was overtaken can never write again, at whatever moment it wakes."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import attrs
import trio
import trio.testing

from actorflow.checkpoint.records import Lease
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.testing.conformance.clauses import StorageClauses, expect_error, ids, save_all
from actorflow.testing.conformance.histories import make_commit, make_entry

__all__ = ["FencingClauses"]


class FencingClauses(StorageClauses):
    """Clauses on what a lease is worth in `save` and `write_journal`."""

    async def test_who_was_overtaken_writes_nothing(self, autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG002  # pytest-trio sees it
        """No checkpoint, not even one that is there already, no journal entry; and renewing brings nothing back."""
        async with self.open_storage() as storage:
            stale = await storage.acquire_lease("workflow", owner="stale")
            await storage.save(make_commit("a", lease=stale))
            await self.let_pass(stale.ttl)
            lease = await storage.acquire_lease("workflow", owner="next")
            await save_all(storage, (make_commit("b", "a", lease=lease),))
            await storage.write_journal([make_entry(0, "b")], lease=lease)
            for _ in range(3):
                for commit in (make_commit("c", "b", lease=stale), make_commit("a", lease=stale)):
                    lost = await expect_error(storage.save(commit), LeaseLostError)
                    assert (lost.owner, lost.epoch, lost.holder) == ("stale", stale.epoch, "next")
                await expect_error(storage.write_journal([make_entry(1, "b")], lease=stale), LeaseLostError)
                await expect_error(storage.renew_lease(stale), LeaseLostError)
                await storage.release_lease(stale)
            assert ids(await storage.list()) == ["b", "a"]
            assert await storage.read_journal("workflow", "b") == [make_entry(0, "b")]
            await storage.save(make_commit("c", "b", lease=lease))

    async def test_who_has_no_lease_waits_for_the_one_who_has(self) -> None:
        """A tool that writes without a lease cannot write past one; other workflow ids are free."""
        async with self.open_storage() as storage:
            await storage.save(make_commit("a"))
            lease = await storage.acquire_lease("workflow", owner="owner")
            held = await expect_error(storage.save(make_commit("b", "a")), LeaseHeldError)
            assert held.owner == "owner"
            await expect_error(storage.write_journal([make_entry(0, "a")]), LeaseHeldError)
            await storage.save(make_commit("other", workflow_id="other"))
            assert ids(await storage.list()) == ["other", "a"]
            assert await storage.read_journal("workflow", "a") == []
            await storage.release_lease(lease)
            await storage.save(make_commit("b", "a"))

    async def test_who_has_no_lease_overtakes_one_that_expired(self, autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG002  # pytest-trio sees it
        """Its writing ends that lease for good: the holder, when it wakes, would not know what was written."""
        async with self.open_storage() as storage:
            verbs: tuple[Callable[[], Awaitable[object]], ...] = (
                lambda: storage.save(make_commit("by a tool", workflow_id="0")),
                lambda: storage.write_journal([make_entry(0, workflow_id="1")]),
            )
            for number, write in enumerate(verbs):
                stale = await storage.acquire_lease(f"{number}", owner="stale")
                await self.let_pass(stale.ttl)
                await write()
                late = make_commit(f"late-{number}", workflow_id=f"{number}", lease=stale)
                lost = await expect_error(storage.save(late), LeaseLostError)
                assert lost.holder is None
                await expect_error(storage.renew_lease(stale), LeaseLostError)
            assert ids(await storage.list()) == ["by a tool"]

    async def test_what_writes_nothing_overtakes_nobody(self, autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG002  # pytest-trio sees it
        """A save that was done before, or is refused, leaves an expired lease to its holder; so does a mixed journal."""
        async with self.open_storage() as storage:
            lease = await storage.acquire_lease("workflow", owner="slow")
            await storage.save(make_commit("a", lease=lease))
            await self.let_pass(lease.ttl)
            await storage.acquire_lease("held", owner="other")
            await storage.save(make_commit("a"))
            await expect_error(storage.save(make_commit("b", "nowhere")), CheckpointError)
            mixed = [make_entry(0, "a"), make_entry(0, "a", workflow_id="held")]
            await expect_error(storage.write_journal(mixed), LeaseHeldError)
            await expect_error(storage.write_journal([make_entry(0, "nowhere")]), CheckpointError)
            await storage.save(make_commit("b", "a", lease=lease))
            await storage.renew_lease(lease)

    async def test_a_lease_is_good_for_its_own_workflow_id(self) -> None:
        """Another one's is refused, whoever holds it."""
        async with self.open_storage() as storage:
            lease = await storage.acquire_lease("other", owner="owner")
            await storage.acquire_lease("workflow", owner="owner")
            await expect_error(storage.save(make_commit("a", lease=lease)), CheckpointError)
            await expect_error(storage.write_journal([make_entry(0)], lease=lease), CheckpointError)
            mixed = [make_entry(0, workflow_id="other"), make_entry(0)]
            await expect_error(storage.write_journal(mixed, lease=lease), CheckpointError)
            assert await storage.list() == []
            assert await storage.read_journal("other", None) == []

    async def test_a_forged_lease_is_refused(self) -> None:
        """The epoch alone is not enough, nor is the owner; so a grant of another storage is none of this one."""
        async with self.open_storage() as storage:
            lease = await storage.acquire_lease("workflow", owner="owner")
            for forged in (
                attrs.evolve(lease, epoch=lease.epoch + 1),
                attrs.evolve(lease, epoch=lease.epoch - 1),
                attrs.evolve(lease, owner="another"),
            ):
                await expect_error(storage.save(make_commit("a", lease=forged)), LeaseLostError)
                await expect_error(storage.renew_lease(forged), LeaseLostError)
                await storage.release_lease(forged)
            await storage.save(make_commit("a", lease=lease))

    async def test_a_save_repeated_under_its_lease_changes_nothing(self) -> None:
        """A retry after a lost acknowledgement is as safe with a lease as without, and leaves the journal alone."""
        async with self.open_storage() as storage:
            lease = await storage.acquire_lease("workflow", owner="owner")
            header = await storage.save(make_commit("a", lease=lease))
            await storage.write_journal([make_entry(0, "a")], lease=lease)
            assert await storage.save(make_commit("a", lease=lease)) == header
            assert await storage.read_journal("workflow", "a") == [make_entry(0, "a")]

    async def test_the_lease_is_compared_in_the_write_itself(self, autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG002  # pytest-trio sees it
        """Whatever the stale holder has under way while it is overtaken is written before that, or never."""
        async with self.open_storage() as storage:
            for head_start in range(12):
                workflow_id = f"round-{head_start}"
                stale = await storage.acquire_lease(workflow_id, owner="stale")
                await self.let_pass(stale.ttl)
                async with trio.open_nursery() as nursery:
                    for number in range(4):
                        nursery.start_soon(_write_stale, storage, stale, number)
                    nursery.start_soon(_overtake, storage, stale, head_start)

    async def test_random_histories_of_leases_equal_the_model(self, autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG002  # pytest-trio sees it
        """Three owners with all the leases they ever had, in any order: only what the model allows is written."""
        for seed in range(8):
            async with self.open_storage() as storage:
                await _Play(self, storage, random.Random(seed)).play(80)  # noqa: S311  # to be repeatable is the point


async def _write_stale(storage: CheckpointStorage, stale: Lease, number: int) -> None:
    for _ in range(number):
        await trio.lowlevel.checkpoint()
    commit = make_commit(f"{stale.workflow_id}/stale-{number}", workflow_id=stale.workflow_id, lease=stale)
    try:
        await storage.save(commit)
    except LeaseLostError:
        return


async def _overtake(storage: CheckpointStorage, stale: Lease, head_start: int) -> None:
    for _ in range(head_start):
        await trio.lowlevel.checkpoint()
    workflow_id = stale.workflow_id
    lease = await storage.acquire_lease(workflow_id, owner="next")
    before = ids(await storage.list(workflow_id))
    mine: list[str] = []
    for number in range(8):
        commit = make_commit(f"{workflow_id}/next-{number}", workflow_id=workflow_id, lease=lease)
        mine.insert(0, (await storage.save(commit)).id)
        assert ids(await storage.list(workflow_id)) == [*mine, *before], f"overtaken after {head_start} steps"


@attrs.define(eq=False)
class _Play:
    """One random history: what was done, and what a storage must hold after it."""

    clauses: StorageClauses
    storage: CheckpointStorage
    draw: random.Random
    leases: list[Lease] = attrs.Factory(list)
    current: Lease | None = None
    lasts: float = 0.0
    written: list[str] = attrs.Factory(list)
    journal: set[int] = attrs.Factory(set)
    steps: int = 0

    async def play(self, length: int) -> None:
        verbs = (self.acquire, self.renew, self.release, self.save, self.save, self.note, self.wait, self.save_bare)
        for _ in range(length):
            self.steps += 1
            await self.draw.choice(verbs)()
            assert ids(await self.storage.list())[::-1] == self.written
            head = self.written[-1] if self.written else None
            found = {entry.index for entry in await self.storage.read_journal("workflow", head)}
            assert found == self.journal

    @property
    def live(self) -> bool:
        return self.current is not None and self.lasts > 0

    async def acquire(self) -> None:
        owner = self.draw.choice("ABC")
        asked = self.storage.acquire_lease("workflow", owner=owner)
        if self.current is not None and self.live and self.current.owner != owner:
            await expect_error(asked, LeaseHeldError)
            return
        lease = await asked
        assert all(lease.epoch > earlier.epoch for earlier in self.leases)
        self.leases.append(lease)
        self.current, self.lasts = lease, 4

    async def renew(self) -> None:
        if (lease := self._any_lease()) is None:
            return
        if lease is not self.current:
            await expect_error(self.storage.renew_lease(lease), LeaseLostError)
            return
        await self.storage.renew_lease(lease)
        self.lasts = 4

    async def release(self) -> None:
        if (lease := self._any_lease()) is None or self.draw.random() < 0.5:
            return
        await self.storage.release_lease(lease)
        if lease is self.current:
            self.current = None

    async def save(self) -> None:
        if (lease := self._any_lease()) is None:
            return
        commit = make_commit(f"{self.steps}", self.written[-1] if self.written else None, lease=lease)
        if lease is not self.current:
            await expect_error(self.storage.save(commit), LeaseLostError)
            return
        await self.storage.save(commit)
        self._saved(commit.info.id)

    async def save_bare(self) -> None:
        commit = make_commit(f"{self.steps}", self.written[-1] if self.written else None)
        if self.live:
            await expect_error(self.storage.save(commit), LeaseHeldError)
            return
        await self.storage.save(commit)
        self.current = None
        self._saved(commit.info.id)

    async def note(self) -> None:
        if (lease := self._any_lease()) is None:
            return
        entry = make_entry(self.steps, self.written[-1] if self.written else None)
        if lease is not self.current:
            await expect_error(self.storage.write_journal([entry], lease=lease), LeaseLostError)
            return
        await self.storage.write_journal([entry], lease=lease)
        self.journal.add(entry.index)

    async def wait(self) -> None:
        if self.leases:
            await self.clauses.let_pass(self.leases[0].ttl / 4)
            self.lasts -= 1

    def _any_lease(self) -> Lease | None:
        if self.leases and self.draw.random() < 0.5:
            return self.leases[-1]
        return self.draw.choice(self.leases) if self.leases else None

    def _saved(self, checkpoint_id: str) -> None:
        self.written.append(checkpoint_id)
        self.journal.clear()
