"""The closed set of classes that stored values may have.

It is collected once, from the annotations a workflow declares. A stored name is looked up here and nowhere else: nothing
is found by module path, and nothing is imported (P9). Subclasses are not implied: each class has to be named somewhere.
"""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Iterable, Iterator

from actorflow.checkpoint.codec.declared import Kind, field_annotations, kind_of
from actorflow.core.annotations import TYPE_ALIASES, UNIONS
from actorflow.core.types import describe
from actorflow.errors import StateTypeError

__all__ = ["TypeRegistry"]

_SCALARS: tuple[object, ...] = (None, bool, int, float, str, bytes, list, tuple, dict, set, object, typing.Any)
_NOT_VALUES = (collections.abc.Callable, type)
"""Annotations of these say nothing about stored values: neither functions nor classes are stored."""


class TypeRegistry:
    """Classes by stable name, and annotations by description.

    The stable name of a class is its own ``__actorflow_name__`` (not an inherited one), or else its ``__name__``.

    Args:
        annotations: What the workflow declares; walked through unions, generics, aliases and fields of classes.

    Raises:
        StateTypeError: Two classes have one stable name, or an annotation cannot be resolved.
    """

    def __init__(self, annotations: Iterable[object] = ()) -> None:
        self._classes: dict[str, type] = {}
        self._names: dict[type, str] = {}
        self._walked: set[int] = set()
        self._kept: list[object] = []  # keeps what `_walked` knows by identity alive
        self._annotations: dict[str, list[object]] = {}
        declared = tuple(annotations)
        for annotation in declared:
            self._walk(annotation, "a declared type")
        for annotation in (*_SCALARS, *self._names, *declared):
            self._name(annotation)

    def name_of(self, cls: type) -> str | None:
        """Give the stable name of a class, or None if values of exactly this class are not stored."""
        return self._names.get(cls)

    def class_of(self, name: str) -> type | None:
        """Give the class of a stable name, or None if there is none."""
        return self._classes.get(name)

    def classes(self) -> Iterable[type]:
        """Give every class of the set, in the order they were found."""
        return self._names.keys()

    def annotation_name(self, annotation: object) -> str:
        """Name a declared annotation so that `annotation_of` finds it again.

        Raises:
            StateTypeError: It was not declared, or shares its description with another one.
        """
        name = self._described(annotation)
        known = self._annotations.get(name, [])
        if annotation not in known:
            raise StateTypeError(
                f"the type {name} is not declared by this workflow, so a stored request could not find it again; "
                f"annotate a response handler with it, or add it to WorkflowBuilder(state_types=[...])"
            )
        if len(known) > 1:
            raise StateTypeError(
                f"two declared types are both described as {name}: {known[0]!r} and {known[1]!r}; "
                f"rename a class, or set __actorflow_name__ on one of them"
            )
        return name

    def annotation_of(self, name: str) -> object | None:
        """Give the annotation of a name, or None if no declared one has it."""
        known = self._annotations.get(name, [])
        return known[0] if len(known) == 1 else None

    def _name(self, annotation: object) -> None:
        known = self._annotations.setdefault(self._described(annotation), [])
        if annotation not in known:
            known.append(annotation)
        for member in _union_members(annotation):
            self._name(member)

    def _described(self, annotation: object) -> str:
        if isinstance(annotation, type) and annotation in self._names:
            return self._names[annotation]
        return describe(annotation)

    def _walk(self, annotation: object, where: str) -> None:
        if isinstance(annotation, (str, typing.ForwardRef)):
            raise StateTypeError(f"{where} is the unresolved annotation {annotation!r}; give the type itself")
        if id(annotation) in self._walked:
            return
        self._walked.add(id(annotation))
        self._kept.append(annotation)
        if isinstance(annotation, type) and typing.get_origin(annotation) is None:
            self._walk_class(annotation)
            return
        for part in _parts(annotation):
            self._walk(part, where)

    def _walk_class(self, cls: type) -> None:
        kind = kind_of(cls)
        if kind is None:
            return
        if kind is not Kind.TYPEDDICT:
            self._add(cls)
        for name, annotation in field_annotations(cls, kind):
            self._walk(annotation, f"field {name!r} of {cls.__module__}.{cls.__qualname__}")

    def _add(self, cls: type) -> None:
        name = _stable_name(cls)
        taken = self._classes.setdefault(name, cls)
        if taken is not cls:
            raise StateTypeError(
                f"{taken.__module__}.{taken.__qualname__} and {cls.__module__}.{cls.__qualname__} would both be stored "
                f"as {name!r}; set __actorflow_name__ = '...' in the body of one of them"
            )
        self._names[cls] = name


def _stable_name(cls: type) -> str:
    name = cls.__dict__.get("__actorflow_name__", cls.__name__)
    if isinstance(name, str) and name:
        return name
    raise StateTypeError(f"__actorflow_name__ of {cls.__module__}.{cls.__qualname__} is {name!r}, not a non-empty str")


def _parts(annotation: object) -> Iterator[object]:
    """Give what a compound annotation is made of."""
    if isinstance(annotation, typing.NewType):
        yield annotation.__supertype__
        return
    if isinstance(annotation, TYPE_ALIASES):
        yield annotation.__value__
        return
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None or origin in _NOT_VALUES:
        return
    if origin is typing.Annotated:
        yield args[0]
    elif origin is typing.Literal:
        yield from (type(choice) for choice in args)
    else:
        yield origin
        yield from args


def _union_members(annotation: object) -> tuple[object, ...]:
    if typing.get_origin(annotation) in UNIONS:
        return typing.get_args(annotation)
    return ()
