"""The actors: one lists the library in waves, one measures the packages of a wave, one ranks what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs
import trio

from actorflow import Executor, WorkflowContext, handler
from actorflow.demo.library import Package, find_packages, first_wave
from actorflow.demo.measure import PackageMeasure, measure_module, ranked, summed
from actorflow.events import WorkflowEvent

__all__ = ["Library", "Lister", "Measurer", "NextWave", "PackageMeasured", "Ranker", "Ranking", "Wave"]

WAVE_SIZE = 250_000
"""Bytes of source in a wave: so much work, at most, does a kill undo."""


@attrs.frozen
class Library:
    """The input: a folder of Python source."""

    folder: str


@attrs.frozen
class Wave:
    """Goes ahead of a wave's packages to the join, which holds it until they are measured."""

    last: bool


@attrs.frozen
class NextWave:
    """Asks for the next wave."""


@attrs.frozen
class Ranking:
    """The output: every package, the most complex first."""

    rows: tuple[PackageMeasure, ...]


@attrs.frozen(kw_only=True)
class PackageMeasured(WorkflowEvent):
    """Progress, for whoever watches the run."""

    type: ClassVar[str] = "package_measured"

    name: str
    number: int
    of: int


@attrs.define
class Left:
    """The lister's state, which every checkpoint holds: the packages that are left."""

    packages: list[Package] = attrs.Factory(list)


@attrs.define
class Measured:
    """The ranker's state: what is measured so far."""

    packages: list[PackageMeasure] = attrs.Factory(list)


class Lister(Executor):
    """Lists the packages, and hands them out in waves."""

    state: Left

    def __init__(self, id: str = "lister", *, wave_size: int = WAVE_SIZE) -> None:  # noqa: A002
        super().__init__(id)
        self._wave_size = wave_size

    @handler
    async def begin(self, library: Library, ctx: WorkflowContext[Package | Wave]) -> None:
        """List what there is, and send the first wave."""
        self.state.packages = await trio.to_thread.run_sync(find_packages, Path(library.folder))
        self._send_wave(ctx)

    @handler
    async def go_on(self, _: NextWave, ctx: WorkflowContext[Package | Wave]) -> None:
        """Send the next wave."""
        self._send_wave(ctx)

    def _send_wave(self, ctx: WorkflowContext[Package | Wave]) -> None:
        packages = self.state.packages
        size = first_wave(packages, self._wave_size)
        for package in packages[:size]:
            ctx.send_message(package, "measurer")
        self.state.packages = packages[size:]
        ctx.send_message(Wave(last=not self.state.packages), "ranker")


class Measurer(Executor):
    """Measures packages, several at once. Keeps nothing, so its deliveries may overlap."""

    @handler
    async def measure(self, package: Package, ctx: WorkflowContext[PackageMeasure]) -> None:
        """Measure one package, in worker threads."""
        # One thread call for each file: a cancellation waits for a file, not for a package.
        modules = [await trio.to_thread.run_sync(measure_module, path) for path in package.paths]
        ctx.send_message(summed(package.name, modules))
        await ctx.add_event(PackageMeasured(name=package.name, number=package.number, of=package.of))


class Ranker(Executor):
    """Takes a wave from the join in one list; asks for the next, or ranks them all."""

    state: Measured

    @handler
    async def rank(self, joined: list[Wave | PackageMeasure], ctx: WorkflowContext[NextWave, Ranking]) -> None:
        """Take a wave; ask for the next one, or rank all."""
        self.state.packages += [each for each in joined if isinstance(each, PackageMeasure)]
        if Wave(last=True) in joined:
            await ctx.yield_output(Ranking(ranked(self.state.packages)))
        else:
            ctx.send_message(NextWave())
