"""Where and how a crash sweep strikes: the storage's operations, the moments around one, and the faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

import attrs

from actorflow.checkpoint.records import Commit, JournalEntry, Lease

__all__ = ["READS", "VERBS", "WRITES", "CrashPoint", "Fault", "Moment", "Operation", "operation_of", "points_of"]

WRITES: Final = (
    "save",
    "write_journal",
    "acquire_lease",
    "renew_lease",
    "release_lease",
    "delete",
    "prune",
)  # fmt: skip
READS: Final = ("load", "latest", "list", "lineage", "children", "read_journal")
VERBS: Final = frozenset((*WRITES, *READS))


class Fault(StrEnum):
    """What goes wrong."""

    KILL = "kill"
    """The process is gone at that instant."""
    ERROR = "error"
    """The storage raises OSError."""
    HANG = "hang"
    """The storage never answers; the run is cancelled at last."""


class Moment(StrEnum):
    """When it goes wrong."""

    BEFORE = "before"
    """The storage has done nothing yet."""
    AFTER = "after"
    """The storage has done it, and the caller never hears."""
    TORN = "torn"
    """The power went while the storage wrote: some of the bytes reached the disk."""


@attrs.frozen
class Operation:
    """One call of a storage.

    Attributes:
        number: Its place among the calls of a run, from 1.
        verb: The verb.
        about: What it was about, for people: "superstep 2".
    """

    number: int
    verb: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.verb}{f' ({self.about})' if self.about else ''}"


@attrs.frozen
class CrashPoint:
    """One fault at one moment of one operation.

    Attributes:
        operation: The operation.
        moment: When.
        fault: What.
        variant: Which way a write is torn, from 0.
    """

    operation: Operation
    moment: Moment
    fault: Fault
    variant: int = 0


def points_of(operations: Sequence[Operation], tears: int, faults: Sequence[Fault]) -> Iterator[CrashPoint]:
    """Enumerate every point of a run.

    An operation that only reads is struck before it: afterwards nothing is different. A torn write takes the process
    with it: one that lives sees the storage undo its half.

    Args:
        operations: What the run did.
        tears: In how many ways its storage can be torn.
        faults: Those wanted.
    """
    for operation in operations:
        moments = (Moment.BEFORE, Moment.AFTER) if operation.verb in WRITES else (Moment.BEFORE,)
        for moment in moments:
            yield from (CrashPoint(operation, moment, fault) for fault in faults)
        if operation.verb in WRITES and Fault.KILL in faults:
            yield from (CrashPoint(operation, Moment.TORN, Fault.KILL, variant) for variant in range(tears))


def operation_of(number: int, verb: str, arguments: tuple[Any, ...]) -> Operation:
    """Describe a call."""
    match arguments:
        case (Commit() as commit, *_):
            about = f"{commit.info.kind} {commit.info.superstep}"
        case ([JournalEntry(), *_] as entries, *_):
            about = f"deliveries {', '.join(str(entry.index) for entry in entries)}"
        case (Lease() as lease, *_):
            about = f"epoch {lease.epoch}"
        case _:
            about = ""
    return Operation(number, verb, about)
