"""Reading users' annotations: string annotations, local names, type variables bound by a subclass."""

from __future__ import annotations

import ast
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, TypeVar

__all__ = ["bound_type_variables", "local_names", "resolve_hints", "substitute"]

_FRAMES_SEARCHED = 8


def local_names(annotations: Iterable[Any], depth: int) -> dict[str, Any]:
    """Find what string annotations mean where a class or function is being defined inside a function.

    Module-level names need no help, and a frame must not be kept alive: only the values of the names used are.

    Args:
        annotations: Annotations; those that are not strings are ignored.
        depth: Frames between this call and the definition.
    """
    wanted = {name for annotation in annotations if isinstance(annotation, str) for name in _names(annotation)}
    found: dict[str, Any] = {}
    frame: FrameType | None = sys._getframe(depth + 1) if wanted else None  # noqa: SLF001 - the documented way to a caller
    for _ in range(_FRAMES_SEARCHED):
        if frame is None or frame.f_locals is frame.f_globals:
            break
        for name in wanted & frame.f_locals.keys() - found.keys():
            found[name] = frame.f_locals[name]
        frame = frame.f_back
    return found


def _names(annotation: str) -> set[str]:
    try:
        tree = ast.parse(annotation, mode="eval")
    except SyntaxError:  # reported when the annotation is resolved
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def resolve_hints(function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of a function as objects.

    Args:
        function: The function.
        names: Names that its module does not know.

    Raises:
        NameError: A name means nothing.
        SyntaxError: An annotation is no expression.
    """
    return typing.get_type_hints(function, localns=dict(names), include_extras=True)


def bound_type_variables(cls: type) -> dict[Any, Any]:
    """What each type variable of generic base classes stands for in this class."""
    bound: dict[Any, Any] = {}
    for base in cls.__mro__:
        for original in base.__dict__.get("__orig_bases__", ()):
            parameters = getattr(typing.get_origin(original), "__parameters__", ())
            for variable, argument in zip(parameters, typing.get_args(original), strict=False):
                bound.setdefault(variable, bound.get(argument, argument))
    return bound


def substitute(annotation: Any, bound: Mapping[Any, Any]) -> Any:
    """Put what type variables stand for in their place, as far as it is known."""
    if isinstance(annotation, TypeVar):
        return bound.get(annotation, annotation)
    parameters = getattr(annotation, "__parameters__", ())
    if not parameters or isinstance(annotation, type):
        return annotation
    return annotation[tuple(bound.get(parameter, parameter) for parameter in parameters)]
