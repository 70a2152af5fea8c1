"""The handler of a value is the most specific one; its place among the handlers, and its name, never matter (F19)."""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, Never, NewType, Protocol, TypedDict, TypeVar, runtime_checkable

import attrs
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.core import dispatch as module
from actorflow.core.dispatch import TypeDispatch
from actorflow.core.types import compile_type, is_subtype, members
from actorflow.errors import AmbiguousHandlersError, HandlerSignatureError, MessageTypeError

T = TypeVar("T")


class Animal: ...


class Walks(Animal): ...


class Swims(Animal): ...


class Duck(Walks, Swims): ...


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Point(NamedTuple):
    x: int
    y: int


class Order(TypedDict):
    id: int


class Numbers(list): ...


@attrs.frozen
class Box(Generic[T]):
    item: T


class Opaque(Generic[T]): ...


class Model(pydantic.BaseModel):
    id: int


class SubModel(Model):
    pass


@runtime_checkable
class Closable(Protocol):
    def close(self) -> None: ...


class File:
    def close(self) -> None: ...


UserId = NewType("UserId", int)


def dispatch(*annotations):
    return TypeDispatch(annotations, [f"handler_{index}" for index in range(len(annotations))])


def found(annotations, value):
    """The annotation found, after checking that every rotation and the reverse find the same one, twice."""
    orders = [annotations[turn:] + annotations[:turn] for turn in range(len(annotations))]
    answers = []
    for order in [*orders, annotations[::-1]]:
        table = dispatch(*order)
        for _ in range(2):
            index = table.find(value)
            answers.append(None if index is None else order[index])
            assert table.accepts(value) is (index is not None)
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


@pytest.mark.parametrize(
    ("annotations", "value", "expected"),
    [
        ([object, str], "a", str),
        ([object, str], 1, object),
        ([Any, int | str], "a", int | str),
        ([Any, None], None, None),
        ([int, bool], True, bool),
        ([int, bool], 1, int),
        ([str, int | str], "a", str),
        ([str, int | str], 1, int | str),
        ([int | str, bool | bytes], True, bool | bytes),
        ([int | str, str | bytes, str], "a", str),
        ([Animal, Walks], Duck(), Walks),
        ([Animal, Walks, Swims, Duck], Duck(), Duck),
        ([Walks, Walks | Swims], Duck(), Walks),
        ([list, list[int]], [1], list[int]),
        ([list, list[int]], ["a"], list),
        ([list[object], list[int], list[bool]], [1], list[int]),
        ([list[int], Sequence[int]], [1], list[int]),
        ([list[int], Sequence[int]], (1,), Sequence[int]),
        ([list, Sequence[int]], [1], list),
        ([str, Sequence[str], Iterable[str]], "a", str),
        ([Literal["go"], str], "go", Literal["go"]),
        ([Literal["go"], str], "stop", str),
        ([Literal["go", "stop"], Literal["go"]], "go", Literal["go"]),
        ([Literal[Color.RED], Color], Color.BLUE, Color),
        ([Order, dict], {"id": 1}, Order),
        ([Order, dict], {"id": "a"}, dict),
        ([Order, dict[str, int], Mapping[str, int]], {"id": 1}, Order),
        ([Order, dict[str, int], Mapping[str, int]], {"no": 1}, dict[str, int]),
        ([dict[str, Any], dict[str, int]], {"a": 1}, dict[str, int]),
        ([dict[str, Any], dict[str, int]], {"a": "b"}, dict[str, Any]),
        ([dict[str, Any] | str, dict[str, int] | bytes], {"a": 1}, dict[str, int] | bytes),
        ([Point, tuple[int, int], tuple], Point(1, 2), Point),
        ([Point, tuple[int, int], tuple], (1, 2), tuple[int, int]),
        ([Numbers, list[int]], Numbers([1]), Numbers),
        ([Box, Box[int]], Box(1), Box[int]),
        ([Box[int], Box[str]], Box("a"), Box[str]),
        ([Model, SubModel, object], SubModel(id=1), SubModel),
        ([Closable, File], File(), File),
        ([Closable, Any], File(), Closable),
        ([Closable, Any], 1, Any),
        ([type[Animal], type], Duck, type[Animal]),
        ([type[Animal], Callable], Duck, type[Animal]),
        ([Callable[[int], int], int], len, Callable[[int], int]),
        ([int, Never], 1, int),
        ([int, Never], "a", None),
        ([Never], 1, None),
        ([], 1, None),
    ],
)
def test_the_most_specific_handler_wins_in_any_order(annotations, value, expected):
    assert found(annotations, value) == expected


@pytest.mark.parametrize(
    ("annotations", "member"),
    [
        ([int | str, str | bytes], "str"),
        ([str, str], "str"),
        ([Any, object], "Any"),
        ([int, UserId], "int"),
        ([list, list[object]], "list"),
        ([Literal["a", "b"], Literal["b", "c"]], "Literal['b']"),
        ([Opaque[int], Opaque[str]], "Opaque[int]"),
        ([Opaque[int], Opaque], "Opaque[int]"),
        ([dict[str, Any], dict[str, object]], "dict[str, Any]"),
        ([Callable[[int], int], Callable[[], None]], "Callable[[int], int]"),
        ([int, int | str, str | None, None | str], "str"),
    ],
)
def test_a_tie_is_refused_with_the_handlers_the_type_and_the_way_out(annotations, member):
    with pytest.raises(AmbiguousHandlersError) as caught:
        dispatch(*annotations)

    text = str(caught.value)
    assert f"take {member}," in text
    assert text.count("handler_") >= 2
    assert f"add a handler for {member} alone" in text


def test_a_value_of_two_unrelated_handled_classes_is_refused_every_time():
    table = dispatch(Walks, Swims)

    for _ in range(2):
        with pytest.raises(
            MessageTypeError, match=r"Duck .*handler_0 \(Walks\) and handler_1 \(Swims\).*add a handler"
        ):
            table.find(Duck())
        assert table.accepts(Duck())


def test_a_handler_for_anything_does_not_hide_a_tie():
    with pytest.raises(MessageTypeError):
        dispatch(Walks, Swims, object).find(Duck())


def test_an_annotation_that_cannot_be_tested_is_refused():
    with pytest.raises(HandlerSignatureError, match="T cannot be used"):
        dispatch(int, list[T])


def test_annotations_are_given_back_as_they_were():
    assert dispatch(int | str, None).annotations == (int | str, None)


def test_a_class_is_tested_once_when_it_settles_the_answer():
    asked = []

    class Meta(type):
        def __instancecheck__(cls, instance):
            asked.append(instance)
            return super().__instancecheck__(instance)

    class Handled(metaclass=Meta): ...

    class Value(Handled): ...

    table = dispatch(Handled, list[int], Literal["a"])
    table.find(Value())
    asked.clear()

    assert table.find(Value()) == 0
    assert table.accepts(Value())
    assert asked == []


def test_a_candidate_that_looks_inside_is_asked_for_each_value():
    table = dispatch(list[int], list[str], object)

    assert [table.find(value) for value in ([1], ["a"], [1.5], [1], [])[:4]] == [0, 1, 2, 0]


def test_a_candidate_that_a_class_already_beats_does_not_prevent_remembering():
    table = dispatch(str, Sequence[str])
    table.find("a")

    assert str in table._answers


def test_a_proxy_is_judged_by_what_it_stands_for():
    class Proxy:
        def __init__(self, target):
            self._target = target

        @property
        def __class__(self):
            return type(self._target)

    table = dispatch(Walks, Swims)

    assert table.find(Proxy(Walks())) == 0
    assert table.find(Proxy(Swims())) == 1
    assert table.find(Proxy(1)) is None
    assert not table.accepts(Proxy(1))


def test_classes_made_while_running_do_not_fill_memory(monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED_CLASSES", 10)
    table = dispatch(Animal, object)

    for index in range(100):
        assert table.find(type(f"Made{index}", (Animal,), {})()) == 0

    assert len(table._answers) <= 10
    assert len(table._candidates) <= 10


# Generated handlers, compared with a reading of the rules that looks at whole tables at once.

CLASSES = [object, int, bool, str, Animal, Walks, Swims, Duck, list, list[int], list[bool], Sequence[int], tuple]
MORE = [tuple[int, int], Point, dict, dict[str, int], Mapping[str, int], Order, Literal[1], Literal["a"], Color, None]
VALUES = [1, True, "a", "b", Animal(), Walks(), Swims(), Duck(), [1], [True], ["a"], (1, 2), Point(1, 2), (1,)]
VALUES += [{}, {"id": 1}, {"no": 1}, {1: 1}, Color.RED, None, 1.5]

single = st.sampled_from([*CLASSES, *MORE])
tables = st.lists(st.one_of(single, st.builds(lambda a, b: a | b, single.filter(bool), single)), min_size=1, max_size=5)


def outcome(annotations, value):
    try:
        index = dispatch(*annotations).find(value)
    except (AmbiguousHandlersError, MessageTypeError) as error:
        return type(error)
    return None if index is None else annotations[index]


@given(tables, st.randoms(use_true_random=False), st.sampled_from(VALUES))
def test_what_is_found_does_not_depend_on_the_order_of_the_handlers(annotations, random, value):
    shuffled = list(annotations)
    random.shuffle(shuffled)

    assert outcome(shuffled, value) == outcome(annotations, value)


@given(tables, st.sampled_from(VALUES))
def test_what_is_found_takes_the_value_by_a_member_that_no_other_undercuts(annotations, value):
    try:
        index = dispatch(*annotations).find(value)
    except (AmbiguousHandlersError, MessageTypeError):
        return

    taking = [[one for one in members(whole) if compile_type(one).matches(value)] for whole in annotations]
    if index is None:
        assert not any(taking)
    else:
        assert any(not any(strictly(other, one) for row in taking for other in row) for one in taking[index])


def strictly(narrow, wide):
    return is_subtype(narrow, wide) and not is_subtype(wide, narrow)


@given(tables, st.lists(st.sampled_from(VALUES), max_size=8))
def test_remembered_answers_are_those_of_a_fresh_table(annotations, values):
    try:
        table = dispatch(*annotations)
    except AmbiguousHandlersError:
        return

    for value in values:
        try:
            index = table.find(value)
        except MessageTypeError:
            assert outcome(annotations, value) is MessageTypeError
            continue
        assert outcome(annotations, value) == (None if index is None else annotations[index])
