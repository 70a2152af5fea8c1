"""Children and time: crash at every write, resume from every checkpoint, branch, fork, journal, cancel at every step, undo.

A tree of workflows that was cut off anywhere ends as one that was not (P6), and leaves nothing behind (R25).
"""

# ruff: noqa: A002  # id is the word that executors and workflows use

from __future__ import annotations

import copy
import itertools
from typing import Any, Never

import attrs
import pytest
import trio
import trio.testing

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    SqliteCheckpointStorage,
    Upcaster,
    WorkflowBuilder,
    WorkflowExecutor,
    executor,
    handler,
    response_handler,
)
from actorflow import WorkflowContext as Context
from actorflow.checkpoint.codec.sections import SectionCodec
from actorflow.core.values import private_copy
from actorflow.errors import CheckpointError, CodecError, RequestNotFoundError
from actorflow.events import ExecutorInvokedEvent, OutputEvent, RequestInfoEvent, WorkflowRunState
from actorflow.storage import StoredMessage
from actorflow.testing import cancel_everywhere, scheduling_seeds
from tests.nested_workflows import (
    Countdown,
    Seen,
    Spread,
    asking,
    counting,
    joined,
    managed,
    nested,
)

pytestmark = pytest.mark.filterwarnings("ignore::actorflow.graph.validation.SelfLoopWarning")

DURABILITIES = ["superstep", "async", "exit", "delivery"]


class Keep(Executor):
    """Keeps all that ever reached it in its state, so that the end tells of the whole way."""

    state: Seen

    @handler
    async def keep(self, value: Any, ctx: Context[Never, Any]) -> None:
        self.state.values.append(value)
        ctx.set_state("count", ctx.get_state("count", 0) + 1)
        if value == ctx.config.get("fail_on"):
            raise RuntimeError(f"told to fail on {value}")
        await ctx.yield_output(value)


class Tally(Executor):
    """A child's executor with both kinds of state of its own."""

    state: Seen

    def __init__(self, id):
        super().__init__(id)
        self.total = 0

    async def on_checkpoint_save(self):
        return {"total": self.total}

    async def on_checkpoint_restore(self, state):
        self.total = state["total"]

    @handler
    async def add(self, number: int, ctx: Context[int, Any]) -> None:
        self.total += number
        self.state.values.append(number)
        ctx.set_state("log", [*ctx.get_state("log", []), number])
        if number:
            ctx.send_message(number - 1)
        else:
            await ctx.yield_output(f"{self.total} {self.state.values} {ctx.get_state('log')}")


def tallying():
    return WorkflowBuilder(name="tally", start_executor=lambda: Tally("tally")).add_edge("tally", "tally")


def parent(held, *, one=False, storage=None, **how):
    return (
        WorkflowBuilder(name="parent", start_executor=lambda: Spread("spread"), checkpoint_storage=storage)
        .add_edge("spread", lambda: WorkflowExecutor(held() if one else held, "sub", **how))
        .add_edge("sub", lambda: Keep("keep"))
    )


@attrs.frozen
class Scenario:
    make: Any
    message: Any

    def workflow(self, storage):
        return self.make(storage).build(id="W")


GALLERY = {
    "many": Scenario(lambda storage: parent(counting().build, storage=storage, concurrency=2), [3, 1, 2, 0]),
    "kept": Scenario(lambda storage: parent(tallying().build, storage=storage, one=True), [2, 3]),
    "isolated": Scenario(lambda storage: parent(tallying().build, storage=storage, concurrency=2), [2, 3, 1]),
    "asking": Scenario(lambda storage: parent(asking().build, storage=storage), ["a b", "c"]),
    "asking kept": Scenario(lambda storage: parent(asking().build, storage=storage, one=True), ["a b", "c"]),
    "managed": Scenario(lambda storage: parent(managed().build, storage=storage, concurrency=2), ["a b", "c", "d"]),
    "deep": Scenario(lambda storage: parent(nested(3).build, storage=storage, concurrency=2), ["a b", "c"]),
    "managed deep": Scenario(lambda storage: parent(managed(nested(2)).build, storage=storage), ["a b", "c"]),
    "joined": Scenario(lambda storage: parent(joined("active", counting().build).build, storage=storage), [[2], [1]]),
}


every_scenario = pytest.mark.parametrize("scenario", GALLERY.values(), ids=GALLERY)
every_durability = pytest.mark.parametrize("durability", DURABILITIES)


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


def answers(requested):
    return {each.request_id: f"<{each.data.text}>" for each in requested}


def tree(snapshot):
    """What a level of the tree and those below it hold, but for ids that name a run."""
    own = {name: dict(snapshot.tables.get(name, {})) for name in ("state", "executor", "join", "child")}
    questions = [request.data for request in snapshot.requests.values()]
    return own, questions, {name: tree(inner) for name, inner in snapshot.children.items()}


def seen(workflow, result):
    return {
        "status": result.status,
        "requests": [(each.path, each.executor_id, each.data) for each in result.requests],
        "tree": private_copy(tree(workflow._core.standing.snapshot)),
    }


async def finish(scenario, storage, *, checkpoint_id=None, **more):
    """Take up what is stored with new objects, or begin; answer what is asked, each time with new objects."""
    workflow = scenario.workflow(storage)
    known = checkpoint_id or (await storage.latest(workflow_id="W") and LATEST)
    how = {"checkpoint_id": known} if known else {"message": scenario.message}
    result = await workflow.run(**how, **more)
    while result.requests:
        workflow = scenario.workflow(storage)
        how = {"checkpoint_id": result.checkpoint_id, "responses": answers(result.requests)}
        result = await workflow.run(**how, **more)
    assert len(workflow._core.places._children) <= 1  # a kept one
    return seen(workflow, result)


async def in_one_piece(scenario):
    workflow = scenario.workflow(None)
    result = await workflow.run(scenario.message)
    while result.requests:
        result = await workflow.run(responses=answers(result.requests))
    return seen(workflow, result)


# Crashes.


class Crash(BaseException):
    """The process is gone."""


class CopyingStorage(InMemoryCheckpointStorage):
    """Keeps a copy of all its bytes after every write: what a process that is killed then would leave."""

    def __init__(self):
        super().__init__()
        self.copies = []

    def __deepcopy__(self, memo):
        other = InMemoryCheckpointStorage()
        for name, value in vars(self).items():
            if name != "copies":
                setattr(other, name, copy.deepcopy(value, memo))
        return other

    async def save(self, commit):
        info = await super().save(commit)
        self.copies.append(copy.deepcopy(self))
        return info

    async def write_journal(self, entries, *, lease):
        await super().write_journal(entries, lease=lease)
        self.copies.append(copy.deepcopy(self))


@every_scenario
@every_durability
async def test_a_process_killed_after_any_write_is_taken_up_by_another(scenario, durability, autojump_clock):
    """P6, F44, R07, R19."""
    whole = await in_one_piece(scenario)
    storage = CopyingStorage()
    assert await finish(scenario, storage, durability=durability) == whole
    assert len(storage.copies) >= 2
    for left in storage.copies:
        await trio.sleep(100)  # leases of the dead run out
        assert await finish(scenario, left, durability=durability) == whole


@every_scenario
@pytest.mark.parametrize("durability", ["superstep", "async", "exit"])
@pytest.mark.parametrize("written", [False, True], ids=["lost", "written"])
async def test_a_save_that_fails_or_whose_answer_is_lost_changes_nothing_in_the_end(
    scenario, durability, written, monkeypatch
):
    """P3, R02: in the same object and in a new one; what a commit removed of children comes back in its place."""
    whole = await in_one_piece(scenario)
    for at in itertools.count(1):
        elsewhere = bool(at % 2)
        storage = InMemoryCheckpointStorage()
        saves = []

        async def save(commit, storage=storage, saves=saves, at=at):
            saves.append(commit)
            if len(saves) == at:
                if written:
                    await InMemoryCheckpointStorage.save(storage, commit)
                raise OSError("told to fail")
            return await InMemoryCheckpointStorage.save(storage, commit)

        monkeypatch.setattr(storage, "save", save)
        workflow, how = scenario.workflow(storage), {"message": scenario.message}
        while True:
            try:
                result = await workflow.run(**how, durability=durability)
            except CheckpointError:
                if elsewhere:
                    workflow = scenario.workflow(storage)
                how = {"checkpoint_id": LATEST}
                if not await storage.latest(workflow_id="W"):
                    how = {"message": scenario.message}
                continue
            if not result.requests:
                break
            how = {"responses": answers(result.requests)}
        assert seen(workflow, result) == whole, at
        if len(saves) < at:
            break


@every_scenario
async def test_checkpoints_resume_in_sqlite_and_in_memory_superstep_by_superstep(scenario, new_storage):
    """R05, R19: time travel. From every checkpoint of the history a new workflow ends as the first one did."""
    whole = await in_one_piece(scenario)
    storage = new_storage()
    await finish(scenario, storage)
    headers = await storage.list(workflow_id="W")

    for header in headers:
        assert await finish(scenario, storage, checkpoint_id=header.id) == whole


@every_scenario
async def test_one_workflow_goes_to_and_fro_in_its_history(scenario):
    """R19: the same object restores checkpoints from inside and outside children, in any order."""
    whole = await in_one_piece(scenario)
    storage = InMemoryCheckpointStorage()
    await finish(scenario, storage)
    headers = await storage.list(workflow_id="W")
    workflow = scenario.workflow(storage)

    for header in [*headers[::2], *reversed(headers[1::2])]:
        result = await workflow.run(checkpoint_id=header.id)
        while result.requests:
            result = await workflow.run(responses=answers(result.requests))
        assert seen(workflow, result) == whole


# Branches.


class Ids(Executor):
    """Tells the id of each of its deliveries."""

    @handler
    async def tell(self, number: int, ctx: Context[int, str]) -> None:
        await ctx.yield_output(ctx.delivery_id)
        if number:
            ctx.send_message(number - 1)


def telling():
    return WorkflowBuilder(name="ids", start_executor=lambda: Ids("ids")).add_edge("ids", "ids")


async def test_delivery_ids_are_the_same_on_every_resume_and_differ_in_every_branch():
    """R19: a fork, a fork of a fork; for inputs at work and for those that wait."""
    storage = InMemoryCheckpointStorage()

    def build(id):
        return parent(telling().build, storage=storage).build(id=id)

    whole = (await build("W").run([2, 1, 1])).outputs
    assert len({*whole}) == len(whole) == 7
    headers = (await storage.list(workflow_id="W"))[::-1]
    for number, header in enumerate(headers[:-2]):
        again = (await build("W").run(checkpoint_id=header.id)).outputs
        assert again == whole
        branch = build(f"B{number}")
        fork = (await branch.run(checkpoint_id=header.id)).outputs
        kept = len({*fork} & {*whole})
        assert len(fork) == 7
        made_before = sum(each in whole for each in fork)
        assert kept == made_before < 7
        first = (await storage.list(workflow_id=f"B{number}"))[-1]
        second = (await build(f"C{number}").run(checkpoint_id=first.id)).outputs
        assert [*second[:made_before]] == [*fork[:made_before]]
        assert not {*second[made_before + 1 :]} & {*fork[made_before + 1 :]}


# Requests (F45).


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
@pytest.mark.parametrize("one", [False, True], ids=["each", "one"])
async def test_open_requests_of_a_child_outlive_every_restore_and_are_answered_in_any_order(order, one, new_storage):
    """F45, R18: neither lost nor doubled nor renumbered."""
    storage = new_storage()

    def build():
        return parent(asking().build, storage=storage, one=one).build(id="W")

    first = await build().run(["a b c"])
    ids = [each.request_id for each in first.requests]
    outputs = []
    left = [*ids]
    for place in order:
        workflow = build()
        restored = await workflow.run(checkpoint_id=LATEST)
        assert [each.request_id for each in restored.requests] == left
        assert [each.request_id for each in restored.events if isinstance(each, RequestInfoEvent)] == left
        result = await workflow.run(responses={ids[place]: str(place)})
        assert not [each for each in result.events if isinstance(each, RequestInfoEvent)]
        outputs += result.outputs
        left.remove(ids[place])
        with pytest.raises(RequestNotFoundError):
            await build().run(checkpoint_id=LATEST, responses={ids[place]: "again"})
    assert outputs == [f"{'abc'[place]}:{place}" for place in order]
    assert result.status is WorkflowRunState.IDLE


async def test_two_branches_may_answer_one_request_differently():
    storage = InMemoryCheckpointStorage()

    def build(id):
        return parent(asking().build, storage=storage).build(id=id)

    asked = await build("W").run(["a b"])
    a, b = (each.request_id for each in asked.requests)

    one = await build("one").run(checkpoint_id=asked.checkpoint_id, responses={a: "1"})
    two = await build("two").run(checkpoint_id=asked.checkpoint_id, responses={a: "2", b: "3"})

    assert (one.outputs, two.outputs) == (["a:1"], ["a:2", "b:3"])
    assert [each.request_id for each in one.requests] == [b]


async def test_answers_between_a_failure_and_the_next_run_do_not_lose_what_a_child_had_finished():
    """P6: an answer put in flight before the deliveries of children moves their places."""

    log = []

    class Watched(Countdown):
        @handler
        async def count(self, number: int, ctx: Context[int, int]) -> None:
            if number == ctx.config.get("fail_at"):
                await trio.testing.wait_all_tasks_blocked()
                raise ArithmeticError("told to fail")
            log.append(number)
            await ctx.yield_output(number)

    held = WorkflowBuilder(name="c", start_executor=lambda: Watched("count"))
    asker = asking()
    builder = (
        WorkflowBuilder(name="p", start_executor=lambda: Spread("spread"))
        .add_edge(
            "spread", lambda: WorkflowExecutor(asker.build, "ask"), condition=lambda value: isinstance(value, str)
        )
        .add_edge("spread", lambda: WorkflowExecutor(held.build, "sub", concurrency=2), condition=is_int)
    )
    workflow = builder.build()
    asked = await workflow.run(["q"])
    with pytest.raises(ArithmeticError):
        await workflow.run([1, 2], config={"fail_at": 2})
    assert log == [1]
    await workflow.run(responses=answers(asked.requests))

    assert log == [1, 2]


def is_int(value):
    return isinstance(value, int)


# The journal.


class Flaky(Executor):
    """Notes that it ran, and fails where told."""

    @handler
    async def run(self, number: int, ctx: Context[int, int]) -> None:
        ctx.config["log"].append(number)
        if number in ctx.config.get("fail_on", ()):
            await trio.lowlevel.checkpoint()
            raise RuntimeError("told to fail")
        ctx.set_state("n", number)
        await ctx.yield_output(number)


@every_durability
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same object", "new object"])
async def test_what_children_finished_in_a_superstep_that_failed_is_not_done_again(durability, elsewhere, new_storage):
    storage = new_storage()
    held = WorkflowBuilder(name="c", start_executor=lambda: Flaky("flaky"))

    def build():
        return parent(held.build, storage=storage, concurrency=5).build(id="W")

    log: list[int] = []
    workflow = build()
    with pytest.raises(RuntimeError):
        await workflow.run([1, 2, 3], config={"log": log, "fail_on": {2}}, durability=durability)
    done = {*log} - {2}
    if elsewhere:
        workflow = build()
    again: list[int] = []
    result = await workflow.run(checkpoint_id=LATEST, config={"log": again}, durability=durability)

    assert result.outputs == [1, 2, 3]
    assert {*again} == {1, 2, 3} - done
    assert done


async def test_with_delivery_durability_what_a_child_finished_outlives_the_process(autojump_clock):
    class Slowly(Flaky):
        @handler
        async def run(self, number: int, ctx: Context[int, int]) -> None:
            await trio.sleep(number)
            ctx.config["log"].append(number)
            await ctx.yield_output(number)

    storage = CopyingStorage()
    held = WorkflowBuilder(name="c", start_executor=lambda: Slowly("slow"))

    def build(storage):
        return parent(held.build, storage=storage, concurrency=5).build(id="W")

    log: list[int] = []
    await build(storage).run([3, 1, 2], config={"log": log}, durability="delivery")
    assert log == [1, 2, 3]
    seen_again = []
    for left in storage.copies:
        await trio.sleep(100)
        again: list[int] = []
        result = await build(left).run(checkpoint_id=LATEST, config={"log": again}, durability="delivery")
        assert result.outputs == [3, 1, 2]
        seen_again.append(again)
    assert [2, 3] in seen_again
    assert [3] in seen_again


# Failures in the same process.


@pytest.mark.parametrize("one", [False, True], ids=["each", "one"])
@pytest.mark.parametrize("storage", [None, "memory"])
async def test_a_run_that_failed_anywhere_in_the_tree_goes_on_in_the_same_object(one, storage):
    scenario = GALLERY["kept" if one else "isolated"]
    whole = await in_one_piece(scenario)
    outputs = whole["tree"][0]["executor"]["keep"].values
    for fail_on in outputs:
        workflow = scenario.workflow(InMemoryCheckpointStorage() if storage else None)
        with pytest.raises(RuntimeError):
            await workflow.run(scenario.message, config={"fail_on": fail_on})
        result = await workflow.run(checkpoint_id=LATEST)
        assert seen(workflow, result) == whole


@every_durability
async def test_warned_of_a_save_that_failed_the_tree_goes_on_and_the_next_save_has_it_all(durability):
    """`checkpoint_failures="warn"`: what children began and ended meanwhile is in the next checkpoint."""
    for at in range(1, 8):
        storage = InMemoryCheckpointStorage()
        builder = WorkflowBuilder(
            name="parent",
            start_executor=lambda: Spread("spread"),
            checkpoint_storage=storage,
            checkpoint_failures="warn",
        )
        builder.add_edge("spread", lambda: WorkflowExecutor(tallying().build, "sub")).add_edge(
            "sub", lambda: Keep("keep")
        )
        saves = []

        async def save(commit, storage=storage, saves=saves, at=at):
            saves.append(commit)
            if len(saves) in (at, at + 1):
                raise OSError("told to fail")
            return await InMemoryCheckpointStorage.save(storage, commit)

        storage.save = save
        workflow = builder.build(id="W")
        result = await workflow.run([2, 1], durability=durability)
        assert len(result.outputs) == 2
        latest = await storage.latest(workflow_id="W")
        if latest is not None and latest.id == workflow.head:
            decoded = workflow._core.definition.codec.decode(latest.contents, latest.superstep)
            if len(saves) > at + 1:
                assert tree(decoded) == tree(workflow._core.standing.snapshot)
                assert [*decoded.children] == [*workflow._core.standing.snapshot.children]


# Cancellation.


def swept(make, message, durability=None):
    def setup():
        storage = InMemoryCheckpointStorage()
        return make(storage).build(id="W")

    async def scenario(workflow):
        await workflow.run(message, durability=durability)

    async def check(workflow):
        snapshot, places = workflow._core.standing.snapshot, workflow._core.places
        for names in places._children:
            assert snapshot.find(names) is not None or "#" not in names[-1]
        result = await workflow.run(message)
        assert result.status is WorkflowRunState.IDLE
        assert places._children.keys() <= {("sub",)}

    return cancel_everywhere(scenario, setup=setup, check=check, seeds=scheduling_seeds(1))


@pytest.mark.parametrize("one", [False, True], ids=["each", "one"])
@pytest.mark.parametrize("durability", ["superstep", "async", "delivery"])
def test_a_cancellation_at_any_step_leaves_nothing_of_children_behind(one, durability):
    """R25, P2."""

    class Hooks(Tally):
        async def on_start(self, ctx: Context) -> None:
            await trio.lowlevel.checkpoint()

        async def on_stop(self, ctx: Context) -> None:
            await trio.lowlevel.checkpoint()

    held = WorkflowBuilder(name="c", start_executor=lambda: Hooks("hooks")).add_edge("hooks", "hooks")

    report = swept(lambda storage: parent(held.build, storage=storage, one=one), [1, 0], durability)

    assert report.cancelled > 20


# Damage.


async def _stored(storage):
    latest = (await storage.list(workflow_id="W"))[-4]
    return await storage.load(latest.id)


async def test_a_damaged_child_is_a_codec_error():
    """R22: each section of a child gone, torn, or under another name; the workflow stays as it was."""
    storage = InMemoryCheckpointStorage()
    workflow = parent(tallying().build, storage=storage, concurrency=1).build(id="W")
    await workflow.run([2, 3])
    checkpoint = await _stored(storage)
    codec = workflow._core.definition.codec
    contents = dict(checkpoint.contents)
    inside = [key for key in contents if key.startswith("@")]
    assert len(inside) >= 3
    bad = []
    for key in inside:
        bad.append({**contents, key: b"\xc1"})
        renamed = contents | {key.replace("@sub#1", "@none#1"): contents[key]}
        bad.append(renamed)
        bad.append(contents | {key.replace("@sub#1|", "@sub#1"): contents[key]})
        bad.append(contents | {key.replace("@sub#1|", "@sub#x|"): contents[key]})
        bad.append(contents | {key.replace("@sub#1|", "@sub#1:no#1|"): contents[key]})
    [run] = [key for key in inside if "|run/" in key]
    bad.append({key: value for key, value in contents.items() if key != run})
    bad.append({key: value for key, value in contents.items() if not key.startswith("child/")})
    [waiting] = [key for key in contents if key.startswith("input/")]
    bad.append(contents | {waiting.replace("sub#", "keep#"): contents[waiting]})
    bad.append(contents | {waiting.replace("#2", "#x"): contents[waiting]})
    bad.append(contents | {"count/": b"\xa1x"})
    for each in bad:
        with pytest.raises(CodecError):
            SectionCodec.decode(codec, each, checkpoint.superstep)


# Outputs and events of a resumed run.


async def test_outputs_of_a_child_made_before_a_crash_are_in_the_result_and_not_streamed_again():
    storage = InMemoryCheckpointStorage()
    workflow = parent(counting().build, storage=storage).build(id="W")
    with pytest.raises(ArithmeticError):
        await workflow.run([3], config={"fail_at": 0})

    rebuilt = parent(counting().build, storage=storage).build(id="W")
    result = await rebuilt.run(checkpoint_id=LATEST)

    assert result.outputs == [3, 2, 1, 0]
    inner = [event.data for event in result.events if isinstance(event, OutputEvent) and event.path]
    assert inner == [0]
    assert {e.executor_id for e in result.events if isinstance(e, ExecutorInvokedEvent)} == {"count", "keep"}


async def test_a_run_without_a_storage_may_be_followed_by_one_with_it():
    storage = InMemoryCheckpointStorage()
    workflow = parent(asking().build).build(id="W")
    asked = await workflow.run(["a b"])
    a, b = (each.request_id for each in asked.requests)
    await workflow.run(responses={a: "1"}, checkpoint_storage=storage)

    rebuilt = parent(asking().build, storage=storage).build(id="W")
    result = await rebuilt.run(checkpoint_id=LATEST, responses={b: "2"})

    assert result.outputs == ["b:2"]
    assert rebuilt._core.standing.snapshot.children == {}


async def test_a_fork_in_the_middle_of_children_goes_on_with_deliveries_of_its_own():
    """P5, R19: marks and waiting inputs inside a forked checkpoint are those of the branch, as when a run branches by itself."""
    storage = InMemoryCheckpointStorage()
    make = _forked
    original = await make("w").run(4, checkpoint_storage=storage)
    for info in await storage.list(workflow_id="w"):
        forked = await storage.fork(info.id, workflow_id=f"fork-{info.superstep}")

        result = await make(forked.workflow_id).run(checkpoint_id=LATEST, checkpoint_storage=storage)

        told = [{each.rpartition(" ")[2] for each in one.outputs} for one in (original, result)]
        assert [each.partition(" ")[0] for each in result.outputs] == [
            each.partition(" ")[0] for each in original.outputs
        ]
        assert all(f"@{forked.workflow_id}" in each for each in told[1] - told[0])
        assert (await storage.diff(info.id, forked.id)).state == {}


def _forked(workflow_id):
    @executor(id="split")
    async def split(count: int, ctx: Context[int]) -> None:
        for number in range(count):
            ctx.send_message(number)

    @executor(id="first")
    async def first(number: int, ctx: Context[int]) -> None:
        ctx.send_message(number)

    @executor(id="last")
    async def last(number: int, ctx: Context[Never, str]) -> None:
        await ctx.yield_output(f"{number} {ctx.delivery_id}")

    child = WorkflowBuilder(name="child", start_executor=lambda: first).add_edge("first", lambda: last)
    holder = WorkflowExecutor(child.build, "child", concurrency=2, allow_direct_output=True)
    return WorkflowBuilder(name="parent", start_executor=split).add_edge("split", holder).build(id=workflow_id)


async def test_an_error_of_stored_values_says_in_which_workflow_they_are_and_whose_upcasters_are_missing():
    """R10: parent and child have upcasters of their own, so one that is given to the parent alone does not help the child."""

    def build(order, *, parent=(), child=()):
        class Keep(Executor):
            @handler
            async def keep(self, message: order, ctx: Context) -> None:
                ctx.request_info(message, bool, request_id="q")

            @response_handler
            async def answered(self, question: order, yes: bool, ctx: Context[Never, str]) -> None:
                await ctx.yield_output(f"{question}: {yes}")

        @executor(id="start")
        async def start(message: order, ctx: Context[order]) -> None:
            ctx.send_message(message)

        keeping = WorkflowBuilder(name="keeping", start_executor=lambda: Keep("keep"), upcasters=child)
        holder = WorkflowExecutor(keeping.build, "sub", allow_direct_output=True)
        builder = WorkflowBuilder(name="p", start_executor=start, checkpoint_storage=storage, upcasters=parent)
        return builder.add_edge("start", holder).build(id="p")

    storage = InMemoryCheckpointStorage()
    await build(_Order).run(_Order("tea"))
    changed = attrs.make_class("_Order", {"item": attrs.field(type=str), "pieces": attrs.field(type=int)}, frozen=True)
    changed.__actorflow_version__ = 2
    upcasters = [Upcaster("_Order", version=1, convert=lambda fields: {**fields, "pieces": 1})]

    with pytest.raises(CodecError) as refused:
        await build(changed, parent=upcasters).run(checkpoint_id=LATEST)

    assert refused.value.path == "child 'sub#1': request 'q'"
    assert str(refused.value).endswith("; the builder is that of the workflow inside 'sub'")
    result = await build(changed, child=upcasters).run(checkpoint_id=LATEST, responses={"q": True})
    assert result.outputs == ["_Order(item='tea', pieces=1): True"]


@attrs.frozen
class _Order:
    item: str


async def test_a_value_that_cannot_be_stored_is_said_to_be_in_a_child():
    @executor(id="keep")
    async def keep(message: int, ctx: Context[int]) -> None:
        ctx.set_state("it", open)
        ctx.send_message(message)

    child = WorkflowBuilder(name="child", start_executor=lambda: keep).add_edge("keep", "keep")
    holder = WorkflowExecutor(child.build, "sub")
    workflow = WorkflowBuilder(name="p", start_executor=holder, checkpoint_storage=InMemoryCheckpointStorage()).build()

    with pytest.raises(CodecError) as refused:
        await workflow.run(1)

    assert refused.value.path == "child 'sub#1': state['it']"


async def test_a_diff_reads_what_is_inside_workflows_that_run_inside(autojump_clock):
    storage = InMemoryCheckpointStorage()

    @executor(id="ask")
    async def ask(text: str, ctx: Context[str]) -> None:
        ctx.send_message("now")
        ctx.send_message("later", delay=60)

    @executor(id="take")
    async def take(text: str, ctx: Context) -> None: ...

    child = WorkflowBuilder(name="child", start_executor=lambda: ask).add_edge("ask", lambda: take)
    spread = WorkflowBuilder(name="p", start_executor=Spread("spread"), checkpoint_storage=storage)
    workflow = spread.add_edge("spread", WorkflowExecutor(child.build, "sub")).build(id="p")
    await workflow.run(["a", "b"])

    first, _, third, fourth = (await storage.history("p"))[:4]
    begun = (await storage.diff(first.id, third.id)).other
    assert begun["@sub#1|inflight/"].after == [StoredMessage("ask", "a")]
    assert begun["input/sub#2"].after == StoredMessage("sub", "b")
    gone_on = (await storage.diff(third.id, fourth.id)).other
    assert gone_on["@sub#1|inflight/"].after == [StoredMessage("take", "now", ("ask",))]
    (timer,) = (change.after for key, change in gone_on.items() if "|timer/" in key)
    assert (timer.target_id, timer.value) == ("take", "later")
    assert not any("|run/" in key for key in [*begun, *gone_on])
