"""The workflow that was under way when tables of earlier versions were frozen, and that goes on after their migration.

Frozen are ``tests/frozen/*.sql``: one workflow, ``under-way``, killed in its seventh superstep, in which ``left`` had
finished its delivery and ``right`` had not, with the lease it held; and one, ``pruned``, of which a prune has left two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Never

import trio

from actorflow import Executor, WorkflowBuilder, WorkflowContext, handler

ROUNDS = 6
STOPPED_AT = 4


class Split(Executor):
    """Hands each number to both of its sides."""

    @handler
    async def split(self, number: int, ctx: WorkflowContext[int]) -> None:
        ctx.set_state("sum", ctx.get_state("sum", 0) + number)
        ctx.send_message(number)


class Left(Executor):
    """Notes what it was given."""

    state: list[int]

    @handler
    async def note(self, number: int, ctx: WorkflowContext[Never, str]) -> None:
        self.state.append(number)
        await ctx.yield_output(f"left {number}: {self.state}")


class Right(Executor):
    """Begins the next round; waits in one of them if it is told to."""

    def __init__(self, name: str, waits: bool) -> None:
        super().__init__(name)
        self.waits = waits

    @handler
    async def turn(self, number: int, ctx: WorkflowContext[int, str]) -> None:
        if self.waits and number == STOPPED_AT:
            await trio.sleep_forever()
        await ctx.yield_output(f"right {number}: {ctx.get_state('sum')}")
        if number < ROUNDS:
            ctx.send_message(number + 1)


def build(storage, workflow_id="under-way", waits=False):
    """The workflow, as it was and as it is."""
    left, right = Left("left"), Right("right", waits)
    builder = WorkflowBuilder(name="migrated", start_executor=Split("split"), checkpoint_storage=storage)
    return builder.add_fan_out_edges("split", [left, right]).add_edge("right", "split").build(id=workflow_id)


async def outputs_of_one_run():
    """What comes out of a run that nothing befalls."""
    return (await build(None).run(1)).outputs


def frozen(name):
    """The statements of a frozen file."""
    return (Path(__file__).parent / "frozen" / name).read_text()
