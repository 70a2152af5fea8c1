"""Readable names of annotations, the same wherever their classes live."""

from __future__ import annotations

import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, Never, NewType, NoReturn, TypeVar, get_args, get_origin

from actorflow.core.annotations import QUALIFIERS, TYPE_ALIASES, UNIONS
from actorflow.core.naming import Naming

__all__ = ["describe"]

_WORDS: dict[object, str] = {Any: "Any", Never: "Never", NoReturn: "Never", types.NoneType: "None", ...: "..."}


def describe(annotation: object, name_of: Naming | None = None) -> str:
    """Name an annotation: for people, or with stable names for the graph signature and for what is stored.

    Args:
        annotation: Any annotation.
        name_of: Names the classes in it; by default each is called what its code calls it.

    Returns:
        A name without module paths: ``"list[int]"``, ``"int | None"``, ``"Draft"``. It does not depend on which of
        several spellings was used; an alias and a NewType keep the name they were given.
    """
    if annotation is None:
        return "None"
    if isinstance(annotation, list):  # the parameters of a Callable
        return f"[{_joined(annotation, name_of)}]"
    origin = get_origin(annotation)
    return _simple(annotation, name_of) if origin is None else _composed(annotation, origin, name_of)


def _simple(annotation: object, name_of: Naming | None) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, (NewType, TypeVar, *TYPE_ALIASES)):
        return str(annotation.__name__)
    word = _WORDS.get(annotation) if isinstance(annotation, type) or annotation in _WORDS else None
    if word is not None:
        return word
    if name_of is not None and isinstance(annotation, type):
        return name_of(annotation)
    name = getattr(annotation, "__qualname__", None) or getattr(annotation, "__forward_arg__", None)
    return str(name or annotation).rpartition("<locals>.")[2].removeprefix("typing.")


def _composed(annotation: object, origin: object, name_of: Naming | None) -> str:
    arguments = get_args(annotation)
    if origin in QUALIFIERS:
        return describe(arguments[0], name_of)
    if origin in UNIONS:
        return " | ".join(dict.fromkeys(describe(each, name_of) for each in arguments))
    if origin is Literal:
        return f"Literal[{', '.join(_literal(each, name_of) for each in arguments)}]"
    if not hasattr(annotation, "__args__"):
        return describe(origin, name_of)
    if origin is tuple and not arguments:
        return "tuple[()]"
    name = "Callable" if origin is Callable else describe(origin, name_of)
    return f"{name}[{_joined(arguments, name_of)}]"


def _joined(annotations: list[object] | tuple[object, ...], name_of: Naming | None) -> str:
    return ", ".join(describe(each, name_of) for each in annotations)


def _literal(value: object, name_of: Naming | None) -> str:
    if not isinstance(value, Enum):
        return repr(value)
    return f"{type(value).__name__ if name_of is None else name_of(type(value))}.{value.name}"
