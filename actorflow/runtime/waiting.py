"""What a run does when nothing is in flight: whether it stays, and how it sleeps until an answer is given or a time comes."""

from __future__ import annotations

import math

import attrs
import trio

from actorflow.clock import SteadyClock
from actorflow.core.snapshot import Snapshot
from actorflow.graph.nesting import is_asking
from actorflow.runtime.answers import Answers
from actorflow.runtime.definition import Definition
from actorflow.runtime.leasing import LeaseKeeper
from actorflow.runtime.opening import requests_of

__all__ = ["Waiting"]


@attrs.define(eq=False)
class Waiting:
    """How one run waits.

    Attributes:
        definition: Of the workflow.
        answers: Answers given meanwhile; they end a sleep.
        for_answers: Whether to stay for them.
        lease: Told of every sleep.
        clock: What due times go by.
    """

    definition: Definition
    answers: Answers
    for_answers: bool
    lease: LeaseKeeper | None
    clock: SteadyClock = attrs.Factory(SteadyClock)

    def asks(self, snapshot: Snapshot) -> bool:
        """Whether the run stays for answers."""
        return self.for_answers and bool(requests_of(self.definition, snapshot))

    def stays(self, snapshot: Snapshot, *, idle: bool) -> bool:
        """Whether the run waits: for what comes by itself unless it is to do nothing, and where it was told so for answers."""
        return (not idle and (snapshot.has_timers or self._expires(snapshot))) or self.asks(snapshot)

    def _expires(self, snapshot: Snapshot) -> bool:
        """Whether a deadline comes before anything else can: of a request that only executors are asked, and all of them rest.

        Where the outside world is asked, too, its answer may lead to that one: the run ends, and the deadline is kept.
        """
        if not self.definition.children or snapshot.next_due() is None:
            return False
        return not is_asking(self.definition, snapshot)

    def is_due(self, snapshot: Snapshot, *, idle: bool) -> bool:
        """Whether a timer or deadline is to be delivered now; deadlines also of requests that the run would not stay for."""
        due = snapshot.next_due()
        return due is not None and due <= self.clock.now() and (not idle or self.asks(snapshot))

    async def sleep(self, snapshot: Snapshot) -> float:
        """Sleep until an answer is given or something is due. If cancelled, nothing has changed.

        Returns:
            The time it is: no earlier than the due time slept for, though adding up floats may say otherwise.
        """
        due = _next_due(snapshot)
        deadline = self.clock.on_trio(due)
        if self.lease is not None:
            self.lease.be_quiet(deadline)
        try:
            with trio.move_on_at(deadline):
                await self.answers.arrive()
                return self.clock.now()
        finally:
            if self.lease is not None:
                self.lease.be_quiet(-math.inf)
        return max(due, self.clock.now())


def _next_due(snapshot: Snapshot) -> float:
    due = snapshot.next_due()
    return math.inf if due is None else due
