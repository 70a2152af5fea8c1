"""Snapshots: a commit is applied whole, and taken back exactly."""

from hypothesis import given
from hypothesis import strategies as st

from actorflow.core.effects import REMOVED, Delivery, Output, OutputKind, PendingRequest
from actorflow.core.snapshot import INFLIGHT, OUTPUTS, REQUESTS, RUN, RunMark, Snapshot

sections = st.tuples(st.sampled_from(["state", "executor", "join", "outputs"]), st.sampled_from("abcde"))
changes = st.dictionaries(sections, st.integers() | st.none() | st.just(REMOVED))


def contents(snapshot):
    return {section: snapshot.get(section) for section in snapshot.sections()}


@given(st.lists(changes))
def test_applying_changes_equals_updating_a_plain_mapping(all_changes):
    snapshot, model = Snapshot(), {}

    for number, each in enumerate(all_changes):
        snapshot.apply(each, number)
        model.update(each)

    assert contents(snapshot) == {section: value for section, value in model.items() if value is not REMOVED}
    assert snapshot.superstep == max(len(all_changes) - 1, 0)


@given(changes, changes)
def test_the_inverse_takes_a_commit_back_exactly(before, change):
    snapshot = Snapshot()
    snapshot.apply(before, 3)
    expected = contents(snapshot)

    inverse = snapshot.inverse(change)
    snapshot.apply(change, 4)
    snapshot.apply(inverse, 3)

    assert contents(snapshot) == expected
    assert snapshot.superstep == 3


@given(changes, st.lists(changes, min_size=1))
def test_several_commits_are_taken_back_by_the_oldest_value_of_each_section(before, later):
    snapshot, undo = Snapshot(), {}
    snapshot.apply(before)
    expected = contents(snapshot)

    for change in later:
        for section, value in snapshot.inverse(change).items():
            undo.setdefault(section, value)
        snapshot.apply(change)
    snapshot.apply(undo)

    assert contents(snapshot) == expected


def test_removing_what_is_not_there_does_nothing():
    snapshot = Snapshot()

    snapshot.apply({("state", "a"): REMOVED})

    assert snapshot.sections() == []
    assert snapshot.get(("state", "a")) is REMOVED


def test_none_is_a_value():
    snapshot = Snapshot()

    snapshot.apply({("state", "a"): None})

    assert snapshot.get(("state", "a")) is None
    assert snapshot.table("state") == {"a": None}


def test_a_fresh_snapshot_has_nothing_in_flight_and_no_mark():
    snapshot = Snapshot()

    assert (snapshot.inflight, snapshot.mark, dict(snapshot.requests), snapshot.outputs) == ((), None, {}, [])


def test_outputs_and_requests_come_in_the_order_they_were_made():
    snapshot = Snapshot()
    requests = [PendingRequest(id_, "e", 1, int) for id_ in "zab"]
    for number in range(9, 12):
        snapshot.apply({(OUTPUTS, str(number)): (Output("e", number, OutputKind.OUTPUT),)})
    snapshot.apply({(REQUESTS, each.id): each for each in requests})
    snapshot.apply({INFLIGHT: (Delivery("e", 1),), RUN: RunMark("run", 0)})

    assert [output.value for output in snapshot.outputs] == [9, 10, 11]
    assert list(snapshot.requests) == ["z", "a", "b"]
    assert snapshot.inflight == (Delivery("e", 1),)
    assert snapshot.mark == RunMark("run", 0)
