"""Properties of trees of workflows, over random ones: taking back, order, what is stored equals what is alive (R24), crashes (P6)."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import LATEST, InMemoryCheckpointStorage, WorkflowBuilder, WorkflowExecutor
from actorflow.core.effects import REMOVED, Delivery
from actorflow.core.snapshot import CHILDREN, INFLIGHT, INPUTS, RUN, STATE, STEPS, RunMark, Snapshot, inside
from actorflow.core.subworkflows import ChildInput, child_name, executor_of, is_isolated, is_name, turn_of
from actorflow.errors import CheckpointError
from tests.nested_workflows import Collect, Spread, counting

pytestmark = pytest.mark.filterwarnings("ignore::actorflow.graph.validation.SelfLoopWarning")

# Names.


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.none() | st.integers(1))
def test_a_childs_name_tells_its_executor_and_fits_into_an_address(executor_id, number):
    name = child_name(executor_id, number)

    assert is_name(name)
    assert executor_of(name) == executor_id
    assert is_isolated(name) == (number is not None)
    assert turn_of(name)[0] == (number or 0)


# Snapshots.

names = st.sampled_from(["a", "b", "a#1", "b#2", "a#3", "a#10", "b#11"])
paths = st.lists(names, max_size=3)
own_sections = st.sampled_from([INFLIGHT, RUN, STEPS, (STATE, "x"), (STATE, "y"), (INPUTS, "a#4"), (INPUTS, "b#12")])


@st.composite
def changes(draw):
    """Changes of some levels: values, children that begin, children that go with all they hold."""
    made = {}
    for _ in range(draw(st.integers(0, 6))):
        path, section = draw(paths), draw(own_sections)
        each = {section: draw(st.integers(0, 9) if section == STEPS else st.text(max_size=2))}
        for child in reversed(path):
            each = {(CHILDREN, child): True, **inside(child, each)}
        made.update(each)
    return made


def gone(snapshot, child):
    held = dict.fromkeys(snapshot.children[child].sections(), REMOVED)
    return {(CHILDREN, child): REMOVED, **inside(child, held)}


def contents(snapshot):
    return {section: snapshot.get(section) for section in snapshot.sections()}


def orders(snapshot):
    """The order of children and of waiting inputs, at every level."""
    return (
        [(name, orders(child)) for name, child in snapshot.children.items()],
        [*snapshot.table(INPUTS)],
        snapshot.superstep,
    )


@given(changes(), st.lists(changes()), st.data())
def test_commits_that_begin_and_end_children_are_taken_back_exactly_and_in_order(before, later, data):
    snapshot, undo = Snapshot(), {}
    snapshot.apply(before)
    expected, order = contents(snapshot), orders(snapshot)

    for change in later:
        if snapshot.children and data.draw(st.booleans()):
            child = data.draw(st.sampled_from([*snapshot.children]))
            change.update(gone(snapshot, child))
        for section, value in snapshot.inverse(change).items():
            undo.setdefault(section, value)
        snapshot.apply(change)
    snapshot.apply(undo)

    assert contents(snapshot) == expected
    assert _without_empty(orders(snapshot)) == _without_empty(order)


def _without_empty(order):
    children, inputs, superstep = order
    kept = [(name, _without_empty(inner)) for name, inner in children]
    return [each for each in kept if each[1] != ([], [], 0)], inputs, superstep


@given(st.lists(names, unique=True), st.permutations(["a#5", "b#6", "a#7", "b#80"]))
def test_children_and_inputs_stand_in_the_order_of_their_turns_whatever_came_first(children, waiting):
    snapshot = Snapshot()
    for child in children:
        snapshot.apply(inside(child, {RUN: RunMark("r", 0), INFLIGHT: (Delivery("x", 1),)}))
    for turn in waiting:
        snapshot.apply({(INPUTS, turn): ChildInput("a", 1, "o")})

    assert [*snapshot.children] == sorted(children, key=turn_of)
    assert [*snapshot.table(INPUTS)] == ["a#5", "b#6", "a#7", "b#80"]


# Whole runs.


@st.composite
def programs(draw):
    """A parent of two executors that hold workflows, each one or two levels around a countdown, and inputs for both."""

    def hold(inner, name):
        one = draw(st.booleans())
        limit = 1 if one else draw(st.integers(1, 3))
        direct = draw(st.booleans())
        return lambda: WorkflowExecutor(
            inner.build() if one else inner.build, name, concurrency=limit, allow_direct_output=direct
        )

    def level(inner, name):
        builder = WorkflowBuilder(name="level", start_executor=(made := hold(inner, name)))
        return builder if made().allow_direct_output else builder.add_edge(name, lambda: Collect("collect"))

    left, right = hold(level(counting(), "a/b"), "left"), hold(level(level(counting(), "a"), "b"), "right")

    def make(storage):
        builder = WorkflowBuilder(name="top", start_executor=lambda: Spread("spread"), checkpoint_storage=storage)
        builder.add_edge("spread", left, condition=_is_odd).add_edge("spread", right, condition=_is_even)
        for name, held in (("left", left), ("right", right)):
            if not held().allow_direct_output:
                builder.add_edge(name, lambda name=name: Collect(f"collect {name}"))
        return builder.build(id="W")

    return make, draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))


def _is_odd(value):
    return value % 2 == 1


def _is_even(value):
    return value % 2 == 0


def tree(snapshot):
    """A level of the tree and those below it, in order."""
    own = {name: [*values.items()] for name, values in snapshot.tables.items() if values and name != "outputs"}
    return own, snapshot.superstep, [(name, tree(inner)) for name, inner in snapshot.children.items()]


class Watched(InMemoryCheckpointStorage):
    """Compares the checkpoint before with the live state, at each save; fails one save."""

    def __init__(self, fails_at):
        super().__init__()
        self.fails_at = fails_at
        self.saves = 0
        self.compared = 0
        self.workflow = None

    async def save(self, commit):
        core = self.workflow._core
        if core.standing.head is not None:
            latest = await self.load(core.standing.head.id)
            if latest.superstep == core.standing.snapshot.superstep:
                self.compared += 1
                decoded = core.definition.codec.decode(latest.contents, latest.superstep)
                assert tree(decoded) == tree(core.standing.snapshot)
        self.saves += 1
        if self.saves == self.fails_at:
            raise OSError("told to fail")
        return await super().save(commit)


@settings(max_examples=40)
@given(programs(), st.sampled_from(["superstep", "async"]), st.integers(2, 12))
def test_a_tree_that_lost_a_save_ends_as_it_would_have_and_what_is_stored_is_what_is_alive(program, durability, at):
    make, inputs = program

    async def main():
        whole = await make(None).run(inputs)
        storage = Watched(at)
        workflow = storage.workflow = make(storage)
        try:
            result = await workflow.run(inputs, durability=durability)
        except CheckpointError:
            result = await workflow.run(checkpoint_id=LATEST, durability=durability)
        assert result.outputs == whole.outputs
        assert sorted(result.outputs) == sorted(each for value in inputs for each in range(value + 1))
        assert result.supersteps == whole.supersteps
        assert storage.compared or durability == "async"
        for names in workflow._core.places._children:
            assert not any(map(is_isolated, names))

    trio.run(main)
