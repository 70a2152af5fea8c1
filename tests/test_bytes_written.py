"""A checkpoint costs in proportion to the bytes that changed (P10, F37): not to the state, nor to the history.

Counted, not timed: a storage adds up the payloads of a run of a thousand supersteps. "Changed" is the encoded size of the
message in flight, the state values that were written, and the outputs.
"""

from __future__ import annotations

from statistics import linear_regression
from typing import Any

import pytest

from actorflow import LATEST, Executor, InMemoryCheckpointStorage, WorkflowBuilder, handler
from actorflow import WorkflowContext as Context
from actorflow.core.effects import Delivery, Output, OutputKind
from actorflow.core.snapshot import INFLIGHT

STEPS = 1_000


class Counting(InMemoryCheckpointStorage):
    """Notes how many bytes and rows were written."""

    def __init__(self):
        super().__init__()
        self.sizes = []
        self.full = 0

    async def save(self, commit):
        self.sizes.append(len(commit.payload))
        self.full += commit.full
        return await super().save(commit)


class Filler(Executor):
    """Puts the large, constant part into the state, then changes a little of it in every superstep."""

    @handler
    async def fill(self, much: str, ctx: Context[int]) -> None:
        if much == "one value":
            ctx.set_state("constant", "x" * 1_000_000)
        else:
            for number in range(5_000):
                ctx.set_state(f"key {number}", "y" * 200)
        ctx.send_message(STEPS)

    @handler
    async def change(self, left: int, ctx: Context[int, str]) -> None:
        ctx.get_state("constant")
        ctx.set_state("moving", f"{left:060}")
        ctx.set_state(f"key {left % 5_000}", f"{left:020}")
        await ctx.yield_output(f"{left:020}")
        if left > 1:
            ctx.send_message(left - 1)


class Twin(Executor):
    @handler
    async def relay(self, left: int, ctx: Context[int, str]) -> None:
        ctx.set_state("moving", f"{left:060}")
        ctx.set_state(f"key {left % 5_000}", f"{left:020}")
        await ctx.yield_output(f"{left:020}")
        if left > 1:
            ctx.send_message(left - 1)


def filler(storage):
    return (
        WorkflowBuilder(
            name="fill", start_executor=lambda: Filler(id="fill"), checkpoint_storage=storage, max_supersteps=STEPS + 1
        )
        .add_edge("fill", lambda: Twin(id="twin"))
        .add_edge("twin", "fill")
        .build(id="B")
    )


def changed_bytes(workflow):
    """What one superstep changes, encoded."""
    codec = workflow._core.definition.codec
    return sum(
        len(codec.encode(section, value))
        for section, value in {
            INFLIGHT: (Delivery("fill", STEPS, ("twin",)),),
            ("state", "moving"): f"{0:060}",
            ("state", "key"): f"{0:020}",
            ("outputs", "1"): (Output("fill", f"{0:020}", OutputKind.OUTPUT),),
        }.items()
    )


def slope(sizes):
    """Bytes by which a commit grows for every commit before it."""
    return linear_regression(range(len(sizes)), sizes).slope


@pytest.mark.parametrize("much", ["one value", "many keys"])
async def test_a_thousand_supersteps_write_what_they_changed(much):
    """P10, F37: at most 1.1 times the changed bytes and 512 on the average, as flat at the end as at the beginning."""
    storage = Counting()
    workflow = filler(storage)
    result = await workflow.run(much)
    assert result.supersteps == STEPS + 1
    sizes = storage.sizes[2:]
    changed = changed_bytes(workflow)
    assert 100 < changed < 250
    assert sum(sizes) / len(sizes) <= changed * 1.1 + 512
    quiet = [size for size in sizes if size < 10_000]  # without the full snapshots, which the average has paid for
    assert len(sizes) - len(quiet) <= 1
    assert abs(slope(quiet)) < 0.01
    assert len(storage.sizes) == STEPS + 2  # one row each, and the entry


@pytest.mark.parametrize("much", ["one value", "many keys"])
async def test_the_head_of_a_long_history_loads_to_the_live_state(much):
    storage = Counting()
    workflow = filler(storage)
    live = await workflow.run(much)
    rebuilt = filler(storage)
    result = await rebuilt.run(checkpoint_id=LATEST)
    assert result.outputs == live.outputs == [f"{left:020}" for left in range(STEPS, 0, -1)]
    assert dict(rebuilt._core.standing.snapshot.table("state")) == dict(workflow._core.standing.snapshot.table("state"))


class Small(Executor):
    @handler
    async def count(self, left: int, ctx: Context[int]) -> None:
        ctx.set_state("moving", left)
        if left > 1:
            ctx.send_message(left - 1)


async def test_a_small_state_is_snapshotted_now_and_then_so_that_loading_stays_short():
    storage = Counting()
    builder = WorkflowBuilder(
        name="s", start_executor=lambda: Small(id="a"), checkpoint_storage=storage, max_supersteps=STEPS
    )
    workflow = builder.add_edge("a", lambda: Small(id="b")).add_edge("b", "a").build(id="S")
    result = await workflow.run(STEPS)
    chain = 0
    for record in reversed(storage._records.values()):
        chain += 1
        if record.full:
            break
    assert result.supersteps == STEPS
    assert chain <= 20
    assert sum(storage.sizes) / len(storage.sizes) <= 200
    assert abs(slope(storage.sizes)) < 0.01


async def test_a_run_of_many_turns_keeps_no_outputs_of_earlier_ones():
    """The hundredth run on one object writes as much as the second."""
    storage = Counting()
    builder = WorkflowBuilder(name="t", start_executor=lambda: _Chatty(id="c"), checkpoint_storage=storage)
    workflow = builder.build(id="T")
    for _ in range(100):
        await workflow.run("hello")
    assert max(storage.sizes[2:]) < 1_000
    assert abs(slope(storage.sizes[20:])) < 1


class _Chatty(Executor):
    @handler
    async def talk(self, text: str, ctx: Context[Any, str]) -> None:
        for number in range(10):
            await ctx.yield_output(f"{text} {number}")


@pytest.mark.parametrize("durability", ["async", "exit"])
async def test_other_durabilities_write_no_more(durability):
    storage = Counting()
    workflow = filler(storage)
    await workflow.run("one value", durability=durability)
    changed = changed_bytes(workflow)
    if durability == "exit":
        assert len(storage.sizes) == 2
        assert storage.sizes[1] < 1_000_000 + STEPS * changed
    else:
        assert sum(storage.sizes[2:]) / STEPS <= changed * 1.1 + 512
