"""Reading users' annotations: string annotations, local names, type variables bound by a subclass."""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, SimpleNamespace
from typing import Any, Generic, Protocol

from actorflow.core.annotations import substitute

__all__ = ["class_names", "local_names", "names_for", "resolve", "resolve_in_class", "type_arguments"]

_LOCALS = ".<locals>."


def local_names(definition: Any, annotations: Iterable[Any]) -> dict[str, Any]:
    """Find what string annotations mean in the functions that enclose a definition, as far as those are running.

    Only functions that enclose it in the source are asked: a caller's variables are none of its business. No frame is
    kept alive: only the values of the names used are.

    Args:
        definition: A function or class.
        annotations: Its annotations; those that are not strings are ignored.
    """
    scopes = _enclosing_scopes(definition)
    wanted = {name for each in annotations if isinstance(each, str) for name in _names(each)} if scopes else set()
    found: dict[str, Any] = {}
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to a caller
    while frame is not None and wanted - found.keys():
        if frame.f_code.co_qualname in scopes and frame.f_globals.get("__name__") == definition.__module__:
            here = frame.f_locals
            found.update({name: here[name] for name in wanted - found.keys() if name in here})
        frame = frame.f_back
    return found


def class_names(cls: type) -> dict[str, Any]:
    """What the string annotations of a class and of its methods mean where it is being defined."""
    found = local_names(cls, inspect.get_annotations(cls).values())
    for attribute in list(vars(cls).values()):
        if inspect.isfunction(attribute):
            found |= local_names(inspect.unwrap(attribute), _annotations(attribute).values())
    return found


def _enclosing_scopes(definition: Any) -> frozenset[str]:
    parts = getattr(definition, "__qualname__", "").split(_LOCALS)
    return frozenset(_LOCALS.join(parts[:count]) for count in range(1, len(parts)))


def _names(annotation: str) -> set[str]:
    try:
        tree = ast.parse(annotation, mode="eval")
    except SyntaxError:  # reported when the annotation is resolved
        return set()
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    quoted = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return names.union(*map(_names, quoted))


def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    return getattr(inspect.unwrap(function), "__annotations__", None) or {}


def names_for(function: Callable[..., Any], known: Mapping[str, Any], owner: type | None = None) -> dict[str, Any]:
    """The names that a function's string annotations may use beside those of its module.

    A name that was not assigned yet when the function was defined is found in the function's own closure, or in the
    enclosing functions if they are still running.

    Args:
        function: A function or method.
        known: What was found when it was defined.
        owner: The class that defines the method.
    """
    plain = inspect.unwrap(function)
    names = {**local_names(plain, _annotations(plain).values()), **_closure(plain), **known}
    return names if owner is None else {**_owner_names(owner), **names, **_members(owner)}


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    code = getattr(function, "__code__", None)
    found = {}
    for name, cell in zip(code.co_freevars if code else (), getattr(function, "__closure__", None) or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _owner_names(owner: type) -> dict[str, Any]:
    names = {parameter.__name__: parameter for parameter in getattr(owner, "__type_params__", ())}
    if _LOCALS in owner.__qualname__:  # otherwise its module knows it
        names[owner.__name__] = owner
    return names


def _members(owner: type) -> dict[str, Any]:
    """What the body of a class defines, less its methods and properties."""
    return {
        name: value for name, value in vars(owner).items() if isinstance(value, type) or not hasattr(value, "__get__")
    }


def resolve(function: Callable[..., Any], parameter: str, names: Mapping[str, Any], default: Any) -> Any:
    """One annotation of a function as an object; the others need not make sense.

    Args:
        function: The function.
        parameter: Name of the parameter, or "return".
        names: Names that its module does not know.
        default: The answer where there is no annotation.

    Raises:
        NameError: A name means nothing.
        SyntaxError: The annotation is no expression.
    """
    annotations = _annotations(function)
    if parameter not in annotations:
        return default
    holder = SimpleNamespace(__annotations__={parameter: annotations[parameter]})
    module_names = getattr(inspect.unwrap(function), "__globals__", {})
    return typing.get_type_hints(holder, module_names, dict(names), include_extras=True)[parameter]


def resolve_in_class(owner: type, name: str, names: Mapping[str, Any]) -> Any:
    """One annotation in the body of a class as an object.

    Raises:
        NameError: A name means nothing.
    """
    holder = type(owner.__name__, (), {"__annotations__": {name: inspect.get_annotations(owner)[name]}})
    holder.__module__ = owner.__module__
    return typing.get_type_hints(holder, None, {**_owner_names(owner), **names, **_members(owner)})[name]


def type_arguments(cls: type) -> dict[type, dict[object, object]]:
    """For a class and each of its generic bases, what the type variables of that base stand for in this class.

    One variable may stand for different things in different bases, so the answer is by base.
    """
    found: dict[type, dict[object, object]] = {cls: {}}
    todo: list[type] = [cls]
    while todo:
        current = todo.pop(0)
        for base in current.__dict__.get("__orig_bases__", current.__bases__):
            origin = typing.get_origin(base) or base
            if origin in (Generic, Protocol) or found.get(origin):
                continue
            arguments = [substitute(argument, found[current]) for argument in typing.get_args(base)]
            found[origin] = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
            todo.append(origin)
    return found
