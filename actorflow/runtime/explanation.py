"""Explanation: who waits for whom, as plain values and as a text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from actorflow.checkpoint.records import CheckpointID
from actorflow.events import WorkflowRunState

__all__ = ["Explanation", "HeldLease", "Inbox", "OpenRequest", "WaitingJoin", "WaitingTimer"]

_SHOWN = 10
"""How many of one kind the text lists."""


@attrs.frozen(kw_only=True)
class HeldLease:
    """The storage's lease of a run.

    Attributes:
        owner: The run it was granted to.
        host: Host name and process id of the holder.
        epoch: Its epoch.
        age: Seconds since it was acquired.
    """

    owner: str
    host: str
    epoch: int
    age: float

    def __str__(self) -> str:
        return f"lease: epoch {self.epoch}, held by {self.host} for {self.age:.1f} s"


@attrs.frozen(kw_only=True)
class Inbox:
    """An executor with deliveries that are not handled yet.

    Attributes:
        executor_id: The executor.
        depth: How many deliveries, the one it is at work on included.
        age: Seconds since the superstep began that delivers them; None if it has not begun.
        attempt: The attempt at its first delivery; None if it is at work on none.
    """

    executor_id: str
    depth: int
    age: float | None = None
    attempt: int | None = None

    def __str__(self) -> str:
        deliveries = _counted(self.depth, "delivery", "deliveries")
        if self.age is None:
            return f"executor {self.executor_id!r}: {deliveries} not begun"
        return f"executor {self.executor_id!r}: {deliveries} for {self.age:.1f} s, attempt {self.attempt}"


@attrs.frozen(kw_only=True)
class WaitingTimer:
    """A delayed message.

    Attributes:
        target_id: The executor it is for; of a join, the join's target.
        join_id: The join it goes to, if it goes to one.
        due_in: Seconds until it is due; negative if it is overdue.
    """

    target_id: str
    join_id: str | None = None
    due_in: float

    def __str__(self) -> str:
        return f"timer for {self.target_id!r}, {_in(self.due_in)}"


@attrs.frozen(kw_only=True)
class WaitingJoin:
    """A join that holds messages and has not fired.

    Attributes:
        join_id: The join.
        target_id: The executor that gets its list.
        wait: "all", "active" or "any".
        has: Number of messages by source.
        misses: The sources that have sent nothing.
    """

    join_id: str
    target_id: str
    wait: str
    has: dict[str, int]
    misses: tuple[str, ...]

    def __str__(self) -> str:
        has = ", ".join(f"{count} of {source!r}" for source, count in self.has.items())
        return f"join for {self.target_id!r} (wait={self.wait!r}): has {has}; misses {_named(self.misses)}"


@attrs.frozen(kw_only=True)
class OpenRequest:
    """A request without an answer.

    Attributes:
        request_id: What to answer to.
        executor_id: The executor that asks.
        age: Seconds since this process told of it; None if it has not.
        expires_in: Seconds until its deadline; None if it has none.
    """

    request_id: str
    executor_id: str
    age: float | None
    expires_in: float | None

    def __str__(self) -> str:
        age = "" if self.age is None else f", open for {self.age:.1f} s"
        limit = "" if self.expires_in is None else f", expires: {_in(self.expires_in)}"
        return f"request {self.request_id!r} of {self.executor_id!r}{age}{limit}"


@attrs.frozen(kw_only=True)
class Explanation:
    """What a run or workflow waits for, and what it has left to do. ``str()`` is for people.

    Attributes:
        workflow_id: The workflow.
        status: Where its latest run is.
        owner: Id of the run that owns the workflow; None if it is free.
        lease: The storage's lease, while a run holds one.
        superstep: The superstep under way, or else the last that was committed.
        waits_for: One sentence.
        inboxes: Executors with deliveries that are not handled yet, in canonical order.
        timers: Delayed messages, by due time.
        joins: Joins that hold messages.
        requests: Requests without an answer; of those that only executors are asked, the ones with a deadline.
        head: The checkpoint its committed state is stored as.
    """

    workflow_id: str
    status: WorkflowRunState
    owner: str | None = None
    lease: HeldLease | None = None
    superstep: int
    waits_for: str
    inboxes: tuple[Inbox, ...] = ()
    timers: tuple[WaitingTimer, ...] = ()
    joins: tuple[WaitingJoin, ...] = ()
    requests: tuple[OpenRequest, ...] = ()
    head: CheckpointID | None = None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        owner = f"owned by run {self.owner!r}" if self.owner else "owned by no run"
        yield f"workflow {self.workflow_id!r}: {self.status.value}, superstep {self.superstep}, {owner}"
        yield f"  waits for {self.waits_for}"
        kinds: tuple[Sequence[object], ...] = (self.inboxes, self.timers, self.joins, self.requests)
        for each in kinds:
            yield from (f"  {one}" for one in each[:_SHOWN])
            if len(each) > _SHOWN:
                yield f"  and {len(each) - _SHOWN} more of these"
        if self.lease is not None:
            yield f"  {self.lease}"
        yield f"  stored: {self.head or 'nothing'}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _in(seconds: float) -> str:
    return f"in {seconds:.1f} s" if seconds >= 0 else f"overdue by {-seconds:.1f} s"


def _named(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
