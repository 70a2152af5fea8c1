"""How long it takes from cancelling a run of 1,000 busy actors to an empty house, over seeded schedules.

    python tests/benchmarks/cancel.py               200 schedules
    python tests/benchmarks/cancel.py --seeds 50

A third of the actors sleep, a third wait for another attempt, a third yield outputs; 200 of them wait for a turn. What is
timed is real time from `Run.cancel` to the end of the stream's block, after which no task, channel or token of the run is left.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from typing import Any

import trio

from actorflow import Executor, Retry, SupervisionPolicy, WorkflowBuilder, WorkflowContext, handler
from actorflow.testing import empty_house, run_seeded

ACTORS = 1000


class Start(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[int]) -> None:
        ctx.send_message(x)


class Busy(Executor):
    def __init__(self, number):
        super().__init__(f"busy{number}", policy=SupervisionPolicy(retry=Retry(10, delay=1000)))
        self.kind = number % 3

    @handler
    async def go(self, x: int, ctx: WorkflowContext[Any, int]) -> None:
        if self.kind == 0:
            await trio.sleep_forever()
        if self.kind == 1:
            raise ValueError
        while True:
            await ctx.yield_output(x)
            await trio.sleep(1)


async def cancelled():
    """Seconds from the cancellation to the end of the block, by the wall and of the processor."""
    builder = WorkflowBuilder(name="busy", start_executor=Start("start"), max_concurrency=800)
    workflow = builder.add_fan_out_edges("start", [Busy(number) for number in range(ACTORS)]).build()
    async with empty_house():
        async with workflow.stream(0, buffer=5 * ACTORS) as run:
            await trio.sleep(5)
            wall, cpu = time.perf_counter(), time.process_time()
            run.cancel()
        return time.perf_counter() - wall, time.process_time() - cpu


def main():
    """Print the distribution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    times = []
    for seed in range(parser.parse_args().seeds):
        gc.collect()
        times.append(run_seeded(cancelled, seed))
    for clock, taken in zip(("wall", "cpu"), zip(*times, strict=True), strict=True):
        figures = sorted(each * 1000 for each in taken)
        p99 = figures[min(len(figures) - 1, int(len(figures) * 0.99))]
        print(
            f"{len(figures)} schedules, {clock}, ms: "
            f"median {statistics.median(figures):.1f}, p99 {p99:.1f}, most {figures[-1]:.1f}"
        )


if __name__ == "__main__":
    main()
