"""Proves that an answer from outside becomes the declared type strictly: nothing is guessed, nothing is lost."""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st

from actorflow.coercion.answers import coerce

T = TypeVar("T")


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Item:
    price: int
    _note: str = ""
    total: int = attrs.field(init=False, default=0)


@attrs.frozen
class Wide:
    price: int
    note: str = ""
    size: int = 0


@attrs.frozen
class Node:
    value: int
    next: "Node | None" = None
    others: "list[Node]" = attrs.field(factory=list)


@attrs.frozen
class Checked:
    price: int = attrs.field(validator=attrs.validators.gt(3))


@attrs.frozen
class Box(Generic[T]):
    content: T


@dataclasses.dataclass
class Order:
    item: Item
    colour: Colour
    items: list[Item] = dataclasses.field(default_factory=list)
    pair: tuple[int, str] = (1, "a")


class Row(NamedTuple):
    a: int
    item: "Item | None" = None


class Keyed(TypedDict):
    a: int
    items: NotRequired[list[Item]]


class Ordinary:
    pass


UserId = NewType("UserId", int)
Alias = typing_extensions.TypeAliasType("Alias", list[Item])
WHEN = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)

FITS = [
    (1, float, 1.0),
    (1, Colour, Colour.RED),
    ("blue", Colour, Colour.BLUE),
    (1, Level, Level.LOW),
    ("yes", Word, Word.YES),
    (3, Access, Access.READ | Access.WRITE),
    ("2020-01-02T03:04:05Z", datetime, WHEN),
    ("2020-01-02", date, date(2020, 1, 2)),
    ("03:04", time, time(3, 4)),
    ("1.50", Decimal, Decimal("1.50")),
    (2, Decimal, Decimal(2)),
    ("00000000-0000-0000-0000-000000000001", UUID, UUID(int=1)),
    ([1, 2], tuple[int, ...], (1, 2)),
    ([1, "a"], tuple[int, str], (1, "a")),
    ([], tuple[()], ()),
    ([1, 2], set[int], {1, 2}),
    (["blue"], frozenset[Colour], frozenset({Colour.BLUE})),
    ({"blue": 1}, dict[Colour, float], {Colour.BLUE: 1.0}),
    ({"a": [1]}, Mapping[str, Sequence[float]], {"a": [1.0]}),
    ({"price": 1}, Item, Item(1)),
    ({"price": 1, "note": "n"}, Item, Item(1, "n")),
    ({"value": 1, "next": {"value": 2}, "others": [{"value": 3}]}, Node, Node(1, Node(2), [Node(3)])),
    ({"content": {"price": 1}}, Box[Item], Box(Item(1))),
    ({"item": {"price": 1}, "colour": 1, "pair": [2, "b"]}, Order, Order(Item(1), Colour.RED, [], (2, "b"))),
    ([1, {"price": 1}], Row, Row(1, Item(1))),
    ({"a": 1}, Row, Row(1)),
    ({"a": 1, "items": [{"price": 1}]}, Keyed, {"a": 1, "items": [Item(1)]}),
    (5, UserId, 5),
    ("blue", Annotated[Colour, "note"], Colour.BLUE),
    ([{"price": 1}], Alias, [Item(1)]),
    ("blue", Literal[Colour.BLUE, 2], Colour.BLUE),
    (None, int | None, None),
    ({"price": 1}, Item | None, Item(1)),
    ({"price": 1}, Wide | Item, Item(1)),
    ({"price": 1, "note": "n"}, Wide | Item, Item(1, "n")),
    ({"price": 1, "size": 2}, Item | Wide, Wide(1, size=2)),
    (1, float | int, 1),
    ("2020-01-02", date | str, "2020-01-02"),
    ("2020-01-02", date | int, date(2020, 1, 2)),
    ([1], set[int] | tuple[int, ...], {1}),
]


@pytest.mark.parametrize(("value", "annotation", "expected"), FITS)
def test_what_fits_becomes_the_declared_type(value, annotation, expected):
    made = coerce(value, annotation)

    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation", "problem"),
    [
        ("5", int, "expected int, got str '5'"),
        (1.9, int, "expected int, got float 1.9"),
        (1.0, int, "expected int"),
        (True, int, "expected int, got bool True"),
        (True, float, "expected a number"),
        ("1", float, "expected a number"),
        (2**53 + 1, float, "holds exactly"),
        (10**400, float, "holds exactly"),
        (None, str, "expected str, got NoneType"),
        (5, str, "expected str"),
        ("false", bool, "expected bool"),
        (1, bool, "expected bool"),
        ("YQ==", bytes, "expected bytes"),
        (0, None, "expected null"),
        (5, timedelta, "expected timedelta"),
        (True, Colour, "one of 1, 'blue'"),
        ("RED", Colour, "one of 1, 'blue'"),
        (True, Level, "expected Level"),
        (8, Access, "8"),
        ("soon", datetime, "the text of a datetime"),
        (WHEN, date, "expected date"),
        (0, date, "expected date"),
        (1.5, Decimal, "expected Decimal"),
        ("many", Decimal, "the text of a Decimal"),
        ("1", UUID, "the text of a UUID"),
        ("abc", list[str], r"expected list\[str\]"),
        ({"a": 1}, list[str], r"expected list\[str\]"),
        ("ab", tuple[str, str], "expected tuple"),
        ([1], tuple[int, int], "expected 2 items"),
        ([1, 1], set[int], "different elements"),
        ([["a"]], set[Any], "unhashable"),
        ({"1": 2}, dict[int, int], r"expected int, got str '1' @ \$\['1'\]"),
        ({1: 1}, dict[str, int], "expected str"),
        ([], dict[str, int], "expected dict"),
        (True, Literal[1, 2], "expected one of 1, 2"),
        ({}, Item, "required field 'price' is missing"),
        ({"price": 1, "_note": "n"}, Item, "unknown fields '_note'"),
        ({"price": 1, "total": 2}, Item, "unknown fields 'total'"),
        ([1], Item, "Item as an object"),
        ("Item", Item, "Item as an object"),
        ({"price": 3}, Checked, "must be > 3"),
        ({"content": "1"}, Box[int], r"expected int, got str '1' @ \$\.content"),
        ({"a": 1, "b": 2}, Keyed, "unknown fields 'b'"),
        ({}, Keyed, "required field 'a'"),
        ([1, 2, 3], Row, "expected 2 items"),
        ({"a": 1, "b": 1}, Row, "unknown fields 'b'"),
        (
            {"value": 1, "next": {"value": "2"}},
            Node,
            r"expected int, got str '2' @ \$\.value @ \$\.next|\$\.next\.value",
        ),
        ("x", int | float | None, r"int \| float \| None, got str 'x' \(int: .*float:"),
        (1, Ordinary, "expected Ordinary"),
        ("5", UserId, "expected int"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(value, annotation, problem):
    with pytest.raises(ValueError, match=problem):
        coerce(value, annotation)


def test_a_problem_of_the_answer_as_a_whole_needs_no_place():
    with pytest.raises(ValueError) as caught:
        coerce("perhaps", bool)

    assert str(caught.value) == "expected bool, got str 'perhaps'"


def test_all_problems_are_told_at_once_with_their_places():
    answer = {"item": {"price": "1"}, "colour": 7, "items": [{"price": 1}, 5]}

    with pytest.raises(ValueError, match=r"\$\.item\.price.*\$\.colour.*\$\.items\[1\]"):
        coerce(answer, Order)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Item(1), Item),
        (Item(1), Wide | Item),
        ([Item(1)], list[Item]),
        ([[1], [2]], list[list[int]]),
        ({"a": 1}, dict[str, int]),
        ({"a": 1}, Keyed),
        ({1, 2}, set[int]),
        (frozenset({1}), frozenset[int]),
        ((1, "a"), tuple[int, str]),
        ((1, 2), Sequence[int]),
        (Row(1), Row),
        (Colour.RED, Colour),
        (Level.LOW, int),
        (WHEN, datetime),
        (Decimal(1), Decimal),
        (Ordinary(), Any),
        (5j, complex),
        ([5j], list),
    ],
)
def test_a_value_that_has_the_type_already_comes_back_itself(value, annotation):
    assert coerce(value, annotation) is value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["price", "note", "a", "item", "x"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from([fit[1] for fit in FITS]))
def test_any_json_fits_or_is_a_value_error(value, annotation):
    try:
        coerce(value, annotation)
    except ValueError as error:
        assert str(error)  # noqa: PT017  either way is right


@given(st.builds(Wide, st.integers(), st.text(), st.integers()), st.lists(st.integers()))
def test_what_json_can_say_of_a_class_is_read_back(wide, numbers):
    answer = (
        msgspec.json.decode(msgspec.json.encode({"content": [attrs.asdict(wide)], "numbers": numbers}))
        if _small(wide, numbers)
        else None
    )

    if answer is not None:
        assert coerce(answer["content"], list[Wide]) == [wide]
        assert coerce(answer["numbers"], tuple[int, ...]) == tuple(numbers)


def _small(wide, numbers):
    return all(-(2**63) <= number < 2**63 for number in (wide.price, wide.size, *numbers))


def test_pydantic_models_are_made_in_their_own_strict_mode():
    import pydantic

    class Model(pydantic.BaseModel):
        a: int
        when: datetime | None = None

    @attrs.frozen
    class Holder:
        model: Model

    assert coerce({"a": 1, "when": "2020-01-02T03:04:05Z"}, Model) == Model(a=1, when=WHEN)
    assert coerce({"model": {"a": 1}}, Holder) == Holder(Model(a=1))
    assert coerce({"a": 1, "when": WHEN}, Model) == Model(a=1, when=WHEN)
    assert coerce({"a": 1}, Item | Model) == Model(a=1)
    for wrong, problem in (
        ({"a": "1"}, "valid integer @ a"),
        ({"a": 1, "b": 2}, "Extra inputs"),
        ({"a": True}, "integer"),
    ):
        with pytest.raises(ValueError, match=problem):
            coerce(wrong, Model)


def test_unions_of_different_kinds_of_classes_are_told_apart_by_their_fields():
    answer = {"a": 1, "items": []}

    assert coerce(answer, Row | Keyed) is answer
    assert coerce({"item": {"price": 1}, "colour": 1}, Row | Order) == Order(Item(1), Colour.RED)
    assert coerce({"a": 1, "item": None}, Keyed | Row) == Row(1)
    assert coerce({"a": 1, "items": [{"price": 1}]}, Row | Keyed) == {"a": 1, "items": [Item(1)]}
