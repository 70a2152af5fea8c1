"""What the demo shows: progress while it runs, on the error stream, and the table at its end, on the output stream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from actorflow.demo.executors import PackageMeasured, Ranking

__all__ = ["Display", "open_display", "print_ranking"]

_COLUMNS = ("modules", "lines", "functions", "classes", "complexity")
_FRAME = 0.1
_LINES = 10


class Display(Protocol):
    """Shows how far the run is."""

    def show(self, measured: PackageMeasured, checkpoints: int) -> None:
        """A package was measured."""
        ...


@contextmanager
def open_display() -> Iterator[Display]:
    """A live bar on a terminal, else a few plain lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        TextColumn("measuring"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        yield Bar(progress, progress.add_task("", total=None))


@attrs.define(eq=False)
class Bar:
    """A live bar. Packages are measured several at once, so it stands at the furthest."""

    _progress: Progress
    _task: TaskID
    _furthest: int = 0
    _painted: float = 0.0

    def show(self, measured: PackageMeasured, checkpoints: int) -> None:
        """Move the bar; paint it now and then."""
        self._furthest = max(self._furthest, measured.number)
        text = f"{measured.name}, {checkpoints} checkpoints"
        self._progress.update(self._task, completed=self._furthest, total=measured.of, description=text)
        if time.monotonic() - self._painted >= _FRAME:
            self._progress.refresh()
            self._painted = time.monotonic()


@attrs.define(eq=False)
class Lines:
    """A line whenever another tenth is done."""

    _console: Console
    _tenths: int = 0

    def show(self, measured: PackageMeasured, checkpoints: int) -> None:
        """Print a line if it is time."""
        tenths = measured.number * _LINES // measured.of
        if tenths > self._tenths:
            self._tenths = tenths
            self._console.out(f"measured {measured.number} of {measured.of} packages, {checkpoints} checkpoints")


def print_ranking(ranking: Ranking, top: int) -> None:
    """Print the first rows, and the sums of all."""
    table = Table(title="The most complex packages", title_justify="left", box=None, show_footer=True)
    rows = ranking.rows
    table.add_column("", justify="right")
    table.add_column("package", footer=f"all {len(rows)} packages")
    for name in _COLUMNS:
        table.add_column(name, justify="right", footer=f"{sum(getattr(row, name) for row in rows):,}")
    for place, row in enumerate(rows[:top], 1):
        table.add_row(str(place), row.name, *(f"{getattr(row, name):,}" for name in _COLUMNS))
    console = Console()
    console.print(table)
    unreadable = sum(row.unreadable for row in rows)
    if unreadable:
        console.print(f"{unreadable} files could not be parsed by this Python")
