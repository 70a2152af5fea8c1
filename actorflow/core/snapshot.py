"""The committed state of a workflow: what P3 and P5 speak about.

A snapshot is a set of *sections*, addressed by (table, name). A superstep's commit is a mapping from section to new
value, so applying it costs what changed (P10), and so does taking it back.

The workflows that run inside executors of a workflow, its children, have snapshots of their own within its snapshot, so
that one commit moves all of them. Their sections are addressed from the top, by tables that begin with the child's name:
``@<child>:<grandchild>|<table>``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from actorflow.core.effects import REMOVED, Delivery, Output, PendingRequest
from actorflow.core.schedule import Schedule
from actorflow.core.subworkflows import turn_of
from actorflow.core.timers import Timer

__all__ = [
    "CHILDREN", "COUNT", "EXECUTORS", "INFLIGHT", "INPUTS", "JOINS", "OUTPUTS", "REQUESTS", "RESTARTS", "RUN", "STATE",
    "STEPS", "TIMERS", "Changes", "RunMark", "Section", "Snapshot", "inside", "split_table",
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

CHILDREN = "child"
"""The children there are, by name."""
INPUTS = "input"
"""Inputs of children that wait for their turn."""
INFLIGHT: Section = ("inflight", "")
"""The deliveries of the next superstep, in canonical order."""
COUNT: Section = ("count", "")
"""How many inputs of children there have been."""
RUN: Section = ("run", "")
"""The `RunMark` of the run that is under way or ended last."""
STEPS: Section = ("steps", "")
"""Of a child: how many supersteps it has done."""

_NESTED = "@"


def inside(child: str, changes: Changes) -> Changes:
    """A child's changes as its parent addresses them."""
    return {(_table_inside(child, table), name): value for (table, name), value in changes.items()}


def _table_inside(child: str, table: str) -> str:
    return f"@{child}:{table[1:]}" if table[0] == _NESTED else f"@{child}|{table}"


def split_table(table: str) -> tuple[tuple[str, ...], str]:
    """Take a table's address apart: the names of the children that lead to it, and its own name there."""
    if table[:1] != _NESTED:
        return (), table
    path, _, own = table[1:].partition("|")
    return tuple(path.split(":")), own


def _keep_in_turn(by_name: dict[str, Any]) -> None:
    """Put the last one of a mapping where it belongs; it is last already, but for what is taken back or read from bytes.

    The order of children, and of inputs that wait, decides what a superstep delivers; so it is a function of their names,
    and not of how a workflow came to stand where it stands.
    """
    names = [*itertools.islice(reversed(by_name), 2)]
    if len(names) == 2 and turn_of(names[0]) < turn_of(names[1]):
        in_turn = sorted(by_name.items(), key=lambda item: turn_of(item[0]))
        by_name.clear()
        by_name.update(in_turn)


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
        children: Snapshots of the workflows that run inside its executors, by name, in the order of their inputs.
        schedule: Index of the timers and requests, by due time.
    """

    tables: dict[str, dict[str, Any]] = attrs.Factory(dict)
    superstep: int = 0
    children: dict[str, Snapshot] = attrs.Factory(dict)
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
        table, name = section
        if table[0] == _NESTED:
            names, own = split_table(table)
            child = self.find(names)
            return REMOVED if child is None else child.get((own, name))
        return self.tables.get(table, {}).get(name, REMOVED)

    def find(self, names: Iterable[str]) -> Snapshot | None:
        """The snapshot of a child, a grandchild and so on; itself for no names, None where there is none."""
        found: Snapshot | None = self
        for name in names:
            found = found.children.get(name) if found is not None else None
        return found

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
            if table[0] == _NESTED:
                self._apply_inside(table, name, value)
            elif value is REMOVED:
                self.tables.get(table, {}).pop(name, None)
                if table == CHILDREN:
                    self.children.pop(name, None)
            else:
                values = self.tables.setdefault(table, {})
                values[name] = value
                if table == INPUTS:
                    _keep_in_turn(values)

    def _apply_inside(self, table: str, name: str, value: Any) -> None:
        names, own = split_table(table)
        if value is not REMOVED:
            child = self
            for each in names:
                known = child.children.get(each)
                child = child._begin(each) if known is None else known
        else:
            found = self.find(names)
            if found is None:
                return
            child = found
        child.apply({(own, name): value})
        if own == STEPS[0]:
            child.superstep = 0 if value is REMOVED else value

    def _begin(self, name: str) -> Snapshot:
        child = self.children[name] = Snapshot()
        _keep_in_turn(self.children)
        return child

    def sections(self) -> list[Section]:
        """The address of every value, those of children last."""
        own = [(table, name) for table, values in self.tables.items() for name in values]
        for child, snapshot in self.children.items():
            own += [(_table_inside(child, table), name) for table, name in snapshot.sections()]
        return own

    def inverse(self, changes: Changes) -> Changes:
        """The changes that would take `changes` back; computed before they are applied."""
        return {section: self.get(section) for section in changes}

    @property
    def inflight(self) -> tuple[Delivery, ...]:
        """The deliveries of the next superstep."""
        value = self.get(INFLIGHT)
        return () if value is REMOVED else value

    @property
    def has_deliveries(self) -> bool:
        """Whether a superstep would do anything: here, or in a child."""
        return bool(self.inflight) or any(child.has_deliveries for child in self.children.values())

    @property
    def is_busy(self) -> bool:
        """Whether it has something to do by itself, now or when a timer is due: here, or in a child."""
        return bool(self.inflight or self.schedule.timers) or any(child.is_busy for child in self.children.values())

    @property
    def has_timers(self) -> bool:
        """Whether a timer waits: here, or in a child."""
        return self.schedule.timers > 0 or any(child.has_timers for child in self.children.values())

    def next_due(self) -> float | None:
        """When the first timer or deadline is due, here or in a child; None if there is none."""
        if not self.children:
            return self.schedule.next_due()
        times = [self.schedule.next_due(), *(child.next_due() for child in self.children.values())]
        return min((time for time in times if time is not None), default=None)

    @property
    def mark(self) -> RunMark | None:
        """Where the current run began; None before the first."""
        value = self.get(RUN)
        return None if value is REMOVED else value

    @property
    def id_prefix(self) -> str:
        """What the ids of the next superstep's deliveries begin with; the number in canonical order follows."""
        mark = self.mark
        return f"{mark.origin if mark else ''}-{self.superstep + 1}-"

    @property
    def requests(self) -> Mapping[str, PendingRequest]:
        """Open requests by id, in the order they were made; not those of children."""
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
