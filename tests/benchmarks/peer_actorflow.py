"""actorflow as an adapter of the peer benchmark: one `wN(params)` per workload W1 to W10.

To run it beside the peers, with the peer benchmark's own `run.py` and `worker.py`:

1. Put this file into the folder of the other adapters (a copy, or the folder of this file on PYTHONPATH: its `worker.py`
   is all that is imported from there).
2. Add an environment to `VENVS`: ``"actorflow": Venv(["actorflow"], "from actorflow import WorkflowBuilder, Executor,
   handler")``; for a checkout, ``Venv(["-e", CHECKOUT], ...)``.
3. Add a peer to `PEERS`: ``"actorflow": ("actorflow", "peer_actorflow", "")``, and its name to the lists `CORE`, `STORES`
   and `st`, and to the W5 cases without a store.
4. ``python run.py setup --venvs VENVS``, then ``python run.py bench --venvs VENVS --out r.jsonl``.

As with the other peers, building is not timed where the workload is about running (W7 reports it as ``build``), and a
workflow is used again from run to run where that is what the interface is for.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Never

import trio
from worker import Span, disk_bytes, fresh_dir, make_state, small_change

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    SqliteCheckpointStorage,
    WorkflowBuilder,
    WorkflowContext,
    handler,
)
from actorflow.events import OutputEvent

BACKEND = "trio"


def VERSIONS():
    return {name: version(name) for name in ("actorflow", "trio", "apsw")}


class Start(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[int]) -> None:
        ctx.send_message(x + 1)


class Step(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[int]) -> None:
        ctx.send_message(x + 1)


class Last(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[Never, int]) -> None:
        await ctx.yield_output(x + 1)


class Join(Executor):
    @handler
    async def go(self, xs: list[int], ctx: WorkflowContext[Never, int]) -> None:
        await ctx.yield_output(len(xs))


class Worker(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[int]) -> None:
        ctx.send_message(x)


class Sleeper(Executor):
    @handler
    async def go(self, x: int, ctx: WorkflowContext[int]) -> None:
        await trio.sleep(0.01)
        ctx.send_message(x)


def chain_builder(n):
    """A builder of chains of n + 1, made of factories, so that it can build any number of workflows."""
    makers = [lambda: Start("s"), *((lambda i=i: Step(f"e{i}")) for i in range(n - 1)), lambda: Last("last")]
    return WorkflowBuilder(name="chain", start_executor=makers[0], max_supersteps=n + 10).add_chain(makers)


def w1(p):
    n = p["n"]
    workflow = chain_builder(n).build()

    async def run():
        result = await workflow.run(0)
        assert result.outputs == [n + 1], result.outputs

    return run


class PingPong(Executor):
    def __init__(self, name, limit, state=None):
        super().__init__(name)
        self.limit = limit
        self.first_state = state

    @handler
    async def go(self, x: int, ctx: WorkflowContext[int, int]) -> None:
        if self.first_state is not None:
            if x == 0:
                ctx.set_state("big", self.first_state)
            ctx.set_state("small", small_change(x))
        if x >= self.limit:
            await ctx.yield_output(x)
        else:
            ctx.send_message(x + 1)


class PingPongInside(PingPong):
    """The change lies inside the one big value."""

    @handler
    async def go(self, x: int, ctx: WorkflowContext[int, int]) -> None:
        if x == 0:
            ctx.set_state("big", self.first_state)
        big = ctx.get_state("big")
        big[x % len(big)]["text"] = small_change(x)  # a copy of its own, and a write: that is what get_state promises
        if x >= self.limit:
            await ctx.yield_output(x)
        else:
            ctx.send_message(x + 1)


def pingpong(n, storage=None, state=None, kind=PingPong):
    ping, pong = kind("ping", n - 1, state), kind("pong", n - 1, state)
    builder = WorkflowBuilder(name="pp", start_executor=ping, max_supersteps=n + 10, checkpoint_storage=storage)
    return builder.add_edge(ping, pong).add_edge(pong, ping).build(id="pp")


def w2(p):
    n = p["n"]
    workflow = pingpong(n)

    async def run():
        result = await workflow.run(0)
        assert result.outputs == [n - 1], result.outputs

    return run


class Carry(Executor):
    def __init__(self, name, limit):
        super().__init__(name)
        self.limit = limit

    @handler
    async def go(self, message: dict, ctx: WorkflowContext[dict, int]) -> None:
        if message["x"] >= self.limit:
            await ctx.yield_output(message["x"])
        else:
            ctx.send_message({"x": message["x"] + 1, "rows": message["rows"]})


def w2p(p):
    """W2 with a payload that every message carries along, untouched."""
    n = p["n"]
    a, b = Carry("ping", n - 1), Carry("pong", n - 1)
    builder = WorkflowBuilder(name="pp", start_executor=a, max_supersteps=n + 10)
    workflow = builder.add_edge(a, b).add_edge(b, a).build()
    rows = make_state(p["size"], "rows")

    async def run():
        result = await workflow.run({"x": 0, "rows": rows})
        assert result.outputs == [n - 1], result.outputs

    return run


def fan(n, kind):
    start, join = Start("s"), Join("j")
    workers = [kind(f"w{i}") for i in range(n)]
    builder = WorkflowBuilder(name="fan", start_executor=start, max_supersteps=10)
    return builder.add_fan_out_edges(start, workers).add_fan_in_edges(workers, join).build()


def _fan_run(n, kind):
    workflow = fan(n, kind)

    async def run():
        result = await workflow.run(0)
        assert result.outputs == [n], result.outputs

    return run


def w3(p):
    return None if p.get("rounds", 1) > 1 else _fan_run(p["n"], Worker)


def w4(p):
    return _fan_run(p["n"], Sleeper)


def w5(p):
    n, kind = p["n"], p["store"]
    if kind not in ("none", "memory", "disk"):
        return None
    executor_type = PingPongInside if p.get("inside") else PingPong

    async def run():
        folder = fresh_dir()
        state = make_state(p["size"], p["shape"])
        storage = None
        if kind == "memory":
            storage = InMemoryCheckpointStorage()
        elif kind == "disk":
            storage = SqliteCheckpointStorage(folder / "cp.db")
        workflow = pingpong(n, storage, state, executor_type)
        with Span() as s:
            result = await workflow.run(0)
        assert result.supersteps == n
        out = s.figures()
        if storage is not None:
            out["checkpoints"] = len(await storage.list())
            assert out["checkpoints"] == n + 1
        if kind == "disk":
            storage.close()
            out["disk_bytes"] = disk_bytes(folder)
        return out

    return run


class Emitter(Executor):
    produced = 0

    def __init__(self, n, pause, payload):
        super().__init__("emit")
        self.n, self.pause, self.payload = n, pause, payload

    @handler
    async def go(self, x: int, ctx: WorkflowContext[Never, int | bytes]) -> None:
        for i in range(self.n):
            await ctx.yield_output(bytes(self.payload) if self.payload else i)
            Emitter.produced += 1
            if self.pause:
                await trio.lowlevel.checkpoint()


def w6(p):
    n, pause, slow = p["n"], p["pause"], p.get("slow", 0)
    workflow = WorkflowBuilder(name="emit", start_executor=Emitter(n, pause, p.get("payload", 0))).build()

    async def run():
        Emitter.produced = got = backlog = 0
        first = None
        t0 = time.perf_counter()
        async with workflow.stream(0) as stream:
            async for event in stream.events:
                if isinstance(event, OutputEvent):
                    if first is None:
                        first = time.perf_counter() - t0
                    got += 1
                    if slow and got <= 20:
                        await trio.sleep(slow)
                    backlog = max(backlog, Emitter.produced - got)
        assert got == n, got
        return {"first": first, "backlog": backlog}

    return run


w6s = w6


def w7(p):
    n = p["n"]

    async def run():
        t0 = time.perf_counter()
        builder = chain_builder(2)
        workflows = [builder.build() for _ in range(n)]
        build = time.perf_counter() - t0
        results = []

        async def one(workflow):
            results.append(await workflow.run(0))

        with Span() as s:
            async with trio.open_nursery() as nursery:
                for workflow in workflows:
                    nursery.start_soon(one, workflow)
        assert len(results) == n
        assert all(result.outputs == [3] for result in results)
        return {**s.figures(), "build": build}

    return run


def w8(p):
    n = p["n"]

    async def run():
        executors = [Start("s"), *(Step(f"e{i}") for i in range(n - 2)), Last("last")]
        WorkflowBuilder(name="chain", start_executor=executors[0]).add_chain(executors).build()

    return run


class _DropsWritesOnDisk(SqliteCheckpointStorage):
    """Passes reads on and drops writes, so that every repetition sees the same store."""

    async def save(self, commit):
        return commit.info


class _DropsWritesInMemory(InMemoryCheckpointStorage):
    def __init__(self, filled):
        super().__init__()
        self.__dict__.update(filled.__dict__)

    async def save(self, commit):
        return commit.info


def w9(p):
    """Load the latest of n checkpoints and do the one superstep left; on disk the file is opened anew each time."""
    n, kind = p["n"], p["store"]
    if kind not in ("memory", "disk"):
        return None
    path = fresh_dir() / "cp.db"
    filled = InMemoryCheckpointStorage() if kind == "memory" else SqliteCheckpointStorage(path, synchronous="normal")

    async def fill():
        result = await pingpong(n, filled, make_state(p["size"], "rows")).run(0)
        await filled.delete(result.checkpoint_id)

    trio.run(fill)
    if kind == "disk":
        filled.close()

    async def run():
        storage = _DropsWritesInMemory(filled) if kind == "memory" else _DropsWritesOnDisk(path)
        workflow = pingpong(n, storage)
        with Span() as s:
            result = await workflow.run(checkpoint_id=LATEST)
        assert result.outputs == [n - 1], result.outputs
        if kind == "disk":
            storage.close()
        return s.figures()

    return run


class Forever(Executor):
    entered = None
    wanted = 1
    active = 0
    left_at = 0.0

    @handler
    async def go(self, x: int, ctx: WorkflowContext[Never, int]) -> None:
        if x < 0:
            await ctx.yield_output(x)
            return
        Forever.active += 1
        try:
            if Forever.active == Forever.wanted:
                Forever.entered.set()
            await trio.sleep_forever()
        finally:
            Forever.active -= 1
            Forever.left_at = time.perf_counter()


def w10(p):
    """Cancel a run whose executors sleep for ever; then run the same workflow again."""
    m = p.get("actors", 1)

    async def run():
        Forever.entered, Forever.wanted = trio.Event(), m
        builder = WorkflowBuilder(name="forever", start_executor=Forever("f") if m == 1 else Worker("s"))
        if m > 1:
            builder.add_fan_out_edges("s", [Forever(f"f{i}") for i in range(m)])
        workflow = builder.build()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workflow.run, 1)
            await Forever.entered.wait()
            t0 = time.perf_counter()
            nursery.cancel_scope.cancel()
        done = time.perf_counter()
        active, left_at = Forever.active, Forever.left_at
        again = await workflow.run(-1)
        return {
            "wall": done - t0,
            "task_end": left_at - t0 if not active else None,
            "active_after": active,
            "cancel_ignored": False,
            "reuse": "ok" if again.outputs == [-1] * m else f"outputs {again.outputs}",
        }

    return run


class Talker(Executor):
    active = 0

    @handler
    async def go(self, x: int, ctx: WorkflowContext[Never, int]) -> None:
        Talker.active += 1
        try:
            for i in range(3):
                await ctx.yield_output(x * 10 + i)
                await trio.sleep(0.01)
        finally:
            Talker.active -= 1


def w10b(p):
    """Leave the stream after its first output; start the next run at once."""
    hold = p["hold"]

    async def run():
        Talker.active = 0
        workflow = WorkflowBuilder(name="talk", start_executor=Talker("t")).build()
        errors, foreign, overlap, kept = [], 0, 0, []
        for i in range(1, p["n"] + 1):
            try:
                overlap += bool(Talker.active)
                async with workflow.stream(i) as stream:
                    if hold:
                        kept.append(stream)
                    async for value in stream.outputs():
                        foreign += value // 10 != i
                        break
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}"[:120])
        now = Talker.active
        await trio.sleep(0.2)
        later = Talker.active
        result = await workflow.run(99)
        return {
            "errors": len(errors),
            "error": errors[0] if errors else None,
            "foreign_events": foreign,
            "overlap": overlap,
            "active_now": now,
            "active_later": later,
            "final": "ok" if result.outputs == [990, 991, 992] else f"outputs {result.outputs}",
        }

    return run
