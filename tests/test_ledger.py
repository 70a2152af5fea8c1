"""The ledger writes what changed and nothing else (P10), and what it wrote rebuilds to what it mirrors (R24).

The ledger is driven with random changes, failed saves and restarts; each staged commit is applied to a chain of deltas by
the chain's own rules, and the outcome must equal the encoded snapshot, key for key.
"""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.sections import CHAIN_KEY, SectionCodec, section_key
from actorflow.checkpoint.deltas import merge, unpack_delta
from actorflow.checkpoint.ledger import Ledger
from actorflow.core.effects import REMOVED, Output, OutputKind
from actorflow.core.snapshot import INFLIGHT, RUN, RunMark, Snapshot
from actorflow.errors import CodecError

CODEC = SectionCodec(TypeRegistry(()))


def without_chain(sections):
    """The length of the chain is stored beside the state and is no part of it."""
    return {key: data for key, data in sections.items() if key != CHAIN_KEY}


class Bench:
    """A snapshot, its ledger, and what has been stored."""

    def __init__(self):
        self.snapshot = Snapshot()
        self.ledger = Ledger(CODEC)
        self.chain = []

    def change(self, changes):
        self.ledger.record(self.snapshot, changes)
        self.snapshot.apply(changes)

    def store(self):
        staged = self.ledger.stage()
        self.ledger.settle(staged)
        self.chain.append(unpack_delta(staged.payload, staged.full))
        return attrs.evolve(self.chain[-1], changed=without_chain(self.chain[-1].changed))

    def stored(self):
        newest_full = max(index for index, delta in enumerate(self.chain) if delta.full)
        return without_chain(merge(self.chain[newest_full:]))

    def reload(self):
        newest_full = max(index for index, delta in enumerate(self.chain) if delta.full)
        self.ledger = Ledger.of_checkpoint(CODEC, merge(self.chain[newest_full:]), standalone=False)

    def live(self):
        return {section_key(each): CODEC.encode(each, self.snapshot.get(each)) for each in self.snapshot.sections()}

    def check(self):
        assert self.stored() == self.ledger.stored == self.live()
        assert self.ledger._size == sum(len(key) + len(data) for key, data in self.live().items())


def output(value):
    return (Output("e", value, OutputKind.OUTPUT),)


def test_the_first_commit_is_full_and_the_next_holds_what_changed():
    bench = Bench()
    bench.change({("state", "a"): 1, ("state", "b"): [2], INFLIGHT: ()})
    assert bench.store().full
    bench.change({("state", "b"): [2], ("state", "c"): 3, ("state", "a"): REMOVED})
    delta = bench.store()
    assert (set(delta.changed), delta.removed, delta.cleared, delta.full) == ({"state/c"}, ("state/a",), (), False)
    bench.check()


def test_what_encodes_as_before_is_not_written_again():
    bench = Bench()
    bench.change({("state", "a"): {"big": "x" * 1000}})
    bench.store()
    bench.change({("state", "a"): {"big": "x" * 1000}})
    assert bench.store().changed == {}


@pytest.mark.parametrize(("old", "new"), [(1, True), (1, 1.0), (0.0, -0.0), ("1", b"1"), ([1], (1,)), ({}, set())])
def test_values_that_are_equal_and_not_the_same_are_written(old, new):
    bench = Bench()
    bench.change({("state", "a"): old})
    bench.store()
    bench.change({("state", "a"): new})
    assert set(bench.store().changed) == {"state/a"}
    bench.check()


def test_taking_away_what_was_never_stored_writes_nothing():
    bench = Bench()
    bench.change({("state", "a"): 1})
    bench.store()
    bench.change({("state", "b"): 1})
    bench.change({("state", "b"): REMOVED})
    delta = bench.store()
    assert (delta.changed, delta.removed) == ({}, ())


def test_a_new_run_lets_go_of_all_outputs_in_one_word():
    bench = Bench()
    bench.change({RUN: RunMark("one", 0)})
    bench.store()
    for number in range(1, 6):
        bench.change({("outputs", str(number)): output(number)})
        bench.store()
    bench.change({**{("outputs", str(n)): REMOVED for n in range(1, 6)}, RUN: RunMark("two", 0)})
    delta = bench.store()
    assert (delta.cleared, delta.removed) == (("outputs/",), ())
    bench.check()


def test_a_value_that_cannot_be_stored_records_nothing():
    bench = Bench()
    bench.change({("state", "a"): 1})
    bench.store()
    with pytest.raises(CodecError, match=r"state\['b'\]"):
        bench.ledger.record(bench.snapshot, {("state", "a"): 2, ("state", "b"): object()})
    assert bench.store().changed == {}
    bench.check()


def test_going_back_to_a_mark_forgets_what_came_after_it_and_keeps_what_came_before():
    bench = Bench()
    bench.change({("state", "a"): 1})
    bench.store()
    bench.ledger.skip({("state", "skipped"): 7})
    bench.snapshot.apply({("state", "skipped"): 7})
    assert bench.ledger.is_behind
    mark = bench.ledger.mark()
    bench.ledger.record(bench.snapshot, {("state", "a"): 2})
    assert not bench.ledger.is_behind
    bench.ledger.back_to(mark)
    assert bench.ledger.is_behind
    bench.change({("state", "b"): 3})
    assert set(bench.store().changed) == {"state/b", "state/skipped"}
    bench.check()


def test_what_runs_without_storage_changed_is_encoded_as_it_is_when_it_is_stored():
    bench = Bench()
    bench.change({("state", "a"): 1, ("state", "gone"): 1})
    bench.store()
    for value in (2, object(), 3):
        bench.ledger.skip({("state", "a"): value, ("state", "gone"): REMOVED})
        bench.snapshot.apply({("state", "a"): value, ("state", "gone"): REMOVED})
    bench.change({("state", "b"): 4})
    delta = bench.store()
    assert (set(delta.changed), delta.removed) == ({"state/a", "state/b"}, ("state/gone",))
    bench.check()


def test_in_another_lineage_the_first_commit_stands_alone():
    bench = Bench()
    bench.change({("state", "a"): 1, ("outputs", "1"): output(1)})
    bench.store()
    branch = Ledger.of_checkpoint(CODEC, bench.stored(), standalone=True)
    branch.record(bench.snapshot, {("state", "b"): 2})
    staged = branch.stage()
    assert staged.full
    assert set(unpack_delta(staged.payload, full=True).changed) == {"state/a", "state/b", "outputs/1"}
    branch.settle(staged)
    branch.record(bench.snapshot, {("state", "b"): 3})
    assert not branch.stage().full


def _history(steps, changed_bytes, state_bytes):
    """Bytes written, and the longest chain to load, for a state of one size with a part that changes."""
    bench = Bench()
    bench.change({("state", "fixed"): "x" * state_bytes})
    first = bench.ledger.stage()
    bench.ledger.settle(first)
    written, distance, farthest, since, most = 0, 0, 0, 0, 0
    for number in range(steps):
        bench.change({("state", "moving"): f"{number:0{changed_bytes}}"})
        staged = bench.ledger.stage()
        bench.ledger.settle(staged)
        written += len(staged.payload)
        distance = 0 if staged.full else distance + 1
        since = 0 if staged.full else since + len(staged.payload)
        farthest, most = max(farthest, distance), max(most, since)
    return written, farthest, most


@pytest.mark.parametrize(("changed", "state"), [(10, 0), (100, 1_000), (100, 100_000), (2_000, 10_000)])
def test_full_snapshots_add_a_tenth_and_128_bytes_per_commit_and_bound_what_is_loaded(changed, state):
    """P10: both ways: what is written, and how far a load must go back."""
    steps = 2_000
    written, farthest, most = _history(steps, changed, state)
    framing = 40
    assert written <= steps * ((changed + framing) * 1.1 + 128) + state
    whole = state + 2 * changed + 100  # what a commit replaces counts until it is replaced
    assert farthest <= max(17, 1 + whole / (0.1 * changed + 128))
    assert most <= max(10 * whole, 20 * (changed + framing))


_KEYS = st.sampled_from(["a", "b", "c", "d"])
_VALUES = st.one_of(st.just(REMOVED), st.integers(0, 3), st.booleans(), st.lists(st.integers(0, 2), max_size=2))
_CHANGES = st.dictionaries(_KEYS, _VALUES, max_size=3)
_STEPS = st.one_of(
    st.tuples(st.just("store"), _CHANGES),
    st.tuples(st.just("store"), _CHANGES),
    st.tuples(st.just("store"), _CHANGES),
    st.tuples(st.just("record"), _CHANGES),
    st.tuples(st.just("fail"), _CHANGES),
    st.tuples(st.just("skip"), _CHANGES),
    st.tuples(st.just("new run"), st.just({})),
    st.tuples(st.just("restart"), st.just({})),
    st.tuples(st.just("branch"), st.just({})),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_STEPS, max_size=40))
def test_in_any_history_the_chain_rebuilds_to_the_live_state(steps):
    """R24: stores, saves that fail, runs without storage, new runs, restarts from what is stored, branches."""
    bench, superstep = Bench(), 0
    bench.change({RUN: RunMark("0", 0)})
    bench.store()
    for number, (what, made) in enumerate(steps):
        changes: dict[Any, Any] = {("state", key): value for key, value in made.items()}
        superstep += 1
        if what == "new run":
            superstep = 0
            changes = dict.fromkeys((("outputs", name) for name in bench.snapshot.table("outputs")), REMOVED)
            changes[RUN] = RunMark(str(number), 0)
        elif number % 2 and what in ("store", "record", "fail", "skip"):
            changes["outputs", str(superstep)] = output(number)
        if what == "skip":
            bench.ledger.skip(changes)
            bench.snapshot.apply(changes)
            continue
        if what == "fail":
            mark = bench.ledger.mark()
            bench.ledger.record(bench.snapshot, changes)
            bench.ledger.stage()
            bench.ledger.back_to(mark)
            continue
        bench.change(changes)
        if what == "record":
            continue
        bench.store()
        bench.check()
        if what in ("restart", "branch"):
            bench.ledger = Ledger.of_checkpoint(CODEC, bench.stored(), standalone=what == "branch")
    bench.change({("state", "last"): 1})
    bench.store()
    bench.check()


def test_a_workflow_resumed_at_every_step_earns_its_full_snapshots_all_the_same():
    """P10: loading reads a bounded chain, however often the history was interrupted."""
    bench = Bench()
    for number in range(200):
        bench.change({("state", "n"): number})
        bench.store()
        bench.reload()

    distances = [index for index, delta in enumerate(bench.chain) if delta.full]

    assert len(distances) >= 10
    bench.check()


def test_a_workflow_resumed_at_every_step_reads_no_more_than_a_few_times_its_state():
    """P10: however large the state is beside what one step changes. A chain that nobody cuts grows with the history."""
    bench, state = Bench(), 20_000
    bench.change({("state", f"{number}"): bytes([number]) * (state // 20) for number in range(20)})
    bench.store()
    for number in range(300):
        bench.change({("state", f"{number % 20}"): number.to_bytes(2) * (state // 40)})
        bench.store()
        bench.reload()

    distances = [index for index, delta in enumerate(bench.chain) if delta.full]

    assert all(later - earlier <= 20 for earlier, later in itertools.pairwise([*distances, len(bench.chain)]))
    bench.check()
