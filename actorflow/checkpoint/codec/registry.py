"""The closed set of classes that stored values may have.

It is collected once, from the annotations a workflow declares. A stored name is looked up here and nowhere else: nothing
is found by module path, and nothing is imported (P9). Subclasses are not implied: each class has to be named somewhere.
"""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Iterable, Iterator

from actorflow.checkpoint.codec.declared import Kind, field_annotations, kind_of
from actorflow.checkpoint.codec.lifting import Lifts
from actorflow.checkpoint.codec.upcasters import Upcaster
from actorflow.core.annotations import TYPE_ALIASES, UNIONS
from actorflow.core.naming import former_namings, stable_name, stable_version
from actorflow.core.types import describe
from actorflow.errors import StateTypeError

__all__ = ["TypeRegistry"]

_SCALARS: tuple[object, ...] = (None, bool, int, float, str, bytes, list, tuple, dict, set, object, typing.Any)
_NOT_VALUES = (collections.abc.Callable, type)
"""Annotations of these say nothing about stored values: neither functions nor classes are stored."""


class TypeRegistry:
    """Classes by stable name, and annotations by description.

    The stable name of a class is its own ``__actorflow_name__`` (not an inherited one), or else its ``__name__``. Its version is
    its own ``__actorflow_version__``, or else 1.

    Args:
        annotations: What the workflow declares; walked through unions, generics, aliases and fields of classes.
        upcasters: How stored values of older forms become present ones.

    Attributes:
        lifts: Those upcasters, checked.

    Raises:
        StateTypeError: Two classes have one stable name, or an annotation cannot be resolved.
        UpcasterError: The upcasters contradict each other or lead nowhere.
    """

    def __init__(self, annotations: Iterable[object] = (), upcasters: Iterable[Upcaster] = ()) -> None:
        self._classes: dict[str, type] = {}
        self._names: dict[type, str] = {}
        self._walked: set[int] = set()
        self._kept: list[object] = []  # keeps what `_walked` knows by identity alive
        self._annotations: dict[str, list[object]] = {}
        self._former_annotations: dict[str, object] | None = None
        declared = tuple(annotations)
        for annotation in declared:
            self._walk(annotation, "a declared type")
        for annotation in (*_SCALARS, *self._names, *declared):
            self._name(annotation)
        self._versions = {cls: stable_version(cls) for cls in self._names}
        self.lifts = Lifts(upcasters, {name: self._versions[cls] for name, cls in self._classes.items()})

    def name_of(self, cls: type) -> str | None:
        """Give the stable name of a class, or None if values of exactly this class are not stored."""
        return self._names.get(cls)

    def class_of(self, name: str) -> type | None:
        """Give the class of a stable name, or None if there is none."""
        return self._classes.get(name)

    def version_of(self, cls: type) -> int:
        """Give the version of a class of the set."""
        return self._versions[cls]

    def classes(self) -> Iterable[type]:
        """Give every class of the set, in the order they were found."""
        return self._names.keys()

    def annotation_name(self, annotation: object) -> str:
        """Name a declared annotation so that `annotation_of` finds it again.

        Raises:
            StateTypeError: It was not declared, or shares its description with another one.
        """
        name = describe(annotation, stable_name)
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
        """Give the annotation of a name, or None if no declared one has it, nor had it before a declared rename."""
        known = self._annotations.get(name)
        if known is None:
            return self._former().get(name)
        return known[0] if len(known) == 1 else None

    def _former(self) -> dict[str, object]:
        """Annotations by names they had before, the latest of them first."""
        if self._former_annotations is None:
            former: dict[str, object] = {}
            self._former_annotations = former
            present = [annotation for (annotation, *_) in self._annotations.values()]
            for name_of in former_namings(self.lifts.renames):
                for annotation in present:
                    former.setdefault(describe(annotation, name_of), annotation)
            for annotation in present:  # named by where its classes stood in their module
                former.setdefault(describe(annotation), annotation)
        return self._former_annotations

    def _name(self, annotation: object) -> None:
        known = self._annotations.setdefault(describe(annotation, stable_name), [])
        if annotation not in known:
            known.append(annotation)
        for member in _union_members(annotation):
            self._name(member)

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
        name = stable_name(cls)
        taken = self._classes.setdefault(name, cls)
        if taken is not cls:
            raise StateTypeError(
                f"{taken.__module__}.{taken.__qualname__} and {cls.__module__}.{cls.__qualname__} would both be stored "
                f"as {name!r}; set __actorflow_name__ = '...' in the body of one of them"
            )
        self._names[cls] = name


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
