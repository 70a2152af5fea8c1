"""Holding a storage's lease while a run lasts (P7).

It is acquired before anything is read, renewed by a task in the run's own nursery, and released on every way out.

The lease is for liveness: it tells others to stay away. What makes a late write impossible is the storage, which checks
the lease's epoch inside the transaction of every write; and what stops the work of an overtaken run is its cancellation
here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import trio

from actorflow.checkpoint.records import Lease
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.clock import runs_on_virtual_time
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.runtime.storing import storage_errors

__all__ = ["LeaseKeeper", "acquire_lease"]

_RELEASE_GRACE = 5.0
_LEAST_WAIT = 0.05


async def acquire_lease(
    storage: CheckpointStorage | None, workflow_id: str, owner: str, *, wait: bool
) -> LeaseKeeper | None:
    """Acquire the lease of a workflow id; None where the storage grants none. If cancelled, it is not held.

    Args:
        storage: Grants it.
        workflow_id: What is leased.
        owner: Who asks; the run's id.
        wait: Ask again until it is free, instead of being refused.

    Raises:
        LeaseHeldError: Another holds it.
        CheckpointError: The storage failed.
    """
    if storage is None or not hasattr(storage, "acquire_lease"):
        return None
    while True:
        try:
            with storage_errors(f"the lease of workflow {workflow_id!r} could not be acquired"):
                return LeaseKeeper(storage, await storage.acquire_lease(workflow_id, owner=owner))
        except LeaseHeldError as held:
            if not wait:
                raise
            # It may be released long before it runs out, so ask more often than that.
            pause = max(_LEAST_WAIT, min(held.expires_in, 1.0))
        await trio.sleep(pause)


@attrs.define(eq=False)
class LeaseKeeper:
    """A lease that is held.

    Attributes:
        storage: Granted it.
        lease: The grant.
        acquired: When, by trio's clock.
    """

    storage: CheckpointStorage
    lease: Lease
    acquired: float = attrs.field(factory=trio.current_time, init=False)
    _quiet_until: float = -math.inf
    _renewing: trio.CancelScope = attrs.Factory(trio.CancelScope)

    def stop_renewing(self) -> None:
        """End the task that renews: the run has ended."""
        self._renewing.cancel(reason="the run has ended")

    def be_quiet(self, until: float) -> None:
        """The run sleeps until a time of trio's clock. Of consequence under a MockClock alone.

        There the process cannot die while it sleeps, and a month of renewals would be a quarter of a million jumps of the
        clock: one renewal that lasts for the whole sleep is the same to everybody else.
        """
        self._quiet_until = until if math.isfinite(until) and runs_on_virtual_time() else -math.inf

    async def renew(self, lost: Callable[[LeaseLostError], None]) -> None:
        """Renew again and again, as the lease says or at a third of its time to live, until `stop_renewing`.

        A storage that cannot be reached is asked again; only when the time to live has passed without an answer, the
        lease counts as lost, because another may hold it by now.

        Args:
            lost: Told, once, that the lease is lost.
        """
        with self._renewing:
            pause = between = self.lease.renewal or self.lease.ttl / 3
            expires = trio.current_time() + self.lease.ttl
            while True:
                await trio.sleep(pause)
                quiet = max(0.0, self._quiet_until - trio.current_time())
                pause = between + quiet
                error: LeaseLostError | CheckpointError | None = CheckpointError("the storage did not answer in time")
                with trio.move_on_at(expires):
                    error = await self._renew_once(self.lease.ttl + quiet)
                if error is None:
                    expires = trio.current_time() + self.lease.ttl + quiet
                elif isinstance(error, LeaseLostError):
                    lost(error)
                    return
                elif trio.current_time() >= expires:
                    lost(_unreachable(self.lease, error))
                    return

    async def _renew_once(self, ttl: float) -> LeaseLostError | CheckpointError | None:
        try:
            with storage_errors(f"the lease of workflow {self.lease.workflow_id!r} could not be renewed"):
                await self.storage.renew_lease(
                    self.lease if ttl == self.lease.ttl else attrs.evolve(self.lease, ttl=ttl)
                )
        except (LeaseLostError, CheckpointError) as error:
            return error
        return None

    @trio.lowlevel.enable_ki_protection
    async def release(self) -> None:
        """Give the lease back, shielded and for a bounded time. One that cannot be given back runs out by itself."""
        with trio.move_on_after(_RELEASE_GRACE, shield=True):
            released = False
            try:
                await self._release_once()
                released = True
            finally:
                if not released:  # Ctrl-C arrived while this waited: the lease is given back all the same
                    await self._release_once()  # noqa: ASYNC102 - the scope around it is

    async def _release_once(self) -> None:
        try:
            await self.storage.release_lease(self.lease)
        except Exception:  # noqa: BLE001 - must not replace what the run raised
            return  # the storage is out of reach: the lease runs out, as after a kill


def _unreachable(lease: Lease, cause: CheckpointError) -> LeaseLostError:
    error = LeaseLostError(lease.workflow_id, owner=lease.owner, epoch=lease.epoch)
    error.__cause__ = cause
    return error
