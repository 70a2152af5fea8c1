"""Requests with a deadline: an answer wins up to the moment the deadline is committed, and none is lost or doubled.

A deadline alone does not keep a run, one that has passed is delivered by whatever run comes next, and the response handler
gets a `RequestTimeout` in the place of the answer. The stored form of a request without one is as it ever was.
"""

import math
from datetime import timedelta
from typing import Any, Never

import pytest
import trio
import trio.testing

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    RequestTimeout,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowRunState,
    executor,
    handler,
    response_handler,
)
from actorflow.core.effects import PendingRequest
from actorflow.core.snapshot import REQUESTS
from actorflow.errors import CheckpointError, MessageTypeError, RequestNotFoundError
from actorflow.events import MessageDroppedEvent, RequestInfoEvent, StatusEvent, from_json, to_json
from actorflow.testing import cancel_everywhere
from tests.scenarios import check_lineage, events_of
from tests.test_timers import DiesAt, Stamp, virtual

IDLE, PENDING = WorkflowRunState.IDLE, WorkflowRunState.IDLE_WITH_PENDING_REQUESTS


class Asks(Executor):
    """Asks one question for each deadline it gets, and yields what came of it."""

    @handler
    async def ask(self, deadlines: list[Any], ctx: WorkflowContext) -> None:
        for number, timeout in enumerate(deadlines):
            ctx.request_info(f"q{number}", str, request_id=f"q{number}", timeout=timeout)

    @response_handler
    async def answered(self, question: str, answer: str | RequestTimeout, ctx: WorkflowContext[Never, str]) -> None:
        said = f"late after {answer.timeout:g}" if isinstance(answer, RequestTimeout) else answer
        await ctx.yield_output(f"{ctx.request_id}: {said} @{trio.current_time():g}")


def asking(storage: Any = None) -> Workflow:
    return WorkflowBuilder(name="asking", start_executor=lambda: Asks("asks"), checkpoint_storage=storage).build(id="w")


# What may be asked.


@pytest.mark.parametrize("length", [-1, math.nan, math.inf, "1", True, timedelta(seconds=-1)])
async def test_what_is_no_length_of_time_is_refused(length):
    with pytest.raises(ValueError, match="timeout="):
        await asking().run([length])


async def test_a_deadline_needs_a_handler_that_takes_a_timeout_and_the_error_says_so():
    class Deaf(Executor):
        @handler
        async def ask(self, text: str, ctx: WorkflowContext) -> None:
            ctx.request_info(text, int, timeout=5)

        @response_handler
        async def answered(self, question: str, answer: int, ctx: WorkflowContext) -> None:
            raise AssertionError

    with pytest.raises(MessageTypeError, match=r"'int \| RequestTimeout'"):
        await WorkflowBuilder(name="w", start_executor=Deaf("deaf")).build().run("x")


async def test_a_timeout_may_have_a_handler_of_its_own(autojump_clock):
    class Two(Executor):
        @handler
        async def ask(self, text: str, ctx: WorkflowContext) -> None:
            ctx.request_info(text, int, timeout=timedelta(minutes=1))

        @response_handler
        async def answered(self, question: str, answer: int, ctx: WorkflowContext) -> None:
            raise AssertionError

        @response_handler
        async def late(
            self, question: str, answer: RequestTimeout, ctx: WorkflowContext[Never, RequestTimeout]
        ) -> None:
            await ctx.yield_output(answer)

    workflow = WorkflowBuilder(
        name="w", start_executor=Two("two"), checkpoint_storage=InMemoryCheckpointStorage()
    ).build()
    async with workflow.stream("x", wait_for_responses=True, buffer=None) as run:
        result = await run.wait()

    (timeout,) = result.outputs
    assert (timeout.timeout, trio.current_time(), result.status) == (60.0, 60, IDLE)


# Who wins.


async def test_a_stream_that_waits_for_answers_waits_for_answer_or_deadline_whichever_is_first(autojump_clock):
    async with asking().stream([10, 20, None], wait_for_responses=True) as run:
        statuses = []
        async for event in run.events:
            if isinstance(event, StatusEvent):
                statuses.append(event.status)
            if isinstance(event, RequestInfoEvent) and event.request_id == "q2":
                await trio.sleep(15)
                await run.respond("q1", "in time")
                with pytest.raises(RequestNotFoundError):
                    await run.respond("q0", "too late")
                await trio.sleep(50)
                await run.respond("q2", "whenever")

    assert run.result is not None
    assert run.result.outputs == ["q0: late after 10 @10", "q1: in time @15", "q2: whenever @65"]
    assert statuses[-1] is IDLE


async def test_an_answer_at_the_very_instant_of_the_deadline_wins(autojump_clock):
    async with asking().stream([10], wait_for_responses=True, buffer=None) as run:
        await trio.sleep(10)
        try:
            await run.respond("q0", "just")
        except RequestNotFoundError:
            expected = "q0: late after 10 @10"
        else:
            expected = "q0: just @10"
        result = await run.wait()

    assert result.outputs == [expected]


async def test_an_answer_taken_while_a_superstep_runs_is_not_overtaken_by_the_deadline_at_its_commit(autojump_clock):
    @executor
    async def start(text: str, ctx: WorkflowContext[str | list[Any]]) -> None:
        ctx.send_message([10], "asks")
        ctx.send_message(text, "slow")

    @executor
    async def slow(text: str, ctx: WorkflowContext[str]) -> None:
        if text != "again":
            ctx.send_message("again")
        else:
            await trio.sleep(30)

    with pytest.warns(UserWarning, match="self-loop"):
        workflow = (
            WorkflowBuilder(name="w", start_executor=start)
            .add_edge(start, Asks("asks"))
            .add_edge(start, slow)
            .add_edge(slow, slow)
            .build()
        )
    for answer_at, said in (
        (5, "q0: yes @30"),
        (9.999, "q0: yes @30"),
        (20, "q0: yes @30"),
        (None, "q0: late after 10 @30"),
    ):
        began = trio.current_time()
        async with workflow.stream("x", buffer=None) as run:
            if answer_at is not None:
                await trio.sleep(answer_at)
                await run.respond("q0", "yes")
            (output,) = (await run.wait()).outputs
            head, _, at = output.rpartition("@")
            assert f"{head}@{float(at) - began:g}" == said


async def test_an_answer_that_comes_while_the_expiry_is_being_stored_is_refused(autojump_clock):
    class Slow(InMemoryCheckpointStorage):
        async def save(self, commit: Any) -> Any:
            await trio.sleep(5)
            return await super().save(commit)

    async with asking(Slow()).stream([10], wait_for_responses=True, buffer=None) as run:
        await trio.sleep(
            5 + 10 + 1
        )  # the entry is saved, the request is committed, its deadline passes: into that save
        with pytest.raises(RequestNotFoundError):
            await run.respond("q0", "too late")
        result = await run.wait()

    assert [output.split(" @")[0] for output in result.outputs] == ["q0: late after 10"]


async def test_an_id_may_be_asked_again_once_it_is_answered(autojump_clock):
    class Again(Executor):
        @handler
        async def ask(self, count: int, ctx: WorkflowContext) -> None:
            ctx.request_info(count, int, request_id="same")

        @response_handler
        async def answered(self, count: int, answer: int, ctx: WorkflowContext[Never, int]) -> None:
            await ctx.yield_output(answer)
            if count:
                ctx.request_info(count - 1, int, request_id="same")

    async with WorkflowBuilder(name="w", start_executor=Again("a")).build().stream(2, wait_for_responses=True) as run:
        async for event in run.events:
            if isinstance(event, RequestInfoEvent):
                await run.respond("same", event.data)

    assert run.result is not None
    assert run.result.outputs == [2, 1, 0]


async def test_an_answer_is_not_taken_for_lost_when_its_id_is_asked_again_and_left_open(autojump_clock):
    class Twice(Executor):
        @handler
        async def ask(self, text: str, ctx: WorkflowContext[str]) -> None:
            ctx.request_info(text, int, request_id="same")
            ctx.send_message(text, delay=10)

        @response_handler
        async def answered(self, text: str, answer: int, ctx: WorkflowContext) -> None:
            ctx.request_info(text, int, request_id="same")

    workflow = WorkflowBuilder(name="w", start_executor=Twice("a")).add_edge("a", Stamp("stamp")).build()
    events = []
    async with workflow.stream("x") as run:
        async for event in run.events:
            events.append(event)
            if isinstance(event, RequestInfoEvent) and len(events_of(events, RequestInfoEvent)) == 1:
                await run.respond("same", 1)

    assert [*workflow.pending_requests] == ["same"]
    assert events_of(events, MessageDroppedEvent) == []


# Who waits.


async def test_a_run_does_not_stay_for_deadlines_alone_and_a_later_one_delivers_what_is_overdue(autojump_clock):
    workflow = asking(InMemoryCheckpointStorage())
    paused = await workflow.run([30, 10, None])
    assert (paused.status, paused.outputs, trio.current_time()) == (PENDING, [], 0)
    assert [request.due is not None for request in paused.requests] == [True, True, False]

    early = await workflow.run(checkpoint_id=LATEST)
    assert (early.status, early.outputs, early.supersteps) == (PENDING, [], 1)

    await trio.sleep(100)
    late = await workflow.run(checkpoint_id=LATEST)
    assert late.outputs == ["q1: late after 10 @100", "q0: late after 30 @100"]
    assert (late.status, [*workflow.pending_requests]) == (PENDING, ["q2"])


async def test_a_run_with_answers_delivers_them_and_what_is_overdue_and_an_answer_that_is_late_still_wins(
    autojump_clock,
):
    """The request was open until now: that its deadline had passed was not committed."""
    workflow = asking(InMemoryCheckpointStorage())
    await workflow.run([10, 20, None])
    await trio.sleep(60)

    result = await workflow.run(responses={"q0": "late, and taken"})

    assert result.outputs == ["q0: late, and taken @60", "q1: late after 20 @60"]
    assert (result.status, [*workflow.pending_requests]) == (PENDING, ["q2"])
    with pytest.raises(RequestNotFoundError):
        await workflow.run(responses={"q1": "too late"})


async def test_deadlines_expire_while_a_run_waits_for_delayed_messages(autojump_clock):
    @executor
    async def start(text: str, ctx: WorkflowContext[str | list[Any]]) -> None:
        ctx.send_message([10, 100], "asks")
        ctx.send_message("timer", "stamp", delay=50)

    workflow = (
        WorkflowBuilder(name="w", start_executor=start)
        .add_edge(start, Asks("asks"))
        .add_edge(start, Stamp("stamp"))
        .build()
    )
    result = await workflow.run("x")

    assert result.outputs == ["q0: late after 10 @10", "timer@4/50"]
    assert (result.status, [*workflow.pending_requests]) == (PENDING, ["q1"])


async def test_a_fresh_message_leaves_requests_and_their_deadlines_as_they_are(autojump_clock):
    workflow = asking()
    await workflow.run([10])
    await trio.sleep(60)

    assert (await workflow.run([])).outputs == ["q0: late after 10 @60"]


async def test_answers_of_nothing_deliver_nothing(autojump_clock):
    """F12."""
    workflow = asking()
    await workflow.run([10])
    await trio.sleep(60)

    result = await workflow.run(responses={})

    assert (result.outputs, result.status) == ([], PENDING)


# Restarts.


def test_a_deadline_is_a_time_of_day_over_restarts_and_every_kill():
    """P6, R07: killed at each save in turn, before or after it is stored."""

    async def main(number: int, after: bool) -> tuple[bool, list[str]]:
        storage = DiesAt(number, after=after)
        died = False
        while True:
            workflow = asking(storage)
            try:
                if await storage.latest(workflow_id="w") is None:
                    arguments: dict[str, Any] = {"message": [10, 20]}
                else:
                    arguments = {"checkpoint_id": LATEST}
                async with workflow.stream(**arguments, wait_for_responses=True, buffer=None) as run:
                    result = await run.wait()
            except CheckpointError:  # the process has died
                died = True
                continue
            await check_lineage(storage, workflow.head)
            return died, result.outputs

    for after in (False, True):
        number = 1
        while (found := virtual(main, number, after))[0]:
            assert found[1] == ["q0: late after 10 @10", "q1: late after 20 @20"], (number, after)
            number += 1
        assert number > 5


def test_a_wait_cancelled_at_any_step_leaves_every_request_answered_or_open():
    def setup() -> Workflow:
        return asking(InMemoryCheckpointStorage())

    async def scenario(workflow: Workflow) -> None:
        async with workflow.stream([10, None], wait_for_responses=True, buffer=None) as run:
            await trio.sleep(15)
            await run.respond("q1", "yes")
            await run.wait()

    async def check(workflow: Workflow) -> None:
        if workflow.head is None:
            return
        async with workflow.stream(checkpoint_id=LATEST, wait_for_responses=True, buffer=None) as run:
            await trio.sleep(30)
            if "q1" in workflow.pending_requests:
                await run.respond("q1", "yes")
            outputs = (await run.wait()).outputs
        assert sorted(text.split(" @")[0] for text in outputs)[-1:] == ["q1: yes"]
        assert workflow.pending_requests == {}

    assert cancel_everywhere(scenario, setup=setup, check=check)


# What is told and stored.


async def test_the_event_says_when_and_travels_as_json(autojump_clock):
    result = await asking().run([60, None])

    with_one, without = events_of(result.events, RequestInfoEvent)
    assert without.due is None
    assert with_one.due == pytest.approx(946_684_800 + 60)  # the virtual clock's time of day
    assert from_json(to_json(with_one)) == with_one
    assert from_json(to_json(without).replace('"due": null', '"x": null').replace(', "x": null', "")) == without


def test_a_request_without_a_deadline_is_stored_as_it_ever_was():
    from actorflow.checkpoint.codec.registry import TypeRegistry
    from actorflow.checkpoint.codec.sections import SectionCodec

    codec = SectionCodec(TypeRegistry([str, RequestTimeout]))
    plain = codec.encode((REQUESTS, "r"), PendingRequest("r", "asker", "q", str))
    timed = codec.encode((REQUESTS, "r"), PendingRequest("r", "asker", "q", str, 10.0, 99.5))

    assert plain == codec._plain(["r", "asker", codec._codec.encode("q", "x"), "str"])
    for data in (plain, timed):
        (back,) = codec.decode({"request/r": data}, 1).requests.values()
        assert codec.encode((REQUESTS, "r"), back) == data
