"""Answers given while a run goes on: checked at once, delivered at the next superstep boundary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import trio

from actorflow.core.effects import PendingRequest
from actorflow.core.subworkflows import LocatedRequest
from actorflow.runtime.opening import check_answer

__all__ = ["Answers"]


@attrs.define(eq=False)
class Answers:
    """Answers that wait for their superstep boundary.

    Attributes:
        closed: Whether the run takes no more: an answer that is taken is committed, so what comes too late is refused.
        settled: Open requests that were answered or have expired, and whose commit is to come; by identity, since children may
            ask under an id that somebody else has open.
    """

    closed: bool = False
    settled: dict[int, PendingRequest] = attrs.Factory(dict)
    _given: list[tuple[LocatedRequest, Any]] = attrs.Factory(list)
    _taken: list[tuple[LocatedRequest, Any]] = attrs.Factory(list)
    _arrived: trio.Event = attrs.Factory(trio.Event)

    def __bool__(self) -> bool:
        return bool(self._given)

    def give(self, requests: Mapping[str, LocatedRequest], request_id: str, value: Any) -> None:
        """Check an answer and keep it.

        Raises:
            RequestNotFoundError: No such request is open, or it was answered already.
            ResponseTypeError: The answer does not fit.
        """
        unanswered = {id_: each for id_, each in requests.items() if id(each.request) not in self.settled}
        located, answer = check_answer(unanswered, request_id, value)
        self.settled[id(located.request)] = located.request
        self._given.append((located, answer))
        self._arrived.set()

    def take(self) -> list[tuple[LocatedRequest, Any]]:
        """Take what was given, to commit it."""
        given, self._given = self._given, []
        self._taken += given
        return given

    def expire(self, requests: Iterable[PendingRequest]) -> None:
        """Take no more answers to requests whose deadline has passed; the commit that says so is under way."""
        self.settled.update({id(request): request for request in requests})

    def lost(self, requests: Mapping[str, LocatedRequest]) -> list[tuple[LocatedRequest, Any]]:
        """What was given in vain: at the end of the run its requests are open still."""
        open_now = {id_: each.request for id_, each in requests.items()}
        return [
            (located, value)
            for located, value in (*self._taken, *self._given)
            if open_now.get(located.request.id) is located.request
        ]

    def stand_on(self, before: Mapping[str, LocatedRequest], now: Mapping[str, LocatedRequest]) -> None:
        """The open requests are other objects now: go by those.

        Args:
            before: The requests that were open, by id.
            now: The same, as they are now.
        """

        def renewed(located: LocatedRequest) -> LocatedRequest:
            known = before.get(located.request.id)
            return now[located.request.id] if known is not None and known.request is located.request else located

        for id_, each in before.items():
            if self.settled.pop(id(each.request), None) is not None:
                self.settled[id(now[id_].request)] = now[id_].request
        self._given = [(renewed(located), value) for located, value in self._given]
        self._taken = [(renewed(located), value) for located, value in self._taken]

    async def arrive(self) -> None:
        """Wait until an answer is there."""
        self._arrived = trio.Event()
        if not self._given:
            await self._arrived.wait()
