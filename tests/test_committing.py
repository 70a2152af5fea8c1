"""Committing a superstep is a plain function of values (P3, P4): it says what changes, touches nothing, and asks conditions."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.core.dispatch import TypeDispatch
from actorflow.core.effects import REMOVED, Delivery, Effects, Finished, Output, OutputKind, Sent, Write, WriteKind
from actorflow.core.snapshot import INFLIGHT, STATE, Snapshot
from actorflow.errors import UndeliverableMessageError
from actorflow.graph.committing import commit_superstep
from actorflow.graph.edges import Edge
from actorflow.graph.graph import Graph, Node
from tests.settling import settle

KINDS = st.sampled_from(WriteKind)
WRITES = st.lists(st.builds(Write, st.sampled_from("xyz"), KINDS, st.integers(0, 3)), max_size=3)
DID = st.lists(st.tuples(WRITES, st.lists(st.integers(0, 9), max_size=3), st.lists(st.integers(0, 9), max_size=2)))
STATES = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3))


def graph_of(condition=None):
    nodes = {name: Node(name, name, TypeDispatch([int], [name]), (int,), (int,)) for name in "ab"}
    return Graph("a", nodes, (Edge("a", "b", condition),))


def finished(writes, sent, outputs):
    effects = Effects(
        [Sent(each) for each in sent], writes, [Output("a", each, OutputKind.OUTPUT) for each in outputs], []
    )
    return Finished(Delivery("a", 0), effects, {}, REMOVED)


def add(old, new):
    return old + new


def expected_state(state, did):
    state = dict(state)
    for writes, _, _ in did:
        for write in writes:
            if write.kind is WriteKind.DELETE:
                state.pop(write.key, None)
            elif write.kind is WriteKind.SET and write.key == "z" and "z" in state:
                state["z"] += write.value
            else:
                state[write.key] = write.value
    return state


@given(STATES, DID)
def test_the_changes_are_the_effects_in_canonical_order_and_nothing_else_is_touched(state, did):
    snapshot = Snapshot({STATE: dict(state)}, superstep=4)
    before = copy.deepcopy(snapshot.tables)
    done = [finished(*each) for each in did]

    result = settle(commit_superstep(graph_of(), snapshot, done, 5, reducers={"z": add}))
    again = settle(commit_superstep(graph_of(), snapshot, done, 5, reducers={"z": add}))

    assert snapshot.tables == before
    assert again.changes == result.changes
    snapshot.apply(result.changes, 5)
    assert snapshot.table(STATE) == expected_state(state, did)
    assert [each.value for each in snapshot.inflight] == [value for _, sent, _ in did for value in sent]
    assert [each.value for each in snapshot.outputs] == [value for _, _, outputs in did for value in outputs]


@given(st.lists(st.integers(0, 9)), st.integers(0, 9))
def test_a_condition_decides_and_what_it_refuses_is_said(sent, limit):
    done = [finished([], sent, [])]

    result = settle(commit_superstep(graph_of(lambda value: value < limit), Snapshot(), done, 1, reducers={}))

    assert [each.value for each in result.changes[INFLIGHT]] == [value for value in sent if value < limit]
    assert [(each.reason, each.value) for each in result.dropped] == [
        ("condition", value) for value in sent if value >= limit
    ]


def test_a_condition_that_raises_names_its_edge_and_nothing_is_changed():
    """F21."""
    snapshot = Snapshot({STATE: {"x": 1}})
    done = [finished([Write("x", WriteKind.SET, 2)], [1], [])]

    with pytest.raises(ZeroDivisionError) as raised:
        settle(commit_superstep(graph_of(lambda value: value / 0), snapshot, done, 1, reducers={}))

    assert any("edge 'a' -> 'b'" in note for note in raised.value.__notes__)
    assert snapshot.table(STATE) == {"x": 1}


def test_strict_mode_refuses_what_nothing_takes():
    """F20."""
    done = [finished([], [1], [])]

    with pytest.raises(UndeliverableMessageError):
        settle(commit_superstep(graph_of(lambda _: False), Snapshot(), done, 1, reducers={}, strict=True))
