"""Folding writes into the shared state, and the state as one delivery sees it, against slow references."""

from hypothesis import given
from hypothesis import strategies as st

from actorflow.core.effects import REMOVED, Write, WriteKind
from actorflow.core.merge import fold, merge_writes
from actorflow.core.values import private_copy, same_value
from actorflow.executors.state_view import StateView

KEYS = ("plain", "joined", "greedy")


def join(old, new):
    return old + new


def greedy(old, new):
    """A reducer that changes both its arguments in place, as a careless one may."""
    new.extend(old)
    old.append("eaten")
    return new


REDUCERS = {"joined": join, "greedy": greedy}

lists = st.lists(st.integers(0, 9), max_size=3)
states = st.dictionaries(st.sampled_from(KEYS), lists)
writes = st.builds(Write, st.sampled_from(KEYS), st.sampled_from(WriteKind), lists)


def reference(state, all_writes):
    """Later wins, reducers fold, deletes remove; every value copied at every step."""
    now = private_copy(state)
    touched = []
    for write in all_writes:
        touched.append(write.key)
        value = private_copy(write.value)
        if write.kind is WriteKind.DELETE:
            now.pop(write.key, None)
        elif write.kind is WriteKind.SET and write.key in REDUCERS and write.key in now:
            now[write.key] = REDUCERS[write.key](now[write.key], value)
        else:
            now[write.key] = value
    return {key: now.get(key, REMOVED) for key in touched}


@given(states, st.lists(writes))
def test_merged_writes_are_those_of_the_reference(state, all_writes):
    before = private_copy(state), private_copy([write.value for write in all_writes])

    merged = merge_writes(state, all_writes, REDUCERS)

    assert same_value(merged, reference(before[0], all_writes))
    assert same_value((state, [write.value for write in all_writes]), before)


@given(states, st.lists(writes, min_size=1))
def test_merging_again_after_a_failed_commit_gives_the_same(state, all_writes):
    first = private_copy(merge_writes(state, all_writes, REDUCERS))

    assert same_value(first, merge_writes(state, all_writes, REDUCERS))


def test_a_first_write_is_stored_as_it_is_and_so_is_one_after_a_delete():
    assert fold(REMOVED, Write("k", WriteKind.SET, 1), join) == 1
    assert fold(5, Write("k", WriteKind.SET, 1), join) == 6
    assert fold(5, Write("k", WriteKind.REPLACE, 1), join) == 1
    assert fold(5, Write("k", WriteKind.DELETE), join) is REMOVED


def test_a_falsy_old_value_still_goes_through_the_reducer():
    assert merge_writes({"k": None}, [Write("k", WriteKind.SET, 1)], {"k": lambda old, new: (old, new)}) == {
        "k": (None, 1)
    }


actions = st.lists(
    st.tuples(st.sampled_from(["get", "set", "delete", "change", "has"]), st.sampled_from(KEYS), lists), max_size=12
)


class Model:
    """The state as a delivery should see it: a plain dict of private values."""

    def __init__(self, state):
        self.now = private_copy(state)

    def set(self, key, value):
        if key in REDUCERS and key in self.now:
            self.now[key] = REDUCERS[key](self.now[key], private_copy(value))
        else:
            self.now[key] = private_copy(value)


@given(states, states, actions)
def test_a_view_agrees_with_a_model_and_touches_nothing_outside(committed, earlier, todo):
    view, model = StateView(committed, earlier, REDUCERS), Model({**committed, **earlier})
    before = private_copy((committed, earlier))

    for action, key, value in todo:
        if action == "get":
            assert same_value(view.get(key, "none"), model.now.get(key, "none"))
        elif action == "has":
            assert view.has(key) == (key in model.now)
        elif action == "delete":
            view.delete(key)
            model.now.pop(key, None)
        elif action == "set":
            view.set(key, private_copy(value))
            model.set(key, value)
        elif view.has(key):
            view.get(key, None).extend(value)
            model.now[key].extend(value)
    all_writes, written = view.finish()

    assert same_value((committed, earlier), before)
    expected = {key: model.now.get(key, REMOVED) for key in written}
    assert same_value(written, expected)
    merged = merge_writes({**committed, **earlier}, all_writes, REDUCERS)
    assert same_value({**committed, **earlier, **merged}, {**committed, **earlier, **expected})


def test_a_reducer_that_changes_its_second_argument_does_not_change_what_was_written():
    view = StateView({"greedy": [1]}, {}, REDUCERS)

    view.set("greedy", [2])
    recorded, _ = view.finish()

    assert [write.value for write in recorded] == [[2]]


def test_reading_writes_nothing_and_changing_in_place_is_one_write():
    view = StateView({"plain": [1], "joined": [1]}, {}, REDUCERS)

    view.get("plain", None)
    view.get("joined", None).append(2)
    recorded, overlay = view.finish()

    assert recorded == [Write("joined", WriteKind.REPLACE, [1, 2])]
    assert overlay == {"joined": [1, 2]}


def test_a_change_made_after_the_delivery_reaches_neither_its_writes_nor_the_next_delivery():
    mine = [1]
    view = StateView({}, {}, {})
    view.set("plain", mine)

    recorded, overlay = view.finish()
    mine.append(2)

    assert recorded[0].value == [1]
    assert overlay == {"plain": [1]}


def test_a_value_changed_in_place_and_then_written_again_keeps_both_moments_for_the_reducer():
    view = StateView({"joined": [1]}, {}, REDUCERS)
    held = view.get("joined", None)
    held.append(2)
    view.set("joined", [3])
    held.append("too late: another value stands there now")

    recorded, overlay = view.finish()

    assert [write.value for write in recorded] == [[1, 2], [3]]
    assert overlay == {"joined": [1, 2, 3]}
