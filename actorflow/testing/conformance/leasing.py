"""Clauses on leases: who gets one, how long it lasts, and how it ends."""

from __future__ import annotations

import trio
import trio.testing

from actorflow.checkpoint.records import Lease
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.testing.conformance.clauses import StorageClauses, expect_error, save_all
from actorflow.testing.conformance.histories import make_commit, make_entry

__all__ = ["LeasingClauses"]


class LeasingClauses(StorageClauses):
    """Clauses on `acquire_lease`, `renew_lease` and `release_lease`.

    Those that let time pass ask for pytest-trio's ``autojump_clock``.
    """

    async def test_of_many_that_race_for_a_lease_one_gets_it(self) -> None:
        """Twenty owners at once: the others are told who has it, since when and for how long."""
        async with self.open_storage() as storage:
            granted: list[Lease] = []
            refused: list[LeaseHeldError] = []

            async def acquire(number: int) -> None:
                try:
                    granted.append(await storage.acquire_lease("workflow", owner=f"owner-{number}"))
                except LeaseHeldError as error:
                    refused.append(error)

            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(acquire, number)
        assert (len(granted), len(refused)) == (1, 19)
        (lease,) = granted
        assert lease.workflow_id == "workflow"
        assert lease.host
        for error in refused:
            assert (error.workflow_id, error.owner, error.host) == ("workflow", lease.owner, lease.host)
            assert 0 <= error.age <= lease.ttl
            assert 0 < error.expires_in <= lease.ttl
            assert all(word in str(error) for word in ("'workflow'", repr(lease.owner), lease.host, "wait=True"))

    async def test_workflow_ids_are_leased_each_by_itself(self) -> None:
        """Nobody waits for the lease of another workflow id, with whatever name."""
        names = ("a", "A", "a ", "it's", "%", "\x00", "ä\u0301")
        async with self.open_storage() as storage:
            leases = [await storage.acquire_lease(name, owner=name) for name in names]
            for lease, name in zip(leases, names, strict=True):
                assert (lease.workflow_id, lease.owner) == (name, name)
                await storage.renew_lease(lease)
                await expect_error(storage.acquire_lease(name, owner="other"), LeaseHeldError)

    async def test_names_that_cannot_be_kept_are_refused(self) -> None:
        """As for those of a checkpoint."""
        async with self.open_storage() as storage:
            for bad in ("", "\ud800"):
                await expect_error(storage.acquire_lease(bad, owner="owner"), CheckpointError)
                await expect_error(storage.acquire_lease("workflow", owner=bad), CheckpointError)
            await storage.acquire_lease("workflow", owner="owner")

    async def test_a_released_lease_is_free_at_once(self) -> None:
        """And of no use any more to whoever gave it back."""
        async with self.open_storage() as storage:
            first = await storage.acquire_lease("workflow", owner="first")
            await storage.release_lease(first)
            await expect_error(storage.renew_lease(first), LeaseLostError)
            await expect_error(storage.save(make_commit("a", lease=first)), LeaseLostError)
            await storage.save(make_commit("b"))
            second = await storage.acquire_lease("workflow", owner="second")
            await storage.save(make_commit("c", "b", lease=second))

    async def test_releasing_what_is_lost_harms_nobody(self) -> None:
        """A late release, or one more, ends no lease but its own, even one of the same owner."""
        async with self.open_storage() as storage:
            first = await storage.acquire_lease("workflow", owner="first")
            again = await storage.acquire_lease("workflow", owner="first")
            await storage.release_lease(first)
            await storage.renew_lease(again)
            await storage.release_lease(again)
            second = await storage.acquire_lease("workflow", owner="second")
            for lease in (first, again):
                await storage.release_lease(lease)
            await storage.renew_lease(second)
            await expect_error(storage.acquire_lease("workflow", owner="third"), LeaseHeldError)

    async def test_an_owner_that_acquires_again_loses_its_earlier_grant(self) -> None:
        """A retry after a lost acknowledgement gets the lease; of two with one name the later one writes."""
        async with self.open_storage() as storage:
            first = await storage.acquire_lease("workflow", owner="owner")
            again = await storage.acquire_lease("workflow", owner="owner")
            assert again.epoch > first.epoch
            lost = await expect_error(storage.renew_lease(first), LeaseLostError)
            assert (lost.workflow_id, lost.owner, lost.epoch) == ("workflow", "owner", first.epoch)
            assert (lost.holder, lost.host) == ("owner", again.host)
            await expect_error(storage.save(make_commit("a", lease=first)), LeaseLostError)
            await storage.save(make_commit("b", lease=again))

    async def test_epochs_grow_over_everything(self, autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG002  # pytest-trio sees it
        """Over releases, takeovers, and the workflow id's last checkpoint being deleted, no epoch comes back."""
        async with self.open_storage() as storage:
            epochs: list[int] = []
            for number in range(4):
                released = await storage.acquire_lease("workflow", owner=f"released-{number}")
                await storage.save(make_commit("a", lease=released))
                await storage.release_lease(released)
                await storage.delete("a")
                crashed = await storage.acquire_lease("workflow", owner=f"crashed-{number}")
                epochs += [released.epoch, crashed.epoch]
                await self.let_pass(crashed.ttl)
        assert epochs == sorted(set(epochs))

    async def test_a_lease_that_is_not_renewed_can_be_overtaken(self, autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG002  # pytest-trio sees it
        """It lasts its time to live from being acquired or renewed, and no longer."""
        async with self.open_storage() as storage:
            first = await storage.acquire_lease("workflow", owner="first")
            for _ in range(5):
                await self.let_pass(0.75 * first.ttl)
                held = await expect_error(storage.acquire_lease("workflow", owner="second"), LeaseHeldError)
                assert abs(held.expires_in - 0.25 * first.ttl) < 0.01 * first.ttl
                await storage.renew_lease(first)
            await self.let_pass(first.ttl)
            second = await storage.acquire_lease("workflow", owner="second")
            assert second.epoch > first.epoch
            lost = await expect_error(storage.renew_lease(first), LeaseLostError)
            assert lost.holder == "second"

    async def test_a_lease_that_nobody_overtook_is_not_lost(self, autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG002  # pytest-trio sees it
        """Expired or not: nobody else has written, so its holder may go on, and renew it."""
        async with self.open_storage() as storage:
            lease = await storage.acquire_lease("workflow", owner="slow")
            await self.let_pass(10 * lease.ttl)
            await save_all(storage, (make_commit("a", lease=lease), make_commit("b", "a", lease=lease)))
            await storage.write_journal([make_entry(0, "b")], lease=lease)
            await storage.renew_lease(lease)
            await expect_error(storage.acquire_lease("workflow", owner="other"), LeaseHeldError)
