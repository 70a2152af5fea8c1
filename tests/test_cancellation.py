"""Cancelled before every task step, a workflow leaves nothing behind, stands on its last committed superstep, is usable
at once, and goes on to the result of an uncancelled run (P1, P2, P3, P5, P6; F01, F02, F03, F05, F07; R06, R25).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from actorflow import LATEST, InMemoryCheckpointStorage, Workflow
from actorflow.events import RequestInfoEvent, WorkflowRunState
from actorflow.testing import cancel_everywhere, run_seeded, scheduling_seeds
from tests.scenarios import (
    borrowers,
    check_lineage,
    committed_states,
    joined,
    own_states,
    plain,
    standing,
    stateful,
    switched,
)

Build = Callable[..., Workflow]
DURABILITIES = [None, "superstep", "async", "exit"]
"""None stands for no storage at all."""


@attrs.define(eq=False)
class World:
    """One round's workflow, and how far its scenario came."""

    build: Build
    durability: str | None
    messages: tuple[Any, ...] = ("one", "two", "three")
    storage: InMemoryCheckpointStorage | None = None
    ended: set[str] = attrs.Factory(set)
    workflow: Workflow = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.durability is not None:
            self.storage = InMemoryCheckpointStorage()
        self.workflow = self.build(self.storage)

    @property
    def origin(self) -> str | None:
        """The run whose beginning the workflow stands behind."""
        mark = self.workflow._core.standing.snapshot.mark
        return mark.origin if mark else None

    def end(self) -> None:
        """Note that a run came to its end."""
        assert self.origin is not None
        self.ended.add(self.origin)

    @property
    def interrupted(self) -> bool:
        """Whether a run wrote its beginning and did not come to its end."""
        return self.origin is not None and self.origin not in self.ended

    async def run(self, message: Any) -> None:
        await self.workflow.run(message, durability=self.durability)
        await self.answer()
        self.end()

    async def answer(self) -> None:
        while self.workflow.pending_requests:
            responses = dict.fromkeys(self.workflow.pending_requests, "yes")
            await self.workflow.run(responses=responses, durability=self.durability)

    async def run_all(self) -> None:
        for message in self.messages[len(self.ended) :]:
            await self.run(message)

    async def go_on(self) -> None:
        """Take up the run that was cut off, and do those that are missing."""
        if self.interrupted:
            await self.workflow.run(checkpoint_id=LATEST, durability=self.durability)
            await self.answer()
            self.end()
        await self.run_all()


async def uncancelled(world: World) -> None:
    await world.run_all()


async def with_a_stream_left_half_way(world: World) -> None:
    async with world.workflow.stream(world.messages[0], durability=world.durability, buffer=1) as run:
        async for event in run.events:
            if event.superstep == 2:
                break
    assert borrowers(world.workflow) == 0
    await world.go_on()


def final(build: Build, durability: str | None, messages: tuple[Any, ...]) -> tuple[Any, ...]:
    async def main() -> tuple[Any, ...]:
        world = World(build, durability, messages)
        await world.run_all()
        return standing(world.workflow)

    return run_seeded(main, 0)


def check_against(end: tuple[Any, ...]) -> Callable[[World], Awaitable[None]]:
    async def check(world: World) -> None:
        workflow = world.workflow
        assert borrowers(workflow) == 0
        assert workflow.status not in (WorkflowRunState.IN_PROGRESS, WorkflowRunState.FAILED)
        assert own_states(workflow) == committed_states(workflow)
        if world.storage is not None:
            await check_lineage(world.storage, workflow.head)
            await check_stored(world)
        await world.go_on()
        assert standing(workflow) == end
        if world.storage is not None:
            await check_lineage(world.storage, workflow.head)
            await check_stored(world)

    return check


async def check_stored(world: World) -> None:
    """What the storage has is what the workflow stands on: another process would see the same."""
    assert world.storage is not None
    stored = await world.storage.latest(workflow_id=world.workflow.id)
    if stored is None:
        assert world.origin is None
        return
    definition, core = world.workflow._core.definition, world.workflow._core
    snapshot = definition.codec.decode(stored.contents, stored.superstep)
    assert snapshot.superstep == core.standing.snapshot.superstep
    assert snapshot.inflight == core.standing.snapshot.inflight
    assert {t: dict(v) for t, v in snapshot.tables.items() if v} == {
        t: dict(v) for t, v in core.standing.snapshot.tables.items() if v
    }


def sweep(scenario: Any, build: Build, durability: str | None, messages: tuple[Any, ...], seeds: Any) -> Any:
    return cancel_everywhere(
        scenario,
        setup=lambda: World(build, durability, messages),
        check=check_against(final(build, durability, messages)),
        seeds=seeds,
        max_steps=5000,
    )


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("build", [plain, joined, stateful])
def test_three_runs_cancelled_anywhere_go_on_to_the_end_of_uncancelled_ones(
    build: Build, durability: str | None
) -> None:
    """F02, F05, F07, R06, R25, P3, P6: nothing is left, nothing half-done shows, LATEST ends as if nothing had been."""
    report = sweep(uncancelled, build, durability, ("one", "two", "three"), scheduling_seeds(2))

    assert report.cancelled > 60


@pytest.mark.parametrize("durability", DURABILITIES)
def test_concurrent_workers_cancelled_anywhere_go_on_to_the_end_of_uncancelled_ones(durability: str | None) -> None:
    """P3, R06: the same with a pool of workers, a switch and a selection."""
    report = sweep(uncancelled, switched, durability, (5,), scheduling_seeds(2))

    assert report.cancelled > 30


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("build", [plain, stateful])
def test_a_stream_left_half_way_and_cancelled_anywhere_leaves_nothing(build: Build, durability: str | None) -> None:
    """F01, F02, F03, P2: a stream that is dropped, and a cancellation on top of it, at every step."""
    report = sweep(with_a_stream_left_half_way, build, durability, ("one", "two"), scheduling_seeds(1))

    assert report.cancelled > 25


async def queued(world: World) -> None:
    """Three runs at once, two of which wait for their turn, one of them as a stream."""

    async def streamed(message: str) -> None:
        async with world.workflow.stream(message, wait=True, durability=world.durability) as run:
            async for _ in run.outputs():
                pass

    async with trio.open_nursery() as nursery:
        for message in world.messages:
            task = streamed if message == "two" else partial(world.workflow.run, wait=True, durability=world.durability)
            nursery.start_soon(task, message)


async def check_queue(world: World) -> None:
    assert borrowers(world.workflow) == 0
    assert own_states(world.workflow) == committed_states(world.workflow)
    if world.storage is not None:
        await check_lineage(world.storage, world.workflow.head)
        await check_stored(world)
    await world.workflow.run("four", durability=world.durability)
    assert world.workflow.status is WorkflowRunState.IDLE


@pytest.mark.parametrize("durability", [None, "superstep"])
def test_runs_that_queue_cancelled_anywhere_give_the_workflow_back(durability: str | None) -> None:
    """F03, P1, R06: also where a run was granted the workflow and cancelled in the same instant."""
    report = cancel_everywhere(
        queued,
        setup=lambda: World(stateful, durability),
        check=check_queue,
        seeds=scheduling_seeds(1),
        max_steps=5000,
    )

    assert report.cancelled > 30


async def conversation(world: World) -> None:
    """A run that is answered while it goes on, in the caller's nursery."""
    async with trio.open_nursery() as nursery:
        start = partial(world.workflow.start, durability=world.durability, wait_for_responses=True, buffer=4)
        run = await nursery.start(start, "one")
        with run.events:
            async for event in run.events:
                if isinstance(event, RequestInfoEvent):
                    await run.respond(event.request_id, "yes")
    world.end()


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_conversation_cancelled_anywhere_goes_on_to_its_end(durability: str | None) -> None:
    """R06, R18, P2, P6: the answer was given or it was not; the request is never lost and never doubled."""
    report = cancel_everywhere(
        conversation,
        setup=lambda: World(joined, durability, ("one",)),
        check=check_against(final(joined, durability, ("one",))),
        seeds=scheduling_seeds(1),
        max_steps=5000,
    )

    assert report.cancelled > 15


async def reset_between(world: World) -> None:
    await world.run("one")
    await world.workflow.reset()
    world.ended.clear()
    await world.run("two")


async def check_reset(world: World) -> None:
    """A reset that was cancelled has happened or not; executors and state agree by the next run at the latest."""
    workflow = world.workflow
    assert borrowers(workflow) == 0
    await workflow.run("three")
    assert own_states(workflow) == committed_states(workflow)


def test_a_reset_cancelled_anywhere_leaves_no_mixture() -> None:
    """P3."""
    cancel_everywhere(
        reset_between, setup=lambda: World(stateful, None), check=check_reset, seeds=scheduling_seeds(2), max_steps=5000
    )
