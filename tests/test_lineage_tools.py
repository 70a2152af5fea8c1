"""History, diff and fork: the tools of a storage that look at a lineage, and branch it.

P5, P9, R18 (requests after a fork), R19 (fork of a fork), R24 (rebuilt state equals live state over random graphs, forks,
edits and prunes).
"""

from __future__ import annotations

import sys
from enum import Enum, Flag
from functools import partial
from typing import Any

import attrs
import pydantic
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    SqliteCheckpointStorage,
    WorkflowBuilder,
    handler,
    response_handler,
)
from actorflow import WorkflowContext as Context
from actorflow.checkpoint.codec.generic import GenericCodec
from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.values import Codec
from actorflow.checkpoint.deltas import pack_delta
from actorflow.checkpoint.records import Commit, Delta
from actorflow.errors import CheckpointError, CheckpointNotFoundError, CodecError, LeaseHeldError
from actorflow.storage import ABSENT, Change, Record, StorageTools, StoredMessage, StoredOutput, StoredRequest
from actorflow.testing.conformance.cancelling import cancelled_at
from actorflow.testing.storage_conformance import make_commit


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield InMemoryCheckpointStorage()
    else:
        with SqliteCheckpointStorage(tmp_path / "checkpoints.db", synchronous="normal") as opened:
            yield opened


class Color(Enum):
    RED = 1


class Rights(Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Note:
    text: str
    color: Color = Color.RED


class Counter(Executor):
    """Counts down over supersteps; keeps a trace in the shared state, the delivery ids, and a count of its own."""

    def __init__(self, id):  # noqa: A002
        super().__init__(id=id)
        self.handled = 0

    @handler
    async def count(self, left: int, ctx: Context[int, Note]) -> None:
        self.handled += 1
        ctx.set_state("trace", [*ctx.get_state("trace", []), left])
        ctx.set_state("ids", [*ctx.get_state("ids", []), ctx.delivery_id])
        ctx.set_state("note", Note(f"{left}"))
        await ctx.yield_output(Note(f"done {left}"))
        if ctx.config.get("fail_at") == left:
            raise RuntimeError("told to")
        if left:
            ctx.send_message(left - 1)

    async def on_checkpoint_save(self):
        return {"handled": self.handled}

    async def on_checkpoint_restore(self, state):
        self.handled = state.get("handled", 0)


def counting(storage, id):  # noqa: A002
    builder = WorkflowBuilder(name="counting", start_executor=lambda: Counter("a"), checkpoint_storage=storage)
    return builder.add_edge("a", lambda: Counter("b")).add_edge("b", "a").build(id=id)


async def counted(storage, count=3, id="original"):  # noqa: A002
    """Run one count, and return its checkpoints, oldest first."""
    await counting(storage, id).run(count)
    return await storage.history(id)


# History.


async def test_history_is_what_happened_in_order(storage):
    assert await storage.history("original") == []
    line = await counted(storage)
    assert [info.superstep for info in line] == [0, 1, 2, 3, 4]
    assert [info.parent_id for info in line] == [None, *(info.id for info in line[:-1])]
    assert await storage.history("\ud800") == []


async def test_history_crosses_forks_and_leaves_out_what_was_gone_back_from(storage):
    """P5, R19."""
    line = await counted(storage)
    fork = await storage.fork(line[2].id, workflow_id="fork")
    await counting(storage, "fork").run(checkpoint_id=LATEST)
    again = await storage.fork(fork.id, workflow_id="fork of fork")
    assert await storage.history("fork of fork") == [*line[:3], fork, again]
    await counting(storage, "original").run(checkpoint_id=line[1].id)
    now = await storage.history("original")
    assert now[:2] == line[:2]
    assert [info.superstep for info in now] == [0, 1, 2, 3, 4]
    assert not {info.id for info in now[2:]} & {info.id for info in line}


async def test_history_begins_where_the_older_part_was_pruned(storage):
    line = await counted(storage)
    await storage.prune(keep_last=2)
    now = await storage.history("original")
    assert [info.id for info in now] == [info.id for info in line[-2:]]
    assert now[0].derived_from == line[2].id


# Diff.


async def test_a_diff_tells_what_was_added_removed_and_changed(storage):
    line = await counted(storage)
    diff = await storage.diff(line[1].id, line[2].id, types=[Note])
    assert (diff.before, diff.after) == (line[1], line[2])
    assert diff.state["note"] == Change(Note("3"), Note("2"))
    assert diff.state["trace"] == Change([3], [3, 2])
    assert diff.executors == {"b": Change(ABSENT, {"handled": 1})}
    assert diff.messages_removed == (StoredMessage("b", 2, ("a",)),)
    assert diff.messages_added == (StoredMessage("a", 1, ("b",)),)
    assert diff.outputs_added == (StoredOutput("b", Note("done 2"), "output"),)
    assert diff.outputs_removed == ()
    assert diff.requests == diff.joins == diff.other == {}
    back = await storage.diff(line[2].id, line[1].id, types=[Note])
    assert back.state["trace"] == Change([3, 2], [3])
    assert back.executors == {"b": Change({"handled": 1}, ABSENT)}
    assert back.outputs_removed == diff.outputs_added


async def test_a_diff_of_one_checkpoint_with_itself_is_empty(storage):
    line = await counted(storage)
    diff = await storage.diff(line[1].id, line[1].id)
    assert diff.is_empty
    assert "no difference" in str(diff)
    assert not (await storage.diff(line[0].id, line[1].id)).is_empty


async def test_a_diff_needs_no_types_and_imports_nothing(storage):
    """P9: what is not given is shown as a record."""
    line = await counted(storage)
    modules = set(sys.modules)
    diff = await storage.diff(line[1].id, line[2].id)
    assert set(sys.modules) == modules
    color = Record("Color", {"member": "RED"})
    assert diff.state["note"] == Change(
        Record("Note", {"text": "3", "color": color}), Record("Note", {"text": "2", "color": color})
    )
    assert "note: Note(text='3', color=Color(member='RED')) -> Note(text='2'" in str(diff)
    assert "+ StoredOutput(executor_id='b', value=Note(text='done 2'" in str(diff)
    assert await storage.diff(line[1].id, line[2].id, types=counting(storage, "x").stored_types) == (
        await storage.diff(line[1].id, line[2].id, types=[Note])
    )


async def test_a_diff_of_nothing_is_an_error(storage):
    line = await counted(storage)
    with pytest.raises(CheckpointNotFoundError):
        await storage.diff(line[0].id, "nowhere")
    with pytest.raises(CheckpointNotFoundError):
        await storage.diff("nowhere", line[0].id)


@pytest.mark.parametrize(
    "changed",
    [
        {"state/x": b"\xc1"},
        {"request/x": b"\x91\x01"},
        {"request/x": b"\x01"},
        {"inflight/": b"\x91\x91\x01"},
        {"inflight/": b"\x05"},
        {"outputs/1": b"\x91\x93\xa1a\x01\xa1b"},
        {"state/x": b"\xc7\x03\x07\x92\xa1a"},
    ],
)
async def test_a_diff_of_damaged_sections_is_an_error_that_names_them(storage, changed):
    await storage.save(make_commit("a", changed={}))
    await storage.save(make_commit("b", changed=changed))
    with pytest.raises(CodecError):
        await storage.diff("a", "b")


async def test_a_diff_counts_equal_messages_and_keeps_outputs_in_order(storage):
    codec = GenericCodec()
    message = ["b", codec.encode("hello", "x"), ["a"], None]
    outputs = {
        f"outputs/{step}": codec.encode([["a", codec.encode(step, "x"), "output"]], "x") for step in (2, 10, 9, 100)
    }
    await storage.save(make_commit("1", changed={"inflight/": codec.encode([message] * 3, "x")}))
    await storage.save(make_commit("2", changed={"inflight/": codec.encode([message], "x"), **outputs}))
    diff = await storage.diff("1", "2")
    assert diff.messages_removed == (StoredMessage("b", "hello", ("a",)),) * 2
    assert diff.messages_added == ()
    assert [output.value for output in diff.outputs_added] == [2, 9, 10, 100]


async def test_a_diff_shows_sections_of_kinds_it_does_not_know(storage):
    codec = GenericCodec()
    for number in (1, 2):
        await storage.save(make_commit(f"{number}", changed={"later/kind": codec.encode([number, None], "x")}))
    assert (await storage.diff("1", "2")).other == {"later/kind": Change([1, None], [2, None])}


def nested(depth):
    codec = Codec(TypeRegistry([Nest]))
    value: Any = None
    for _ in range(depth):
        value = Nest(value)
    return codec.encode(value, "x")


class Model(pydantic.BaseModel):
    title: str


@attrs.frozen
class Nest:
    inside: Any


@attrs.frozen
class Nested:
    __actorflow_name__ = "Nest"
    other_field: Any


@pytest.mark.parametrize("types", [(), (Nest,), (Nested,)])
def test_reading_takes_no_longer_than_the_value_is_large(types):
    """However the types fit or do not: each part is read once."""
    value = GenericCodec(types).decode(nested(90), "x")
    assert repr(value).count("Nest(") == 90


def test_values_that_are_no_longer_what_their_class_says_are_records():
    data = Codec(TypeRegistry([Note, Rights])).encode((Note("x"), Rights.READ | Rights.WRITE), "x")

    class Note2:
        pass

    changed = attrs.make_class("Note", ["title"])
    note, rights = GenericCodec([changed]).decode(data, "x")
    assert note == Record("Note", {"text": "x", "color": Record("Color", {"member": "RED"})})
    assert rights == Record("Rights", {"value": 3})
    assert GenericCodec([Note, Rights]).decode(data, "x") == (Note("x"), Rights.READ | Rights.WRITE)


def test_a_model_that_no_longer_fits_is_shown_whole():
    """Its class takes the stored fields apart before it finds out."""
    data = Codec(TypeRegistry([Model])).encode(Model(title="x"), "x")
    changed = pydantic.create_model("Model", name=(str, ...))
    assert GenericCodec([Model]).decode(data, "x") == Model(title="x")
    assert GenericCodec([changed]).decode(data, "x").fields == GenericCodec().decode(data, "x").fields


def test_records_can_be_in_sets_and_be_keys():
    data = Codec(TypeRegistry([Note])).encode({Note("x"): {Note("y"), Note("z")}}, "x")
    ((key, members),) = GenericCodec().decode(data, "x").items()
    assert key.fields["text"] == "x"
    assert sorted(each.fields["text"] for each in members) == ["y", "z"]


@given(st.binary(max_size=60))
def test_whatever_bytes_are_read_nothing_but_a_codec_error_comes_out(data):
    """R09."""
    try:
        GenericCodec([Note]).decode(data, "x")
    except CodecError:
        return


# Fork.


async def test_a_fork_is_the_checkpoint_under_another_id(storage):
    """P5: its parent is true, it stands alone, and its digest chains."""
    line = await counted(storage)
    before = await storage.list("original")
    fork = await storage.fork(line[2].id, workflow_id="fork")
    original, copy = await storage.load(line[2].id), await storage.load(fork.id)
    assert (fork.parent_id, fork.workflow_id, fork.sequence) == (line[2].id, "fork", 1)
    assert (fork.superstep, fork.kind, fork.graph_signature) == (2, line[2].kind, line[2].graph_signature)
    differing = {
        key for key in {*original.contents, *copy.contents} if original.contents.get(key) != copy.contents.get(key)
    }
    assert differing <= {"run/", "chain/"}
    assert "chain/" not in copy.contents  # it is full, so its chain begins anew
    assert await storage.list("original") == before
    assert (await storage.fsck()).ok
    assert await storage.children(line[2].id) == [line[3], fork]


async def test_a_fork_goes_on_as_the_original_did_with_delivery_ids_of_its_own(storage):
    line = await counted(storage)
    original = await storage.load(line[-1].id)
    await storage.fork(line[2].id, workflow_id="fork")
    workflow = counting(storage, "fork")
    result = await workflow.run(checkpoint_id=LATEST)
    assert result.outputs == [Note(f"done {left}") for left in (3, 2, 1, 0)]
    diff = await storage.diff(line[-1].id, (await storage.history("fork"))[-1].id, types=[Note])
    assert set(diff.state) == {"ids"}
    assert diff.executors == {}
    theirs, ours = diff.state["ids"].before, diff.state["ids"].after
    assert theirs[:2] == ours[:2]
    assert not set(theirs[2:]) & set(ours[2:])
    assert original.contents.keys() >= {"state/trace"}


async def test_a_fork_has_the_delivery_ids_of_a_branch_that_a_run_began(storage):
    """One rule for both."""
    line = await counted(storage)
    await storage.fork(line[2].id, workflow_id="fork")
    await counting(storage, "fork").run(checkpoint_id=LATEST)
    elsewhere = InMemoryCheckpointStorage()
    for info in line[:3]:
        loaded = await storage.load(info.id)
        payload = pack_delta(Delta(changed=loaded.contents, full=True))
        await elsewhere.save(Commit(info=attrs.evolve(info, sequence=0), payload=payload, full=True))
    await counting(elsewhere, "fork").run(checkpoint_id=line[2].id)
    ids = [
        GenericCodec().decode((await each.latest(workflow_id="fork")).contents["state/ids"], "x")
        for each in (storage, elsewhere)
    ]
    assert ids[0] == ids[1]


async def test_state_is_edited_before_the_fork_goes_on(storage):
    line = await counted(storage)
    edits = {"trace": ["edited"], "note": ABSENT, "never there": ABSENT, "new": (1, Note("new"))}
    fork = await storage.fork(line[2].id, workflow_id="fork", state=edits, types=[Note])
    diff = await storage.diff(line[2].id, fork.id, types=[Note])
    assert diff.state == {
        "trace": Change([3, 2], ["edited"]),
        "note": Change(Note("2"), ABSENT),
        "new": Change(ABSENT, (1, Note("new"))),
    }
    workflow = WorkflowBuilder(
        name="counting", start_executor=lambda: Counter("a"), checkpoint_storage=storage, state_types=[Note]
    )
    workflow = workflow.add_edge("a", lambda: Counter("b")).add_edge("b", "a").build(id="fork")
    await workflow.run(checkpoint_id=LATEST)
    state = workflow._core.standing.snapshot.table("state")
    assert state["trace"] == ["edited", 1, 0]
    assert state["new"] == (1, Note("new"))
    assert (await storage.fsck(check=workflow.check_checkpoint)).ok


async def refused(storage, kind, checkpoint_id, **arguments):
    before = await storage.list()
    with pytest.raises(kind) as caught:
        await storage.fork(checkpoint_id, **arguments)
    assert await storage.list() == before
    lease = await storage.acquire_lease("fork", owner="somebody")
    await storage.release_lease(lease)
    return str(caught.value)


async def test_a_fork_that_cannot_be_is_refused_before_anything_is_written(storage):
    line = await counted(storage)
    head = line[-1].id
    assert "original" in await refused(storage, ValueError, head, workflow_id="original")
    for name in ("", "\ud800", 7):
        await refused(storage, ValueError, head, workflow_id=name)
    await refused(storage, CheckpointNotFoundError, "nowhere", workflow_id="fork")
    assert "keys" in await refused(storage, ValueError, head, workflow_id="fork", state={1: 2})
    await refused(storage, ValueError, head, workflow_id="fork", state=[("a", 1)])
    await refused(storage, CodecError, head, workflow_id="fork", state={"\ud800": 1})
    problem = await refused(storage, CodecError, head, workflow_id="fork", state={"x": [1, {"y": Note("z")}]})
    assert "state['x'][1]['y']" in problem
    await refused(storage, CodecError, head, workflow_id="fork", state={"x": object()})
    await storage.fork(head, workflow_id="fork")
    assert "already" in await refused(storage, CheckpointError, head, workflow_id="fork")


async def test_what_a_later_version_wrote_is_not_forked(storage):
    commit = make_commit("a")
    await storage.save(attrs.evolve(commit, info=attrs.evolve(commit.info, format_version=99)))
    assert "99" in await refused(storage, CheckpointError, "a", workflow_id="fork")


async def test_an_id_that_somebody_advances_is_not_forked_to(storage):
    """P7: not even if it has no checkpoint yet."""
    line = await counted(storage)
    lease = await storage.acquire_lease("fork", owner="run")
    with pytest.raises(LeaseHeldError):
        await storage.fork(line[0].id, workflow_id="fork")
    await storage.release_lease(lease)
    await storage.fork(line[0].id, workflow_id="fork")


async def test_an_id_that_is_taken_is_said_to_be_taken_also_while_it_is_advanced(storage):
    line = await counted(storage)
    await counted(storage, id="other")
    await storage.acquire_lease("other", owner="run")
    with pytest.raises(CheckpointError, match="already"):
        await storage.fork(line[0].id, workflow_id="other")


async def test_an_id_that_is_taken_at_the_last_moment_is_not_forked_to():
    class Raced(InMemoryCheckpointStorage):
        async def acquire_lease(self, workflow_id, *, owner):
            await self.save(make_commit("first", workflow_id=workflow_id))
            return await super().acquire_lease(workflow_id, owner=owner)

    storage = Raced()
    await storage.save(make_commit("a"))
    with pytest.raises(CheckpointError, match="already"):
        await storage.fork("a", workflow_id="fork")
    assert [info.id for info in await storage.list("fork")] == ["first"]


async def test_of_many_forks_to_one_id_one_is_written(storage):
    line = await counted(storage)
    refusals = []

    async def try_to(checkpoint_id):
        try:
            await storage.fork(checkpoint_id, workflow_id="fork")
        except (LeaseHeldError, CheckpointError) as error:
            refusals.append(error)

    async with trio.open_nursery() as nursery:
        for info in line * 2:
            nursery.start_soon(try_to, info.id)
    assert len(await storage.list("fork")) == 1
    assert len(refusals) == 2 * len(line) - 1


async def test_a_fork_cancelled_at_any_step_is_there_or_is_not(storage):
    line = await counted(storage)
    for step in range(200):
        name = f"fork {step}"
        returned, reached = await cancelled_at(step, partial(storage.fork, line[1].id, workflow_id=name))
        assert len(await storage.list(name)) == returned
        await storage.release_lease(await storage.acquire_lease(name, owner="next"))
        if not reached:
            return


async def test_a_fork_of_a_fork_stands_when_what_it_came_from_is_pruned_and_deleted(storage):
    """R19."""
    line = await counted(storage)
    first = await storage.fork(line[1].id, workflow_id="first", state={"trace": ["first"]})
    second = await storage.fork(first.id, workflow_id="second", state={"extra": 1})
    await storage.prune(workflow_id="original", keep_last=1)
    assert (await storage.load(first.id)).parent_id is None
    assert [info.id for info in await storage.history("second")] == [first.id, second.id]
    await counting(storage, "first").run(checkpoint_id=LATEST)
    await storage.prune(workflow_id="first", keep_last=1)
    workflow = counting(storage, "second")
    result = await workflow.run(checkpoint_id=LATEST)
    assert workflow._core.standing.snapshot.table("state")["trace"] == ["first", 2, 1, 0]
    assert len(result.outputs) == 4
    assert (await storage.fsck(check=workflow.check_checkpoint)).ok
    assert (await storage.history("second"))[0].digest == second.digest


class Delayer(Executor):
    """Sends itself and a join a delayed note."""

    @handler
    async def delay(self, text: str, ctx: Context[Note]) -> None:
        ctx.send_message(Note(text), delay=60)

    @handler
    async def show(self, note: Note, ctx: Context[Note, str]) -> None:
        await ctx.yield_output(f"{note.text} by {ctx.delivery_id}")


class Collector(Executor):
    @handler
    async def collect(self, notes: list[Note], ctx: Context[Any, str]) -> None:
        await ctx.yield_output(f"{len(notes)} by {ctx.delivery_id}")


def delaying(storage, id):  # noqa: A002
    builder = WorkflowBuilder(name="delaying", start_executor=lambda: Delayer(id="first"), checkpoint_storage=storage)
    builder.add_edge("first", lambda: Delayer(id="second"))
    return builder.add_fan_in_edges(["first", "second"], lambda: Collector(id="all"), wait="any").build(id=id)


async def test_a_fork_has_the_timers_and_each_side_fires_its_own(autojump_clock):
    storage = InMemoryCheckpointStorage()
    ours = await delaying(storage, "original").run("hello")
    line = await storage.history("original")
    diff = await storage.diff(line[0].id, line[1].id, types=[Note])
    timers = sorted((change.after for change in diff.timers.values()), key=lambda timer: len(timer.target_id))
    assert [(timer.value, timer.source_ids) for timer in timers] == [(Note("hello"), ("first",))] * 2
    assert "second" in {timer.target_id for timer in timers}
    assert all(change.before is ABSENT and change.after.due > 0 for change in diff.timers.values())
    assert "timers:" in str(diff)
    await storage.fork(line[1].id, workflow_id="fork")
    theirs = await delaying(storage, "fork").run(checkpoint_id=LATEST)
    assert [output.split(" by ")[0] for output in theirs.outputs] == [
        output.split(" by ")[0] for output in ours.outputs
    ]
    assert len({*ours.outputs, *theirs.outputs}) == 2 * len(ours.outputs)


class Asker(Executor):
    @handler
    async def ask(self, question: str, ctx: Context[Any, str]) -> None:
        ctx.request_info(question, str, request_id="first")
        ctx.request_info(Note(question), str, request_id="second")

    @response_handler
    async def on_answer(self, request: str, answer: str, ctx: Context[Any, str]) -> None:
        await ctx.yield_output(f"{answer} by {ctx.delivery_id}")

    @response_handler
    async def on_note(self, request: Note, answer: str, ctx: Context[Any, str]) -> None:
        await ctx.yield_output(f"{answer} by {ctx.delivery_id}")


def asking(storage, id):  # noqa: A002
    return WorkflowBuilder(name="asking", start_executor=lambda: Asker(id="asker"), checkpoint_storage=storage).build(
        id=id
    )


async def test_requests_open_at_a_fork_are_answered_differently_on_either_side(storage):
    """R18: in any order, both at once or one by one; no side hears of the other's answers, nor shares a delivery id."""
    await asking(storage, "original").run("really?")
    paused = (await storage.history("original"))[-1]
    fork = await storage.fork(paused.id, workflow_id="fork")
    assert (await storage.diff(paused.id, fork.id)).is_empty
    ours = await asking(storage, "fork").run(checkpoint_id=LATEST, responses={"second": "no", "first": "no"})
    theirs = await asking(storage, "original").run(checkpoint_id=LATEST, responses={"first": "yes"})
    assert [output.split(" by ")[0] for output in ours.outputs] == ["no", "no"]
    assert [output.split(" by ")[0] for output in theirs.outputs] == ["yes"]
    assert [request.request_id for request in theirs.requests] == ["second"]
    late = await storage.fork(paused.id, workflow_id="late")
    later = await asking(storage, "late").run(checkpoint_id=LATEST, responses={"first": "maybe"})
    assert len({*ours.outputs, *theirs.outputs, *later.outputs}) == 4
    assert late.parent_id == paused.id
    diff = await storage.diff(paused.id, (await storage.history("late"))[-1].id)
    assert diff.requests == {"first": Change(StoredRequest("first", "asker", "really?", "str"), ABSENT)}


async def test_a_fork_in_the_middle_of_answers_has_them_in_flight(storage):
    """R18."""
    workflow = asking(storage, "original")
    await workflow.run("really?")
    await workflow.run(responses={"first": "yes", "second": "yes"})
    (answered,) = [info for info in await storage.history("original") if info.kind == "responses"]
    await storage.fork(answered.id, workflow_id="fork")
    result = await asking(storage, "fork").run(checkpoint_id=LATEST)
    assert [output.split(" by ")[0] for output in result.outputs] == ["yes", "yes"]


class Minimal(StorageTools):
    """A storage of a third party that grants no leases."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        if "lease" in name:
            raise AttributeError(name)
        return getattr(self._inner, name)


async def test_a_storage_of_a_third_party_inherits_the_tools():
    storage = Minimal(InMemoryCheckpointStorage())
    line = await counted(storage._inner)
    fork = await storage.fork(line[1].id, workflow_id="fork")
    assert (await storage.history("fork"))[-1] == fork
    assert (await storage.diff(line[1].id, fork.id)).is_empty
    assert (await storage.fsck()).ok


async def test_a_lease_that_cannot_be_given_back_does_not_hide_what_was_written(autojump_clock):
    class NeverReleases(InMemoryCheckpointStorage):
        async def release_lease(self, lease):
            raise OSError("out of reach")

    storage = NeverReleases()
    await storage.save(make_commit("a"))
    assert (await storage.fork("a", workflow_id="fork")).parent_id == "a"


# R24.

EDITS = st.dictionaries(
    st.sampled_from("xyz"), st.one_of(st.just(ABSENT), st.integers(), st.text(max_size=3)), max_size=3
)


class Writer(Executor):
    """Does what it is told to the shared state, one step a superstep."""

    @handler
    async def write(self, steps: list, ctx: Context[list, int]) -> None:
        if not steps:
            return
        first, *rest = steps
        for key, value in first.items():
            if value is None:
                ctx.delete_state(key)
            else:
                ctx.set_state(key, value)
        await ctx.yield_output(len(rest))
        ctx.send_message(rest)


def writing(storage, id, width):  # noqa: A002
    builder = WorkflowBuilder(name="w", start_executor=lambda: Writer(id="0"), checkpoint_storage=storage)
    for number in range(1, width + 1):
        builder = builder.add_edge("0", lambda number=number: Writer(id=f"{number}"))
    return builder.add_edge("1", "0").build(id=id)


WRITES = st.lists(
    st.dictionaries(st.sampled_from("xyz"), st.one_of(st.none(), st.integers(), st.binary(max_size=300)), max_size=3),
    max_size=25,
)
MOVES = st.one_of(
    st.tuples(st.just("run"), st.integers(0), WRITES),
    st.tuples(st.just("fork"), st.integers(0), EDITS),
    st.tuples(st.just("resume"), st.integers(0), st.integers(0)),
    st.tuples(st.just("prune"), st.integers(1, 8), st.none()),
)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 3), first=WRITES, moves=st.lists(MOVES, max_size=8))
def test_rebuilt_state_equals_live_state_over_random_graphs_forks_edits_and_prunes(width, first, moves):
    """R24: what the head of every workflow object loads to is what it holds, and fsck finds nothing."""
    trio.run(_play, width, first, moves, clock=trio.testing.MockClock(autojump_threshold=0))


async def _play(width, first, moves):
    storage = InMemoryCheckpointStorage()
    live = {"root": writing(storage, "root", width)}
    await live["root"].run(first)
    for what, where, how in moves:
        names, infos = sorted(live), sorted(await storage.list(), key=lambda info: (info.workflow_id, info.sequence))
        name = names[where % len(names)]
        if what == "run":
            await live[name].run(how)
        elif what == "resume":
            own = [info for info in infos if info.workflow_id == name]
            await live[name].run(checkpoint_id=own[how % len(own)].id)
        elif what == "prune":
            await storage.prune(keep_last=where)
            left = {info.id for info in await storage.list()}
            for old in names:
                if live[old].head not in left:  # it had gone back to one that was not the latest
                    live[old] = writing(storage, old, width)
                    await live[old].run(checkpoint_id=LATEST)
        else:
            origin, new = infos[where % len(infos)], f"fork {len(live)}"
            fork = await storage.fork(origin.id, workflow_id=new, state=how)
            expected = _edited(_state(await storage.load(origin.id)), how)
            assert _state(await storage.load(fork.id)) == expected
            live[new] = writing(storage, new, width)
            await live[new].run(checkpoint_id=LATEST)
    for workflow in live.values():
        head = await storage.load(workflow.head)
        rebuilt = workflow._core.definition.codec.decode(head.contents, head.superstep)
        snapshot = workflow._core.standing.snapshot
        tables = {*rebuilt.tables, *snapshot.tables}
        assert all(dict(rebuilt.table(table)) == dict(snapshot.table(table)) for table in tables)
    report = await storage.fsck(check=workflow.check_checkpoint, deep=True)
    assert report.ok, str(report)


def _state(checkpoint):
    codec = GenericCodec()
    return {key: codec.decode(data, key) for key, data in checkpoint.contents.items() if key.startswith("state/")}


def _edited(state, edits):
    edited = {**state, **{f"state/{key}": value for key, value in edits.items()}}
    return {key: value for key, value in edited.items() if value is not ABSENT}
