"""A zygote for test_kills: imports once, then forks a child for each round and kills it. No trio runs in the zygote.

Every other child is killed at a random moment; those between kill themselves before or after a chosen save.

Usage: kill_driver.py FOLDER DURABILITY ROUNDS TURNS SEED. Prints one line of JSON: what came of it.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import trio

from actorflow import LATEST, Executor, SqliteCheckpointStorage, WorkflowBuilder, WorkflowContext, handler

WIDTH = 3


class Start(Executor):
    @handler
    async def begin(self, number: int, ctx: WorkflowContext[int]) -> None:
        ctx.send_message(number)

    @handler
    async def again(self, numbers: list[int], ctx: WorkflowContext[int, int]) -> None:
        done(ctx, "again")
        await ctx.yield_output(numbers[0])
        if numbers[0] > 1:
            ctx.send_message(numbers[0] - 1)


class Work(Executor):
    state: list[int]

    @handler
    async def work(self, number: int, ctx: WorkflowContext[int]) -> None:
        self.state.append(number)
        await trio.sleep(0.0005)
        done(ctx, self.id)
        ctx.set_state("sum", number)
        ctx.send_message(number)


def done(ctx, name):
    """The side effect: a line with the delivery's id, written in one call."""
    os.write(ctx.config["log"], f"{ctx.delivery_id} {ctx.superstep} {name}\n".encode())


def make_workflow():
    workers = [(lambda name=f"work{number}": Work(id=name)) for number in range(WIDTH)]
    return (
        WorkflowBuilder(
            name="kills", start_executor=lambda: Start(id="start"), max_supersteps=10_000, reducers={"sum": add}
        )
        .add_fan_out_edges("start", workers)
        .add_fan_in_edges([f"work{number}" for number in range(WIDTH)], "start")
        .build(id="kills")
    )


def add(old, new):
    return old + new


def kill_at(storage, number, *, before):
    """Let the process die before or after its number-th save."""
    save, saves = storage.save, itertools.count(1)

    async def save_or_die(commit):
        chosen = next(saves) == number
        if chosen and before:
            os.kill(os.getpid(), signal.SIGKILL)
        info = await save(commit)
        if chosen:
            os.kill(os.getpid(), signal.SIGKILL)
        return info

    storage.save = save_or_die


async def go_on(folder, durability, turns, chosen, pipes):
    log, ready = pipes
    with SqliteCheckpointStorage(folder / "x.db", synchronous="normal", lease_ttl=5) as storage:
        if chosen:
            kill_at(storage, chosen[0], before=chosen[1])
        workflow = make_workflow()
        how = {"checkpoint_id": LATEST} if await storage.latest(workflow_id="kills") else {"message": turns}
        os.write(ready, b"r")
        result = await workflow.run(
            **how, checkpoint_storage=storage, durability=durability, config={"log": log}, wait=True
        )
        states = {id_: each.state for id_, each in workflow.executors.items() if isinstance(each, Work)}
        total = workflow._core.standing.snapshot.table("state")["sum"]
        line = await storage.list(workflow_id="kills")
        whole = [[info.superstep, info.parent_id == older.id] for info, older in itertools.pairwise(line)]
        told = [result.outputs, states, total, result.status.value, result.supersteps, whole]
        (folder / "end.json").write_text(json.dumps(told))


def child(folder, durability, turns, ready, chosen):
    log = os.open(folder / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    code = 1
    try:
        trio.run(go_on, folder, durability, turns, chosen, (log, ready))
        code = 0
    finally:
        os._exit(code)


def one_life(folder, durability, turns, *, chosen, wait):
    """Fork a child and see it die; whether it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        child(folder, durability, turns, writing, chosen)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    if wait is not None:
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "a child failed"
    return False


def choose(draw, durability):
    """A save of the next child, and whether to die before it. With "exit" there is one, and after it the run is over."""
    return (1, True) if durability == "exit" else (draw.randint(1, 4), draw.random() < 0.5)


def main(folder, durability, rounds, turns, seed):
    draw, kills, chosen_kills, marks = random.Random(seed), 0, 0, []
    (folder / "effects").touch()
    while True:
        chosen = choose(draw, durability) if kills < rounds and kills % 2 else None
        wait = draw.random() * 0.03 if kills < rounds and not chosen else None
        if not one_life(folder, durability, turns, chosen=chosen, wait=wait):
            break
        kills, chosen_kills = kills + 1, chosen_kills + bool(chosen)
        marks.append((folder / "effects").stat().st_size)
    print(json.dumps({"kills": kills, "chosen": chosen_kills, "marks": marks}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
