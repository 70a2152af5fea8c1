"""The watch over cleanup: when a run is being ended, who still runs after the grace is reported, and waited for all the same.

It costs nothing until then: its task is started in the run's nursery by whoever cancels that, is shielded from it, and ends
with the last actor.
"""

from __future__ import annotations

import attrs
import trio

from actorflow.events import WarningEvent
from actorflow.runtime.actor_group import ActorGroup
from actorflow.runtime.emitter import Emitter
from actorflow.runtime.logs import log_overrun

__all__ = ["CleanupWatch"]


@attrs.define(eq=False)
class CleanupWatch:
    """Reports handlers that take long to end.

    Attributes:
        actors: Those of the run.
        emitter: Tells of an overrun.
        workflow_id: Named in the log.
        grace: Seconds they may take.
    """

    actors: ActorGroup
    emitter: Emitter
    workflow_id: str
    grace: float
    _begun: bool = False
    _shield: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True))

    def begin(self, nursery: trio.Nursery) -> None:
        """Watch from now on, in the nursery of the actors; nothing happens the second time, or if none is at work."""
        if self._begun or not self.actors.at_work:
            return
        self._begun = True
        self.actors.all_ended = self._end
        nursery.start_soon(self._watch, name=f"cleanup of run {self.emitter.run_id}")

    def _end(self) -> None:
        self._shield.cancel(reason="every actor has ended")

    async def _watch(self) -> None:
        with self._shield:
            await trio.sleep(self.grace)
            late = sorted(self.actors.at_work)
            told = ", ".join(map(repr, late))
            message = (
                f"the run is ending, and after {self.grace:g} s these executors still run: {told}; they are waited for"
            )
            self.emitter.emit_nowait(WarningEvent, message=message)
            log_overrun(self.workflow_id, self.emitter.run_id, late, self.grace)
