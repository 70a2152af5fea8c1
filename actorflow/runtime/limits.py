"""The superstep limit: each workflow of the tree has its own, and only its own supersteps count."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from actorflow.errors import ConvergenceError
from actorflow.runtime.places import Place
from actorflow.runtime.slot import Slot
from actorflow.runtime.workflow_core import WorkflowCore

__all__ = ["SuperstepLimits"]


@attrs.define(eq=False)
class SuperstepLimits:
    """Counts the supersteps of one run.

    Attributes:
        core: The workflow.
    """

    core: WorkflowCore
    _count: int = 0

    def renew(self) -> None:
        """Begin to count anew: each turn has its own limit."""
        self._count = 0

    def count(self, slots: Sequence[Slot]) -> None:
        """Count a superstep that is about to begin.

        Args:
            slots: What it will deliver.

        Raises:
            ConvergenceError: A workflow that takes part in it has not come to rest within its limit.
        """
        top = self.core.places.top
        places = dict.fromkeys(slot.place for slot in slots) if self.core.definition.children else (top,)
        for place in places:
            limit = place.definition.max_supersteps
            if self._done(place) >= limit:
                waiting = dict.fromkeys(slot.delivery.target_id for slot in slots if slot.place is place)
                raise ConvergenceError("/".join((self.core.id, *place.path)), limit, tuple(waiting))
        if slots[0].place is top:
            self._count += 1

    def _done(self, place: Place) -> int:
        if not place.names:
            return self._count
        snapshot = self.core.standing.snapshot.find(place.names)
        assert snapshot is not None
        return snapshot.superstep - (snapshot.mark.begun_at if snapshot.mark else 0)
