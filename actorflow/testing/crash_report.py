"""What a sweep found: one row for each fault, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from actorflow.events import WorkflowRunState

__all__ = ["CrashError", "CrashReport", "CrashRow"]


@attrs.frozen(kw_only=True)
class CrashRow:
    """One fault and what became of the run.

    Attributes:
        operation: The operation that went wrong: "5 save (superstep 2)".
        moment: "before", "after" or "torn".
        fault: "kill", "error" or "hang".
        status: The status after the resume.
        same_state: Whether the committed state is that of the clean run.
        same_outputs: Whether outputs, open requests and status are.
        repeated: How many deliveries were handled more than once.
        resumed_from: Superstep of the checkpoint that survived; None if none did, or if nobody looked.
        contiguous: Whether the checkpoints are one line without a gap, each the parent of the next.
        nothing_left: Whether no task and no lease is left.
        problems: What is wrong, in words; empty if all is well.
    """

    operation: str
    moment: str
    fault: str
    status: WorkflowRunState | None
    same_state: bool
    same_outputs: bool
    repeated: int
    contiguous: bool
    nothing_left: bool
    resumed_from: int | None = None
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.problems

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        marks = (self.same_state, self.same_outputs, self.contiguous, self.nothing_left)
        same, outputs, line, clean = ("yes" if each else "NO" for each in marks)
        status = self.status.value.lower() if self.status else "none"
        return (self.operation, self.moment, self.fault, status, same, outputs, str(self.repeated), line, clean)


class CrashError(AssertionError):
    """A run that was cut off did not end like the one that was not.

    Attributes:
        report: The whole report.
    """

    def __init__(self, report: CrashReport) -> None:
        self.report = report
        super().__init__(str(report))


@attrs.frozen
class CrashReport:
    """What a sweep found; as text a table, and below it what is wrong.

    Attributes:
        rows: One for each fault, in order of the operations.
    """

    rows: tuple[CrashRow, ...]

    @property
    def ok(self) -> bool:
        """Whether every row is, and there is one at all."""
        return bool(self.rows) and not self.broken

    @property
    def broken(self) -> tuple[CrashRow, ...]:
        """The rows that are not."""
        return tuple(row for row in self.rows if not row.ok)

    def raise_if_broken(self) -> None:
        """Fail a test.

        Raises:
            CrashError: A row is broken, or there is none.
        """
        if not self.ok:
            raise CrashError(self)

    def __str__(self) -> str:
        table = _aligned([_HEADER, *(row.cells for row in self.rows)])
        wrong = [f"{row.operation}, {row.fault} {row.moment}: {'; '.join(row.problems)}" for row in self.broken]
        return "\n".join([*table, f"{len(self.rows)} faults, {len(wrong)} broken", *wrong])


_HEADER = ("operation", "moment", "fault", "status", "state", "outputs", "repeated", "parents", "clean")


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
