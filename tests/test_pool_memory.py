"""R20: what the messages of a large fan-out cost in memory, while one executor handles them (P11)."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
import trio

from actorflow import Executor, WorkflowBuilder, WorkflowContext, handler


class Spread(Executor):
    @handler
    async def spread(self, count: int, ctx: WorkflowContext[int]) -> None:
        for number in range(count):
            ctx.send_message(number)


class Pooled(Executor):
    @handler
    async def work(self, number: int, ctx: WorkflowContext) -> None:
        await trio.lowlevel.checkpoint()


async def peak(count: int, concurrency: int) -> int:
    """Bytes a run of so many messages had allocated at its worst moment."""
    pooled = Pooled("pooled", concurrency=concurrency)
    workflow = WorkflowBuilder(name="pool", start_executor=Spread("spread")).add_edge("spread", pooled).build()
    gc.collect()
    tracemalloc.start()
    try:
        await workflow.run(count)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("concurrency", [10, 100])
async def test_peak_memory_of_a_pool_grows_by_less_than_a_kilobyte_a_message(concurrency):
    """R20: the constant that docs/performance.md states, and the same one at every size."""
    await peak(100, concurrency)  # what is made once and kept
    sizes = (1_000, 3_000, 9_000)
    peaks = [await peak(count, concurrency) for count in sizes]
    each = [
        (more - less) / (many - few) for less, more, few, many in zip(peaks, peaks[1:], sizes, sizes[1:], strict=False)
    ]
    assert max(each) < 1_000, each
    assert max(each) < 1.5 * min(each), each
