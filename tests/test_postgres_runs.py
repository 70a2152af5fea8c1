"""Workflows over a PostgreSQL storage: run, killed at any instant, resumed, cancelled, and nothing left behind (P6, R15)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio

from actorflow import LATEST, PostgresCheckpointStorage
from actorflow.errors import CheckpointError
from actorflow.testing import empty_house
from tests.postgres import until

PROGRAM = """
import sys, trio
from typing import Never
from actorflow import LATEST, Executor, PostgresCheckpointStorage, WorkflowBuilder, WorkflowContext, handler

class Counter(Executor):
    state: list[int]

    @handler
    async def count(self, number: int, ctx: WorkflowContext[int, int]) -> None:
        self.state.append(number)
        ctx.set_state("sum", ctx.get_state("sum", 0) + number)
        await ctx.yield_output(number)
        if number < 30:
            ctx.send_message(number + 1)

def build(storage):
    builder = WorkflowBuilder(name="count", start_executor=Counter("ping"), checkpoint_storage=storage)
    return builder.add_edge("ping", Counter("pong")).add_edge("pong", "ping").build(id="W")

async def main():
    with PostgresCheckpointStorage(sys.argv[1], schema=sys.argv[2]) as storage:
        workflow = build(storage)
        arguments = (1,) if await storage.latest(workflow_id="W") is None else ()
        async with workflow.stream(*arguments, checkpoint_id=None if arguments else LATEST, durability=sys.argv[3]) as run:
            async for event in run.events:
                print(event.type, flush=True)
            result = await run.wait()
        print("outputs", *result.outputs, "supersteps", result.supersteps, flush=True)

if __name__ == "__main__":
    trio.run(main)
"""


def start(database, durability):
    command = [sys.executable, "-c", PROGRAM, database.dsn, database.schema, durability]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


@pytest.mark.parametrize("durability", ["superstep", "async", "delivery"])
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(database, durability):
    """P6: and the next process need not wait for the lease of the one that died."""
    for lines in (3, 12, 31):
        with start(database, durability) as process:
            for _ in range(lines):
                assert process.stdout.readline()
            process.kill()
    with start(database, durability) as process:
        *_, last = process.stdout.read().splitlines()

    assert last.split() == [b"outputs", *(b"%d" % number for number in range(1, 31)), b"supersteps", b"30"]
    with PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage:
        head = trio.run(lambda: storage.latest(workflow_id="W"))
        line = trio.run(storage.lineage, head.id)
    assert [info.superstep for info in line] == [*range(30, -1, -1)]
    assert database.execute("SELECT count(*) FROM journal") == [(0,)]
    assert database.execute("SELECT count(*) FROM workflow WHERE epoch IS NOT NULL") == [(0,)]


def build(storage):
    module = {"__name__": "program"}
    exec(PROGRAM, module)
    return module["build"](storage)


async def test_a_run_that_is_cancelled_at_any_moment_leaves_nothing_at_work(database):
    """P2, R06, R25: no thread, no session in a transaction, no lease; what it goes on from is one line."""
    with PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage:
        workflow = build(storage)
        await storage.list()
        for number in range(12):
            async with empty_house():
                with trio.move_on_after(number * 0.003):
                    await (workflow.run(1) if workflow.head is None else workflow.run(checkpoint_id=LATEST))
            assert database.execute("SELECT count(*) FROM workflow WHERE epoch IS NOT NULL") == [(0,)]
        result = await (workflow.run(1) if workflow.head is None else workflow.run(checkpoint_id=LATEST))
        assert result.outputs == [*range(1, 31)]


async def test_a_run_whose_sessions_are_ended_fails_and_can_be_resumed(database):
    """P8: it says so, stands on its last commit, and goes on from there."""
    with PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage:
        workflow = build(storage)
        async with trio.open_nursery() as nursery:
            run = await nursery.start(workflow.start, 1)
            async for event in run.events:
                if event.type == "checkpoint_saved" and event.superstep == 5:
                    database.slow("insert", 30)
                    nursery.start_soon(end_sessions_at_work, database)
            with pytest.raises(CheckpointError):
                await run.wait()
        result = await workflow.run(checkpoint_id=LATEST)
        assert result.outputs == [*range(1, 31)]
        head = await storage.latest(workflow_id="W")
        assert [info.superstep for info in await storage.lineage(head.id)] == [*range(30, -1, -1)]


async def end_sessions_at_work(database):
    await until(lambda: database.asleep() == 1)
    database.end_sessions()
    database.execute("DROP TRIGGER dawdle ON checkpoint")
