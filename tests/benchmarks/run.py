"""Measures actorflow against bare trio and bare SQLite, in one run, taking turns, and prints ratios.

    python tests/benchmarks/run.py              all workloads
    python tests/benchmarks/run.py w1 w5        some of them
    python tests/benchmarks/run.py --rounds 9   more rounds than five

Each round runs the workload once with actorflow and once bare, so that both meet the same minutes of the same machine. The
ratio is the median of the rounds' ratios, of CPU time (of the whole process, threads included) unless the workload is
about waiting. Absolute figures depend on the machine; ratios hardly do.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import attrs
import limits
import trio
import workloads

from actorflow import LATEST, Retry, SqliteCheckpointStorage, SupervisionPolicy

_RETRIED = {"policy": SupervisionPolicy(retry=Retry(3, delay=1), on_failure="drop")}
_SUPERVISED = {"policy": SupervisionPolicy(timeout=60, retry=Retry(3, delay=1), on_failure="drop")}


class Span:
    """CPU and wall seconds of a block."""

    def __enter__(self):
        self.wall, self.cpu = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_):
        self.cpu += time.process_time()
        self.wall += time.perf_counter()


@attrs.frozen
class Case:
    """One workload.

    Attributes:
        name: How it is asked for.
        title: What it is.
        ours: Makes ``async run() -> Span | None``: does it with actorflow; a span it returns is the one that counts.
        bare: The same without.
        per: Figures are divided by this.
        unit: What they are then for.
        clock: "cpu" or "wall".
    """

    name: str
    title: str
    ours: Callable
    bare: Callable | None
    per: int
    unit: str
    clock: str = "cpu"


def cases(folder):
    """All workloads."""
    yield Case(
        "w1",
        "chain of 100",
        lambda: _runs(workloads.chain(100).build()),
        lambda: _bare(lambda: limits.chain(100), 0),
        101,
        "superstep",
    )
    yield Case(
        "w2",
        "loop of 1,000 supersteps",
        lambda: _runs(workloads.loop(1000)),
        lambda: _bare(lambda: limits.loop(1000), "ping"),
        1000,
        "superstep",
    )
    for width in (10, 100, 1000):
        yield Case(
            "w3",
            f"1 -> {width:,} -> 1",
            lambda w=width: _runs(workloads.fan(w)),
            lambda w=width: _bare(lambda: limits.fan(w), "start"),
            2 * width,
            "message",
        )
    yield Case(
        "w4",
        "100 sleepers of 10 ms",
        lambda: _runs(workloads.fan(100, workloads.Sleeper)),
        lambda: _bare(lambda: limits.fan(100, 0.01), "start"),
        1,
        "run",
        "wall",
    )
    for size, label in ((1_000, "1 KB"), (100_000, "100 KB"), (1_000_000, "1 MB")):
        durable = Durable(Path(folder) / label.replace(" ", ""), size)
        yield Case(
            "w5", f"durable, state of {label}", durable.ours, durable.bare, Durable.supersteps, "superstep", "wall"
        )
    yield Case("w6", "10,000 outputs streamed", _streams, lambda: lambda: limits.stream(10_000), 10_000, "event")
    yield Case("w7", "1,000 runs of 3", _many_runs, _many_bare, 1000, "run")
    yield Case("w8", "build a chain of 1,000", _builds, None, 1, "build")
    resumed = Resumed(Path(folder) / "resumed")
    yield Case("w9", "resume the latest of 1,000", resumed.ours, resumed.bare, 1, "resume")
    yield Case("w10", "cancel 1,000 sleepers", _cancels, _cancels_bare, 1, "cancel", "wall")
    for workers in (10, 100):
        for options, label, limit in (
            ({}, "", None),
            (_RETRIED, ", retried", None),
            (_SUPERVISED, ", supervised", None),
            (_SUPERVISED, ", in time", 60),
        ):
            yield Case(
                "w11",
                f"10,000 to a pool of {workers}{label}",
                lambda w=workers, o=options: _pools(w, o),
                lambda w=workers, li=limit: lambda: limits.pool(10_000, w, li),
                10_000,
                "message",
            )
    yield Case(
        "idle",
        "loop beside 1,000 idle, to alone",
        lambda: _runs(workloads.loop(1000, idle=1000)),
        lambda: _runs(workloads.loop(1000, idle=2)),
        1000,
        "superstep",
    )


def _runs(workflow):
    async def run():
        await workflow.run(0)

    return run


def _bare(make, start):
    async def run():
        await make().run(start, 0)

    return run


class Durable:
    """W5: every superstep commits about 100 changed bytes beside a state that does not change.

    The bare side commits the payloads that actorflow wrote, byte for byte as large.
    """

    supersteps = 200

    def __init__(self, folder, size):
        self.folder, self.size = folder, size
        folder.mkdir()

    def ours(self):
        storage = SqliteCheckpointStorage(self.folder / "ours.db")
        workflow = workloads.loop(self.supersteps, storage=storage, small=100, big=workloads.rows(self.size))
        trio.run(workflow.run, -1)

        async def run():
            with Span() as span:
                await workflow.run(0)
            storage.close()
            return span

        return run

    def bare(self):
        async def run():
            connection = apsw.Connection(str(self.folder / "ours.db"))
            latest = "SELECT payload FROM checkpoint ORDER BY position DESC LIMIT ?"
            payloads = [payload for (payload,) in connection.execute(latest, (self.supersteps + 1,))]
            connection.close()
            with Span() as span:
                await limits.commit(self.folder / "bare.db", payloads)
            return span

        return run


class Resumed:
    """W9: the one superstep that is left of 1,000, from the file on; bare: its latest row by an index."""

    supersteps = 1000

    def __init__(self, folder):
        self.path = folder / "ours.db"
        folder.mkdir()

    def ours(self):
        async def fill():
            with SqliteCheckpointStorage(self.path, synchronous="normal") as storage:
                workflow = workloads.loop(self.supersteps, storage=storage, small=100)
                await workflow.run(0)
                await storage.delete(workflow.head)

        async def run():
            with SqliteCheckpointStorage(self.path) as storage:
                workflow = workloads.loop(self.supersteps, storage=storage, small=100)
                with Span() as span:
                    await workflow.run(checkpoint_id=LATEST)
                await storage.delete(workflow.head)
            return span

        trio.run(fill)
        return run

    def bare(self):
        def read():
            connection = apsw.Connection(str(self.path))
            connection.execute("SELECT payload FROM checkpoint ORDER BY position DESC LIMIT 1").fetchone()
            connection.close()

        async def run():
            await trio.to_thread.run_sync(read)

        return run


def _pools(workers, options):
    workflow = workloads.pool(workers, **options)

    async def run():
        await workflow.run(10_000)

    return run


def _streams():
    workflow = workloads.emitter(10_000)

    async def run():
        async with workflow.stream(0) as stream:
            async for _ in stream.outputs():
                pass

    return run


def _many_runs():
    async def run():
        builder = workloads.chain(2)
        workflows = [builder.build() for _ in range(1000)]
        with Span() as span:
            async with trio.open_nursery() as nursery:
                for workflow in workflows:
                    nursery.start_soon(workflow.run, 0)
        return span

    return run


def _many_bare():
    async def run():
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(limits.chain(2).run, 0, 0)

    return run


def _builds():
    async def run():
        workloads.build_chain(999)

    return run


def _cancels():
    return lambda: _cancelled(lambda asleep: (workloads.sleepers(1000, asleep).run, 0))


def _cancels_bare():
    return lambda: _cancelled(lambda asleep: (limits.sleepers(1000, asleep).run, "start", 0))


async def _cancelled(make):
    asleep = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(*make(asleep))
        await asleep.wait()
        span = Span().__enter__()
        nursery.cancel_scope.cancel()
    span.__exit__()
    return span


async def timed(run):
    """One run's span."""
    with Span() as span:
        own = await run()
    return own or span


def measure(case, rounds):
    """Alternate; the first round warms up. Returns figures per unit and the ratio."""
    sides = [case.ours(), *([case.bare()] if case.bare else [])]
    taken = [[] for _ in sides]
    for _ in range(rounds + 1):
        for side, spans in zip(sides, taken, strict=True):
            gc.collect()
            spans.append(trio.run(timed, side))
    clocked = [[getattr(span, case.clock) / case.per * 1e6 for span in spans[1:]] for spans in taken]
    ratio = statistics.median(ours / bare for ours, bare in zip(*clocked, strict=True)) if case.bare else None
    return [statistics.median(each) for each in clocked], ratio


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="w1 to w11, idle")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"{'':5} {'workload':34} {'clock':>5} {'actorflow':>12} {'bare':>12}  ratio")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(folder):
            if given.names and case.name not in given.names:
                continue
            figures, ratio = measure(case, given.rounds)
            shown = "".join(f"{figure:13,.1f}" for figure in figures).ljust(26)
            print(
                f"{case.name:5} {case.title:34} {case.clock:>5}{shown}  {f'{ratio:.2f}' if ratio else '':>5}  us per {case.unit}",
                flush=True,
            )


if __name__ == "__main__":
    main()
