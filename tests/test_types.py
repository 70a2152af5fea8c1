"""The types of messages: names, members, subtyping and tests of values agree with each other and with a slow reading."""

import dataclasses
import enum
import sys
import types
import typing
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    Never,
    NewType,
    NoReturn,
    NotRequired,
    Optional,
    Protocol,
    Required,
    TypedDict,
    TypeVar,
    Union,
    get_args,
    get_origin,
    runtime_checkable,
)

import attrs
import pydantic
import pytest
import typing_extensions
from hypothesis import assume, given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from actorflow.core.types import compatible, compile_type, describe, is_subtype, members, type_variables
from actorflow.errors import HandlerSignatureError

T = TypeVar("T")
S = TypeVar("S")
B = TypeVar("B", bound=int)
C = TypeVar("C", int, str)


class Animal:
    class Tag:
        pass


class Dog(Animal):
    pass


class Puppy(Dog):
    pass


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Text(str):
    __slots__ = ()


@attrs.frozen
class Box(Generic[T]):
    item: T
    label: str = ""


class SpecialBox(Box[int]):
    pass


@attrs.frozen
class PairBox(Box[S], Generic[S, T]):
    other: T | None = None


@dataclasses.dataclass
class Node(Generic[T]):
    value: T
    next: "Node[T] | None" = None


@dataclasses.dataclass
class Endless(Generic[T]):
    value: T
    next: "Endless[list[T]] | None" = None


class Bag(list[T]):
    pass


class Point(NamedTuple):
    x: int
    y: int


class Span(NamedTuple, Generic[T]):
    start: T
    end: T


class Options(TypedDict, total=False):
    size: int
    name: Required[str]


class Order(TypedDict):
    id: int
    note: NotRequired[str | None]


class Tree(TypedDict):
    children: "list[Tree]"


class Forest(TypedDict):
    children: "list[Forest]"


class Loose(TypedDict, total=False):
    id: int


class Strict(TypedDict):
    id: int


class Page(TypedDict, Generic[T]):
    items: list[T]


class Model(pydantic.BaseModel):
    id: int


class GenericModel(pydantic.BaseModel, Generic[T]):
    item: T


@runtime_checkable
class Closable(Protocol):
    def close(self) -> None: ...


@runtime_checkable
class Named(Protocol):
    name: str


class Unchecked(Protocol):
    def close(self) -> None: ...


class File:
    def close(self) -> None: ...


class WithName:
    def __init__(self, name):
        self.name = name


@attrs.frozen
class NamedValue:
    name: str


class NamedModel(pydantic.BaseModel):
    name: str


class Opaque(Generic[T]):
    pass


UserId = NewType("UserId", int)
Numbers = TypeAliasType("Numbers", int | float)
Swapped = TypeAliasType("Swapped", tuple[S, T] | None, type_params=(T, S))
Listed = TypeAliasType("Listed", list[T], type_params=(T,))


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (int, "int"),
        (None, "None"),
        (type(None), "None"),
        (Any, "Any"),
        (object, "object"),
        (Never, "Never"),
        (NoReturn, "Never"),
        (list[int], "list[int]"),
        (typing.List[int], "list[int]"),  # noqa: UP006
        (typing.List, "list"),  # noqa: UP006
        (typing.Dict[str, Any], "dict[str, Any]"),  # noqa: UP006
        (int | str, "int | str"),
        (Union[int, str], "int | str"),  # noqa: UP007
        (Optional[int], "int | None"),  # noqa: UP045
        (Dog, "Dog"),
        (Animal.Tag, "Animal.Tag"),
        (Annotated[int, "meta"], "int"),
        (Literal["a", 1, Color.RED], "Literal['a', 1, Color.RED]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[()]"),
        (Callable[[int, str], None], "Callable[[int, str], None]"),
        (typing.Callable[..., int], "Callable[..., int]"),
        (type[Dog], "type[Dog]"),
        (Sequence[Dog], "Sequence[Dog]"),
        (Box[int], "Box[int]"),
        (Box[T], "Box[T]"),
        (UserId, "UserId"),
        (Numbers, "Numbers"),
        (Listed[int], "Listed[int]"),
        (Order, "Order"),
        ("Later", "Later"),
        (typing.ForwardRef("Later"), "Later"),
    ],
)
def test_a_name_is_readable_and_free_of_module_paths(annotation, name):
    assert describe(annotation) == name


def test_a_local_class_is_named_without_its_function():
    class Local:
        class Inner:
            pass

    assert describe(Local) == "Local"
    assert describe(Local.Inner) == "Local.Inner"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, (int,)),
        (int | str | int, (int, str)),
        (Optional[int], (int, type(None))),  # noqa: UP045
        (None, (type(None),)),
        (Never, ()),
        (NoReturn, ()),
        (Annotated[int | Annotated[str, 1], []], (int, str)),
        (UserId, (int,)),
        (NewType("Both", int | str), (int, str)),
        (Union[str, Numbers, UserId], (str, int, float)),  # noqa: UP007
        (Swapped[int, str], (tuple[str, int], type(None))),
        (Listed[str], (list[str],)),
        (typing.List, (list,)),  # noqa: UP006
        (tuple[()], (tuple[()],)),
        (typing.Tuple, (tuple,)),  # noqa: UP006
        (Literal[1, 2], (Literal[1, 2],)),
        (bool | int, (bool, int)),
        (Any, (Any,)),
    ],
)
def test_members_are_flat_stripped_and_each_there_once(annotation, expected):
    assert members(annotation) == expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement")
def test_a_recursive_alias_is_followed_as_deep_as_the_value_goes():
    namespace: dict[str, Any] = {}
    exec("type Json = dict[str, Json] | list[Json] | str | int | None", namespace)
    matcher = compile_type(namespace["Json"])

    assert matcher.matches({"a": [1, {"b": None}]})
    assert not matcher.matches({"a": [1, {"b": 1.5}]})
    assert is_subtype(namespace["Json"], namespace["Json"] | bytes)
    assert type_variables(namespace["Json"]) == ()


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, ()),
        (T, (T,)),
        (dict[T, list[S]] | T, (T, S)),
        (Annotated[list[T], S], (T,)),
        (Callable[[S], T], (S, T)),
        (Swapped, (S, T)),
        (Swapped[int, T], (T,)),
        (Box[int], ()),
        (Box, ()),
        (Literal["T"], ()),
    ],
)
def test_unresolved_type_variables_are_found_anywhere(annotation, expected):
    assert type_variables(annotation) == expected


SUBTYPES = [
    (bool, int),
    (Dog, Animal),
    (int, Any),
    (int, object),
    (Any, int),
    (list[Any], list[int]),
    (Never, int),
    (int, int | str),
    (int | bool, int),
    (None, int | None),
    (UserId, int),
    (int, UserId),
    (Annotated[int, 1], int),
    (Numbers, int | float | str),
    (list[int], list),
    (list[int], list[object]),
    (list, list[object]),
    (list[int], Sequence[int]),
    (list[int], Iterable[int | str]),
    (deque[int], Collection[int]),
    (str, Sequence[str]),
    (Text, Iterable[str]),
    (bytes, Sequence[int]),
    (dict[str, bool], Mapping[str, int]),
    (dict[str, bool], Iterable[str]),
    (OrderedDict[str, int], dict[str, object]),
    (Counter[str], Mapping[str, int]),
    (Counter[str], dict[str, int]),
    (Counter[bool], Counter[int]),
    (Counter[str], Iterable[str]),
    (frozenset[int], AbstractSet[int]),
    (tuple[int, str], tuple[object, ...]),
    (tuple[int, bool], tuple[int, int]),
    (tuple[int, bool], Sequence[int]),
    (tuple[int, ...], Sequence[int]),
    (tuple[()], Sequence[int]),
    (tuple[()], tuple[int, ...]),
    (tuple[int], tuple),
    (tuple, tuple[object, ...]),
    (Point, tuple[int, int]),
    (Point, Sequence[int]),
    (Span[bool], tuple[int, int]),
    (Span[bool], Span[int]),
    (Literal[1], int),
    (Literal[True], int),
    (Literal[1], Literal[1, 2]),
    (Literal[1, "a"], int | Literal["a"]),
    (Literal[Color.RED], Color),
    (Order, dict),
    (Order, dict[str, int | str | None]),
    (Order, Mapping[str, object]),
    (Tree, dict[str, list[Tree]]),
    (Tree, Forest),
    (Strict, Loose),
    (Strict, Order),
    (Page[bool], Page[int]),
    (type[Dog], type[Animal]),
    (type[Dog], type),
    (type, type[object]),
    (Callable[[int], bool], Callable),
    (Callable[[int], bool], Callable[[bool], int]),
    (Callable[[int], bool], Callable[..., int]),
    (type[Dog], Callable),
    (File, Closable),
    (File, Unchecked),
    (NamedValue, Named),
    (NamedModel, Named),
    (Box[bool], Box[int]),
    (Box[int], Box),
    (SpecialBox, Box[int]),
    (PairBox[int, str], Box[int]),
    (Bag[int], list[int]),
    (Bag[int], Sequence[int]),
    (Node[bool], Node[int]),
    (B, int),
    (GenericModel[int], GenericModel),
]


@pytest.mark.parametrize(("narrow", "wide"), SUBTYPES)
def test_a_narrower_type_is_a_subtype(narrow, wide):
    assert is_subtype(narrow, wide)
    assert compatible(narrow, wide) is (narrow is not Never)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (int, bool),
        (int, float),
        (int, Never),
        (object, int),
        (int | str, int),
        (list, list[int]),
        (list[object], list[int]),
        (Box, Box[int]),
        (Sequence[int], list[int]),
        (str, Sequence[int]),
        (dict[str, int], Iterable[int]),
        (dict[str, object], dict[str, int]),
        (tuple[int, ...], tuple[int, int]),
        (tuple[int], tuple[int, int]),
        (tuple[int, str], Sequence[int]),
        (tuple, tuple[int, ...]),
        (Literal[1], Literal[True]),
        (Literal[1, 3], Literal[1, 2]),
        (int, Literal[1]),
        (dict[str, int], Order),
        (Order, Options),
        (Loose, Strict),
        (Order, Strict),
        (Order, dict[str, int]),
        (Page[str], Page[int]),
        (type[Animal], type[Dog]),
        (Callable[[bool], int], Callable[[int], int]),
        (Callable[[int], object], Callable[[int], int]),
        (Dog, Closable),
        (WithName, Named),
        (SpecialBox, Box[str]),
        (PairBox[int, str], Box[str]),
        (Bag[int], list[str]),
        (T, int),
        (int, T),
        ("int", int),
    ],
)
def test_a_type_that_is_not_surely_taken_is_no_subtype(narrow, wide):
    assert not is_subtype(narrow, wide)


def test_a_type_variable_fits_where_all_it_may_stand_for_fits():
    assert is_subtype(C, int | str | bytes)
    assert not is_subtype(C, int)
    assert is_subtype(list[C], list[int | str])


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (int | str, bytes | str, True),
        (object, str, True),
        (Animal, Dog, True),
        (Literal[1, 2], Literal[2, 3], True),
        (list, list[int], True),
        (WithName, Named, True),
        (Named, WithName, True),
        (int, str, False),
        (float, int, False),
        (Never, int, False),
        (int, Never, False),
        (list[int], list[str], False),
        (Dog, Closable, False),
    ],
)
def test_an_edge_is_compatible_if_some_member_may_pass(source, target, expected):
    assert compatible(source, target) is expected


def ones():
    yield 1


@pytest.mark.parametrize(
    ("annotation", "taken", "refused"),
    [
        (int, [1, True], ["1", 1.0, None]),
        (float, [1.0], [1]),
        (None, [None], [0]),
        (Any, [1, None], []),
        (object, [1, None], []),
        (Never, [], [1, None]),
        (int | None, [1, None], ["1"]),
        (int | list[str] | None, [1, ["a"], [], None], ["a", [1]]),
        (int | Any, ["a"], []),
        (Literal[1, "a"] | None, [1, "a", None], [True, 1.0, Text("a"), [1], 2]),
        (Literal[True], [True], [1]),
        (Literal[Color.RED], [Color.RED], [Color.BLUE, 1]),
        (Color, [Color.RED], [1]),
        (list[int], [[], [1, True]], [["a"], (1,), None]),
        (list[Any], [["a"]], [()]),
        (list[list[int]], [[[1]], [[]]], [[["a"]], [1]]),
        (list[Annotated[int, []]], [[1]], [["a"]]),
        (set[int], [{1}], [{"a"}, frozenset({1})]),
        (frozenset[int], [frozenset({1})], [{1}]),
        (deque[int], [deque([1])], [[1], deque(["a"])]),
        (dict[str, int], [{}, {"a": 1}], [{"a": "b"}, {1: 1}, []]),
        (dict[str, Any], [{"a": None}], [{1: 1}]),
        (defaultdict[str, int], [defaultdict(int, a=1)], [{"a": 1}]),
        (Counter[str], [Counter("ab")], [Counter([1]), {"a": 1}]),
        (ChainMap[str, int], [ChainMap({"a": 1})], [ChainMap({"a": "b"})]),
        (Mapping[str, int], [{"a": 1}, types.MappingProxyType({"a": 1})], [{"a": "b"}]),
        (Sequence[int], [[1], (1,), range(3), b"ab"], ["a", ["a"], {1}]),
        (Sequence[str], ["ab", ["a"]], [["a", 1]]),
        (AbstractSet[int], [{1}, frozenset({1}), {1: 2}.keys()], [[1], {"a"}]),
        (Iterable[int], [[1], {1: 2}, ones()], [["a"], 1]),
        (tuple[int, str], [(1, "a")], [(1,), (1, 2), [1, "a"], (1, "a", 1)]),
        (tuple[int, ...], [(), (1, 2)], [("a",), [1]]),
        (tuple[()], [()], [(1,)]),
        (tuple, [(1, "a")], [[1]]),
        (tuple[int, int], [Point(1, 2)], []),
        (Point, [Point(1, 2)], [(1, 2)]),
        (Span[int], [Span(1, 2)], [Span("a", "b"), (1, 2)]),
        (
            Options,
            [{"name": "a"}, {"name": "a", "size": 1}],
            [{}, {"name": "a", "size": "b"}, {"name": "a", "b": 1}, []],
        ),
        (Order, [{"id": 1}, {"id": 1, "note": None}], [{}, {"note": "a"}, {"id": 1, "note": 1}, {"id": 1, 2: 3}]),
        (Tree, [{"children": [{"children": []}]}], [{"children": [{"children": [1]}]}]),
        (Page[int], [{"items": [1]}], [{"items": ["a"]}]),
        (Page, [{"items": ["a", 1]}], [{"items": 1}]),
        (UserId, [1], ["a"]),
        (Annotated[int, "x"], [1], ["a"]),
        (Numbers, [1, 1.5], ["a"]),
        (Listed[int], [[1]], [["a"]]),
        (Swapped[int, str], [("a", 1), None], [(1, "a")]),
        (type[Dog], [Dog, Puppy], [Animal, Dog(), list[int]]),
        (type[int | str], [bool, str], [bytes]),
        (type[Any], [int], [1]),
        (type, [int], [1]),
        (Callable[[int], str], [len, int, lambda: 1], [1]),
        (Callable, [len], [1]),
        (Closable, [File()], [Dog()]),
        (Named, [WithName("a"), NamedValue("a")], [Dog()]),
        (Model, [Model(id=1)], [{"id": 1}]),
        (GenericModel[int], [GenericModel[int](item=1)], [GenericModel[str](item="a")]),
        (NamedValue, [NamedValue("a")], ["a"]),
        (Box, [Box("a"), SpecialBox(1)], ["a"]),
        (Box[int], [Box(1), SpecialBox(1)], [Box("a"), 1]),
        (Box[int | None], [Box(None)], [Box("a")]),
        (Box[Any], [Box("a")], [1]),
        (Box[Box[int]], [Box(Box(1))], [Box(Box("a")), Box(1)]),
        (PairBox[int, str], [PairBox(1, "", "a"), PairBox(1)], [PairBox("a"), PairBox(1, "", 1)]),
        (Node[int], [Node(1, Node(2))], [Node(1, Node("a")), Node("a")]),
        (Bag[int], [Bag([1])], [Bag(["a"]), [1]]),
        (Opaque[int], [Opaque()], [1]),
    ],
)
def test_an_annotation_takes_its_values_and_no_others(annotation, taken, refused):
    matcher = compile_type(annotation)

    assert [value for value in taken if not matcher.matches(value)] == []
    assert [value for value in refused if matcher.matches(value)] == []


def test_an_iterator_is_not_used_up_by_the_test():
    iterator = ones()

    assert compile_type(Iterable[str]).matches(iterator)
    assert list(iterator) == [1]


@pytest.mark.parametrize(
    ("annotation", "plain"),
    [
        (int, int),
        (Any, object),
        (int | object, object),
        (UserId, int),
        (None, type(None)),
        (list, list),
        (list[object], list),
        (dict[Any, Any], dict),
        (Callable[[], int], Callable),
        (Opaque[int], Opaque),
        (Model, Model),
        (Point, Point),
        (list[int], None),
        (int | str, None),
        (Literal[1], None),
        (Order, None),
        (Box[int], None),
        (Closable, None),
        (Never, None),
    ],
)
def test_plain_says_that_the_class_of_a_value_is_the_whole_answer(annotation, plain):
    assert compile_type(annotation).plain is plain


@pytest.mark.parametrize(
    ("annotation", "named"),
    [
        ("int", "int"),
        (typing.ForwardRef("Later"), "Later"),
        (T, "T"),
        (list[T], "T"),
        (dict[str, "Later"], "Later"),  # noqa: F821
        (typing.Final[int], "Final"),
        (1, "1"),
        (Unchecked, "runtime_checkable"),
        (type[list[int]], "list[int]"),
        (type[Closable], "Closable"),
        (type[Order], "Order"),
        (Endless[int], "nests without end"),
        (tuple[int, *tuple[str, ...]], "str"),
    ],
)
def test_an_unsupported_annotation_is_refused_by_name_with_the_way_out(annotation, named):
    with pytest.raises(HandlerSignatureError, match=r"can be used$") as caught:
        compile_type(annotation)

    assert named in str(caught.value)


def test_a_field_type_that_cannot_be_resolved_is_named():
    class Lost(TypedDict):
        a: "Nowhere"  # noqa: F821

    with pytest.raises(HandlerSignatureError, match=r"Lost cannot be resolved.*'Nowhere'"):
        compile_type(Lost)


def test_a_field_that_was_never_set_does_not_match():
    @dataclasses.dataclass
    class Slot(Generic[T]):
        item: T = dataclasses.field(init=False)

    assert not compile_type(Slot[int | None]).matches(Slot())


def test_a_qualifier_in_a_string_annotation_counts():
    class Late(TypedDict):
        a: "NotRequired[int]"
        b: "typing_extensions.ReadOnly[int]"

    assert compile_type(Late).matches({"b": 1})
    assert not compile_type(Late).matches({"a": 1})


# Annotations and values made together, and a slow reading of annotations to compare with.

LEAVES = [
    int,
    bool,
    str,
    float,
    None,
    Animal,
    Dog,
    Color,
    Order,
    Options,
    Literal[1],
    Literal["a", 1],
    Literal[True],
    Point,
]


def composed(inner):
    return st.one_of(
        st.builds(lambda a: list[a], inner),
        st.builds(lambda a: Sequence[a], inner),
        st.builds(lambda a: Iterable[a], inner),
        st.builds(lambda a: tuple[a, ...], inner),
        st.builds(lambda a, b: tuple[a, b], inner, inner),
        st.builds(lambda a, b: dict[a, b], inner, inner),
        st.builds(lambda a, b: Mapping[a, b], inner, inner),
        st.builds(lambda a, b: Union[a, b], inner, inner),  # noqa: UP007
        st.builds(lambda a: Optional[a], inner),  # noqa: UP045
        st.builds(lambda a: Box[a], inner),
        st.builds(lambda a: Bag[a], inner),
    )


annotations = st.recursive(
    st.sampled_from([*LEAVES, object, list, dict, tuple, tuple[()], Sequence, UserId]), composed, max_leaves=5
)


def values_of(annotation):
    """Values that the annotation takes."""
    options = members(annotation)
    if len(options) > 1:
        return st.one_of(*map(values_of, options))
    kind, arguments = get_origin(options[0]) or options[0], get_args(options[0])
    if kind is Literal:
        return st.sampled_from(arguments)
    if kind in SIMPLE_VALUES:
        return SIMPLE_VALUES[kind]
    if kind in (list, Sequence, Iterable, Bag):
        elements = st.lists(values_of(arguments[0]) if arguments else ANYTHING, max_size=3)
        return (
            elements.map(Bag) if kind is Bag else st.one_of(elements, elements.map(tuple if kind is not list else list))
        )
    if kind is tuple:
        if arguments[1:] == (...,) or options[0] is tuple:
            return st.lists(values_of(arguments[0]) if arguments else ANYTHING, max_size=3).map(tuple)
        return st.tuples(*map(values_of, arguments))
    if kind is Box:
        return values_of(arguments[0]).map(Box)
    keys, items = map(values_of, arguments or (str, object))
    return st.lists(st.tuples(keys, items), max_size=2).map(as_dict)


def as_dict(pairs):
    return {key: item for key, item in pairs if getattr(type(key), "__hash__", None) and hashable(key)}


def hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


ANYTHING = st.sampled_from([1, True, "a", 1.5, None, [1], ("a",), {"a": 1}, Dog(), Color.RED, Box(1), Bag([1])])
SIMPLE_VALUES = {
    int: st.sampled_from([0, 1, True]),
    bool: st.booleans(),
    str: st.sampled_from(["a", "b", ""]),
    float: st.sampled_from([0.0, 1.0]),
    type(None): st.none(),
    Animal: st.sampled_from([Animal(), Dog()]),
    Dog: st.builds(Dog),
    Color: st.sampled_from(Color),
    object: ANYTHING,
    Point: st.builds(Point, st.integers(0, 2), st.integers(0, 2)),
    Order: st.sampled_from([{"id": 1}, {"id": 1, "note": "a"}, {"id": 2, "note": None}]),
    Options: st.sampled_from([{"name": "a"}, {"name": "a", "size": 1}]),
}


@st.composite
def typed_values(draw):
    annotation = draw(annotations)
    return annotation, draw(values_of(annotation))


def slowly_matches(annotation, value):
    """Read the annotation anew for every value, without any of the code under test but the flattening of unions."""
    return any(slowly_matches_member(member, value) for member in members(annotation))


def slowly_matches_member(member, value):
    kind, arguments = get_origin(member) or member, get_args(member)
    if kind is Literal:
        return any(value == option and type(value) is type(option) for option in arguments)
    if kind is Order:
        return (
            isinstance(value, dict)
            and {"id"} <= set(value) <= {"id", "note"}
            and isinstance(value["id"], int)
            and isinstance(value.get("note"), str | None)
        )
    if kind is Options:
        return (
            isinstance(value, dict)
            and {"name"} <= set(value) <= {"name", "size"}
            and isinstance(value["name"], str)
            and isinstance(value.get("size", 0), int)
        )
    if not isinstance(value, kind):
        return False
    if member == tuple[()]:
        return value == ()
    if not arguments:
        return True
    if kind is Box:
        return slowly_matches(arguments[0], value.item)
    if kind in (dict, Mapping):
        return all(slowly_matches(arguments[0], key) and slowly_matches(arguments[1], value[key]) for key in value)
    if kind is tuple and arguments[-1] is not ...:
        return len(value) == len(arguments) and all(map(slowly_matches, arguments, value))
    return all(slowly_matches(arguments[0], element) for element in value)


@given(typed_values())
def test_generated_values_match_the_annotation_they_were_made_for(pair):
    annotation, value = pair

    assert compile_type(annotation).matches(value)


@given(annotations, st.one_of(typed_values().map(lambda pair: pair[1]), ANYTHING))
def test_the_compiled_test_agrees_with_the_slow_reading(annotation, value):
    assert compile_type(annotation).matches(value) is slowly_matches(annotation, value)


@given(annotations)
def test_every_annotation_is_its_own_subtype(annotation):
    assert is_subtype(annotation, annotation)
    assert compatible(annotation, annotation)
    assert is_subtype(annotation, annotation | str if annotation is not None else object)


@st.composite
def widened(draw, annotation):
    """An annotation that takes more, made by a few steps up."""
    for _ in range(draw(st.integers(0, 2))):
        annotation = draw(st.sampled_from([annotation, Union[annotation, bytes], one_up(annotation)]))  # noqa: UP007
    return annotation


def one_up(annotation):
    kind, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if kind in (list, tuple, Bag) and len(arguments) == 1:
        return Sequence[one_up(arguments[0])]
    if kind is dict and arguments:
        return Mapping[one_up(arguments[0]), one_up(arguments[1])]
    return {bool: int, Dog: Animal, int: int | str, str: Sequence[str]}.get(annotation, object)


@given(st.data())
def test_what_a_subtype_takes_the_wider_type_takes(data):
    narrow, value = data.draw(typed_values())
    wide = data.draw(st.one_of(widened(narrow), annotations))
    assume(is_subtype(narrow, wide))

    assert compile_type(wide).matches(value)


@given(st.data())
def test_widening_makes_a_supertype(data):
    narrow = data.draw(annotations)

    assert is_subtype(narrow, data.draw(widened(narrow)))


@given(st.data())
def test_subtyping_is_transitive(data):
    first = data.draw(annotations)
    second = data.draw(st.one_of(widened(first), annotations))
    third = data.draw(st.one_of(widened(second), annotations))
    assume(is_subtype(first, second) and is_subtype(second, third))

    assert is_subtype(first, third)


@pytest.mark.skipif(not hasattr(typing, "TypeAliasType"), reason="two kinds of alias from 3.12 on")
def test_aliases_of_typing_and_of_its_backport_are_both_read():
    alias = typing.TypeAliasType("alias", list[T], type_params=(T,))

    assert members(alias[int]) == (list[int],)
    assert members(typing_extensions.TypeAliasType("alias", int | str)) == (int, str)
