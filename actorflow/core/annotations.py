"""Reading annotations: what they stand for, and which members and type variables they have.

Everything here takes annotation objects, never strings. What two spellings of one type have in common is settled here,
once, so that subtyping, matching and dispatch agree: ``Optional[X]``, ``X | None``, an alias and a NewType are what
they stand for.
"""

from __future__ import annotations

import types
import typing
from collections import ChainMap, Counter, OrderedDict, abc, defaultdict, deque
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    Never,
    NewType,
    NoReturn,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import typing_extensions
from typing_extensions import ReadOnly

__all__ = [
    "CALLABLE",
    "ELEMENT_CONTAINERS",
    "PAIR_CONTAINERS",
    "QUALIFIERS",
    "TYPE_ALIASES",
    "UNIONS",
    "alternatives",
    "is_everything",
    "members",
    "substitute",
    "type_variables",
    "union_of",
]

ELEMENT_CONTAINERS: frozenset[type] = frozenset(
    {
        list,
        set,
        frozenset,
        deque,
        abc.Sequence,
        abc.MutableSequence,
        abc.Set,
        abc.MutableSet,
        abc.Collection,
        abc.Iterable,
        abc.Reversible,
    }
)
"""Generic classes with one argument, the type of what iteration gives."""

CALLABLE: object = abc.Callable

PAIR_CONTAINERS: frozenset[type] = frozenset(
    {dict, abc.Mapping, abc.MutableMapping, OrderedDict, defaultdict, ChainMap, Counter}
)
"""Generic classes of keys and values."""

UNIONS = (Union, types.UnionType)
QUALIFIERS = (Annotated, Required, NotRequired, ReadOnly)
TYPE_ALIASES = (typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType))


def members(annotation: object) -> tuple[object, ...]:
    """Flatten an annotation into the members of its union.

    Args:
        annotation: Any annotation but a string. Aliases, Annotated and NewType are replaced by what they stand for.

    Returns:
        The members in the order written, each once; none for Never, one for what is not a union.
    """
    found: list[object] = []
    for member in _flat(annotation):
        if member not in found:
            found.append(member)
    return tuple(found)


def alternatives(annotation: object) -> tuple[object, ...]:
    """The members of an annotation, with every Literal taken apart into one Literal for each value."""
    return tuple(part for member in members(annotation) for part in _literals_apart(member))


def type_variables(annotation: object) -> tuple[TypeVar, ...]:
    """Find the type variables that nothing has replaced yet.

    Args:
        annotation: Any annotation but a string.

    Returns:
        The type variables anywhere inside, in the order met, each once.
    """
    found: list[TypeVar] = []
    _collect_variables(annotation, found, [])
    return tuple(found)


def union_of(parts: tuple[object, ...]) -> object:
    """One annotation for all parts; Never for none."""
    return Union[parts] if parts else Never  # noqa: UP007  (the operator needs two operands known beforehand)


def is_everything(member: object) -> bool:
    """Whether a member of an annotation takes every value: Any and object do."""
    return member is Any or member is object


def _flat(annotation: object) -> tuple[object, ...]:
    plain = _unwrap(annotation)
    if plain is Never or plain is NoReturn:
        return ()
    if get_origin(plain) in UNIONS:
        return tuple(inner for part in get_args(plain) for inner in _flat(part))
    return (plain,)


def _unwrap(annotation: object) -> object:
    inner = _stands_for(annotation)
    while inner is not annotation:
        annotation, inner = inner, _stands_for(inner)
    return annotation


def _stands_for(annotation: object) -> object:
    """Take one wrapping off, or return the annotation itself."""
    if annotation is None:
        return types.NoneType
    if isinstance(annotation, NewType):
        return annotation.__supertype__
    if isinstance(annotation, TYPE_ALIASES):
        return annotation.__value__
    origin = get_origin(annotation)
    if origin is None:
        return annotation
    if origin in QUALIFIERS:
        return get_args(annotation)[0]
    if isinstance(origin, TYPE_ALIASES):
        return substitute(origin.__value__, dict(zip(origin.__type_params__, get_args(annotation), strict=False)))
    # typing.List without arguments has an origin but, unlike tuple[()], no arguments at all: it is the class.
    return annotation if hasattr(annotation, "__args__") else origin


def _literals_apart(member: object) -> tuple[object, ...]:
    if get_origin(member) is not Literal:
        return (member,)
    return tuple(Literal[value] for value in get_args(member))


def _collect_variables(annotation: object, found: list[TypeVar], aliases: list[object]) -> None:
    if isinstance(annotation, TypeVar):
        if annotation not in found:
            found.append(annotation)
        return
    if isinstance(annotation, TYPE_ALIASES):
        if annotation not in aliases:
            _collect_variables(annotation.__value__, found, [*aliases, annotation])
        return
    for part in _parts(annotation):
        _collect_variables(part, found, aliases)


def _parts(annotation: object) -> tuple[object, ...]:
    if isinstance(annotation, list):  # the parameters of a Callable
        return tuple(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return ()
    return get_args(annotation)[:1] if origin is Annotated else get_args(annotation)


def substitute(annotation: object, replacements: Mapping[object, object]) -> object:
    """Replace type variables anywhere inside an annotation; those that are not mentioned stay."""
    if isinstance(annotation, TypeVar):
        return replacements.get(annotation, annotation)
    parameters = getattr(annotation, "__parameters__", ())
    # A bare generic class has parameters too, but nothing to put them into.
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation
    if not any(parameter in replacements for parameter in parameters):
        return annotation
    subscriptable: Any = annotation
    return subscriptable[tuple(replacements.get(parameter, parameter) for parameter in parameters)]
