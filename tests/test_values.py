"""Private copies and exact comparison: a copy never shows a change, and no change of type or content goes unseen."""

import collections
import enum
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.core.values import is_immutable, private_copy, same_value


@attrs.define
class Box:
    inside: object = None
    unseen: int = attrs.field(default=0, eq=False)


class Colour(enum.Enum):
    RED = 1


atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(atoms, inner)
        | st.tuples(inner, inner)
        | st.sets(st.integers() | st.text())
        | inner.map(Box)
    ),
    max_leaves=12,
)


def mutable_parts(value):
    """Every list, dict and Box inside a value."""
    if isinstance(value, (list, dict, Box)):
        yield value
    inner = value.values() if isinstance(value, dict) else [value.inside] if isinstance(value, Box) else value
    if isinstance(value, (list, tuple, dict, Box)):
        for each in inner:
            yield from mutable_parts(each)


def change(part):
    if isinstance(part, list):
        part.append("changed")
    elif isinstance(part, dict):
        part["a key that no strategy makes"] = 1
    else:
        part.unseen += 1


@given(values)
def test_a_copy_is_the_same_value_and_shares_nothing_that_can_change(value):
    copied = private_copy(value)

    assert same_value(value, copied)
    originals = {id(part) for part in mutable_parts(value)}
    assert not originals & {id(part) for part in mutable_parts(copied)}


@given(values, st.data())
def test_every_change_in_place_is_seen_and_reaches_the_copy_alone(value, data):
    copied, witness = private_copy(value), private_copy(value)
    parts = list(mutable_parts(copied))
    if not parts:
        return

    change(data.draw(st.sampled_from(parts)))

    assert not same_value(value, copied)
    assert same_value(value, witness)


@given(values, values)
def test_sameness_is_symmetric(one, other):
    assert same_value(one, other) == same_value(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ([1], (1,)),
        ({1: "a"}, {True: "a"}),
        ({1}, {True}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Decimal("1.0"), Decimal("1.00")),
        (datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.deque([1]), collections.deque([1], maxlen=3)),
        (collections.deque([1]), collections.deque([2])),
        (collections.Counter("a"), collections.Counter("aa")),
        (Box(1, unseen=1), Box(1, unseen=2)),
    ],
)
def test_values_that_compare_equal_but_differ_are_different(one, other):
    assert not same_value(one, other)


@pytest.mark.parametrize(
    "make",
    [
        lambda: float("nan"),
        lambda: Decimal("NaN"),
        lambda: collections.deque([1, [2]], maxlen=3),
        lambda: collections.defaultdict(list, a=[1]),
        lambda: collections.Counter("aab"),
        lambda: Box([Box()]),
        lambda: {frozenset({1}), "a"},
        lambda: bytearray(b"a"),
    ],
)
def test_equal_values_made_twice_are_the_same(make):
    assert same_value(make(), make())


def cyclic_with_branches():
    value = []
    value += [value, value, {"again": value}]
    return value


def shared_at_every_level():
    value = [1]
    for _ in range(60):
        value = [value, value]
    return value


def deep():
    value = []
    for _ in range(20_000):
        value = [value, {"deeper": []}]
    return value


@pytest.mark.parametrize("make", [cyclic_with_branches, shared_at_every_level, deep])
def test_cyclic_shared_and_deep_values_are_copied_and_compared_in_a_moment(make):
    value = make()

    copied = private_copy(value)

    assert copied is not value
    assert same_value(value, copied)
    copied.append("changed")
    assert not same_value(value, copied)


def test_a_copy_keeps_what_is_shared_inside_shared():
    inner = [1]

    copied = private_copy([inner, inner, {"x": inner}])

    assert copied[0] is copied[1] is copied[2]["x"]
    assert copied[0] is not inner


def test_nested_tuples_are_judged_without_recursion():
    deep_tuple, shared = (), (1,)
    for _ in range(20_000):
        deep_tuple = (deep_tuple,)
    for _ in range(60):
        shared = (shared, shared)

    assert is_immutable(deep_tuple)
    assert is_immutable(shared)
    assert private_copy(shared) is shared


@pytest.mark.parametrize("value", [1, "a", Colour.RED, int, (1, ("a", frozenset({2}))), None])
def test_what_cannot_change_is_handed_out_as_it_is(value):
    assert is_immutable(value)
    assert private_copy(value) is value


def test_what_cannot_be_copied_is_shared_and_never_taken_for_changed():
    value = {"client": threading.Lock()}

    copied = private_copy(value)

    assert same_value(value, copied)


def test_a_comparison_that_raises_counts_as_different():
    class Refuses:
        def __reduce_ex__(self, protocol):
            raise RuntimeError("no")

    assert not same_value(Refuses(), Refuses())
