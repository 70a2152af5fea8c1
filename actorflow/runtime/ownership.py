"""Run ownership (P1): who may touch a workflow, and the only place where that is taken and given back.

Invariants:

* A workflow has one ``trio.CapacityLimiter(1)``. A run borrows its one token on behalf of a fresh `RunToken`, before its
  first side effect, and gives it back when its nursery has closed, so after its last actor.
* Taking and ``try`` are adjacent; giving back is a plain call with no checkpoint in it, so nothing can be cancelled
  between, and it names the run's own token, so that nobody else's can be given back. A late release finds its token gone
  and changes nothing.
* Waiters are served first come, first served, and a newcomer cannot overtake a run that was already granted.

A lock would not do: it must be released by the task that took it, and a streamed run ends in another task than the one
that began it.
"""

from __future__ import annotations

import attrs
import trio

from actorflow.errors import WorkflowBusyError

__all__ = ["Ownership", "RunToken"]


@attrs.frozen(eq=False)
class RunToken:
    """One run's claim; compared by identity, never reused.

    Attributes:
        run_id: The run.
    """

    run_id: str


@attrs.define(eq=False)
class Ownership:
    """The ownership of one workflow.

    Attributes:
        workflow_id: Named in errors.
    """

    workflow_id: str
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _holder: RunToken | None = attrs.field(default=None, init=False)

    def acquire_nowait(self, token: RunToken) -> None:
        """Take ownership, or refuse.

        Raises:
            WorkflowBusyError: Another run owns the workflow, or was granted it.
        """
        try:
            self._limiter.acquire_on_behalf_of_nowait(token)
        except trio.WouldBlock:
            raise WorkflowBusyError(self.workflow_id, self.holder) from None
        self._holder = token

    async def acquire(self, token: RunToken) -> None:
        """Wait for ownership. If cancelled, nothing is held."""
        await self._limiter.acquire_on_behalf_of(token)
        self._holder = token

    def release(self, token: RunToken) -> None:
        """Give ownership back; nothing happens if this run does not hold it (any more)."""
        if self._holder is not token:
            return
        self._holder = None
        self._limiter.release_on_behalf_of(token)

    @property
    def holder(self) -> str | None:
        """Id of the run that owns the workflow."""
        return self._holder.run_id if self._holder else None
