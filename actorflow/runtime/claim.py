"""A run's claim on its workflow: the ownership within this process, and the storage's lease against all others.

Both are taken together, before anything is read, and given back together when the last task of the run has ended.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import attrs
import trio

from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.runtime.leasing import LeaseKeeper, acquire_lease
from actorflow.runtime.ownership import Ownership, RunToken

__all__ = ["Claim"]


@attrs.define(eq=False)
class Claim:
    """``async with Claim(...)``: the block owns the workflow.

    A class and not a generator: a short run enters one, and this is four times cheaper.

    Attributes:
        ownership: The workflow's ownership.
        run_id: Who claims.
        storage: What will be written to, if anything.
        wait: Whether to queue, for both.
        lease: The lease, once it is held.
    """

    ownership: Ownership
    run_id: str
    storage: CheckpointStorage | None
    wait: bool
    lease: LeaseKeeper | None = None
    _token: RunToken = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._token = RunToken(self.run_id)

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        """Take both.

        Raises:
            WorkflowBusyError: Another run of this process owns the workflow.
            LeaseHeldError: Another workflow or process holds the lease.
            CheckpointError: The storage failed.
        """
        if self.wait:
            await self.ownership.acquire(self._token)
        else:
            self.ownership.acquire_nowait(self._token)
        try:
            self.lease = await acquire_lease(self.storage, self.ownership.workflow_id, self.run_id, wait=self.wait)
        except BaseException:
            self.ownership.release(self._token)
            raise
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.release()  # noqa: ASYNC102 - shielded and bounded where it waits at all

    @trio.lowlevel.enable_ki_protection
    async def release(self) -> None:
        """Give both back; nothing happens the second time. No checkpoint where there is no lease."""
        lease, self.lease = self.lease, None
        try:
            if lease is not None:
                await lease.release()
        finally:
            self.ownership.release(self._token)
