"""Deltas survive packing exactly, hostile bytes are refused and do nothing, and merging a chain equals replaying it."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actorflow.checkpoint.deltas import merge, pack_delta, unpack_delta
from actorflow.checkpoint.records import Delta
from actorflow.errors import CheckpointError, CodecError

KEYS = st.sampled_from(
    [f"{kind}/{n}" for kind in ("state", "outputs", "out") for n in range(4)] + ["run", "inflight", ""]
)
PREFIXES = st.sampled_from(["outputs/", "out", "state/1", "run", ""])
DELTAS = st.builds(
    Delta,
    changed=st.dictionaries(KEYS, st.binary(max_size=4), max_size=4),
    removed=st.lists(KEYS, max_size=3).map(tuple),
    cleared=st.lists(PREFIXES, max_size=2).map(tuple),
    full=st.booleans(),
)


def replay(chain):
    contents = {}
    for delta in chain:
        if delta.full:
            contents = dict(delta.changed)
            continue
        contents = {key: value for key, value in contents.items() if not key.startswith(delta.cleared)}
        contents = {key: value for key, value in contents.items() if key not in delta.removed}
        contents.update(delta.changed)
    return contents


@given(first=st.dictionaries(KEYS, st.binary(max_size=4)), rest=st.lists(DELTAS, max_size=12))
@example(first={"outputs/1": b"a"}, rest=[Delta(changed={"outputs/1": b"b"}, cleared=("outputs/",))])
@example(first={"run": b"a"}, rest=[Delta(changed={"run": b"b"}, removed=("run",))])
def test_merging_equals_replaying_on_a_plain_dict(first, rest):
    chain = [Delta(changed=first, full=True), *rest]
    assert merge(chain) == replay(chain)


@pytest.mark.parametrize("chain", [[], [Delta(changed={})]], ids=["empty", "not full"])
def test_a_chain_that_does_not_begin_with_a_full_delta_is_refused(chain):
    with pytest.raises(CheckpointError, match="begins with a full one"):
        merge(chain)


def test_merging_thousands_of_small_deltas_costs_what_they_hold():
    """P10: clearing a prefix again and again over a large state does not scan the state each time."""
    state = {f"state/{n}": b"x" for n in range(2000)}
    steps = [Delta(changed={f"outputs/{n}": b"y"}, cleared=("outputs/",)) for n in range(5000)]
    began = time.perf_counter()
    contents = merge([Delta(changed=state, full=True), *steps])
    assert time.perf_counter() - began < 1
    assert contents == {**state, "outputs/4999": b"y"}


@given(
    changed=st.dictionaries(st.text(), st.binary()),
    removed=st.lists(st.text()),
    cleared=st.lists(st.text()),
    full=st.booleans(),
)
def test_a_packed_delta_comes_back_exactly(changed, removed, cleared, full):
    delta = Delta(changed=changed, removed=tuple(removed), cleared=tuple(cleared), full=full)
    assert unpack_delta(pack_delta(delta), full) == delta


def test_framing_is_a_few_bytes_a_section():
    """P10."""
    assert len(pack_delta(Delta(changed={}))) <= 2
    for size in (10, 1000, 100_000):
        changed = {"state/key": b"x" * size}
        assert len(pack_delta(Delta(changed=changed))) <= 2 + len("state/key") + size + 6


@given(payload=st.binary(max_size=60))
@example(payload=b"")
@example(payload=b"\x90")
@example(payload=b"\x94\x80\x90\x90\x90")
@example(payload=b"\xdd\xff\xff\xff\xff")
@example(payload=b"\x91\xdf\xff\xff\xff\xff")
@example(payload=b"\x91\x81\xa1\xff\xc4\x00")
@example(payload=b"\x91\x81\xa1a\xa1a")
@example(payload=b"\x91\x80\x80")
@example(payload=b"\x91" * 100_000)
@example(payload=b"\xc7\x01\x01\x00")
def test_hostile_bytes_are_refused_or_a_delta_and_nothing_else(payload):
    """R11: whatever the bytes, the only ways out are a delta and a CodecError."""
    try:
        delta = unpack_delta(payload, full=True)
    except CodecError:
        return
    assert all(type(key) is str and type(value) is bytes for key, value in delta.changed.items())
    assert merge([delta]) == delta.changed


@pytest.mark.parametrize(
    "delta",
    [
        Delta(changed={"a": "text"}),
        Delta(changed={"a": None}),
        Delta(changed={1: b""}),
        Delta(changed={}, removed=(1,)),
        Delta(changed={"\ud800": b""}),
        Delta(changed={}, cleared=("\ud800",)),
    ],
    ids=["text value", "no value", "number key", "number removed", "surrogate key", "surrogate prefix"],
)
def test_what_could_not_be_unpacked_is_not_packed(delta):
    """F35: save demands all that load demands."""
    with pytest.raises(CodecError):
        pack_delta(delta)
