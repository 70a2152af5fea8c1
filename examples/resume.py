"""Crash and resume: the first process dies in the middle, the second goes on from the last checkpoint.

A killed process is played by a child that ends itself with kill -9; nothing of it can tidy up.

Prints:

    step 1
    step 2
    step 3
    killed
    going on
    step 4
    step 5
    [['result 1', 'result 2', 'result 3', 'result 4', 'result 5']]
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import trio

from actorflow import LATEST, Executor, SqliteCheckpointStorage, Workflow, WorkflowBuilder, WorkflowContext, handler


class Worker(Executor):
    @handler
    async def work(self, step: int, ctx: WorkflowContext[str]) -> None:
        if step == 4 and ctx.config.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        print("step", step, flush=True)
        ctx.send_message(f"result {step}")


class Clerk(Executor):
    state: list[str]  # saved in every checkpoint, rolled back with every failure

    @handler
    async def file(self, result: str, ctx: WorkflowContext[int, list[str]]) -> None:
        self.state.append(result)
        if len(self.state) < 5:
            ctx.send_message(len(self.state) + 1)
        else:
            await ctx.yield_output(list(self.state))


def make_workflow() -> Workflow:
    builder = WorkflowBuilder(name="five steps", start_executor=Worker("worker"))
    return builder.add_edge("worker", Clerk("clerk")).add_edge("clerk", "worker").build(id="five-steps")


async def begin(database: str) -> None:
    with SqliteCheckpointStorage(database, lease_ttl=1) as storage:
        await make_workflow().run(1, checkpoint_storage=storage, config={"die": True})


async def go_on(database: str) -> None:
    with SqliteCheckpointStorage(database) as storage:
        # The dead process holds its lease until that runs out: wait for it.
        result = await make_workflow().run(checkpoint_id=LATEST, checkpoint_storage=storage, wait=True)
    print(result.outputs)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "steps.db")
        subprocess.run([sys.executable, __file__, database], check=False)  # noqa: S603
        print("killed")
        print("going on", flush=True)
        trio.run(go_on, database)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trio.run(begin, sys.argv[1])
    else:
        main()
