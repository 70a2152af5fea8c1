"""What a checkpoint holds, gives back, and refuses (P3, P8, P9): exact values or an error with their path, all-or-nothing
restores, requests in any order, no secret and no code in the bytes.
"""

# ruff: noqa: A001, A002, A006  # id is the word that executors and workflows use

from __future__ import annotations

import enum
import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import attrs
import pytest

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
from actorflow.checkpoint.deltas import unpack_delta
from actorflow.checkpoint.records import FORMAT_VERSION
from actorflow.core.values import same_value
from actorflow.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CodecError,
    GraphMismatchError,
    RequestNotFoundError,
    ResponseTypeError,
)
from actorflow.events import WorkflowRunState

DURABILITIES = ["superstep", "async", "exit"]
every_durability = pytest.mark.parametrize("durability", DURABILITIES)


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield InMemoryCheckpointStorage()
        return
    with SqliteCheckpointStorage(tmp_path / "x.db", synchronous="normal") as opened:
        yield opened


async def headers(storage):
    return (await storage.list())[::-1]


def state_of(workflow):
    return dict(workflow._core.standing.snapshot.table("state"))


# Values.


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


@attrs.frozen
class Inner:
    amount: Decimal
    tags: frozenset[str]


@dataclass
class Order:
    id: UUID
    lines: list[Inner]
    by_key: dict[tuple[int, str], Colour]
    note: str | None = None


class Point(NamedTuple):
    x: int
    y: float


class Options(TypedDict):
    deep: dict[str, list[int]]


Stored = Order | Inner | Point | Options | Colour | Level | Word

VALUES = {
    "one and True": [1, True, 1.0, 0, False, None],
    "keys that look alike": {1: "a", "1": "b", (1,): "c", None: "d", b"1": "e", 1.5: "f", frozenset({1}): "g"},
    "tuples and lists": (1, [2, (3,)], (), [], {}, set(), frozenset()),
    "floats": [math.inf, -math.inf, math.nan, -0.0, 0.1, 1e300],
    "big ints": [2**63, -(2**200), 2**64 - 1],
    "text": ["", "ä\u0000\U0001f600", "a" * 1000],
    "bytes": b"\x00\xff",
    "times": [
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1),  # noqa: DTZ001
        date(2026, 1, 1),
        timedelta(microseconds=1),
    ],
    "numbers": [Decimal("1.10"), Decimal("NaN"), UUID(int=7)],
    "enums": [Colour.RED, Level.LOW, Word.YES, {Colour.RED: Level.LOW}],
    "sets": {1, "1", (1, 2), frozenset({3})},
    "a dataclass": Order(UUID(int=1), [Inner(Decimal(1), frozenset({"x"}))], {(1, "a"): Colour.RED}),
    "a named tuple": [Point(1, 2.0), Point(3, 4.0)],
    "nested": {"a": [{"b": (Inner(Decimal(2), frozenset()), {"c": {1: [None]}})}]},
}


class Carrier(Executor):
    """Gets a value as a message, and puts it wherever a value can be: state, its own state, an output, a request."""

    state: dict[str, Any]

    @handler
    async def start(self, which: str, ctx: Context[Any]) -> None:
        ctx.send_message(VALUES[which])

    @handler
    async def carry(self, value: list[Any] | Stored | Any, ctx: Context[Any, Any]) -> None:
        self.state["kept"] = value
        ctx.set_state("kept", value)
        await ctx.yield_output(value)
        ctx.request_info(value, object, request_id="r")
        if ctx.config.get("stop"):
            raise RuntimeError("told to stop")

    @response_handler
    async def answered(self, request: Any, response: object, ctx: Context[Any, Any]) -> None:
        await ctx.yield_output(request)
        await ctx.yield_output(response)


def carrier(storage, **more):
    more.setdefault("state_types", [Stored])
    builder = WorkflowBuilder(
        name="carry", start_executor=lambda: Carrier(id="one"), checkpoint_storage=storage, **more
    )
    return builder.add_edge("one", lambda: Carrier(id="two")).build(id="C")


@pytest.mark.parametrize("which", VALUES)
async def test_values_come_back_exactly_from_wherever_they_were_stored(which, storage):
    """F34, R13: state, executor state, message in flight, output and request; type for type."""
    value = VALUES[which]
    with pytest.raises(RuntimeError, match="told to stop"):
        await carrier(storage).run(which, config={"stop": True})
    rebuilt = carrier(storage)
    result = await rebuilt.run(checkpoint_id=LATEST)  # the message was in flight
    looked = carrier(storage)
    again = await looked.run(checkpoint_id=LATEST)
    for place in (
        state_of(looked)["kept"],
        looked.executors["two"].state["kept"],
        again.outputs[0],
        again.requests[0].data,
        result.outputs[0],
    ):
        assert same_value(place, value)
    answered = await carrier(storage).run(checkpoint_id=LATEST, responses={"r": value})
    assert same_value(answered.outputs, [value, value])


class Opaque:
    """Nothing the codec knows, or is told of."""


_BAD: dict[str, Any] = {
    "an unknown class": Opaque(),
    "a function": len,
    "a subclass of dict": OrderedDict(a=1),
    "deep inside": {"a": [1, {"b": Opaque()}]},
}


class Sloppy(Executor):
    def __init__(self, id):
        super().__init__(id=id)
        self.own = {"fine": 1}

    async def on_checkpoint_save(self):
        return self.own

    async def on_checkpoint_restore(self, state):
        self.own = dict(state)

    @handler
    async def go(self, where: str, ctx: Context[Any, Any]) -> None:
        bad = ctx.config["bad"]
        ctx.set_state("good", where)
        await ctx.yield_output("good")
        match where:
            case "state":
                ctx.set_state("cart", bad)
            case "message":
                ctx.send_message(bad)
            case "output":
                await ctx.yield_output(bad)
            case "request":
                ctx.request_info(bad, int)
            case "executor":
                self.own["bad"] = bad

    @handler
    async def taken(self, value: object, ctx: Context[Any, Any]) -> None:
        pass

    @response_handler
    async def answered(self, request: Any, response: int, ctx: Context) -> None:
        pass


class Waiting(Executor):
    @handler
    async def wait(self, where: str, ctx: Context[str]) -> None:
        ctx.send_message(where)


def sloppy(storage):
    builder = WorkflowBuilder(name="sloppy", start_executor=lambda: Waiting(id="wait"), checkpoint_storage=storage)
    builder.add_edge("wait", lambda: Sloppy(id="sloppy"))
    return builder.add_edge("sloppy", lambda: Sloppy(id="last")).build(id="S")


_PATHS = {
    "state": "state['cart']",
    "message": "message to 'last'",
    "output": "output of 'sloppy'",
    "request": "request ",
    "executor": "state of executor 'sloppy'",
}


@every_durability
@pytest.mark.parametrize("where", _PATHS)
@pytest.mark.parametrize("what", _BAD)
async def test_a_value_that_cannot_be_stored_is_refused_at_its_superstep_with_its_path(
    what, where, durability, storage
):
    """F34, F35, P3: whatever the storage and the durability; everything of the superstep is taken back."""
    workflow = sloppy(storage)
    with pytest.raises(CodecError) as caught:
        await workflow.run(where, durability=durability, config={"bad": _BAD[what]})
    assert caught.value.path.startswith(_PATHS[where])
    if what == "deep inside":
        assert "['a'][1]['b']" in caught.value.path
    assert workflow.status is WorkflowRunState.FAILED
    line = await headers(storage)
    assert [each.superstep for each in line] == [0, 1]
    assert workflow.head == line[-1].id
    assert state_of(workflow) == {}
    assert workflow._core.standing.snapshot.outputs == []
    assert workflow.pending_requests == {}
    assert workflow.executors["sloppy"].own == {"fine": 1}
    if where != "request":
        result = await sloppy(storage).run(checkpoint_id=LATEST, config={"bad": 5})
        assert "good" in result.outputs


async def test_an_input_that_cannot_be_stored_is_refused_and_the_workflow_stands_as_it_stood(storage):
    workflow = carrier(storage)
    await workflow.run("big ints")
    before = (workflow.head, await headers(storage), state_of(workflow))
    with pytest.raises(CodecError, match="message to 'one'"):
        await workflow.run(Opaque())
    assert (workflow.head, await headers(storage), state_of(workflow)) == before


@pytest.mark.not_rehydrated(reason="a value that no storage could keep, which a run without one may use")
async def test_without_a_storage_any_object_may_travel():
    bad = _BAD["an unknown class"]
    workflow = sloppy(None)
    for where in _PATHS:
        await workflow.run(where, config={"bad": bad})
    assert isinstance(state_of(workflow)["cart"], Opaque)
    assert next(iter(workflow.pending_requests.values())).data is bad
    with pytest.raises(CodecError):
        await workflow.run("state", config={"bad": 1}, checkpoint_storage=InMemoryCheckpointStorage())
    assert isinstance(state_of(workflow)["cart"], Opaque)


# Values that change under way.


class Keeper(Executor):
    """Keeps hold of what it wrote and read, and changes it later behind everyone's back."""

    state: dict[str, list[int]]

    def __init__(self, id):
        super().__init__(id=id)
        self.held = []

    @handler
    async def go(self, number: int, ctx: Context[int, Any]) -> None:
        for each in self.held:
            each.append("changed behind its back")
        mine = [number]
        ctx.set_state("written", mine)
        self.held.append(mine)
        read = ctx.get_state("grown") or []
        if not ctx.has_state("grown"):
            ctx.set_state("grown", read)
        read.append(number)  # in place, after being read or written: counts as a write
        self.held.append(read)
        self.state.setdefault("own", []).append(number)
        if number:
            ctx.send_message(number - 1)


async def test_a_list_changed_in_place_is_stored_and_one_changed_later_is_not(storage):
    def make():
        builder = WorkflowBuilder(name="k", start_executor=lambda: Keeper(id="k"), checkpoint_storage=storage)
        return builder.add_edge("k", lambda: _Relay(id="r")).add_edge("r", "k").build(id="K")

    workflow = make()
    await workflow.run(2)
    expected = {"written": [0], "grown": [2, 1, 0]}
    assert state_of(workflow) == expected
    for header, grown in zip(await headers(storage), [None, [2], [2], [2, 1], [2, 1], [2, 1, 0]], strict=True):
        contents = (await storage.load(header.id)).contents
        snapshot = workflow._core.definition.codec.decode(contents, 0)
        assert snapshot.table("state").get("grown") == grown
        assert snapshot.table("executor").get("k", {}).get("own") == grown
    rebuilt = make()
    await rebuilt.run(checkpoint_id=LATEST)
    assert state_of(rebuilt) == expected


class _Relay(Executor):
    @handler
    async def relay(self, number: int, ctx: Context[int]) -> None:
        ctx.send_message(number)


async def test_resuming_one_checkpoint_twice_gives_one_result(storage):
    """F33: nothing a run does to what it took up reaches the storage."""
    builder = lambda: WorkflowBuilder(name="k", start_executor=lambda: Keeper(id="k"), checkpoint_storage=storage)  # noqa: E731
    make = lambda id: builder().add_edge("k", lambda: _Relay(id="r")).add_edge("r", "k").build(id=id)  # noqa: E731
    await make("K").run(3)
    middle = (await headers(storage))[3]
    states = []
    for id in ("first", "second"):
        workflow = make(id)
        await workflow.run(checkpoint_id=middle.id)
        states.append((state_of(workflow), workflow.executors["k"].state))
    assert states[0] == states[1] == ({"written": [0], "grown": [3, 2, 1, 0]}, {"own": [3, 2, 1, 0]})


# Restoring.


class Fragile(Executor):
    """Its restore hook fails when told to, after it has changed something."""

    refuses = False

    def __init__(self, id):
        super().__init__(id=id)
        self.numbers = []

    @handler
    async def go(self, number: int, ctx: Context[int]) -> None:
        self.numbers.append(number)
        ctx.set_state(self.id, number)
        ctx.send_message(number + 1)

    async def on_checkpoint_save(self):
        return {"numbers": self.numbers}

    async def on_checkpoint_restore(self, state):
        if type(self).refuses and self.id == "c" and len(state["numbers"]) == 1:
            raise ValueError("cannot take this back")
        self.numbers = state["numbers"]


def fragile(storage, id="F"):
    builder = WorkflowBuilder(name="f", start_executor=lambda: Fragile(id="a"), checkpoint_storage=storage)
    return builder.add_chain(["a", lambda: Fragile(id="b"), lambda: Fragile(id="c")]).build(id=id)


async def test_a_restore_with_a_failing_hook_restores_nothing(storage, monkeypatch):
    """F32: the executors before the failing one get back what they had, and the workflow stands where it stood."""
    workflow = fragile(storage)
    first = await workflow.run(1)
    await workflow.run(10)
    before = (workflow.head, state_of(workflow), [each.numbers for each in workflow.executors.values()])
    monkeypatch.setattr(Fragile, "refuses", True)
    with pytest.raises(CheckpointError, match="'c' could not take back its state") as caught:
        await workflow.run(checkpoint_id=first.checkpoint_id)
    assert isinstance(caught.value.__cause__, ValueError)
    after = (workflow.head, state_of(workflow), [each.numbers for each in workflow.executors.values()])
    assert after == before == (workflow.head, {"a": 10, "b": 11, "c": 12}, [[1, 10], [2, 11], [3, 12]])
    monkeypatch.setattr(Fragile, "refuses", False)
    await workflow.run(20)
    assert [each.numbers for each in workflow.executors.values()] == [[1, 10, 20], [2, 11, 21], [3, 12, 22]]


async def test_an_unknown_id_is_not_found_and_nothing_is_touched(storage):
    workflow = fragile(storage)
    await workflow.run(1)
    before = (workflow.head, workflow.status, await headers(storage))
    with pytest.raises(CheckpointNotFoundError, match="'nothing'"):
        await workflow.run(checkpoint_id="nothing")
    with pytest.raises(CheckpointNotFoundError, match="'G'"):
        await fragile(storage, id="G").run(checkpoint_id=LATEST)
    assert (workflow.head, workflow.status, await headers(storage)) == before


async def test_a_graph_that_routes_otherwise_is_refused_loudly(storage):
    """R10, F42: another edge, another condition, another order of cases, another type of executor."""
    first = await fragile(storage).run(1)

    def build(name="f", **more):
        return WorkflowBuilder(name=name, start_executor=lambda: Fragile(id="a"), checkpoint_storage=storage, **more)

    others = [
        build().add_chain(["a", lambda: Fragile(id="b")]),
        build().add_chain(["a", lambda: Fragile(id="c"), lambda: Fragile(id="b")]),
        build().add_edge("a", lambda: Fragile(id="b"), lambda number: True).add_edge("b", lambda: Fragile(id="c")),
        build().add_chain(["a", lambda: _Relay(id="b"), lambda: Fragile(id="c")]),
    ]
    for builder in others:
        workflow = builder.build(id="F")
        with pytest.raises(GraphMismatchError, match="signature"):
            await workflow.run(checkpoint_id=first.checkpoint_id)
        assert workflow.head is None
        assert workflow.executors["a"].numbers == []
    same = build("renamed", max_supersteps=7).add_chain(["a", lambda: Fragile(id="b"), lambda: Fragile(id="c")])
    assert (await same.build(id="F").run(checkpoint_id=first.checkpoint_id)).supersteps == 3


async def test_a_checkpoint_of_a_newer_format_is_refused(storage):
    """R03, R11: it is not read as if it were one of ours."""
    first = await fragile(storage).run(1)

    class Newer(InMemoryCheckpointStorage):
        async def load(self, checkpoint_id):
            return attrs.evolve(await storage.load(checkpoint_id), format_version=FORMAT_VERSION + 1)

    workflow = fragile(Newer())
    with pytest.raises(CheckpointError, match=f"format {FORMAT_VERSION + 1}"):
        await workflow.run(checkpoint_id=first.checkpoint_id)
    assert workflow.head is None


class _Remembers(Executor):
    @handler
    async def go(self, number: int, ctx: Context) -> None:
        ctx.set_state("kept", [Inner(Decimal(number), frozenset())])


async def test_a_type_that_is_no_longer_declared_fails_loudly(storage):
    """R11: not as a dict, not as None."""

    def remembers(state_types):
        more = {"checkpoint_storage": storage, "state_types": state_types}
        return WorkflowBuilder(name="r", start_executor=lambda: _Remembers(id="r"), **more).build(id="R")

    await remembers([Inner]).run(1)
    workflow = remembers([])
    with pytest.raises(CodecError, match="'Inner' is not declared"):
        await workflow.run(checkpoint_id=LATEST)
    assert (workflow.head, state_of(workflow)) == (None, {})


async def test_an_entry_that_cannot_be_read_is_a_checkpoint_error():
    class Broken(InMemoryCheckpointStorage):
        async def load(self, checkpoint_id):
            raise OSError("bad sector")

        async def latest(self, *, workflow_id):
            raise OSError("bad sector")

        async def children(self, checkpoint_id):
            raise OSError("bad sector")

    workflow = fragile(None)
    for checkpoint_id in ("some", LATEST):
        with pytest.raises(CheckpointError, match="bad sector") as caught:
            await workflow.run(checkpoint_id=checkpoint_id, checkpoint_storage=Broken())
        assert isinstance(caught.value.__cause__, OSError)
    await workflow.run(1, checkpoint_storage=InMemoryCheckpointStorage())
    with pytest.raises(CheckpointError, match="bad sector"):
        await workflow.run(1, checkpoint_storage=Broken())


# Joins.


class Source(Executor):
    @handler
    async def go(self, number: int, ctx: Context[int]) -> None:
        ctx.send_message(number)


class Asks(Executor):
    @handler
    async def go(self, number: int, ctx: Context[int]) -> None:
        ctx.request_info("how much?", int, request_id="how much")

    @response_handler
    async def answered(self, question: str, answer: int, ctx: Context[int]) -> None:
        ctx.send_message(answer)


class Sum(Executor):
    @handler
    async def sum(self, numbers: list[int], ctx: Context[Any, int]) -> None:
        await ctx.yield_output(sum(numbers))


@pytest.mark.parametrize("wait", ["all", "active"])
@every_durability
async def test_what_a_join_holds_survives_a_pause_and_a_resume(wait, durability, storage):
    """F17, R17: one source has sent, the other waits for an answer; nothing leaks into the next run."""

    def make():
        builder = WorkflowBuilder(name="j", start_executor=lambda: Source(id="start"), checkpoint_storage=storage)
        builder.add_fan_out_edges("start", [lambda: Source(id="quick"), lambda: Asks(id="asks")])
        return builder.add_fan_in_edges(["quick", "asks"], lambda: Sum(id="sum"), wait=wait).build(id="J")

    for number in (1, 2):
        workflow = make()
        if number == 2:
            await workflow.run(checkpoint_id=LATEST)
        paused = await workflow.run(number, durability=durability)
        assert paused.outputs == []
        assert paused.status is WorkflowRunState.IDLE_WITH_PENDING_REQUESTS
        resumed = make()
        how = {"responses": {"how much": 100}, "checkpoint_id": LATEST}
        assert (await resumed.run(**how, durability=durability)).outputs == [100 + number]
        assert resumed._core.standing.snapshot.table("join") == {}


# Requests.


class ManyQuestions(Executor):
    @handler
    async def ask(self, topic: str, ctx: Context) -> None:
        for letter in "abc":
            ctx.request_info(f"{topic} {letter}", str, request_id=letter)

    @response_handler
    async def answered(self, question: str, answer: str, ctx: Context[Any, str]) -> None:
        ctx.set_state("answers", {**ctx.get_state("answers", {}), ctx.request_id: answer})
        await ctx.yield_output(f"{question}: {answer}")


def questions(storage, id="Q"):
    return WorkflowBuilder(name="q", start_executor=lambda: ManyQuestions(id="ask"), checkpoint_storage=storage).build(
        id=id
    )


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
async def test_requests_are_answered_in_any_order_by_any_process(order, storage):
    """R18, F45: none is lost, doubled or renumbered."""
    await questions(storage).run("x")
    left = set("abc")
    for letter in order:
        workflow = questions(storage)
        result = await workflow.run(checkpoint_id=LATEST, responses={letter: letter.upper()})
        assert result.outputs == [f"x {letter}: {letter.upper()}"]
        left.remove(letter)
        assert set(workflow.pending_requests) == {request.request_id for request in result.requests} == left
        with pytest.raises(RequestNotFoundError):
            await workflow.run(responses={letter: "again"})
    assert result.status is WorkflowRunState.IDLE
    assert state_of(workflow) == {"answers": {"a": "A", "b": "B", "c": "C"}}


async def test_answers_given_together_are_delivered_in_the_order_given(storage):
    await questions(storage).run("x")
    result = await questions(storage).run(checkpoint_id=LATEST, responses={"c": "1", "a": "2", "b": "3"})
    assert result.outputs == ["x c: 1", "x a: 2", "x b: 3"]


async def test_a_fork_answers_for_itself(storage):
    """R18, R19: the same request answered differently in three branches of one pause."""
    paused = await questions(storage, id="trunk").run("x")
    for id in ("one", "two", "trunk"):
        workflow = questions(storage, id=id)
        result = await workflow.run(checkpoint_id=paused.checkpoint_id, responses={"a": id})
        assert result.outputs == [f"x a: {id}"]
        assert state_of(workflow) == {"answers": {"a": id}}
        assert set(workflow.pending_requests) == {"b", "c"}
    again = questions(storage, id="one")
    await again.run(checkpoint_id=LATEST)
    assert state_of(again) == {"answers": {"a": "one"}}


async def test_a_wrong_answer_is_refused_before_anything_is_touched(storage):
    """F11: with a checkpoint id too: nothing is restored, nothing written."""
    paused = await questions(storage).run("x")
    before = await headers(storage)
    for error, responses in ((ResponseTypeError, {"a": 5}), (RequestNotFoundError, {"a": "fine", "z": "?"})):
        workflow = questions(storage)
        with pytest.raises(error):
            await workflow.run(checkpoint_id=paused.checkpoint_id, responses=responses)
        assert (workflow.head, dict(workflow.pending_requests), state_of(workflow)) == (None, {}, {})
    assert await headers(storage) == before
    assert (await questions(storage).run(checkpoint_id=LATEST, responses={"a": "fine"})).outputs == ["x a: fine"]


# Bytes.


class Secretive(Executor):
    @handler
    async def go(self, order: Order, ctx: Context[Order, str]) -> None:
        assert ctx.config["token"] == "hunter2-secret"
        ctx.set_state("order", order)
        await ctx.yield_output(Word.YES)
        if order.note is None:
            order.note = "seen"
            ctx.send_message(order)


async def test_neither_secrets_nor_anything_importable_are_in_the_bytes():
    """F36, F43, P9, R11: no config, no module, no qualified name; the payload is data under names the graph declares."""
    payloads = []

    class Recording(InMemoryCheckpointStorage):
        async def save(self, commit):
            payloads.append(commit)
            return await super().save(commit)

    more = {"checkpoint_storage": Recording(), "state_types": [Word]}
    builder = WorkflowBuilder(name="s", start_executor=lambda: Secretive(id="s"), **more)
    workflow = builder.add_edge("s", lambda: Secretive(id="t")).build(id="S")
    order = Order(UUID(int=1), [Inner(Decimal(1), frozenset({"x"}))], {(1, "a"): Colour.RED})
    await workflow.run(order, config={"token": "hunter2-secret", "client": Opaque()})
    assert len(payloads) == 3
    for commit in payloads:
        for forbidden in (
            b"hunter2",
            __name__.encode(),
            b"test_checkpoints",
            b"actorflow",
            b"builtins",
            b"pickle",
            b"<locals>",
        ):
            assert forbidden not in commit.payload
        for key, data in unpack_delta(commit.payload, commit.full).changed.items():
            assert "token" not in key
            assert b"__" not in data


async def test_without_a_config_the_next_run_has_none(storage):
    builder = WorkflowBuilder(name="s", start_executor=lambda: _Tells(id="s"), checkpoint_storage=storage)
    workflow = builder.build(id="S")
    assert (await workflow.run(1, config={"token": 1})).outputs == [["token"]]
    assert (await workflow.run(1)).outputs == [[]]


class _Tells(Executor):
    @handler
    async def go(self, number: int, ctx: Context[Any, list[str]]) -> None:
        await ctx.yield_output(list(ctx.config))


async def test_outputs_of_the_run_before_are_not_in_the_next_ones_checkpoints(storage):
    builder = WorkflowBuilder(name="o", start_executor=lambda: _Yields(id="y"), checkpoint_storage=storage)
    workflow = builder.add_edge("y", lambda: _Yields(id="z")).build(id="O")
    await workflow.run("first")
    await workflow.run("no")
    result = await workflow.run("last")
    for header in (await headers(storage))[3:]:
        contents = (await storage.load(header.id)).contents
        assert not any(b"first" in data for key, data in contents.items() if key.startswith("outputs/"))
        outputs = 0 if header.superstep == 0 or header.run_id != result.events[0].run_id else header.superstep
        assert len([key for key in contents if key.startswith("outputs/")]) == outputs
    assert (await builder.build(id="O").run(checkpoint_id=LATEST)).outputs == ["last", "last"]


class _Yields(Executor):
    @handler
    async def go(self, text: str, ctx: Context[str, str]) -> None:
        if text != "no":
            await ctx.yield_output(text)
        ctx.send_message(text)
