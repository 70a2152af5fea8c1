"""The leases of an in-memory storage. Nothing here awaits, so each call is a transaction."""

from __future__ import annotations

from collections.abc import Container, Iterator

import attrs

from actorflow.checkpoint.lease_rules import Holding, check_current, check_free, check_writer, is_live, this_host
from actorflow.checkpoint.records import Lease

__all__ = ["Leases"]


@attrs.define(eq=False)
class Leases:
    """Who holds which workflow id. Epochs are counted over all of them, so that nothing is kept of a lease that is over.

    Attributes:
        ttl: Seconds a lease lasts.
        renewal: Seconds between renewals; None for a third of that.
    """

    ttl: float
    renewal: float | None = None
    _epoch: int = attrs.field(default=0, init=False)
    _holdings: dict[str, Holding] = attrs.field(factory=dict, init=False)

    def acquire(self, workflow_id: str, owner: str, now: float) -> Lease:
        """Grant a lease with a new epoch, in the place of one that is over."""
        check_free(self._holdings.get(workflow_id), owner, now)
        self._epoch += 1
        lease = Lease(
            workflow_id=workflow_id,
            owner=owner,
            host=this_host(),
            epoch=self._epoch,
            ttl=self.ttl,
            renewal=self.renewal,
        )
        self._holdings[workflow_id] = Holding(lease, now, now + lease.ttl)
        return lease

    def renew(self, lease: Lease, now: float) -> None:
        """Let a lease last from now on, if it is the current one."""
        holding = self._holdings.get(lease.workflow_id)
        check_current(lease, holding)
        assert holding is not None
        self._holdings[lease.workflow_id] = attrs.evolve(holding, lease=lease, expires=now + lease.ttl)

    def release(self, lease: Lease) -> None:
        """End a lease, if it is the current one."""
        holding = self._holdings.get(lease.workflow_id)
        if holding is not None and (holding.lease.epoch, holding.lease.owner) == (lease.epoch, lease.owner):
            del self._holdings[lease.workflow_id]

    def check_may_write(self, workflow_id: str, lease: Lease | None, now: float) -> bool:
        """Refuse a writer whose lease is not the current one, or who has none while another has.

        Returns:
            Whether the write, once it is done, must `end` the lease that is there.
        """
        return check_writer(lease, self._holdings.get(workflow_id), now)

    def end(self, workflow_id: str) -> None:
        """End whatever lease there is."""
        self._holdings.pop(workflow_id, None)

    def live(self, now: float) -> list[str]:
        """Workflow ids with a lease that has not expired."""
        return [workflow_id for workflow_id, holding in self._holdings.items() if is_live(holding, now)]

    def over(self, workflow_ids: Container[str], now: float) -> Iterator[Lease]:
        """Leases that nobody holds any more, of workflow ids that are none of these."""
        for workflow_id, holding in self._holdings.items():
            if workflow_id not in workflow_ids and not is_live(holding, now):
                yield holding.lease
