"""The workloads of the benchmark, as workflows."""

from __future__ import annotations

from functools import partial
from typing import Never

import trio

from actorflow import Executor, WorkflowBuilder, WorkflowContext, handler


class Step(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[int]) -> None:
        ctx.send_message(x + 1)


class Last(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[Never, int]) -> None:
        await ctx.yield_output(x)


class Sleeper(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[int]) -> None:
        await trio.sleep(0.01)
        ctx.send_message(x)


class Join(Executor):
    @handler
    async def go(self, xs: list[int], ctx: WorkflowContext[Never, int]) -> None:
        await ctx.yield_output(len(xs))


def chain(length):
    """A builder of chains of `length` + 1; made of factories, it builds any number of them."""
    makers = [lambda place=place: Step(f"step{place}") for place in range(length)]
    makers.append(lambda: Last("last"))
    return WorkflowBuilder(name="chain", start_executor=makers[0], max_supersteps=length + 10).add_chain(makers)


def build_chain(length):
    """The same made of objects, from nothing to a workflow: what W8 times."""
    executors = [*(Step(f"step{place}") for place in range(length)), Last("last")]
    return WorkflowBuilder(name="chain", start_executor=executors[0]).add_chain(executors).build()


class Player(Executor):
    """Hands a number to and fro; with `small` it also changes so many bytes of the shared state each time."""

    def __init__(self, name, supersteps, *, small=0, big=None):
        super().__init__(name)
        self.supersteps, self.small, self.big = supersteps, small, big

    @handler
    async def go(self, x: int, ctx: WorkflowContext[int, int]) -> None:
        if x < 0:  # the untimed first run: put the large part of the state where it stays
            ctx.set_state("big", self.big)
            return
        if self.small:
            ctx.set_state("small", f"{x:010d}" + "z" * (self.small - 10))
        if x < self.supersteps - 1:
            ctx.send_message(x + 1)
        else:
            await ctx.yield_output(x)


def loop(supersteps, *, idle=0, storage=None, small=0, big=None, name="loop"):
    """Two players; `idle` more executors that never get a message."""
    ping = Player("ping", supersteps, small=small, big=big)
    pong = Player("pong", supersteps, small=small)
    builder = WorkflowBuilder(
        name="loop", start_executor=ping, max_supersteps=supersteps + 10, checkpoint_storage=storage
    )
    builder.add_edge(ping, pong).add_edge(pong, ping)
    if idle:
        gate = Step("gate")
        builder.add_edge(ping, gate, _never).add_fan_out_edges(gate, [Step(f"idle{n}") for n in range(idle)])
    return builder.build(id=name)


def loops(count, supersteps, storage):
    """So many workflows of one definition, each with two players that change 100 bytes in turn."""
    ping = partial(Player, "ping", supersteps, small=100)
    pong = partial(Player, "pong", supersteps, small=100)
    builder = WorkflowBuilder(
        name="loop", start_executor=ping, max_supersteps=supersteps + 10, checkpoint_storage=storage
    )
    builder.add_edge(ping, pong).add_edge(pong, ping)
    return [builder.build(id=f"loop{number}") for number in range(count)]


def _never(_message):
    return False


def fan(width, worker=Step):
    """One to `width` to one."""
    workers = [worker(f"worker{n}") for n in range(width)]
    builder = WorkflowBuilder(name="fan", start_executor=Step("start"))
    return builder.add_fan_out_edges("start", workers).add_fan_in_edges(workers, Join("join")).build()


class Spread(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[int]) -> None:
        for number in range(x):
            ctx.send_message(number)


class Pooled(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext) -> None:
        await trio.lowlevel.checkpoint()


def pool(workers, **options):
    """One to any number of messages for one executor that handles `workers` at once."""
    pooled = Pooled("pooled", concurrency=workers, **options)
    return WorkflowBuilder(name="pool", start_executor=Spread("spread")).add_edge("spread", pooled).build()


class Emitter(Executor):
    def __init__(self, count):
        super().__init__("emitter")
        self.count = count

    @handler
    async def go(self, x: int, ctx: WorkflowContext[Never, int]) -> None:
        for number in range(self.count):
            await ctx.yield_output(x + number)


def emitter(count):
    """One executor that yields `count` outputs."""
    return WorkflowBuilder(name="emitter", start_executor=Emitter(count)).build()


class Forever(Executor):
    """Sleeps; the last of a set says so."""

    def __init__(self, name, awake, asleep):
        super().__init__(name)
        self.awake, self.asleep = awake, asleep

    @handler
    async def go(self, x: int, ctx: WorkflowContext) -> None:
        self.awake.discard(self.id)
        if not self.awake:
            self.asleep.set()
        await trio.sleep_forever()


def sleepers(count, asleep):
    """One executor that wakes `count` which never end; sets `asleep` when all of them sleep."""
    awake = {f"sleeper{n}" for n in range(count)}
    return (
        WorkflowBuilder(name="sleepers", start_executor=Step("start"))
        .add_fan_out_edges("start", [Forever(name, awake, asleep) for name in sorted(awake)])
        .build()
    )


def rows(size):
    """A state of about `size` bytes, like a chat history."""
    return [{"id": n, "role": "user", "text": f"{n:08d}" + "y" * 60} for n in range(max(1, size // 100))]
