"""Shared state and executors' own state: who sees which write, how writes combine, and that what did not commit never
happened (P3, P4; F07, F15).
"""

from collections import Counter as Bag
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
)
from actorflow.errors import CheckpointError, StateTypeError
from actorflow.events import WorkflowRunState
from tests.scenarios import (
    Many,
    Relay,
    Tell,
    chain,
    concatenated,
    standing,
)


class Act(Executor):
    """Does what it was made to do, then sends on what it got."""

    def __init__(self, id: str, act: Any, after: float = 0) -> None:  # noqa: A002
        super().__init__(id)
        self.act = act
        self.after = after

    @handler
    async def do(self, message: Any, ctx: WorkflowContext[Any, Any]) -> None:
        await trio.sleep(self.after)
        answer = self.act(ctx)
        if answer is not None:
            await ctx.yield_output(answer)
        ctx.send_message(message)


def side_by_side(*acts: Any, then: Any = None, reducers: Any = None, afters: tuple[float, ...] = ()) -> Workflow:
    """Acts in one superstep, in canonical order; `then` in the next."""
    names = [f"act{number}" for number in range(len(acts))]
    delays = [*afters, *([0.0] * len(acts))]
    builder = WorkflowBuilder(name="acts", start_executor=Relay(id="start"), reducers=reducers)
    builder.add_fan_out_edges(
        "start", [Act(name, act, after) for name, act, after in zip(names, acts, delays, strict=False)]
    )
    end = Act("then", then or (lambda ctx: None))
    builder.add_edge(names[0], end)
    return builder.build()


def in_a_row(*acts: Any, reducers: Any = None, storage: Any = None) -> Workflow:
    """Each act in a superstep of its own."""
    return chain(
        *(Act(f"act{number}", act) for number, act in enumerate(acts)), reducers=reducers, checkpoint_storage=storage
    )


# Who sees what.


@pytest.mark.parametrize("afters", [(0, 5), (5, 0)])
async def test_siblings_do_not_see_each_others_writes(autojump_clock: Any, afters: tuple[float, float]) -> None:
    """F15, P4: in no order of finishing; the next superstep sees both."""

    def write(key: str, other: str) -> Any:
        def act(ctx: Any) -> str:
            ctx.set_state(key, 1)
            return f"{ctx.get_state(key)}{ctx.get_state(other)}{ctx.has_state(other)}"

        return act

    workflow = side_by_side(
        write("a", "b"), write("b", "a"), then=lambda ctx: f"{ctx.get_state('a')}{ctx.get_state('b')}", afters=afters
    )

    assert (await workflow.run("x")).outputs == ["1NoneFalse", "1NoneFalse", "11"]


@pytest.mark.parametrize("afters", [(0, 5), (5, 0)])
async def test_the_later_writer_in_canonical_order_wins(autojump_clock: Any, afters: tuple[float, float]) -> None:
    """P4: not the later one in time."""
    workflow = side_by_side(
        lambda ctx: ctx.set_state("k", "first"),
        lambda ctx: ctx.set_state("k", "second"),
        then=lambda ctx: ctx.get_state("k"),
        afters=afters,
    )
    assert (await workflow.run("x")).outputs == ["second"]


async def test_a_later_delivery_of_one_superstep_sees_what_its_executor_wrote_in_earlier_ones() -> None:
    """An executor reads its own writes."""

    @executor
    async def add(number: int, ctx: WorkflowContext[Never, int]) -> None:
        ctx.set_state("sum", ctx.get_state("sum", 0) + number)
        await ctx.yield_output(ctx.get_state("sum"))

    workflow = chain(Many(id="many"), add)
    assert (await workflow.run(4)).outputs == [0, 1, 3, 6]
    assert (await workflow.run(2)).outputs == [6, 7]


async def test_defaults_and_deletes() -> None:
    seen: list[Any] = []

    def first(ctx: Any) -> None:
        seen.append((ctx.get_state("k"), ctx.get_state("k", "d"), ctx.has_state("k")))
        ctx.delete_state("k")
        ctx.set_state("k", None)
        seen.append((ctx.get_state("k", "d"), ctx.has_state("k")))

    def second(ctx: Any) -> None:
        seen.append((ctx.get_state("k", "d"), ctx.has_state("k")))
        ctx.delete_state("k")
        seen.append((ctx.get_state("k", "d"), ctx.has_state("k")))

    def third(ctx: Any) -> None:
        seen.append((ctx.get_state("k", "d"), ctx.has_state("k")))

    storage = InMemoryCheckpointStorage()
    await in_a_row(first, second, third, storage=storage).run("x")

    assert seen == [(None, "d", False), (None, True), (None, True), ("d", False), ("d", False)]
    latest = await storage.latest(workflow_id="w")
    assert latest is not None
    assert not any(key.startswith("state/") for key in latest.contents)


async def test_a_delete_and_a_write_of_one_superstep_go_in_canonical_order() -> None:
    """P4."""
    for acts, after in (
        ((lambda ctx: ctx.delete_state("k"), lambda ctx: ctx.set_state("k", 2)), 2),
        ((lambda ctx: ctx.set_state("k", 2), lambda ctx: ctx.delete_state("k")), None),
    ):
        workflow = side_by_side(*acts, then=lambda ctx: f"{ctx.get_state('k')}")
        workflow._core.standing.snapshot.apply({("state", "k"): 1})
        assert (await workflow.run("x")).outputs == [f"{after}"]


# Mutable values.


async def test_a_value_that_is_read_and_changed_in_place_is_a_write() -> None:
    seen: list[Any] = []

    def change(ctx: Any) -> None:
        ctx.get_state("k")["list"].append(1)
        seen.append(ctx.get_state("k"))

    await in_a_row(
        lambda ctx: ctx.set_state("k", {"list": []}), change, lambda ctx: seen.append(ctx.get_state("k"))
    ).run("x")

    assert seen == [{"list": [1]}, {"list": [1]}]


async def test_a_sibling_does_not_see_a_value_changed_in_place() -> None:
    """F15, F23."""
    sizes: list[int] = []

    def look(ctx: Any) -> None:
        value = ctx.get_state("k")
        value.append(1)
        sizes.append(len(value))

    workflow = in_a_row(lambda ctx: ctx.set_state("k", []))
    await workflow.run("x")
    siblings = side_by_side(look, look, then=lambda ctx: len(ctx.get_state("k")))
    siblings._core.standing = workflow._core.standing

    assert (await siblings.run("x")).outputs == [1]
    assert sizes == [1, 1]


@pytest.mark.parametrize("stored", [False, True])
async def test_a_value_kept_by_its_writer_and_changed_later_does_not_change_the_state(stored: bool) -> None:
    """P3: state changes in supersteps alone."""
    kept: list[int] = []
    seen: list[Any] = []

    def write(ctx: Any) -> None:
        ctx.set_state("k", kept)
        kept.append(1)

    def change(ctx: Any) -> None:
        kept.append(2)
        seen.append(ctx.get_state("k"))

    storage = InMemoryCheckpointStorage() if stored else None
    await in_a_row(write, change, lambda ctx: seen.append(ctx.get_state("k")), storage=storage).run("x")

    assert seen == [[1], [1]]


async def test_a_value_changed_in_place_by_a_handler_that_fails_is_as_it_was() -> None:
    """F07, P3."""

    def fail(ctx: Any) -> None:
        ctx.get_state("k").append(1)
        ctx.set_state("other", 1)
        raise LookupError("after the change")

    workflow = in_a_row(lambda ctx: ctx.set_state("k", []), fail)
    with pytest.raises(LookupError):
        await workflow.run("x")
    before = standing(workflow)
    with pytest.raises(LookupError):
        await workflow.run(checkpoint_id=LATEST)

    assert standing(workflow) == before
    assert before[1]["state"] == {"k": []}


@pytest.mark.not_rehydrated(reason="a value that no storage could keep, which a run without one may use")
async def test_a_value_of_a_class_whose_equality_ignores_fields_is_compared_by_its_fields() -> None:
    @attrs.define
    class Box:
        name: str
        count: int = attrs.field(default=0, eq=False)

    def change(ctx: Any) -> None:
        ctx.get_state("k").count += 1

    workflow = in_a_row(lambda ctx: ctx.set_state("k", Box("b")), change, lambda ctx: ctx.get_state("k").count)
    assert (await workflow.run("x")).outputs == [1]


# Reducers.


@pytest.mark.parametrize("afters", [(0, 5, 1), (5, 0, 3)])
async def test_a_reducer_folds_writes_in_canonical_order_and_a_first_write_is_stored_as_it_is(
    autojump_clock: Any, afters: tuple[float, ...]
) -> None:
    """P4."""
    calls: list[tuple[Any, Any]] = []

    def subtract(old: Any, new: Any) -> Any:
        calls.append((old, new))
        return old - new

    def write(number: int) -> Any:
        return lambda ctx: ctx.set_state("k", number)

    workflow = side_by_side(
        write(100), write(7), write(30), then=lambda ctx: ctx.get_state("k"), reducers={"k": subtract}, afters=afters
    )

    assert (await workflow.run("x")).outputs == [63]
    assert calls == [(100, 7), (93, 30)]


async def test_own_writes_are_seen_through_the_reducer() -> None:
    def write_twice(ctx: Any) -> Any:
        ctx.set_state("k", [1])
        ctx.set_state("k", [2])
        return ctx.get_state("k")

    workflow = in_a_row(write_twice, write_twice, reducers={"k": concatenated})
    assert (await workflow.run("x")).outputs == [[1, 2], [1, 2, 1, 2]]


def extended(old: list[Any], new: list[Any]) -> list[Any]:
    old.extend(new)
    new.clear()
    return old


async def test_a_reducer_that_changes_its_arguments_in_place_does_no_harm() -> None:
    """P3, P4: to no snapshot, no sibling, and no write."""
    shared = ["w"]

    def write(ctx: Any) -> None:
        ctx.set_state("k", shared)

    workflow = side_by_side(write, write, write, then=lambda ctx: ctx.get_state("k"), reducers={"k": extended})

    assert (await workflow.run("x")).outputs == [["w"] * 3]
    assert (await workflow.run("x")).outputs == [["w"] * 6]
    assert shared == ["w"]


def grown(old: list[Any], new: list[Any]) -> list[Any]:
    old.extend(new)
    return old


async def test_writes_that_are_merged_again_after_a_failed_commit_count_once() -> None:
    """P3, P6: with a reducer that works in place."""

    class Broken(InMemoryCheckpointStorage):
        broken = True

        async def save(self, commit: Any) -> Any:
            if self.broken and commit.info.superstep == 2:
                raise OSError("disk")
            return await super().save(commit)

    storage = Broken()
    builder = WorkflowBuilder(
        name="again", start_executor=Relay(id="start"), reducers={"k": grown}, checkpoint_storage=storage
    )
    builder.add_fan_out_edges("start", [Act(name, lambda ctx: ctx.set_state("k", ["w"])) for name in "abc"])
    workflow = builder.add_edge("a", Act("end", lambda ctx: len(ctx.get_state("k")))).build()
    with pytest.raises(CheckpointError):
        await workflow.run("x")
    with pytest.raises(CheckpointError):
        await workflow.run(checkpoint_id=LATEST)
    storage.broken = False

    assert (await workflow.run(checkpoint_id=LATEST)).outputs == [3]


async def test_a_raising_reducer_fails_the_handler_that_wrote() -> None:
    def refuse(old: Any, new: Any) -> Any:
        raise ArithmeticError("no")

    workflow = in_a_row(lambda ctx: ctx.set_state("k", 1), lambda ctx: ctx.set_state("k", 2), reducers={"k": refuse})
    with pytest.raises(ArithmeticError) as caught:
        await workflow.run("x")
    assert "executor 'act1'" in caught.value.__notes__[0]
    assert standing(workflow)[1]["state"] == {"k": 1}


# An executor's own state.


@attrs.define
class Basket:
    items: list[str] = attrs.Factory(list)


class Keeper(Executor):
    """Keeps what it gets; fails or hangs as it is told."""

    state: Basket

    @handler
    async def keep(self, text: str, ctx: WorkflowContext[str]) -> None:
        self.state.items.append(text)
        if text.startswith("fail"):
            raise LookupError(text)
        if text.startswith("hang"):
            await trio.sleep_forever()
        ctx.send_message(",".join(self.state.items))


class ListKeeper(Executor):
    state: list[str]

    @handler
    async def keep(self, text: str, ctx: WorkflowContext[str]) -> None:
        self.state = [*self.state, text]
        if text.startswith("fail"):
            raise LookupError(text)
        ctx.send_message(",".join(self.state))


class HookKeeper(Executor):
    def __init__(self, id: str) -> None:  # noqa: A002
        super().__init__(id)
        self.items: list[str] = ["initial"]
        self.restored = 0

    @handler
    async def keep(self, text: str, ctx: WorkflowContext[str]) -> None:
        self.items.append(text)
        if text.startswith("fail"):
            raise LookupError(text)
        if text.startswith("hang"):
            await trio.sleep_forever()
        ctx.send_message(",".join(self.items))

    async def on_checkpoint_save(self) -> dict[str, Any]:
        return {"items": self.items}

    async def on_checkpoint_restore(self, state: Any) -> None:
        self.items = state["items"]
        self.restored += 1


class BothKeeper(HookKeeper):
    """A typed state beside hooks."""

    state: list[str]

    @handler
    async def keep(self, text: str, ctx: WorkflowContext[str]) -> None:
        self.state.append(text)
        await super().keep(text, ctx)


def kept(each: Any) -> Any:
    items = [*each.items] if isinstance(each, HookKeeper) else []
    state = getattr(each, "state", [])
    return [*items, *(state.items if isinstance(state, Basket) else state)]


@pytest.mark.parametrize("kind", [Keeper, ListKeeper, HookKeeper, BothKeeper])
@pytest.mark.parametrize("stored", [False, True])
async def test_an_executors_state_is_rolled_back_after_a_failure_with_and_without_storage(
    kind: type[Executor], stored: bool
) -> None:
    """F07, P3."""
    keeper = kind(id="keeper")
    workflow = chain(keeper, Tell(id="tell"), checkpoint_storage=InMemoryCheckpointStorage() if stored else None)
    await workflow.run("a")
    before = kept(keeper)
    with pytest.raises(LookupError):
        await workflow.run("fail")
    assert kept(keeper) == before

    assert (await workflow.run("b")).outputs[0].endswith("a,b")


@pytest.mark.parametrize("kind", [Keeper, HookKeeper, BothKeeper])
async def test_an_executors_state_is_rolled_back_after_a_cancellation(autojump_clock: Any, kind: Any) -> None:
    """F07, P3."""
    keeper = kind(id="keeper")
    workflow = chain(keeper, Tell(id="tell"))
    await workflow.run("a")
    before = kept(keeper)
    with trio.move_on_after(1):
        await workflow.run("hang")
    assert kept(keeper) == before


@pytest.mark.parametrize("kind", [Keeper, ListKeeper, HookKeeper, BothKeeper])
async def test_an_executors_state_is_restored_in_a_new_process(kind: Any) -> None:
    storage = InMemoryCheckpointStorage()

    def build() -> Workflow:
        return chain(kind(id="keeper"), Tell(id="tell"), checkpoint_storage=storage, state_types=[Basket])

    first = build()
    await first.run("a")
    second = build()
    await second.run(checkpoint_id=LATEST)

    assert (await second.run("b")).outputs[0].endswith("a,b")
    assert (await first.run("b", checkpoint_storage=InMemoryCheckpointStorage())).outputs[0].endswith("a,b")


async def test_earlier_deliveries_of_a_failed_superstep_are_rolled_back_and_not_done_again() -> None:
    """F07, F38, P3, P6: their state goes back with the rest, and comes again when they are taken up."""
    handled: list[int] = []

    class Sum(Executor):
        state: list[int]

        @handler
        async def add(self, number: int, ctx: WorkflowContext[Never, int]) -> None:
            handled.append(number)
            self.state.append(number)
            if number == 2 and handled.count(2) < 3:
                raise LookupError(number)
            await ctx.yield_output(sum(self.state))

    total = Sum(id="sum")
    workflow = chain(Many(id="many"), total)
    with pytest.raises(LookupError):
        await workflow.run(4)
    assert total.state == []
    with pytest.raises(LookupError):
        await workflow.run(checkpoint_id=LATEST)
    assert total.state == []

    assert (await workflow.run(checkpoint_id=LATEST)).outputs == [0, 1, 3, 6]
    assert handled == [0, 1, 2, 2, 2, 3]


async def test_finished_work_that_a_fresh_run_abandons_does_not_come_again() -> None:
    """F08, P3."""
    workflow = chain(Many(id="many"), Numbers(id="numbers"))
    with pytest.raises(LookupError):
        await workflow.run(5)
    result = await workflow.run(2)
    assert result.outputs == [[0], [0, 1]]


class Numbers(Executor):
    state: list[int]

    @handler
    async def add(self, number: int, ctx: WorkflowContext[Never, list[int]]) -> None:
        self.state.append(number)
        if number == 3:
            raise LookupError(number)
        await ctx.yield_output(list(self.state))


class Stubborn(HookKeeper):
    """Refuses to be restored as often as it is told."""

    refusals = 0

    async def on_checkpoint_restore(self, state: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError("disk of the executor")
        await super().on_checkpoint_restore(state)


@pytest.mark.not_rehydrated(reason="counts the calls of an executor's hooks, or lets a certain one fail")
async def test_an_executor_that_refuses_to_be_rolled_back_is_reported_and_put_back_by_the_next_run() -> None:
    """P3, P8."""
    keeper = Stubborn(id="keeper")
    workflow = chain(keeper, Tell(id="tell"))
    await workflow.run("a")
    keeper.refusals = 1

    with pytest.raises(LookupError) as caught:
        await workflow.run("fail")

    assert any("disk of the executor" in note for note in caught.value.__notes__)
    assert (await workflow.run("b")).outputs == ["initial,a,b"]


@pytest.mark.not_rehydrated(reason="counts the calls of an executor's hooks, or lets a certain one fail")
async def test_what_was_given_back_to_one_executor_is_rolled_back_when_another_refuses() -> None:
    """P3: a superstep that cannot be taken up leaves nobody with the state of what it had finished."""
    fails = True

    @executor
    async def fail(text: str, ctx: WorkflowContext) -> None:
        await trio.testing.wait_all_tasks_blocked()
        if fails:
            raise LookupError(text)

    first, second = Keeper(id="first"), Stubborn(id="second")
    builder = WorkflowBuilder(name="refusing", start_executor=Relay(id="start"))
    builder.add_fan_out_edges("start", [first, second, fail])
    workflow = builder.add_edge("first", Tell(id="end")).add_edge("second", "end").build()
    with pytest.raises(LookupError):
        await workflow.run("x")
    assert (first.state.items, second.items) == ([], ["initial"])

    second.refusals = 1
    with pytest.raises(OSError, match="disk"):
        await workflow.run(checkpoint_id=LATEST)
    assert (first.state.items, second.items) == ([], ["initial"])

    fails = False
    result = await workflow.run(checkpoint_id=LATEST)
    assert result.outputs == ["x>start", "initial,x>start"]
    assert (first.state.items, second.items) == (["x>start"], ["initial", "x>start"])


async def test_a_restore_that_a_hook_refuses_leaves_everything_as_it_was() -> None:
    """F32 (the runtime's part), P3."""
    storage = InMemoryCheckpointStorage()
    first, second = Keeper(id="first"), Stubborn(id="second")
    workflow = chain(first, second, Tell(id="tell"), checkpoint_storage=storage, state_types=[Basket])
    early = await workflow.run("a")
    await workflow.run("b")
    before = (standing(workflow), kept(first), kept(second))

    second.refusals = 1
    with pytest.raises(CheckpointError, match="'second'"):
        await workflow.run(checkpoint_id=early.checkpoint_id)

    assert (standing(workflow), kept(first), kept(second)) == before
    assert (await workflow.run("c")).status is WorkflowRunState.IDLE


class SlowRestore(HookKeeper):
    async def on_checkpoint_restore(self, state: Any) -> None:
        await super().on_checkpoint_restore(state)
        await trio.sleep(1)


async def test_a_restore_that_is_cancelled_half_way_leaves_the_next_run_where_the_workflow_stands(
    autojump_clock: Any,
) -> None:
    """F32 (the runtime's part), P3."""
    storage = InMemoryCheckpointStorage()
    first, second = Keeper(id="first"), SlowRestore(id="second")
    workflow = chain(first, second, Tell(id="tell"), checkpoint_storage=storage, state_types=[Basket])
    early = await workflow.run("a")
    await workflow.run("b")
    with trio.move_on_after(0.5):
        await workflow.run(checkpoint_id=early.checkpoint_id)

    assert (await workflow.run("c")).outputs == ["initial,a,a,b,a,b,c"]


async def test_a_state_that_cannot_be_made_is_refused_naming_the_class() -> None:
    @attrs.define
    class Needs:
        field: int

    class Wrong(Executor):
        state: Needs

        @handler
        async def go(self, text: str, ctx: WorkflowContext) -> None: ...

    with pytest.raises(StateTypeError, match="Wrong"):
        Wrong(id="wrong")


@pytest.mark.not_rehydrated(reason="counts the calls of an executor's hooks, or lets a certain one fail")
async def test_only_executors_that_took_part_are_asked_for_their_state() -> None:
    """P10: a superstep costs in proportion to its deliveries."""
    saves: Bag[str] = Bag()

    class Counted(HookKeeper):
        async def on_checkpoint_save(self) -> dict[str, Any]:
            saves[self.id] += 1
            return await super().on_checkpoint_save()

    workflow = chain(Counted(id="a"), Counted(id="b"), Counted(id="c"), Tell(id="tell"))
    await workflow.run("x")
    saves.clear()
    await workflow.run("y")
    assert saves == {"a": 1, "b": 1, "c": 1}
