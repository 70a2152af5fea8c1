"""The committed state of a workflow: what P3 and P5 speak about.

A snapshot is a set of *sections*, addressed by (table, name). A superstep's commit is a mapping from section to new
value, so applying it costs what changed (P10), and so does taking it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from actorflow.core.effects import REMOVED, Delivery, Output, PendingRequest
from actorflow.core.schedule import Schedule
from actorflow.core.timers import Timer

__all__ = [
    "EXECUTORS", "INFLIGHT", "JOINS", "OUTPUTS", "REQUESTS", "RESTARTS", "RUN", "STATE", "TIMERS",
    "Changes", "RunMark", "Section", "Snapshot",
]  # fmt: skip

Section = tuple[str, str]
"""Address of one value: a table and a name in it."""

Changes = dict[Section, Any]
"""New value by section; `REMOVED` for a section that is gone."""

STATE = "state"
EXECUTORS = "executor"
JOINS = "join"
REQUESTS = "request"
TIMERS = "timer"
OUTPUTS = "outputs"
RESTARTS = "restarts"

_SCHEDULED = (TIMERS, REQUESTS)

INFLIGHT: Section = ("inflight", "")
"""The deliveries of the next superstep, in canonical order."""
RUN: Section = ("run", "")
"""The `RunMark` of the run that is under way or ended last."""


@attrs.frozen
class RunMark:
    """Where the run began that the state is part of; a resumed run takes it over.

    Attributes:
        origin: Id of the run that wrote the entry or responses checkpoint; the root of delivery and request ids.
        begun_at: Number of the superstep that checkpoint bears.
    """

    origin: str
    begun_at: int

    def branched(self, workflow_id: str) -> RunMark:
        """The mark of a branch under another workflow id: its deliveries are others, and so are their ids."""
        return RunMark(f"{self.origin}@{workflow_id}", self.begun_at)


@attrs.define(eq=False)
class Snapshot:
    """Everything a workflow stands on, between supersteps.

    Attributes:
        tables: Values by table and name.
        superstep: Number of the superstep whose effects were applied last; 0 after an entry.
        schedule: Index of the timers and requests, by due time.
    """

    tables: dict[str, dict[str, Any]] = attrs.Factory(dict)
    superstep: int = 0
    schedule: Schedule = attrs.field(factory=Schedule, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for table in _SCHEDULED:
            for name, waiting in self.table(table).items():
                self.schedule.change((table, name), waiting)

    def table(self, name: str) -> Mapping[str, Any]:
        """The values of one table, by name, oldest first."""
        return self.tables.get(name) or {}

    def get(self, section: Section) -> Any:
        """The value of a section, or `REMOVED`."""
        return self.tables.get(section[0], {}).get(section[1], REMOVED)

    def apply(self, changes: Changes, superstep: int | None = None) -> None:
        """Take over a commit's changes, all at once: nothing here can fail half-way.

        Args:
            changes: New values.
            superstep: The new number of the superstep, if it changes.
        """
        if superstep is not None:
            self.superstep = superstep
        for section, value in changes.items():
            table, name = section
            if table in _SCHEDULED:
                self.schedule.change(section, None if value is REMOVED else value)
            if value is REMOVED:
                self.tables.get(table, {}).pop(name, None)
            else:
                self.tables.setdefault(table, {})[name] = value

    def sections(self) -> list[Section]:
        """The address of every value."""
        return [(table, name) for table, values in self.tables.items() for name in values]

    def inverse(self, changes: Changes) -> Changes:
        """The changes that would take `changes` back; computed before they are applied."""
        return {section: self.get(section) for section in changes}

    @property
    def inflight(self) -> tuple[Delivery, ...]:
        """The deliveries of the next superstep."""
        value = self.get(INFLIGHT)
        return () if value is REMOVED else value

    @property
    def mark(self) -> RunMark | None:
        """Where the current run began; None before the first."""
        value = self.get(RUN)
        return None if value is REMOVED else value

    @property
    def requests(self) -> Mapping[str, PendingRequest]:
        """Open requests by id, in the order they were made."""
        return self.table(REQUESTS)

    @property
    def timers(self) -> Mapping[str, Timer]:
        """Waiting timers by name."""
        return self.table(TIMERS)

    @property
    def outputs(self) -> list[Output]:
        """Outputs committed since the current run began, in canonical order."""
        by_superstep = sorted(self.table(OUTPUTS).items(), key=lambda item: int(item[0]))
        return [output for _, outputs in by_superstep for output in outputs]
