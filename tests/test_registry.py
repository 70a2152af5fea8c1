"""Proves that the set of storable classes is exactly what the annotations name, closed, and without two meanings of a name.

Guards F35 and F36: nothing is found by module path, and what cannot be resolved is an error when the workflow is built.
"""

import dataclasses
import enum
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar

import attrs
import pytest
import typing_extensions

from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.errors import StateTypeError

T = TypeVar("T")


class Colour(enum.Enum):
    RED = 1


@attrs.frozen
class Leaf:
    colours: "dict[str, list[Colour]]"


@dataclasses.dataclass
class Branch(Generic[T]):
    leaf: Optional["Leaf"]
    next: "Branch[T] | None" = None


class Row(NamedTuple):
    branch: "Branch[int]"


class Shape(TypedDict, total=False):
    row: "NotRequired[Row]"


class Ordinary:
    pass


class SubLeaf(Leaf):
    pass


ShapeId = NewType("ShapeId", Leaf)
Tree = typing_extensions.TypeAliasType("Tree", "list[Tree] | Leaf")


def names(*annotations):
    return sorted(cls.__name__ for cls in TypeRegistry(annotations).classes())


def test_classes_are_found_through_the_fields_of_every_kind_of_class():
    assert names(Shape) == ["Branch", "Colour", "Leaf", "Row"]


@pytest.mark.parametrize(
    "annotation",
    [
        Colour | None,
        Optional[Colour],  # noqa: UP045  the other spelling
        list[Colour],
        tuple[Colour, ...],
        Mapping[str, Sequence[Colour]],
        Annotated[Colour, "note", {"unhashable": []}],
        NewType("Id", Colour),
        typing_extensions.TypeAliasType("Alias", Colour | int),
        Literal[Colour.RED, 1],
    ],
)
def test_classes_are_found_in_every_compound(annotation):
    assert names(annotation) == ["Colour"]


def test_generic_classes_and_their_arguments_are_found():
    assert names(Branch[Row]) == ["Branch", "Colour", "Leaf", "Row"]


@pytest.mark.parametrize("annotation", [Any, T, int, None, object, Ordinary, Callable[[Leaf], Row], type[Leaf], list])
def test_what_has_no_fields_needs_no_entry(annotation):
    assert names(annotation) == []


def test_recursive_types_end():
    assert names(Branch[int]) == ["Branch", "Colour", "Leaf"]


def test_subclasses_are_not_implied_but_may_be_named():
    registry = TypeRegistry([Leaf])

    assert registry.name_of(Leaf) == "Leaf"
    assert registry.name_of(SubLeaf) is None
    assert names(SubLeaf) == ["Colour", "SubLeaf"]


def test_nothing_is_found_by_module_path():
    """F36."""
    registry = TypeRegistry([Leaf])

    for name in ("os.system", f"{__name__}.Leaf", "builtins.eval", "int", "Ordinary", ""):
        assert registry.class_of(name) is None


def test_two_classes_of_one_name_are_an_error_that_names_both():
    one = attrs.make_class("Twin", ["a"])
    two = attrs.make_class("Twin", ["b"])
    one.__module__, two.__module__ = "here", "there"

    with pytest.raises(StateTypeError, match=r"here\.Twin and there\.Twin.*'Twin'.*__actorflow_name__"):
        TypeRegistry([one, two])


def test_one_class_may_be_named_many_times():
    assert names(Leaf, Leaf, list[Leaf]) == ["Colour", "Leaf"]


def test_a_class_may_choose_its_name_and_does_not_hand_it_down():
    @attrs.frozen
    class Twin:
        __actorflow_name__ = "elder twin"

    class Younger(Twin):
        pass

    registry = TypeRegistry([Twin, Younger])

    assert registry.name_of(Twin) == "elder twin"
    assert registry.class_of("elder twin") is Twin
    assert registry.name_of(Younger) == "Younger"


@pytest.mark.parametrize("name", ["", 3, None])
def test_a_chosen_name_must_be_a_text(name):
    cls = attrs.make_class("Odd", [], class_body={"__actorflow_name__": name})

    with pytest.raises(StateTypeError, match="non-empty str"):
        TypeRegistry([cls])


def test_an_annotation_that_cannot_be_resolved_names_class_field_and_way_out():
    """F35: found when the workflow is built."""

    @attrs.frozen
    class Lost:
        place: "list[Nowhere]"  # noqa: F821

    with pytest.raises(StateTypeError, match=r"'place' of .*Lost.*Nowhere.*module level"):
        TypeRegistry([Lost])


@pytest.mark.parametrize("annotation", ["Leaf", list["Leaf"]])
def test_a_declared_string_is_refused(annotation):
    with pytest.raises(StateTypeError, match="unresolved annotation"):
        TypeRegistry([annotation])


MODULE = """
from __future__ import annotations
import attrs
@attrs.frozen
class Inner:
    a: int
@attrs.frozen
class Base:
    inner: list[Inner]
"""


def test_strings_are_resolved_where_they_were_written(tmp_path):
    (tmp_path / "elsewhere.py").write_text(MODULE)
    spec = importlib.util.spec_from_file_location("elsewhere", tmp_path / "elsewhere.py")
    module = sys.modules["elsewhere"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)

        @attrs.frozen
        class Derived(module.Base):
            own: int

        assert names(Derived) == ["Derived", "Inner"]
    finally:
        del sys.modules["elsewhere"]


def test_pydantic_models_and_their_private_fields_are_found():
    import pydantic

    class Model(pydantic.BaseModel, arbitrary_types_allowed=True):
        rows: list[Row]
        _mark: Shape | None = None

    class Other(pydantic.BaseModel):
        model: Model
        box: "Other | None" = None

    assert names(Other) == ["Branch", "Colour", "Leaf", "Model", "Other", "Row"]


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (Leaf | int, "Leaf | int"),
        (int, "int"),
        (None, "None"),
        (list[Leaf], "list[Leaf]"),
        (Colour, "Colour"),
        (bool, "bool"),
        (Any, "Any"),
    ],
)
def test_declared_annotations_members_and_builtins_are_found_again_by_name(annotation, name):
    registry = TypeRegistry([Leaf | int, list[Leaf]])

    assert registry.annotation_name(annotation) == name
    assert registry.annotation_of(name) == annotation


def test_an_annotation_that_was_not_declared_has_no_name():
    registry = TypeRegistry([Leaf])

    with pytest.raises(StateTypeError, match=r"dict\[str, int\] is not declared.*state_types"):
        registry.annotation_name(dict[str, int])
    assert registry.annotation_of("dict[str, int]") is None


def test_a_name_with_two_meanings_finds_neither():
    one, two = type("Same", (), {}), type("Same", (), {})
    registry = TypeRegistry([one, two])

    with pytest.raises(StateTypeError, match="two declared types"):
        registry.annotation_name(one)
    assert registry.annotation_of("Same") is None


def test_a_chosen_name_is_also_the_name_of_the_annotation():
    @attrs.frozen
    class Answer:
        __actorflow_name__ = "answer-1"

    registry = TypeRegistry([Answer])

    assert registry.annotation_name(Answer) == "answer-1"
    assert registry.annotation_of("answer-1") is Answer
