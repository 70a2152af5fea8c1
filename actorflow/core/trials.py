"""What was tried in a superstep that has not committed: attempts that failed, and restarts of executors.

Kept by place in the canonical order, like finished deliveries, and valid for the very delivery alone. Each note has a serial
number within its place, given when it is made, so that writing it twice writes the same record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from actorflow.core.effects import Delivery

__all__ = ["Member", "Restarts", "Trial", "Trials"]

Member = tuple[tuple[str, ...], str]
"""An executor: the names that lead to the workflow it is in, empty for the one at the top, and its id."""


@attrs.frozen(eq=False)
class Trial:
    """Attempts at one delivery that failed; another is to come.

    Attributes:
        place: Its place in the canonical order.
        delivery: The delivery.
        attempts: How many failed since its executor was restarted last; 0 where the count begins anew.
        due: Time of day of the next attempt.
        delay: Seconds from the failure to that.
        restarts: How often its executor had been restarted in this superstep.
        serial: Number of the note within its place, from 1.
    """

    place: int
    delivery: Delivery
    attempts: int
    due: float
    delay: float
    restarts: int
    serial: int


@attrs.frozen(eq=False)
class Restarts:
    """Restarts of one executor.

    Attributes:
        count: How many in this superstep.
        times: When the last ones were, as times of day; also those of earlier supersteps.
        place: The place of the delivery that caused the last one.
        serial: Number of the note within its place.
    """

    count: int
    times: tuple[float, ...]
    place: int
    serial: int


@attrs.define(eq=False)
class Trials:
    """Notes of one superstep.

    Attributes:
        by_place: The last note of each place.
        restarts: The last note of each executor that was restarted.
        unwritten: Places and executors whose last note no journal has yet.
    """

    by_place: dict[int, Trial] = attrs.Factory(dict)
    restarts: dict[Member, Restarts] = attrs.Factory(dict)
    unwritten: set[int | Member] = attrs.Factory(set)
    _serials: dict[int, int] = attrs.Factory(dict)

    def __bool__(self) -> bool:
        return bool(self.by_place or self.restarts)

    def restarts_of(self, member: Member) -> int:
        """How often an executor was restarted in this superstep."""
        known = self.restarts.get(member)
        return known.count if known is not None else 0

    def of(self, place: int, member: Member, delivery: Delivery) -> Trial | None:
        """What is known of a delivery."""
        known = self.by_place.get(place)
        if known is None or known.delivery is not delivery:
            return None
        return known if known.restarts == self.restarts_of(member) else None

    def failed(
        self, place: int, member: Member, delivery: Delivery, *, attempts: int, due: float, delay: float
    ) -> None:
        """Note that an attempt failed and another is to come."""
        restarts = self.restarts_of(member)
        self.by_place[place] = Trial(place, delivery, attempts, due, delay, restarts, self._next(place))
        self.unwritten.add(place)

    def begin_anew(self, place: int, member: Member, delivery: Delivery) -> None:
        """Note that a delivery failed for good: who takes it up again counts from the beginning."""
        if self.of(place, member, delivery) is not None:
            self.failed(place, member, delivery, attempts=0, due=0.0, delay=0.0)

    def restarted(self, place: int, member: Member, times: tuple[float, ...]) -> None:
        """Note a restart, and all those that still count."""
        self.restarts[member] = Restarts(self.restarts_of(member) + 1, times, place, self._next(place))
        self.unwritten.add(member)

    def take(self, trial: Trial) -> None:
        """Take over a note that was stored, unless a later one is known."""
        place = trial.place
        known = self.by_place.get(place)
        if known is None or known.delivery is not trial.delivery or known.serial < trial.serial:
            self.by_place[place] = trial
        self._serials[place] = max(self._serials.get(place, 0), trial.serial)

    def take_restarts(self, member: Member, restarts: Restarts) -> None:
        """Take over a stored note of restarts, unless a later one is known."""
        if self.restarts_of(member) < restarts.count:
            self.restarts[member] = restarts
        self._serials[restarts.place] = max(self._serials.get(restarts.place, 0), restarts.serial)

    def to_write(self) -> dict[int | Member, Trial | Restarts]:
        """The notes that no journal has yet, by place or executor."""
        notes = {
            each: self.restarts.get(each) if isinstance(each, tuple) else self.by_place.get(each)
            for each in self.unwritten
        }
        return {each: note for each, note in notes.items() if note is not None}

    def wrote(self, notes: Mapping[int | Member, Trial | Restarts]) -> None:
        """A journal has these notes; later ones may have been made since they were asked for."""
        now = self.to_write()
        self.unwritten.difference_update(each for each, note in notes.items() if now.get(each) is note)

    def write_again(self) -> None:
        """No journal has any of these notes: they follow another checkpoint now."""
        self.unwritten = {*self.by_place, *(name for name, each in self.restarts.items() if each.count)}

    def times(self) -> dict[Member, tuple[float, ...]]:
        """When executors were restarted."""
        return {member: each.times for member, each in self.restarts.items()}

    def next_superstep(self, stands: Callable[[tuple[str, ...]], bool]) -> Trials:
        """The notes to begin another superstep with, where this one was abandoned: restarts still count in their window.

        Args:
            stands: Whether there still is a workflow where names lead to; what is gone has no use for its restarts.
        """
        restarts = {
            member: Restarts(0, each.times, 0, 0) for member, each in self.restarts.items() if stands(member[0])
        }
        return Trials(restarts=restarts)

    def placed(self, planned: Sequence[tuple[Member, Delivery]]) -> Trials:
        """The notes by the places that their deliveries have now: an answer given since may have moved them.

        Notes that moved are numbered anew. What moved them was committed, so no journal of this superstep has any yet.

        Args:
            planned: The deliveries of the superstep in canonical order, and whose they are.
        """
        places = {id(delivery): place for place, (_, delivery) in enumerate(planned)}
        first = {member: place for place, (member, _) in reversed([*enumerate(planned)])}
        restarted = {member: each.place for member, each in self.restarts.items() if each.count}
        if all(places.get(id(each.delivery)) == place for place, each in self.by_place.items()) and all(
            place < len(planned) and planned[place][0] == member for member, place in restarted.items()
        ):
            return self
        moved = Trials(restarts={member: each for member, each in self.restarts.items() if not each.count})
        for each in self.by_place.values():
            if (place := places.get(id(each.delivery))) is not None:
                moved.by_place[place] = attrs.evolve(each, place=place, serial=moved._next(place))
        for member, noted in self.restarts.items():
            if noted.count and (place := first.get(member)) is not None:
                moved.restarts[member] = attrs.evolve(noted, place=place, serial=moved._next(place))
        moved.write_again()
        return moved

    def _next(self, place: int) -> int:
        serial = self._serials[place] = self._serials.get(place, 0) + 1
        return serial
