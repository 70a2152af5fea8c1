"""Proves that a workflow whose classes were renamed or changed takes up the checkpoints it made before, and goes on for good.

Guards F42 and R03: signatures from before a declared rename are accepted, sections that did not change keep their old bytes,
and the journal, forks and open requests are read through upcasters, too. R10: what was not declared is refused.
"""

from functools import partial
from typing import Any, Never

import attrs
import pytest

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    Upcaster,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowExecutor,
    handler,
    response_handler,
)
from actorflow.errors import CodecError, GraphMismatchError, UpcasterError


@attrs.frozen
class OldDraft:
    text: str


@attrs.frozen
class OldReply:
    yes: bool


@attrs.frozen
class Draft:
    __actorflow_version__ = 2
    text: str
    words: int


@attrs.frozen
class Reply:
    yes: bool


UPCASTERS = [
    Upcaster("OldDraft", "Draft"),
    Upcaster("OldReply", Reply),
    Upcaster("Draft", version=1, convert=lambda fields: {**fields, "words": len(fields["text"].split())}),
]


def make(draft, reply, *, storage, failing=False, wait="list", id="w", **more):  # noqa: A002
    """One workflow as it was, or as it is: write, keep, ask for leave, print."""
    calls: list[str] = []

    class Writer(Executor):
        @handler
        async def write(self, topic: str, ctx: WorkflowContext[draft]) -> None:
            made = draft(topic) if draft is OldDraft else draft(topic, len(topic.split()))
            if not ctx.has_state("first"):
                ctx.set_state("first", made)
            ctx.set_state("latest", made)
            ctx.send_message(made)

    class Editor(Executor):
        state: list[draft]

        @handler
        async def edit(self, message: draft, ctx: WorkflowContext[draft, str]) -> None:
            calls.append("edit")
            self.state.append(message)
            ctx.request_info(message, list[reply] | None if wait == "list" else reply, request_id=f"ask-{message.text}")

        @response_handler
        async def leave(self, request: draft, answer: list[reply] | None, ctx: WorkflowContext[draft, str]) -> None:
            await ctx.yield_output(f"{request} {len(self.state)}")

        @response_handler
        async def leave_at_once(self, request: draft, answer: reply, ctx: WorkflowContext[draft, str]) -> None:
            await ctx.yield_output(f"{request} {answer} {len(self.state)}")

    class Sink(Executor):
        @handler
        async def drop(self, message: draft, ctx: WorkflowContext[Never, str]) -> None:
            calls.append("drop")
            if failing:
                raise OSError("not today")
            await ctx.yield_output(f"sank {message}")

    workflow = (
        WorkflowBuilder(name="press", start_executor=Writer("writer"), checkpoint_storage=storage, **more)
        .add_fan_out_edges("writer", [Editor("editor"), Sink("sink")])
        .build(id=id)
    )
    workflow.calls = calls  # type: ignore[attr-defined]
    return workflow


def old(storage, **more):
    return make(OldDraft, OldReply, storage=storage, **more)


def today(storage, **more):
    return make(Draft, Reply, storage=storage, upcasters=UPCASTERS, **more)


async def test_an_old_checkpoint_is_resumed_run_on_and_resumed_again():
    storage = InMemoryCheckpointStorage()
    await old(storage).run("one two")
    stored = (await storage.latest(workflow_id="w")).contents

    workflow = today(storage)
    await workflow.run(checkpoint_id=LATEST)
    await workflow.run("three")

    latest = await storage.latest(workflow_id="w")
    assert latest.graph_signature == workflow.graph_signature
    assert latest.contents["state/first"] == stored["state/first"]  # did not change, so it keeps its bytes
    assert b"OldDraft" in latest.contents["state/first"]
    assert b"OldDraft" not in latest.contents["state/latest"]
    result = await today(storage).run(responses={"ask-one two": [Reply(True)], "ask-three": None}, checkpoint_id=LATEST)
    assert result.outputs == ["Draft(text='one two', words=2) 2", "Draft(text='three', words=1) 2"]


async def test_old_bytes_survive_full_snapshots_and_pruning():
    storage = InMemoryCheckpointStorage()
    await old(storage).run("one two")
    workflow = today(storage)
    await workflow.run(checkpoint_id=LATEST)
    for number in range(60):
        await workflow.run(f"{number}")
        await today(storage).run(checkpoint_id=LATEST)
        if number % 20 == 0:
            await storage.prune(keep_last=1)

    assert b"OldDraft" in (await storage.latest(workflow_id="w")).contents["state/first"]
    assert len((await today(storage).run(checkpoint_id=LATEST)).requests) == 61


async def test_what_finished_before_is_not_done_again():
    storage = InMemoryCheckpointStorage()
    before = old(storage, failing=True)
    with pytest.raises(OSError, match="not today"):
        await before.run("one two")
    assert sorted(before.calls) == ["drop", "edit"]

    workflow = today(storage)
    result = await workflow.run(checkpoint_id=LATEST)

    assert result.outputs == ["sank Draft(text='one two', words=2)"]
    assert workflow.calls == ["drop"]
    assert [each.data for each in result.requests] == [Draft("one two", 2)]


@pytest.mark.parametrize("wait", ["list", "one"])
async def test_an_open_request_is_answered_by_the_renamed_type(wait):
    storage = InMemoryCheckpointStorage()
    await old(storage, wait=wait).run("x")

    answer = [Reply(True)] if wait == "list" else Reply(True)
    result = await today(storage, wait=wait).run(responses={"ask-x": answer}, checkpoint_id=LATEST)

    assert len(result.outputs) == 1


async def test_a_branch_of_an_old_checkpoint_is_read_the_same_way():
    storage = InMemoryCheckpointStorage()
    await old(storage).run("x")
    head = await storage.latest(workflow_id="w")

    branch = today(storage, id="branch")
    await branch.run(checkpoint_id=head.id)
    await branch.run("y")

    again = today(storage, id="branch")
    await again.run(checkpoint_id=LATEST)
    assert [each.data for each in again.pending_requests.values()] == [Draft("x", 1), Draft("y", 1)]
    assert b"OldDraft" in (await storage.latest(workflow_id="branch")).contents["state/first"]


async def test_what_was_written_between_two_renames_is_taken_up_too():
    @attrs.frozen
    class MiddleReply:
        yes: bool

    storage = InMemoryCheckpointStorage()
    await make(OldDraft, MiddleReply, storage=storage).run("x")
    upcasters = [Upcaster("OldReply", "MiddleReply"), Upcaster("MiddleReply", Reply), UPCASTERS[0], UPCASTERS[2]]

    result = await make(Draft, Reply, storage=storage, upcasters=upcasters).run(checkpoint_id=LATEST)

    assert len(result.requests) == 1


@pytest.mark.parametrize("depth", [1, 2])
async def test_what_a_workflow_inside_renamed_is_taken_up_by_those_around_it(depth):
    """The signature of a workflow has in it those of the workflows inside, from before the rename as well."""
    storage = InMemoryCheckpointStorage()

    def asking(draft, reply, upcasters):
        class Ask(Executor):
            @handler
            async def ask(self, topic: str, ctx: WorkflowContext) -> None:
                ctx.request_info(draft(topic) if draft is OldDraft else draft(topic, 1), reply, request_id="r")

            @response_handler
            async def answer(self, request: draft, answer: reply, ctx: WorkflowContext[Never, str]) -> None:
                await ctx.yield_output(f"{request.text} {answer.yes}")

        held = WorkflowBuilder(name="ask", start_executor=lambda: Ask("ask"), upcasters=upcasters)
        for level in range(depth):
            holder = partial(WorkflowExecutor, held.build, f"level {level}", allow_direct_output=True)
            held = WorkflowBuilder(name=f"around {level}", start_executor=holder, checkpoint_storage=storage)
        return held.build(id="w")

    await asking(OldDraft, OldReply, []).run("topic")
    for upcasters in ([], UPCASTERS[:1]):
        with pytest.raises((GraphMismatchError, UpcasterError)):
            await asking(Draft, Reply, upcasters).run(checkpoint_id=LATEST)

    renamed = asking(Draft, Reply, UPCASTERS)
    await renamed.run(checkpoint_id=LATEST)
    assert (await renamed.run(responses={"r": Reply(True)})).outputs == ["topic True"]


async def test_a_class_that_moved_and_is_nested_is_the_same_class():
    class Outer:
        @attrs.frozen
        class OldReply:
            yes: bool

    storage = InMemoryCheckpointStorage()
    before = old(storage)
    await before.run("x")
    Outer.OldReply.__module__ = "elsewhere"
    workflow = make(OldDraft, Outer.OldReply, storage=storage)

    assert workflow.graph_signature == before.graph_signature
    result = await workflow.run(responses={"ask-x": [Outer.OldReply(True)]}, checkpoint_id=LATEST)
    assert len(result.outputs) == 1


async def test_a_class_that_is_given_its_old_name_is_the_same_class():
    @attrs.frozen
    class Answer:
        __actorflow_name__ = "OldReply"
        yes: bool

    storage = InMemoryCheckpointStorage()
    before = old(storage)
    await before.run("x")
    workflow = make(OldDraft, Answer, storage=storage)

    assert workflow.graph_signature == before.graph_signature
    result = await workflow.run(responses={"ask-x": [Answer(True)]}, checkpoint_id=LATEST)
    assert len(result.outputs) == 1


async def test_a_rename_that_nobody_declared_is_refused_and_says_what_to_declare():
    """R10."""
    storage = InMemoryCheckpointStorage()
    before = old(storage)
    await before.run("x")
    head = before.head

    with pytest.raises(GraphMismatchError, match=r"upcasters=\[Upcaster\('OldName', to=NewClass\)\].*restores="):
        await make(Draft, Reply, storage=storage).run(checkpoint_id=LATEST)
    vouched = make(Draft, Reply, storage=storage, restores=[before.graph_signature])
    with pytest.raises(
        CodecError, match=r"'OldDraft' is not declared.*upcasters=\[Upcaster\('OldDraft', to=\.\.\.\)\]"
    ):
        await vouched.run(checkpoint_id=LATEST)
    assert (await storage.latest(workflow_id="w")).id == head


async def test_a_signature_the_user_vouches_for_is_taken_up_if_everything_in_it_has_a_place():
    class Start(Executor):
        @handler
        async def go(self, message: str, ctx: WorkflowContext[str]) -> None:
            ctx.send_message(message)

    class End(Executor):
        @handler
        async def go(self, message: str, ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(message)

    class Renamed(End): ...

    def build(end, **more):
        return (
            WorkflowBuilder(name="n", start_executor=Start("start"), checkpoint_storage=storage, **more)
            .add_edge("start", end)
            .build(id="n")
        )

    storage = InMemoryCheckpointStorage()
    before = build(End("end"))
    await before.run("x")
    half_way = (await storage.list(workflow_id="n"))[1].id
    restores = [before.graph_signature]

    with pytest.raises(GraphMismatchError):
        await build(Renamed("end")).run(checkpoint_id=half_way)
    assert (await build(Renamed("end"), restores=restores).run(checkpoint_id=half_way)).outputs == ["x"]
    with pytest.raises(GraphMismatchError, match="holds something for 'end', which this graph does not have"):
        await build(End("other"), restores=restores).run(checkpoint_id=half_way)


def test_a_declaration_that_cannot_work_is_refused_when_the_workflow_is_built():
    with pytest.raises(UpcasterError, match="leads nowhere"):
        make(Draft, Reply, storage=None, upcasters=[Upcaster("OldDraft", "Nobody")])
    with pytest.raises(UpcasterError) as refused:
        make(Draft, Reply, storage=None, upcasters=[Upcaster("Zap", version=1, convert=dict)])
    assert refused.value.__notes__ == ["given to the builder of workflow 'press'"]
    with pytest.raises(ValueError, match="restores is a list"):
        make(Draft, Reply, storage=None, restores="abc")


async def test_a_field_that_was_added_to_a_pydantic_model_in_silence_is_refused():
    import pydantic

    def build(fields: dict[str, Any], storage):
        model = pydantic.create_model("Model", **dict.fromkeys(fields, (int, 0)))

        class Keeper(Executor):
            @handler
            async def keep(self, message: str, ctx: WorkflowContext) -> None:
                ctx.set_state("model", model())

        builder = WorkflowBuilder(name="m", start_executor=Keeper("k"), state_types=[model], checkpoint_storage=storage)
        return builder.build(id="m")

    storage = InMemoryCheckpointStorage()
    await build({"a": 0}, storage).run("x")

    with pytest.raises(CodecError, match=r"\(a\) are not those it has \(a, b\).*__actorflow_version__ = 2"):
        await build({"a": 0, "b": 0}, storage).run(checkpoint_id=LATEST)
