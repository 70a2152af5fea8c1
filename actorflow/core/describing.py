"""Readable names of annotations, the same wherever their classes live."""

from __future__ import annotations

import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, Never, NewType, NoReturn, TypeVar, get_args, get_origin

from actorflow.core.annotations import QUALIFIERS, TYPE_ALIASES, UNIONS

__all__ = ["describe"]

_WORDS: dict[object, str] = {Any: "Any", Never: "Never", NoReturn: "Never", types.NoneType: "None", ...: "..."}


def describe(annotation: object) -> str:
    """Name an annotation for people and for the graph signature.

    Args:
        annotation: Any annotation.

    Returns:
        A name without module paths: ``"list[int]"``, ``"int | None"``, ``"Draft"``. It does not depend on which of
        several spellings was used; an alias and a NewType keep the name they were given.
    """
    if annotation is None:
        return "None"
    if isinstance(annotation, list):  # the parameters of a Callable
        return f"[{_joined(annotation)}]"
    origin = get_origin(annotation)
    return _simple(annotation) if origin is None else _composed(annotation, origin)


def _simple(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, (NewType, TypeVar, *TYPE_ALIASES)):
        return str(annotation.__name__)
    word = _WORDS.get(annotation) if isinstance(annotation, type) or annotation in _WORDS else None
    if word is not None:
        return word
    name = getattr(annotation, "__qualname__", None) or getattr(annotation, "__forward_arg__", None)
    return str(name or annotation).rpartition("<locals>.")[2].removeprefix("typing.")


def _composed(annotation: object, origin: object) -> str:
    arguments = get_args(annotation)
    if origin in QUALIFIERS:
        return describe(arguments[0])
    if origin in UNIONS:
        return " | ".join(dict.fromkeys(map(describe, arguments)))
    if origin is Literal:
        return f"Literal[{', '.join(map(_literal, arguments))}]"
    if not hasattr(annotation, "__args__"):
        return describe(origin)
    if origin is tuple and not arguments:
        return "tuple[()]"
    name = "Callable" if origin is Callable else describe(origin)
    return f"{name}[{_joined(arguments)}]"


def _joined(annotations: list[object] | tuple[object, ...]) -> str:
    return ", ".join(map(describe, annotations))


def _literal(value: object) -> str:
    return f"{type(value).__name__}.{value.name}" if isinstance(value, Enum) else repr(value)
