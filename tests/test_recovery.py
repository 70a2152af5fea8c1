"""Crash equivalence (P6): a run that was cut off anywhere and taken up again ends as the run that was not.

Every scenario of the gallery (chain, loop, join across supersteps, map and collect, requests, executor state in both
forms, reducers) is played in one piece, and then

- one superstep at a time, each by a brand-new workflow object (R05);
- with a crash before and after every single write, for each durability (R02);
- with a handler failing in every superstep, resumed in the same and in another process;
- for real: a process killed at random moments (R07).

R24: for random programs, what every stored checkpoint decodes to equals the live state it was made from.
"""

# ruff: noqa: A002  # id is the word that executors and workflows use

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import get_protocol_members

import actorflow
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
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.values import private_copy
from actorflow.errors import CheckpointError, ConvergenceError
from actorflow.events import OutputEvent, RequestInfoEvent, StatusEvent, WorkflowRunState

DURABILITIES = ["superstep", "async", "exit"]

# The gallery.


@attrs.frozen
class Draft:
    text: str
    tags: tuple[str, ...] = ()


class Writer(Executor):
    @handler
    async def write(self, topic: str, ctx: Context[Draft, str]) -> None:
        _maybe_fail(ctx)
        await ctx.yield_output(f"writing {topic}")
        ctx.set_state("topic", topic)
        ctx.send_message(Draft(topic, ("new",)))


class Reviewer(Executor):
    @handler
    async def review(self, draft: Draft, ctx: Context[Draft, str]) -> None:
        _maybe_fail(ctx)
        await ctx.yield_output(f"reviewed {draft.text}")
        ctx.send_message(Draft(draft.text.upper(), (*draft.tags, "reviewed")))


class Printer(Executor):
    @handler
    async def print(self, draft: Draft, ctx: Context[Any, Draft]) -> None:
        _maybe_fail(ctx)
        await ctx.yield_output(draft)


class Ping(Executor):
    @handler
    async def ping(self, number: int, ctx: Context[int, int]) -> None:
        _maybe_fail(ctx)
        log = ctx.get_state("log") or []
        log.append(number)
        if not ctx.has_state("log"):
            ctx.set_state("log", log)
        ctx.set_state("total", number)
        if number % 2:
            ctx.set_state(f"odd {number}", {number: (number, "x")})
        else:
            ctx.delete_state(f"odd {number + 1}")
        await ctx.yield_output(number)
        if number:
            ctx.send_message(number - 1)


class Pong(Executor):
    @handler
    async def pong(self, number: int, ctx: Context[int]) -> None:
        _maybe_fail(ctx)
        ctx.set_state("total", number)
        ctx.send_message(number)


class Split(Executor):
    @handler
    async def split(self, text: str, ctx: Context[str]) -> None:
        _maybe_fail(ctx)
        for word in text.split():
            ctx.send_message(word)


class Worker(Executor):
    @handler
    async def work(self, word: str, ctx: Context[str]) -> None:
        _maybe_fail(ctx)
        ctx.send_message(f"{self.id}:{word}")


class Collect(Executor):
    @handler
    async def collect(self, words: list[str], ctx: Context[Any, str]) -> None:
        _maybe_fail(ctx)
        await ctx.yield_output(" ".join(words) + f" from {','.join(ctx.source_executor_ids)}")


@attrs.frozen
class Question:
    text: str
    number: int


class Asker(Executor):
    @handler
    async def ask(self, topic: str, ctx: Context[str, str]) -> None:
        _maybe_fail(ctx)
        for number in range(3):
            ctx.request_info(Question(topic, number), int)
        ctx.send_message(topic)

    @response_handler
    async def answered(self, question: Question, answer: int, ctx: Context[str, str]) -> None:
        _maybe_fail(ctx)
        await ctx.yield_output(f"{question.text}{question.number}={answer}")
        ctx.set_state("sum", answer)
        if question.number == 0 and answer < 200:
            ctx.request_info(Question(question.text + "+", 0), int)
        ctx.send_message(f"{answer}")


@attrs.define
class Tally:
    seen: list[str] = attrs.Factory(list)
    by_length: dict[int, set[str]] = attrs.Factory(dict)


class Typed(Executor):
    state: Tally

    @handler
    async def take(self, word: str, ctx: Context[str, int]) -> None:
        self.state.seen.append(word)
        self.state.by_length.setdefault(len(word), set()).add(word)
        _maybe_fail(ctx)
        await ctx.yield_output(len(self.state.seen))
        if len(word) < 5:
            ctx.send_message(word + "!")


class Hooked(Executor):
    def __init__(self, id):
        super().__init__(id=id)
        self.words = []

    async def on_checkpoint_save(self):
        return {"words": self.words}

    async def on_checkpoint_restore(self, state):
        self.words = state["words"]

    @handler
    async def take(self, word: str, ctx: Context[str, str]) -> None:
        self.words.append(word)
        _maybe_fail(ctx)
        await ctx.yield_output("".join(self.words))
        ctx.send_message(word)


def _maybe_fail(ctx):
    if ctx.superstep == ctx.config.get("fail_in"):
        raise RuntimeError(f"told to fail in {ctx.superstep}")


def _builder(start, **more):
    return WorkflowBuilder(name="gallery", start_executor=start, **more)


def chain(**more):
    more["intermediate_output_from"] = ["writer", "reviewer"]
    return _builder(lambda: Writer(id="writer"), output_from=["printer"], **more).add_chain(
        ["writer", lambda: Reviewer(id="reviewer"), lambda: Printer(id="printer")]
    )


def loop(**more):
    reducers = {"total": lambda old, new: old + new}
    return (
        _builder(lambda: Ping(id="ping"), reducers=reducers, **more)
        .add_edge("ping", lambda: Pong(id="pong"))
        .add_edge("pong", "ping")
    )


def join(**more):
    """One way to the join is longer than the other, so it holds messages over a superstep boundary (F17)."""
    return (
        _builder(lambda: Split(id="split"), **more)
        .add_fan_out_edges("split", [lambda: Worker(id="short"), lambda: Worker(id="long")])
        .add_chain(["long", lambda: Worker(id="longer"), lambda: Worker(id="longest")])
        .add_fan_in_edges(["short", "longest"], lambda: Collect(id="collect"))
    )


def requests(**more):
    reducers = {"sum": lambda old, new: old + new}
    return (
        _builder(lambda: Asker(id="ask"), reducers=reducers, **more)
        .add_edge("ask", lambda: Typed(id="tally"))
        .add_edge("tally", lambda: Worker(id="last"))
    )


def states(**more):
    return (
        _builder(lambda: Hooked(id="hooked"), **more)
        .add_edge("hooked", lambda: Typed(id="typed"))
        .add_edge("typed", "hooked")
    )


@attrs.frozen
class Scenario:
    make: Callable[..., Any]
    message: Any

    def workflow(self, storage, **more):
        return self.make(checkpoint_storage=storage, **more).build(id="W")


GALLERY = {
    "chain": Scenario(chain, "trio"),
    "loop": Scenario(loop, 5),
    "join": Scenario(join, "a b c"),
    "requests": Scenario(requests, "q"),
    "states": Scenario(states, "ab"),
}

# Playing them.


def answers(requested):
    return {request.request_id: 100 * (len(request.data.text)) + request.data.number for request in requested}


def seen(workflow, result):
    """All of a result and a state that must not depend on how they came about."""
    tables = workflow._core.standing.snapshot.tables
    own = [getattr(each, "words", getattr(each, "state", None)) for each in workflow.executors.values()]
    return {
        "outputs": result.outputs,
        "intermediate": result.intermediate_outputs,
        "supersteps": result.supersteps,
        "status": result.status,
        "requests": [request.data for request in result.requests],
        "state": dict(tables.get("state", {})),
        "executors": dict(tables.get("executor", {})),
        "joins": dict(tables.get("join", {})),
        "own": private_copy(own),
    }


async def in_one_piece(scenario):
    workflow = scenario.workflow(InMemoryCheckpointStorage())
    result = await workflow.run(scenario.message)
    rounds = [seen(workflow, result)]
    while result.requests:
        result = await workflow.run(responses=answers(result.requests))
        rounds.append(seen(workflow, result))
    return rounds


async def finish(scenario, storage, **more):
    """Take up what is stored with a new object, or begin if nothing is, and go on to the end."""
    workflow = scenario.workflow(storage)
    how = {"checkpoint_id": LATEST} if await storage.latest(workflow_id="W") else {"message": scenario.message}
    result = await workflow.run(**how, **more)
    while result.requests:
        workflow = scenario.workflow(storage)
        result = await workflow.run(responses=answers(result.requests), checkpoint_id=LATEST, **more)
    return seen(workflow, result)


@pytest.fixture(params=["memory", "sqlite"])
def new_storage(request, tmp_path):
    opened = []

    def make():
        if request.param == "memory":
            return InMemoryCheckpointStorage()
        opened.append(SqliteCheckpointStorage(tmp_path / f"{len(opened)}.db", synchronous="normal"))
        return opened[-1]

    yield make
    for storage in opened:
        storage.close()


every_scenario = pytest.mark.parametrize("scenario", GALLERY.values(), ids=GALLERY)


# R05.


@every_scenario
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_workflow_rebuilt_after_every_superstep_ends_as_one_that_was_not(scenario, durability, new_storage):
    """R05, R17, F17."""
    storage = new_storage()
    rounds, how = [], {"message": scenario.message}
    while True:
        workflow = scenario.workflow(storage, max_supersteps=1)
        try:
            result = await workflow.run(**how, durability=durability)
        except ConvergenceError:
            how = {"checkpoint_id": LATEST}
            continue
        rounds.append(seen(workflow, result))
        if not result.requests:
            break
        how = {"checkpoint_id": LATEST, "responses": answers(result.requests)}
    assert _unordered(rounds) == _unordered(await in_one_piece(scenario))


def _unordered(rounds):
    """The order of open requests has a test of its own; answers are given in it."""
    return [{**each, "requests": sorted(each["requests"], key=repr)} for each in rounds]


async def test_open_requests_keep_their_order_when_rebuilt(new_storage):
    """R18: `RunResult.requests` and `pending_requests` list them in the order they were made."""
    storage = new_storage()
    workflow = requests(checkpoint_storage=storage).build(id="W")
    live = await workflow.run("q")
    live = await workflow.run(responses={live.requests[0].request_id: 1})
    live = await workflow.run("second")
    rebuilt = requests(checkpoint_storage=storage).build(id="W")
    result = await rebuilt.run(checkpoint_id=LATEST)
    assert [each.request_id for each in result.requests] == [each.request_id for each in live.requests]
    assert list(rebuilt.pending_requests) == list(workflow.pending_requests)


# Failures.


@every_scenario
@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same object", "new object"])
async def test_a_run_that_failed_anywhere_ends_as_if_it_had_not(scenario, durability, elsewhere, new_storage):
    whole = await in_one_piece(scenario)
    for fail_in in range(1, whole[0]["supersteps"] + 1):
        storage = new_storage()
        workflow = scenario.workflow(storage)
        with pytest.raises(RuntimeError, match="told to fail"):
            await workflow.run(scenario.message, durability=durability, config={"fail_in": fail_in})
        if elsewhere:
            workflow = scenario.workflow(storage)
        result = await workflow.run(checkpoint_id=LATEST, durability=durability)
        assert _unordered([seen(workflow, result)]) == _unordered(whole[:1]), fail_in


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_an_answer_whose_handler_failed_is_delivered_again(durability, new_storage):
    whole = await in_one_piece(GALLERY["requests"])
    storage = new_storage()
    workflow = GALLERY["requests"].workflow(storage)
    paused = await workflow.run("q")
    config = {"fail_in": paused.supersteps + 1}
    with pytest.raises(RuntimeError, match="told to fail"):
        await workflow.run(responses=answers(paused.requests), durability=durability, config=config)
    assert workflow.pending_requests == {}
    rebuilt = GALLERY["requests"].workflow(storage)
    result = await rebuilt.run(checkpoint_id=LATEST)
    assert seen(rebuilt, result) == whole[1]


async def test_without_a_storage_latest_is_where_the_workflow_stands():
    for scenario in GALLERY.values():
        whole = await in_one_piece(scenario)
        workflow = scenario.workflow(None)
        with pytest.raises(RuntimeError, match="told to fail"):
            await workflow.run(scenario.message, config={"fail_in": 2})
        result = await workflow.run(checkpoint_id=LATEST)
        assert _unordered([seen(workflow, result)]) == _unordered(whole[:1])


async def test_outputs_made_before_the_resume_are_in_the_result_and_not_streamed_again(new_storage):
    storage = new_storage()
    workflow = loop(checkpoint_storage=storage).build(id="W")
    with pytest.raises(RuntimeError):
        await workflow.run(3, config={"fail_in": 4})
    result = await loop(checkpoint_storage=storage).build(id="W").run(checkpoint_id=LATEST)
    assert result.outputs == [3, 2, 1, 0]
    assert [event.data for event in result.events if isinstance(event, OutputEvent)] == [1, 0]


async def test_open_requests_are_streamed_again_after_the_first_status(new_storage):
    storage = new_storage()
    paused = await requests(checkpoint_storage=storage).build(id="W").run("q")
    again = await requests(checkpoint_storage=storage).build(id="W").run(checkpoint_id=LATEST)
    kinds = [type(event) for event in again.events]
    assert kinds[1:6] == [StatusEvent, *[RequestInfoEvent] * 3, StatusEvent]
    told = {e.request_id: (e.data, e.response_type) for e in again.events if isinstance(e, RequestInfoEvent)}
    assert told == {e.request_id: (e.data, e.response_type) for e in paused.requests}
    assert again.status is WorkflowRunState.IDLE_WITH_PENDING_REQUESTS


async def test_a_branch_run_again_after_a_resume_never_sees_an_earlier_result(new_storage):
    """R21: a delivery finished in the superstep that failed counts once, and not for the next run."""
    storage = new_storage()
    workflow = join(checkpoint_storage=storage).build(id="W")
    for text in ("a", "b"):
        with pytest.raises(RuntimeError):
            await workflow.run(text, config={"fail_in": 3})
        result = await workflow.run(checkpoint_id=LATEST)
        assert result.outputs == [f"short:{text} longest:longer:long:{text} from short,longest"]
    with pytest.raises(RuntimeError):
        await workflow.run("lost", config={"fail_in": 2})
    assert (await workflow.run("c")).outputs == ["short:c longest:longer:long:c from short,longest"]


# Crashes.


class Crash(BaseException):
    """The process is gone: nothing that runs afterwards may count."""


def forwards_the_rest(cls):
    """Pass every verb of the protocol that a wrapper leaves alone on to the storage inside."""

    def passed_on(verb):
        return lambda self, *args, **kwargs: getattr(self.inner, verb)(*args, **kwargs)

    for verb in get_protocol_members(CheckpointStorage) - vars(cls).keys():
        setattr(cls, verb, passed_on(verb))
    return cls


@forwards_the_rest
@attrs.define(eq=False, slots=False)
class CrashingStorage:
    """Passes everything on until the save of a given number: that one is lost, or written and never acknowledged."""

    inner: Any
    at: int
    written: bool
    saves: int = 0
    crashed: bool = False

    async def save(self, commit):
        self.saves += 1
        if self.crashed:
            raise Crash
        if self.saves == self.at:
            self.crashed = True
            if self.written:
                await self.inner.save(commit)
            raise Crash
        return await self.inner.save(commit)


@every_scenario
@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("written", [False, True], ids=["lost", "written"])
async def test_a_crash_at_any_write_changes_nothing_in_the_end(scenario, durability, written, new_storage):
    """P6, R02, R07: for every k, the k-th write is lost, or is done and nobody hears of it."""
    whole = await in_one_piece(scenario)
    for at in itertools.count(1):
        inner = new_storage()
        storage = CrashingStorage(inner, at, written)
        with suppress(Crash, CheckpointError):  # the second where the save was in the background
            await finish(scenario, storage, durability=durability)
        if not storage.crashed:
            break
        assert await finish(scenario, inner) == whole[-1], at
    assert at > len(whole)


class LostAcknowledgements(InMemoryCheckpointStorage):
    """Writes, and says it could not, for the saves of given numbers."""

    def __init__(self, lost):
        super().__init__()
        self.lost = lost
        self.saves = 0

    async def save(self, commit):
        self.saves += 1
        info = await super().save(commit)
        if self.saves in self.lost:
            raise OSError("connection lost")
        return info


@every_scenario
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_save_whose_acknowledgement_is_lost_is_taken_up(scenario, durability):
    """R02: the commit is there, the run was told it failed; the same object and a new one end alike."""
    whole = await in_one_piece(scenario)
    for at, elsewhere in itertools.product(range(1, 6), [False, True]):
        storage = LostAcknowledgements({at})
        workflow = scenario.workflow(storage)
        try:
            result = await workflow.run(scenario.message, durability=durability)
        except CheckpointError as error:
            assert isinstance(error.__cause__, OSError)  # noqa: PT017
            if elsewhere:
                workflow = scenario.workflow(storage)
            result = await workflow.run(checkpoint_id=LATEST, durability=durability)
        assert _unordered([seen(workflow, result)]) == _unordered(whole[:1]), at


# A real process, killed for real.

_CHILD = """
import importlib.util, json, sys, trio
sys.path.insert(0, sys.argv[3])
spec = importlib.util.spec_from_file_location("recovery_of_a_child", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
trio.run(module.child, sys.argv[2], sys.argv[4])
"""


class Slow(Executor):
    """Stays a little in every superstep, so that there is something to be killed in."""

    state: Tally

    @handler
    async def step(self, number: int, ctx: Context[int, str]) -> None:
        self.state.seen.append(str(number))
        await trio.sleep(0.002)
        ctx.set_state("done", [*ctx.get_state("done", []), number])
        await ctx.yield_output(f"{self.id}{number}")
        ctx.send_message(number)


class Pacer(Executor):
    @handler
    async def start(self, number: int, ctx: Context[int]) -> None:
        ctx.send_message(number)

    @handler
    async def next(self, numbers: list[int], ctx: Context[int]) -> None:
        if numbers[0] > 1:
            ctx.send_message(numbers[0] - 1)


def slow(storage):
    return (
        WorkflowBuilder(name="slow", start_executor=lambda: Pacer(id="pace"), checkpoint_storage=storage)
        .add_fan_out_edges("pace", [lambda: Slow(id="left"), lambda: Slow(id="right")])
        .add_fan_in_edges(["left", "right"], "pace")
        .build(id="W")
    )


async def child(path, durability):
    # What was killed holds its lease until it runs out; the next process waits for that.
    with SqliteCheckpointStorage(path, synchronous="normal", lease_ttl=0.2) as storage:
        workflow = slow(storage)
        how = {"checkpoint_id": LATEST} if await storage.latest(workflow_id="W") else {"message": 30}
        print("running", flush=True)
        result = await workflow.run(**how, durability=durability, wait=True)
        print(json.dumps(_plain(workflow, result)), flush=True)


def _plain(workflow, result):
    states = {id_: each.state.seen for id_, each in workflow.executors.items() if hasattr(each, "state")}
    done = workflow._core.standing.snapshot.table("state")["done"]
    return [result.outputs, result.supersteps, result.status.value, done, states]


@pytest.mark.parametrize("durability", ["superstep", "async"])
def test_a_process_killed_at_random_moments_ends_as_one_that_lives(durability, tmp_path):
    """R07, P6."""

    async def whole():
        workflow = slow(None)
        return _plain(workflow, await workflow.run(30))

    chance = random.Random(7)
    root = str(Path(actorflow.__file__).parents[1])
    command = [sys.executable, "-c", _CHILD, __file__, str(tmp_path / "x.db"), root, durability]
    kills = 0
    for _ in range(40):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout.readline() == "running\n"
            if kills < 7:
                time.sleep(chance.random() * 0.06)
                process.kill()
                kills += 1
            last = process.stdout.read()
        if process.returncode == 0:
            break
    assert kills >= 5
    assert json.loads(last) == trio.run(whole)


# R24: random programs.

_NAMES = ["a", "b", "c"]
_OPERATIONS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from("xyz"), st.integers(0, 3)),
    st.tuples(st.just("delete"), st.sampled_from("xyz"), st.just(0)),
    st.tuples(st.just("append"), st.sampled_from("xyl"), st.integers(0, 3)),
    st.tuples(st.just("add"), st.just("sum"), st.integers(0, 3)),
    st.tuples(st.just("output"), st.just(""), st.integers(0, 3)),
    st.tuples(st.just("remember"), st.just(""), st.integers(0, 3)),
    st.tuples(st.just("ask"), st.just(""), st.integers(0, 3)),
    st.tuples(st.just("send"), st.sampled_from(_NAMES), st.integers(0, 3)),
)
_PROGRAMS = st.fixed_dictionaries({name: st.lists(_OPERATIONS, max_size=5) for name in _NAMES})


class Scripted(Executor):
    state: Tally

    def __init__(self, id, script):
        super().__init__(id=id)
        self.script = script

    @handler
    async def play(self, left: int, ctx: Context[int, int]) -> None:
        for what, key, number in self.script:
            match what:
                case "set":
                    ctx.set_state(key, number)
                case "delete":
                    ctx.delete_state(key)
                case "append":
                    self._append(ctx, key, number)
                case "add":
                    ctx.set_state("sum", number)
                case "output":
                    await ctx.yield_output(number)
                case "remember":
                    self.state.seen.append(f"{left}-{number}")
                case "ask":
                    ctx.request_info(number, int)
                case "send" if left:
                    ctx.send_message(left - 1, target_id=key)
        if left > 3:
            raise RuntimeError("told to fail")

    def _append(self, ctx, key, number):
        value = ctx.get_state(key)
        if isinstance(value, list):
            value.append(number)
        else:
            ctx.set_state(key, [number])

    @response_handler
    async def answered(self, request: int, answer: int, ctx: Context[int, int]) -> None:
        await ctx.yield_output(request + answer)


def scripted(program, storage, id="W"):
    builder = WorkflowBuilder(
        name="scripted",
        start_executor=lambda: Scripted("a", program["a"]),
        reducers={"sum": lambda old, new: old + new},
        checkpoint_storage=storage,
        max_supersteps=8,
    )
    builder.add_fan_out_edges("a", [lambda: Scripted("b", program["b"]), lambda: Scripted("c", program["c"])])
    return builder.add_edge("b", "c").add_edge("c", "a").add_edge("b", "a").build(id=id)


@attrs.define(eq=False)
class Witness(InMemoryCheckpointStorage):
    """Notes the live state when the next save comes: by then the one before has been applied, and nothing else."""

    workflow: Any = None
    noted: list[Any] = attrs.Factory(list)

    def __attrs_pre_init__(self):
        super().__init__()

    def note(self):
        snapshot = self.workflow._core.standing.snapshot
        self.noted.append((private_copy(_tables(snapshot)), snapshot.superstep))

    async def save(self, commit):
        self.note()
        return await super().save(commit)


def _tables(snapshot):
    return {name: dict(table) for name, table in snapshot.tables.items() if table}


@settings(max_examples=60, deadline=None)
@given(_PROGRAMS, st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_every_checkpoint_decodes_to_the_live_state_it_was_made_from(program, messages):
    """R24, F33: over random programs, several runs on one object, failures among them."""

    async def play():
        storage = Witness()
        workflow = storage.workflow = scripted(program, storage)
        for message in messages:
            try:
                result = await workflow.run(message)
                if result.requests and message % 2:
                    await workflow.run(responses={result.requests[-1].request_id: message})
            except (RuntimeError, ConvergenceError):
                pass
        storage.note()
        line = (await storage.list())[::-1]
        assert len(line) + 1 == len(storage.noted)
        codec = workflow._core.definition.codec
        for header, (tables, superstep) in zip(line, storage.noted[1:], strict=True):
            checkpoint = await storage.load(header.id)
            assert (_tables(codec.decode(checkpoint.contents, checkpoint.superstep)), header.superstep) == (
                tables,
                superstep,
            )

    trio.run(play)


@settings(max_examples=40, deadline=None)
@given(_PROGRAMS, st.integers(0, 3), st.sampled_from(DURABILITIES))
def test_random_programs_end_alike_in_one_piece_and_rebuilt_at_every_checkpoint(program, message, durability):
    """R05, R24: from every checkpoint of a run, under another id, the rest of the run is the same."""

    async def play():
        storage = InMemoryCheckpointStorage()
        workflow = scripted(program, storage)
        whole = await _outcome(workflow, message=message, durability=durability)
        for header in await storage.list("W"):
            rebuilt = scripted(program, storage, f"from {header.id}")
            assert await _outcome(rebuilt, checkpoint_id=header.id, durability=durability, limit=whole[0]) == whole

    async def _outcome(workflow, *, limit=None, **how):
        try:
            result = await workflow.run(**how)
        except ConvergenceError:
            return ["endless"]
        if limit == "endless":
            return ["endless"]
        outcome = seen(workflow, result)
        return [
            outcome | {"requests": sorted(outcome["requests"]), "state": sorted(outcome["state"].items(), key=repr)}
        ]

    trio.run(play)
