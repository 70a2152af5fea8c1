"""Equal inputs give an equal history, whatever the order in which tasks are scheduled (P4; F15, F16; R23).

Every graph is run under several scheduling seeds and with executors that finish in different orders. The whole history is
compared: each checkpoint's encoded contents byte for byte, its kind, number and parent; times of day aside. Ids of runs are
counted instead of drawn, so that even the ids in it are compared.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest
import trio

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    handler,
)
from actorflow.testing import run_seeded, scheduling_seeds
from tests.scenarios import (
    Asker,
    Counter,
    Join,
    Ledger,
    Many,
    Note,
    Relay,
    Worker,
    concatenated,
    counted_ids,
    history,
    joined,
    plain,
    standing,
    stateful,
    switched,
)

Build = Callable[[Any], Workflow]


class Dawdle(Executor):
    """Takes as long as chance wants; writes, yields, asks and sends in that time."""

    chance = random.Random()

    @handler
    async def dawdle(self, text: str, ctx: WorkflowContext[str, str]) -> None:
        await trio.sleep(self.chance.random())
        ctx.set_state("log", [f"{self.id}:{text}"])
        ctx.set_state("last", self.id)
        ctx.get_state("shared", {"n": 0})["n"] += 1
        await ctx.yield_output(f"{self.id}:{text}")
        await trio.sleep(self.chance.random())
        for number in range(2):
            ctx.send_message(f"{text}{self.id}{number}")


class DawdlePool(Dawdle):
    def __init__(self, id: str) -> None:  # noqa: A002
        super().__init__(id, concurrency=3)


def wide(storage: Any) -> Workflow:
    """Fan-out over five, a join of them all, another of two with wait="active", a pool behind it."""
    builder = WorkflowBuilder(
        name="wide",
        start_executor=lambda: Dawdle(id="start"),
        checkpoint_storage=storage,
        reducers={"log": concatenated},
    )
    builder.add_fan_out_edges(
        "start", [*(lambda name=name: Dawdle(id=name) for name in "abcd"), lambda: DawdlePool(id="p")]
    )
    builder.add_fan_in_edges(["d", "c", "b", "a", "p"], lambda: Join(id="all"))
    builder.add_fan_in_edges(["c", "b"], lambda: Join(id="some"), wait="active")
    builder.add_fan_in_edges(["a", "d"], lambda: Join(id="any"), wait="any")
    builder.add_edge("a", lambda: DawdlePool(id="pool")).add_edge("d", "pool")
    return builder.add_edge("pool", lambda: Note(id="note")).build(id="w")


def layered(storage: Any) -> Workflow:
    """Three layers, every one connected with every one of the next, through executors with states of their own."""
    builder = WorkflowBuilder(
        name="layered",
        start_executor=lambda: Relay(id="start"),
        checkpoint_storage=storage,
        reducers={"log": concatenated},
    )
    builder.add_fan_out_edges("start", [lambda name=name: Counter(id=name) for name in ("c1", "c2", "c3")])
    builder.add_fan_out_edges("c1", [lambda name=name: Ledger(id=name) for name in ("l1", "l2")])
    builder.add_fan_out_edges("c2", ["l2", "l1"]).add_fan_out_edges("c3", ["l1", "l2"])
    builder.add_fan_in_edges(["l2", "l1"], lambda: Join(id="join"))
    return builder.add_edge("l1", lambda: Note(id="note")).build(id="w")


def asking(storage: Any) -> Workflow:
    """Several requests at once, answered in one go."""
    builder = WorkflowBuilder(name="asking", start_executor=lambda: Dawdle(id="start"), checkpoint_storage=storage)
    builder.add_fan_out_edges("start", [lambda name=name: Asker(id=name) for name in "abc"])
    return builder.add_fan_in_edges(["c", "a", "b"], lambda: Join(id="end")).build(id="w")


GRAPHS: list[tuple[Build, Any]] = [
    (plain, "x"),
    (joined, "x"),
    (stateful, "x"),
    (switched, 9),
    (wide, "x"),
    (layered, "x"),
    (asking, "x"),
]


async def story(build: Build, message: Any, durability: str) -> list[Any]:
    """Two runs and their answers; everything that was committed by them."""
    storage = InMemoryCheckpointStorage()
    workflow = build(storage)
    results = []
    for _ in range(2):
        result = await workflow.run(message, durability=durability)
        while result.requests:
            results.append(result.outputs)
            answers = {each.request_id: f"yes{number}" for number, each in enumerate(result.requests)}
            result = await workflow.run(responses=answers, durability=durability)
        results.append(result.outputs)
    return [results, standing(workflow)[0], await history(storage)]


def told(build: Build, message: Any, durability: str, seed: int) -> list[Any]:
    Dawdle.chance.seed(f"pace {seed}")
    with counted_ids():
        return run_seeded(lambda: story(build, message, durability), seed)


@pytest.mark.parametrize("durability", ["superstep", "async", "exit"])
@pytest.mark.parametrize(("build", "message"), GRAPHS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_history_is_the_same_under_every_schedule_and_pace(build: Build, message: Any, durability: str) -> None:
    """P4, F15, F16, R23."""
    first, *others = [told(build, message, durability, seed) for seed in scheduling_seeds()]

    assert len(first[2]) >= 2
    for other in others:
        assert other == first


def test_the_seeds_do_explore_different_schedules() -> None:
    """The tests above prove something: tasks do finish in different orders."""

    def order(seed: int) -> tuple[str, ...]:
        ended: list[str] = []

        class Race(Executor):
            @handler
            async def race(self, text: str, ctx: WorkflowContext[str]) -> None:
                await trio.lowlevel.checkpoint()
                ended.append(self.id)

        builder = WorkflowBuilder(name="race", start_executor=Relay(id="start"))
        builder.add_fan_out_edges("start", [Race(id=name) for name in "abcde"])
        workflow = builder.build()
        run_seeded(lambda: workflow.run("x"), seed)
        return tuple(ended)

    assert len({order(seed) for seed in range(8)}) > 4


class Trip(Worker):
    """Fails at a number once."""

    tripped = False

    @handler
    async def work(self, number: int, ctx: WorkflowContext[str]) -> None:
        if number == 3 and not self.tripped:
            await trio.sleep(0.3)
            self.tripped = True
            raise LookupError(number)
        await trio.sleep(1 / (1 + number))
        ctx.set_state("log", [number])
        ctx.send_message(f"{number}")


@pytest.mark.parametrize("seed", scheduling_seeds())
def test_a_run_taken_up_after_a_failure_ends_as_one_that_never_failed(seed: int) -> None:
    """P4, P6, R21: whatever of the failed superstep had been finished by then."""

    def build(storage: Any = None) -> Workflow:
        builder = WorkflowBuilder(
            name="trip", start_executor=Many(id="many"), reducers={"log": concatenated}, checkpoint_storage=storage
        )
        return builder.add_edge("many", Trip(id="trip")).add_edge("trip", Note(id="note")).build(id="w")

    async def failing() -> Any:
        workflow = build()
        with pytest.raises(LookupError):
            await workflow.run(8)
        await workflow.run(checkpoint_id=LATEST)
        return standing(workflow)

    async def smooth() -> Any:
        workflow = build()
        trip = workflow.executors["trip"]
        assert isinstance(trip, Trip)
        trip.tripped = True
        await workflow.run(8)
        return standing(workflow)

    assert run_seeded(failing, seed) == run_seeded(smooth, seed)
