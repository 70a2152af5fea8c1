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
    """Half of what the storage wrote reached the disk: the power went, or the write failed or stalled there."""


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


def points_of(
    operations: Sequence[Operation], tears: int, faults: Sequence[Fault], *, fails_halfway: bool
) -> Iterator[CrashPoint]:
    """Enumerate every point of a run.

    A kill after an operation that only reads would leave what a kill before it leaves. A kill tears a write in every way; the
    ways in which a write fails while the process lives on take turns from one operation to the next.

    Args:
        operations: What the run did.
        tears: In how many ways a write of its storage can be torn.
        faults: Those wanted.
        fails_halfway: Whether a write of its storage can fail with half of it on the disk, while the process lives on.
    """
    for operation in operations:
        writes = operation.verb in WRITES
        yield from (CrashPoint(operation, Moment.BEFORE, fault) for fault in faults)
        yield from (CrashPoint(operation, Moment.AFTER, fault) for fault in faults if writes or fault is not Fault.KILL)
        if writes and tears:
            yield from _torn(operation, tears, faults, fails_halfway)


def _torn(operation: Operation, tears: int, faults: Sequence[Fault], fails_halfway: bool) -> Iterator[CrashPoint]:
    for turn, fault in enumerate(faults, operation.number):
        if fault is Fault.KILL:
            yield from (CrashPoint(operation, Moment.TORN, fault, variant) for variant in range(tears))
        elif fails_halfway:
            yield CrashPoint(operation, Moment.TORN, fault, turn % tears)


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
