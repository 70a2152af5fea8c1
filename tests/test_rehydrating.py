"""R05: within `rehydrating()` every run goes on from bytes after each superstep and at every wait, and comes to the same end.

What the switch finds out is shown on workflows that lean on memory; that it changes nothing else, by running the suite under it:
the modules that ``conftest.py`` names at every run, all of it with ACTORFLOW_REHYDRATE=1.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Never

import pytest
import trio
import trio.testing

import actorflow.workflow
from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    WorkflowBuilder,
    WorkflowContext,
    executor,
    handler,
    response_handler,
)
from actorflow.checkpoint.codec.sections import SectionCodec
from actorflow.core.effects import PendingRequest
from actorflow.core.subworkflows import LocatedRequest
from actorflow.errors import CheckpointError, CodecError, RequestNotFoundError
from actorflow.runtime.answers import Answers
from actorflow.runtime.runner import Runner
from actorflow.testing import rehydrating
from tests.nested_workflows import around

pytestmark = pytest.mark.not_rehydrated(reason="turns the switch on by itself")


class Count(Executor):
    """Counts down, and keeps what it saw."""

    state: list[int]

    @handler
    async def step(self, number: int, ctx: WorkflowContext[int, list[int]]) -> None:
        self.state.append(number)
        if number:
            ctx.send_message(number - 1)
        else:
            await ctx.yield_output([*self.state])


def countdown(storage: Any = None) -> Any:
    builder = WorkflowBuilder(name="countdown", start_executor=Count("a"), checkpoint_storage=storage)
    return builder.add_edge("a", Count("b")).add_edge("b", "a").build(id="countdown")


@pytest.mark.parametrize("durability", ["superstep", "async", "exit", "delivery"])
async def test_a_run_goes_on_from_its_storage_or_where_that_is_behind_from_one_of_the_switch(durability):
    storage = InMemoryCheckpointStorage()
    with rehydrating() as counts:
        result = await countdown(storage).run(4, durability=durability)

    assert result.outputs == [[4, 2, 0]]
    assert [info.parent_id for info in await storage.list()][:-1] == [info.id for info in await storage.list()][1:]
    # Before each of five supersteps, and at the end; the entry is always stored at once.
    expected = {"superstep": (6, 0), "delivery": (6, 0), "exit": (1, 5)}
    if durability in expected:
        assert (counts.loaded, counts.shadowed) == expected[durability]
    assert counts.loaded + counts.shadowed == 6


async def test_a_run_without_a_storage_goes_through_the_codec_all_the_same():
    with rehydrating() as counts:
        assert (await countdown().run(4)).outputs == [[4, 2, 0]]

    assert (counts.loaded, counts.shadowed) == (0, 6)


async def test_executors_share_no_message_whatever_they_do_to_it():
    held: list[list[str]] = []

    @executor
    async def begin(text: str, ctx: WorkflowContext[list[str]]) -> None:
        held.append([text])
        ctx.send_message(held[0])

    @executor
    async def change(texts: list[str], ctx: WorkflowContext[str]) -> None:
        texts.append("changed")
        ctx.send_message("now")

    @executor
    async def tell(text: str, ctx: WorkflowContext[Never, list[str]]) -> None:
        await ctx.yield_output(held.pop())

    builder = WorkflowBuilder(name="sharing", start_executor=begin).add_edge(begin, change).add_edge(change, tell)
    assert (await builder.build().run("x")).outputs == [["x", "changed"]]
    with rehydrating():
        assert (await builder.build().run("x")).outputs == [["x"]]


async def test_a_value_that_no_storage_could_keep_fails_the_run():
    @executor
    async def pass_on(message: object, ctx: WorkflowContext[object]) -> None:
        ctx.send_message(message)

    workflow = WorkflowBuilder(name="objects", start_executor=pass_on).build()
    await workflow.run(trio.Event())
    with rehydrating(), pytest.raises(CodecError, match="Event"):
        await workflow.run(trio.Event())


async def test_a_section_that_is_not_read_is_missed(monkeypatch):
    """What the switch is for: without it, this run ends well."""
    decode_one = SectionCodec._decode_one

    def forgets(self, key, table, name, data):
        value = decode_one(self, key, table, name, data)
        return [] if table == "executor" else value

    monkeypatch.setattr(SectionCodec, "_decode_one", forgets)

    assert (await countdown(InMemoryCheckpointStorage()).run(4)).outputs == [[4, 2, 0]]
    with rehydrating():
        assert (await countdown(InMemoryCheckpointStorage()).run(4)).outputs == [[0]]


class Ask(Executor):
    @handler
    async def ask(self, text: str, ctx: WorkflowContext) -> None:
        ctx.request_info(text, str, request_id=text)

    @response_handler
    async def answer(self, request: str, answer: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(f"{request}: {answer}")


@pytest.mark.parametrize("nested", [False, True])
async def test_an_answer_given_while_the_state_is_being_read_is_delivered_once(nested):
    """R18: it was matched to a request that is another object by the time it is committed."""

    class Slow(InMemoryCheckpointStorage):
        respond = again = None

        async def save(self, commit):
            if self.again is not None:
                with pytest.raises(RequestNotFoundError):
                    await self.again()
            return await super().save(commit)

        async def load(self, checkpoint_id):
            loaded = await super().load(checkpoint_id)
            if self.respond is not None:
                await self.respond()
            return loaded

    storage = Slow()
    if nested:
        child = WorkflowBuilder(name="child", start_executor=lambda: Ask("ask"))
        workflow = around(child.build).build()
    else:
        workflow = WorkflowBuilder(name="ask", start_executor=Ask("ask")).build()
    with rehydrating():
        async with workflow.stream(
            ["q"] if nested else "q", wait_for_responses=True, buffer=None, checkpoint_storage=storage
        ) as run:

            async def respond() -> None:
                if "q" in workflow.pending_requests:
                    storage.respond, storage.again = None, partial(run.respond, "q", "no")
                    await run.respond("q", "yes")

            storage.respond = respond
            result = await run.wait()

    assert result.outputs == ["q: yes"]
    assert not result.requests


async def test_what_an_interrupted_superstep_had_finished_is_taken_up_and_not_done_again():
    """F38: its deliveries are other objects by then."""
    done, fails = [], True

    @executor
    async def split(text: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message(text)

    @executor
    async def work(text: str, ctx: WorkflowContext[Never, str]) -> None:
        done.append(text)
        await ctx.yield_output(text)

    @executor
    async def fail(text: str, ctx: WorkflowContext) -> None:
        await trio.testing.wait_all_tasks_blocked()
        if fails:
            raise OSError(text)

    for storage in (None, InMemoryCheckpointStorage()):
        done, fails = [], True
        builder = WorkflowBuilder(name="half", start_executor=split, checkpoint_storage=storage)
        workflow = builder.add_fan_out_edges(split, [work, fail]).build()
        with rehydrating():
            with pytest.raises(OSError, match="x"):
                await workflow.run("x")
            fails = False
            assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["x"]
        assert done == ["x"]


async def test_a_storage_that_cannot_be_read_for_a_while_fails_no_run():
    class Away(InMemoryCheckpointStorage):
        async def load(self, checkpoint_id):
            raise OSError("away")

    with rehydrating() as counts:
        assert (await countdown(Away()).run(4)).outputs == [[4, 2, 0]]

    assert (counts.loaded, counts.shadowed, counts.unreadable) == (0, 6, 6)


async def test_a_checkpoint_that_is_not_what_was_saved_fails_the_run():
    class Loses(InMemoryCheckpointStorage):
        async def load(self, checkpoint_id):
            raise CheckpointError("not there")

    with rehydrating(), pytest.raises(CheckpointError, match="not there"):
        await countdown(Loses()).run(4)


async def test_a_run_that_is_cancelled_while_its_state_is_being_read_stands_where_it_stood(autojump_clock):
    class Hangs(InMemoryCheckpointStorage):
        loads = 0

        async def load(self, checkpoint_id):
            self.loads += 1
            if self.loads == 3:
                await trio.sleep_forever()
            return await super().load(checkpoint_id)

    workflow = countdown(Hangs())
    with rehydrating():
        with trio.move_on_after(1):
            await workflow.run(4)
        assert [each.state for each in workflow.executors.values()] == [[4], [3]]
        assert (await workflow.run(checkpoint_id=LATEST)).outputs == [[4, 2, 0]]


def test_after_the_block_runs_are_left_alone():
    with rehydrating():
        assert actorflow.workflow.Runner is not Runner
        with rehydrating():
            pass
        assert actorflow.workflow.Runner is not Runner

    assert actorflow.workflow.Runner is Runner


@pytest.mark.parametrize("how", ["answered", "expired"])
def test_what_is_settled_is_settled_when_its_request_was_read_back(how):
    """R05, R06: a request that was read back is another object, and takes no second answer."""
    before, now = ({"q": LocatedRequest((), PendingRequest("q", "ask", None, int))} for _ in range(2))
    answers = Answers()
    if how == "answered":
        answers.give(before, "q", 1)
    else:
        answers.expire([before["q"].request])
    answers.stand_on(before, now)
    with pytest.raises(RequestNotFoundError, match="'q'"):
        answers.give(now, "q", 2)
    assert [(each, value) for each, value in answers.take()] == ([(now["q"], 1)] if how == "answered" else [])
