"""A slot: one delivery of a superstep, and what became of it."""

from __future__ import annotations

import attrs

from actorflow.core.effects import Delivery, Finished
from actorflow.core.trials import Member
from actorflow.runtime.places import Place

__all__ = ["Slot"]


@attrs.define(eq=False)
class Slot:
    """One delivery of a superstep, and what became of it.

    Attributes:
        index: Its place in the canonical order, over the whole tree of workflows.
        delivery: The delivery.
        place: The workflow it is for.
        delivery_id: Its stable id: the run that began its history, its superstep, its place in that workflow's canonical order.
        finished: Its effects, once its handler has returned.
        error: What its handler raised, where that fails the run.
        attempt: The attempt that was made last.
    """

    index: int
    delivery: Delivery
    place: Place
    delivery_id: str
    finished: Finished | None = None
    error: BaseException | None = None
    attempt: int = 1

    @property
    def member(self) -> Member:
        """The executor it is for."""
        return self.place.names, self.delivery.target_id

    def note_failure(self, superstep: int, error: BaseException, *, of_attempts: int = 1) -> None:
        """The delivery failed for good; say on the error where.

        Args:
            superstep: The superstep under way.
            error: What its handler raised.
            of_attempts: How many attempts there could have been.
        """
        attempts = f", on attempt {self.attempt} of {of_attempts}" if of_attempts > 1 else ""
        error.add_note(
            f"raised by executor {'/'.join((*self.place.path, self.delivery.target_id))!r} in superstep {superstep}, handling a "
            f"message of type {type(self.delivery.value).__name__}{attempts}"
        )
        self.error = error
