"""Requests to the outside world and their answers: refused before anything is touched, answerable in any order, later and
while the run goes on, and never lost or doubled (F10, F11, F12; R17, R18).
"""

from functools import partial
from typing import Any, Never

import attrs
import pytest
import trio
import trio.testing

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    executor,
    handler,
    response_handler,
)
from actorflow.errors import MessageTypeError, RequestNotFoundError, ResponseTypeError
from actorflow.events import RequestInfoEvent, StatusEvent, WorkflowRunState
from tests.scenarios import Asker, Many, Relay, Tell, borrowers, chain, events_of, standing

IDLE = WorkflowRunState.IDLE
PENDING = WorkflowRunState.IDLE_WITH_PENDING_REQUESTS


@attrs.frozen
class Approval:
    ok: bool
    comment: str = ""


class Approver(Executor):
    """Asks as many questions as the number it gets."""

    fails = 0

    @handler
    async def ask(self, count: int, ctx: WorkflowContext[Never, str]) -> None:
        for number in range(count):
            ctx.request_info(f"q{number}", Approval)

    @response_handler
    async def approved(self, question: str, answer: Approval, ctx: WorkflowContext[Never, str]) -> None:
        if self.fails:
            self.fails -= 1
            raise LookupError(question)
        await ctx.yield_output(f"{question}:{answer.ok}:{answer.comment}:{ctx.request_id}")


def approving(storage: Any = None) -> Workflow:
    return WorkflowBuilder(name="approving", start_executor=Approver(id="a"), checkpoint_storage=storage).build(id="w")


def said(outputs: list[str]) -> list[str]:
    return [output.rpartition(":")[0] for output in outputs]


# Answering.


async def test_answering_one_of_two_leaves_the_other_pending_and_answering_both_none() -> None:
    """F10: the final state is that of the set of open requests, not of events seen."""
    workflow = approving()
    paused = await workflow.run(2)
    one, two = (each.request_id for each in paused.requests)
    assert (paused.status, [*workflow.pending_requests]) == (PENDING, [one, two])

    result = await workflow.run(responses={two: Approval(ok=True)})
    assert (result.status, [each.request_id for each in result.requests]) == (PENDING, [one])
    assert said(result.outputs) == ["q1:True:"]

    result = await workflow.run(responses={one: Approval(ok=False)})
    assert (result.status, result.requests, dict(workflow.pending_requests)) == (IDLE, (), {})
    assert result.outputs == [f"q0:False::{one}"]


async def test_a_restored_workflow_answers_everything_and_reads_idle() -> None:
    """F10: in a new process too, with checkpoint and responses in one call."""
    storage = InMemoryCheckpointStorage()
    paused = await approving(storage).run(2)
    answers = {each.request_id: Approval(ok=True) for each in paused.requests}

    result = await approving(storage).run(responses=answers, checkpoint_id=paused.checkpoint_id)

    assert (result.status, said(result.outputs)) == (IDLE, ["q0:True:", "q1:True:"])


async def test_answers_are_delivered_in_the_order_they_are_given() -> None:
    """P4, R18."""
    workflow = approving()
    paused = await workflow.run(3)
    ids = [each.request_id for each in paused.requests]
    result = await workflow.run(responses={ids[number]: Approval(ok=True) for number in (2, 0, 1)})
    assert said(result.outputs) == ["q2:True:", "q0:True:", "q1:True:"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"ok": True}, "True:"),
        ({"ok": False, "comment": "no"}, "False:no"),
        (Approval(ok=True, comment="yes"), "True:yes"),
    ],
)
async def test_a_json_answer_becomes_the_declared_type(answer: Any, outcome: str) -> None:
    workflow = approving()
    paused = await workflow.run(1)
    result = await workflow.run(responses={paused.requests[0].request_id: answer})
    assert said(result.outputs) == [f"q0:{outcome}"]


@pytest.mark.parametrize("wrong", [{"ok": "yes"}, {"ok": True, "extra": 1}, {}, "yes", None, 1, [True]])
@pytest.mark.parametrize("stored", [False, True])
async def test_a_wrong_answer_is_refused_and_the_request_stays_answerable(wrong: Any, stored: bool) -> None:
    """F11: nothing is touched, not even by the right answer beside it."""
    storage = InMemoryCheckpointStorage() if stored else None
    workflow = approving(storage)
    paused = await workflow.run(2)
    one, two = (each.request_id for each in paused.requests)
    before = standing(workflow)
    written = len(await storage.list()) if storage else 0

    with pytest.raises(ResponseTypeError, match=f"request {two!r} of executor 'a' is answered by Approval"):
        await workflow.run(responses={one: Approval(ok=True), two: wrong})

    assert (standing(workflow), workflow.status) == (before, PENDING)
    assert borrowers(workflow) == 0
    if storage:
        assert len(await storage.list()) == written
    result = await workflow.run(responses={one: Approval(ok=True), two: Approval(ok=True)})
    assert result.status is IDLE


async def test_an_unknown_or_answered_id_is_refused_naming_what_is_open() -> None:
    """F11, R18."""
    workflow = approving()
    paused = await workflow.run(2)
    one, two = (each.request_id for each in paused.requests)
    with pytest.raises(RequestNotFoundError, match=f"{one}.*{two}") as caught:
        await workflow.run(responses={"nonsense": Approval(ok=True)})
    assert (caught.value.request_id, caught.value.open_requests) == ("nonsense", (one, two))
    assert workflow.status is PENDING
    await workflow.run(responses={one: Approval(ok=True)})
    with pytest.raises(RequestNotFoundError):
        await workflow.run(responses={one: Approval(ok=True)})
    assert [*workflow.pending_requests] == [two]


async def test_a_wrong_answer_leaves_a_restore_undone() -> None:
    """F11: responses are checked against the checkpoint before it is taken up."""
    storage = InMemoryCheckpointStorage()
    workflow = approving(storage)
    paused = await workflow.run(1)
    done = await workflow.run(responses={paused.requests[0].request_id: Approval(ok=True)})
    with pytest.raises(ResponseTypeError):
        await workflow.run(responses={paused.requests[0].request_id: 1}, checkpoint_id=paused.checkpoint_id)
    assert workflow.head == done.checkpoint_id
    assert not workflow.pending_requests


@pytest.mark.parametrize("stored", [False, True])
async def test_an_answer_whose_handling_fails_is_delivered_again_by_latest(stored: bool) -> None:
    """P6: the workflow stands on its responses checkpoint, the answer is in flight."""
    workflow = approving(InMemoryCheckpointStorage() if stored else None)
    approver = workflow.executors["a"]
    assert isinstance(approver, Approver)
    paused = await workflow.run(2)
    one, two = (each.request_id for each in paused.requests)
    approver.fails = 2
    with pytest.raises(LookupError, match="q0"):
        await workflow.run(responses={one: Approval(ok=True)})
    assert [*workflow.pending_requests] == [two]
    with pytest.raises(RequestNotFoundError):
        await workflow.run(responses={one: Approval(ok=True)})
    with pytest.raises(LookupError, match="q0"):
        await workflow.run(checkpoint_id=LATEST)

    result = await workflow.run(checkpoint_id=LATEST)

    assert (result.outputs, result.status) == ([f"q0:True::{one}"], PENDING)


async def test_answering_another_request_takes_up_what_failed_as_well() -> None:
    """P6: an answer in flight is not lost by answering the next; and each delivery keeps its id."""
    ids: list[tuple[str, str]] = []

    class Careful(Approver):
        @response_handler
        async def approved(self, question: str, answer: Approval, ctx: WorkflowContext[Never, str]) -> None:
            ids.append((question, ctx.delivery_id))
            await super().approved(question, answer, ctx)

    approver = Careful(id="a")
    workflow = chain(approver)
    paused = await workflow.run(2)
    one, two = (each.request_id for each in paused.requests)
    approver.fails = 1
    with pytest.raises(LookupError, match="q0"):
        await workflow.run(responses={one: Approval(ok=True)})

    result = await workflow.run(responses={two: Approval(ok=True)})

    assert said(result.outputs) == ["q0:True:", "q1:True:"]
    assert [question for question, _ in ids] == ["q0", "q0", "q1"]
    assert ids[0] == ids[1]
    assert ids[1][1] != ids[2][1]


async def test_a_fresh_message_leaves_open_requests_answerable() -> None:
    workflow = approving()
    first = await workflow.run(1)
    second = await workflow.run(1)
    assert len(second.requests) == 2
    old, new = (each.request_id for each in second.requests)
    assert old == first.requests[0].request_id != new

    result = await workflow.run(responses={old: Approval(ok=True)})

    assert (result.outputs, result.status) == ([f"q0:True::{old}"], PENDING)


# Ids.


class Names(Executor):
    """Notes the ids of its deliveries and requests, and fails as often as it is told."""

    def __init__(self, id: str, fails: int = 0) -> None:  # noqa: A002
        super().__init__(id)
        self.fails = fails
        self.ids: list[tuple[str, str, str]] = []

    @handler
    async def name(self, number: int, ctx: WorkflowContext) -> None:
        self.ids.append((ctx.delivery_id, ctx.request_info("a", str), ctx.request_info("b", str)))
        if self.fails and number == 1:
            self.fails -= 1
            raise LookupError(number)

    @response_handler
    async def answered(self, question: str, answer: str, ctx: WorkflowContext) -> None: ...


@pytest.mark.parametrize("stored", [False, True])
async def test_ids_are_the_same_on_every_resume_and_differ_between_deliveries_and_runs(stored: bool) -> None:
    """F45 (the requests' part): a delivery's id, and those of its requests."""
    storage = InMemoryCheckpointStorage() if stored else None
    names = Names("names", fails=2)
    workflow = chain(Many(id="many"), names, checkpoint_storage=storage)
    with pytest.raises(LookupError):
        await workflow.run(2)
    with pytest.raises(LookupError):
        await workflow.run(checkpoint_id=LATEST)
    if storage:  # in a new process
        names.ids.append(names.ids[0])
        again = Names("names")
        workflow = chain(Many(id="many"), again, checkpoint_storage=storage)
    await workflow.run(checkpoint_id=LATEST)
    seen = [*names.ids] if storage is None else [*names.ids, *again.ids]

    assert len(set(seen)) == 2
    assert len({id_ for ids in set(seen) for id_ in ids}) == 6
    assert [*workflow.pending_requests] == [id_ for ids in dict.fromkeys(seen) for id_ in ids[1:]]
    await workflow.run(2)
    fresh = (names if storage is None else again).ids[-2:]
    assert not {id_ for ids in fresh for id_ in ids} & {id_ for ids in seen for id_ in ids}


class Own(Executor):
    """Asks under an id of its own."""

    @handler
    async def ask(self, request_id: str, ctx: WorkflowContext) -> None:
        for each in request_id.split(","):
            assert ctx.request_info("q", str, request_id=each) == each

    @response_handler
    async def answered(self, question: str, answer: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(answer)


async def test_an_id_of_ones_own_is_kept_and_may_come_again_once_it_is_answered() -> None:
    workflow = chain(Own(id="own"))
    assert [each.request_id for each in (await workflow.run("mine")).requests] == ["mine"]
    assert (await workflow.run(responses={"mine": "x"})).outputs == ["x"]
    assert (await workflow.run("mine")).requests[0].request_id == "mine"
    with pytest.raises(ValueError, match="'mine' belongs to an open request"):
        await workflow.run("mine")


async def test_one_id_for_two_requests_is_an_error_and_never_a_lost_request() -> None:
    """P8: within a delivery, and of two deliveries in one superstep."""
    with pytest.raises(ValueError, match="twice"):
        await chain(Own(id="own")).run("same,same")
    builder = WorkflowBuilder(name="two", start_executor=Relay(id="start"))
    workflow = builder.add_fan_out_edges("start", [Own(id="one"), Own(id="other")]).build()
    with pytest.raises(ValueError, match=r"'other'.*'x>start'.*'one'"):
        await workflow.run("x")
    assert not workflow.pending_requests


async def test_a_request_that_nobody_could_answer_is_an_error_in_its_handler() -> None:
    class Deaf(Executor):
        @handler
        async def ask(self, text: str, ctx: WorkflowContext) -> None:
            ctx.request_info(text, int)

        @response_handler
        async def answered(self, question: str, answer: str, ctx: WorkflowContext) -> None: ...

    with pytest.raises(MessageTypeError, match="executor 'deaf' has no @response_handler for a str answered by int"):
        await chain(Deaf(id="deaf")).run("x")


async def test_the_name_of_a_type_is_not_taken_for_the_type() -> None:
    class Quoting(Executor):
        @handler
        async def ask(self, text: str, ctx: WorkflowContext) -> None:
            ctx.request_info(text, "bool")

        @response_handler
        async def answered(self, question: str, answer: bool, ctx: WorkflowContext) -> None: ...

    with pytest.raises(MessageTypeError, match="give the type itself, not its name"):
        await chain(Quoting(id="quoting")).run("x")


async def test_requests_of_a_failed_superstep_were_never_made() -> None:
    """P3."""
    workflow = chain(Many(id="many"), Names("names", fails=1))
    with pytest.raises(LookupError):
        await workflow.run(2)
    assert not workflow.pending_requests


# Answering while the run goes on.


async def test_a_run_that_waits_for_responses_is_answered_in_any_order() -> None:
    """R18: several, each at its own time, and the run goes on to IDLE."""
    workflow = approving()
    statuses: list[WorkflowRunState] = []
    async with workflow.stream(3, wait_for_responses=True) as run:
        asked: list[str] = []
        async for event in run.events:
            if isinstance(event, RequestInfoEvent):
                asked.append(event.request_id)
            if isinstance(event, StatusEvent):
                statuses.append(event.status)
                if event.status is WorkflowRunState.IN_PROGRESS_PENDING_REQUESTS:
                    assert workflow.status is run.status is event.status
                    await run.respond(asked.pop(), Approval(ok=True))
        assert run.result is not None
    assert said(run.result.outputs) == ["q2:True:", "q1:True:", "q0:True:"]
    assert statuses[-1] is IDLE
    assert statuses.count(WorkflowRunState.IN_PROGRESS_PENDING_REQUESTS) == 3


async def test_live_answers_are_checked_and_an_id_is_answered_once() -> None:
    """F11, R18."""
    workflow = approving()
    async with trio.open_nursery() as nursery:
        run = await nursery.start(partial(workflow.start, buffer=None, wait_for_responses=True), 2)
        await trio.testing.wait_all_tasks_blocked()
        one, two = workflow.pending_requests
        with pytest.raises(ResponseTypeError):
            await run.respond(one, "no")
        with pytest.raises(RequestNotFoundError):
            await run.respond("nonsense", Approval(ok=True))
        await run.respond(one, Approval(ok=True))
        with pytest.raises(RequestNotFoundError):
            await run.respond(one, Approval(ok=False))
        await trio.testing.wait_all_tasks_blocked()
        assert [*workflow.pending_requests] == [two]
        with pytest.raises(RequestNotFoundError):
            await run.respond(one, Approval(ok=False))
        await run.respond(two, {"ok": False})
        result = await run.wait()
    assert said(result.outputs) == ["q0:True:", "q1:False:"]
    with pytest.raises(RuntimeError, match="has ended"):
        await run.respond(two, Approval(ok=True))


async def test_an_answer_given_in_the_middle_of_a_superstep_takes_effect_at_its_end(autojump_clock: Any) -> None:
    """R18, and it is not lost where the run would have ended there, though it does not wait for responses."""

    @executor
    async def slow(text: str, ctx: WorkflowContext) -> None:
        await trio.sleep(10)

    builder = WorkflowBuilder(name="middle", start_executor=Relay(id="start"))
    builder.add_fan_out_edges("start", [Asker(id="ask"), Relay(id="mid")])
    workflow = builder.add_edge("ask", Tell(id="tell")).add_edge("mid", slow).build()
    async with trio.open_nursery() as nursery:
        run = await nursery.start(partial(workflow.start, buffer=None), "x")
        await trio.sleep(5)
        (request_id,) = workflow.pending_requests
        await run.respond(request_id, "now")
        with pytest.raises(RequestNotFoundError):
            await run.respond(request_id, "again")
        assert [*workflow.pending_requests] == [request_id]
        result = await run.wait()
    assert result.outputs == ["x>start=now"]


async def test_an_answer_that_comes_too_late_is_refused_and_never_lost(autojump_clock: Any) -> None:
    """P8: here, while a run that is over writes its last checkpoint."""

    class Slow(InMemoryCheckpointStorage):
        async def save(self, commit: Any) -> Any:
            await trio.sleep(10)
            return await super().save(commit)

    workflow = approving(Slow())
    async with trio.open_nursery() as nursery:
        run = await nursery.start(partial(workflow.start, durability="exit", buffer=None), 1)
        await trio.sleep(15)
        (request_id,) = workflow.pending_requests
        with pytest.raises(RuntimeError, match="next run"):
            await run.respond(request_id, Approval(ok=True))
        await run.wait()
    assert [*workflow.pending_requests] == [request_id]


async def test_each_live_answer_begins_a_limit_of_its_own() -> None:
    """F09: a conversation within one run may have any number of turns."""
    workflow = chain(*(Asker(id=f"ask{number}") for number in range(5)), Tell(id="tell"), max_supersteps=2)
    async with workflow.stream("x", wait_for_responses=True) as run:
        async for event in run.events:
            if isinstance(event, RequestInfoEvent):
                await run.respond(event.request_id, "y")
    assert run.result is not None
    assert run.result.outputs == ["x=y=y=y=y=y"]


async def test_a_paused_conversation_is_opened_again_by_empty_responses_or_latest() -> None:
    """F12: it waits for answers at once, and for LATEST the open requests are told again after the first status."""
    for again in ({"responses": {}}, {"checkpoint_id": LATEST}):
        workflow = approving()
        paused = await workflow.run(1)
        async with workflow.stream(**again, wait_for_responses=True) as run:
            told: list[Any] = []
            async for event in run.events:
                told.append(event)
                if getattr(event, "status", None) is WorkflowRunState.IN_PROGRESS_PENDING_REQUESTS:
                    await run.respond(paused.requests[0].request_id, Approval(ok=True))
        assert run.result is not None
        assert said(run.result.outputs) == ["q0:True:"]
        if "checkpoint_id" in again:
            assert [type(event).type for event in told][:3] == ["started", "status", "request_info"]
            assert len(events_of(told, RequestInfoEvent)) == 1


async def test_a_stream_left_while_it_waits_for_an_answer_leaves_the_request_open() -> None:
    """P2."""
    workflow = approving()
    async with workflow.stream(1, wait_for_responses=True) as run:
        async for event in run.events:
            if isinstance(event, RequestInfoEvent):
                break
    assert len(workflow.pending_requests) == 1
    result = await workflow.run(responses={event.request_id: Approval(ok=True)})
    assert result.status is IDLE
