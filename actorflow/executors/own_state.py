"""The state that an executor keeps for itself: what its class declares, and how the runtime gets a fresh one.

Plain functions, so that a subclass may call its attributes what it likes.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

from actorflow.core.annotations import substitute
from actorflow.core.values import private_copy
from actorflow.errors import StateTypeError
from actorflow.executors.resolving import resolve_in_class, type_arguments

__all__ = ["LOCAL_NAMES", "has_typed_state", "names_at_definition", "new_state", "state_annotation"]

LOCAL_NAMES = "__actorflow_local_names__"
"""Attribute of an executor class: what string annotations mean where it is defined."""

_ANNOTATION = "__actorflow_state_annotation__"
_NO_DEFAULT = object()


def names_at_definition(cls: type) -> Mapping[str, Any]:
    """What the string annotations in the body of this very class meant where it was defined; nothing for other classes."""
    names: Mapping[str, Any] = vars(cls).get(LOCAL_NAMES, {})
    return names


def has_typed_state(executor: object) -> bool:
    """Whether the runtime keeps ``self.state``."""
    return state_annotation(type(executor)) is not None


def state_annotation(cls: type) -> Any:
    """The type of ``self.state``, or None where the class declares none.

    Raises:
        StateTypeError: The annotation cannot be resolved.
    """
    if _ANNOTATION not in vars(cls):
        setattr(cls, _ANNOTATION, _find_annotation(cls))
    return vars(cls)[_ANNOTATION]


def new_state(executor: object) -> Any:
    """A fresh state object: a copy of the class's default, or the type called without arguments.

    Raises:
        StateTypeError: The type cannot be constructed without arguments.
    """
    cls = type(executor)
    default = getattr(cls, "state", _NO_DEFAULT)
    if default is not _NO_DEFAULT:
        return private_copy(default)
    annotation = state_annotation(cls)
    constructor = typing.get_origin(annotation) or annotation
    try:
        return constructor()
    except TypeError as error:
        raise StateTypeError(
            f"executor class {cls.__name__} declares state: {annotation!r}, which cannot be constructed without arguments "
            f"({error}); give its fields defaults, or use the checkpoint hooks"
        ) from error


def _find_annotation(cls: type) -> Any:
    owner = next((base for base in cls.__mro__ if "state" in inspect.get_annotations(base)), None)
    if owner is None:
        return None
    names = names_at_definition(owner)
    try:
        annotation = resolve_in_class(owner, "state", names)
    except (NameError, SyntaxError, TypeError) as error:
        raise StateTypeError(
            f"the annotation of state of executor class {cls.__name__} cannot be resolved ({error}); import the name at "
            f"module level"
        ) from error
    if typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
        raise StateTypeError(f"state of executor class {cls.__name__} is a ClassVar; a state belongs to one executor")
    return substitute(annotation, type_arguments(cls).get(owner, {}))
