"""What a class declares: its kind, and the annotations of its fields with their strings resolved.

pydantic is never imported: a model can only exist once the program itself has imported it.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterator
from enum import Enum
from types import SimpleNamespace

import attrs
import typing_extensions

from actorflow.errors import StateTypeError

__all__ = ["Kind", "field_annotations", "kind_of"]


class Kind(Enum):
    """How a stored class keeps its fields, and so how it is taken apart and rebuilt."""

    ENUM = "enum"
    PYDANTIC = "pydantic model"
    ATTRS = "attrs class"
    DATACLASS = "dataclass"
    NAMEDTUPLE = "NamedTuple"
    TYPEDDICT = "TypedDict"


def kind_of(cls: type) -> Kind | None:
    """Say what kind of declared class this is; None for builtins and plain classes."""
    if typing.is_typeddict(cls) or typing_extensions.is_typeddict(cls):
        return Kind.TYPEDDICT
    if issubclass(cls, Enum):
        return Kind.ENUM
    if _is_pydantic(cls):
        return Kind.PYDANTIC
    if attrs.has(cls):
        return Kind.ATTRS
    if dataclasses.is_dataclass(cls):
        return Kind.DATACLASS
    if issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple):
        return Kind.NAMEDTUPLE
    return None


def _is_pydantic(cls: type) -> bool:
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return isinstance(base, type) and issubclass(cls, base)


def field_annotations(cls: type, kind: Kind) -> Iterator[tuple[str, object]]:
    """Give each field of a declared class with its annotation, strings resolved.

    Raises:
        StateTypeError: An annotation names something that cannot be found.
    """
    for name, annotation in _declared(cls, kind):
        yield name, _resolved(cls, name, annotation)


def _declared(cls: type, kind: Kind) -> Iterator[tuple[str, object]]:
    match kind:
        case Kind.ENUM:
            return
        case Kind.PYDANTIC:
            yield from _of_model(cls)
        case Kind.ATTRS:
            yield from ((field.name, field.type) for field in attrs.fields(cls))
        case Kind.DATACLASS:
            yield from ((field.name, field.type) for field in dataclasses.fields(cls))
        case Kind.NAMEDTUPLE:
            yield from ((name, _own_annotations(_owner(cls, name)).get(name)) for name in cls._fields)  # type: ignore[attr-defined]
        case Kind.TYPEDDICT:
            yield from _own_annotations(cls).items()


def _of_model(cls: typing.Any) -> Iterator[tuple[str, object]]:
    if not cls.__pydantic_complete__:
        cls.model_rebuild(raise_errors=False)
    yield from ((name, field.annotation) for name, field in cls.model_fields.items())
    for name in cls.__private_attributes__:
        yield name, _own_annotations(_owner(cls, name)).get(name)


def _resolved(cls: type, name: str, annotation: object) -> object:
    if not _has_string(annotation):
        return annotation
    owner = _owner(cls, name)
    holder = SimpleNamespace(__annotations__={name: annotation})
    names = vars(sys.modules[owner.__module__]) if owner.__module__ in sys.modules else {}
    try:
        return typing.get_type_hints(holder, names, {owner.__name__: owner, **vars(owner)}, include_extras=True)[name]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise StateTypeError(
            f"the annotation {annotation!r} of field {name!r} of {cls.__module__}.{cls.__qualname__} cannot be "
            f"resolved ({error}); define or import what it names at module level, outside `if TYPE_CHECKING`"
        ) from error


def _has_string(annotation: object) -> bool:
    if isinstance(annotation, (str, typing.ForwardRef)):
        return True
    if typing.get_origin(annotation) is typing.Literal:
        return False
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        parts = parts[:1]
    return any(_has_string(part) for part in parts)


def _owner(cls: type, name: str) -> type:
    """Find the class whose body wrote the annotation: its module is where a string has to be looked up."""
    return next((base for base in cls.__mro__ if name in _own_annotations(base)), cls)


def _own_annotations(cls: type) -> dict[str, object]:
    try:
        return inspect.get_annotations(cls)
    except NameError as error:  # annotations evaluated on demand, from Python 3.14 on
        raise StateTypeError(
            f"an annotation of {cls.__module__}.{cls.__qualname__} cannot be resolved ({error}); define or import "
            f"what it names at module level, outside `if TYPE_CHECKING`"
        ) from error
