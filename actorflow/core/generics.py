"""What generic classes and TypedDicts declare: arguments, bases, fields and keys, with the type variables replaced."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, Generic, NotRequired, Protocol, Required, TypeVar, get_args, get_origin

import attrs
import typing_extensions

from actorflow.core.annotations import QUALIFIERS, substitute, type_variables, union_of
from actorflow.errors import HandlerSignatureError

__all__ = [
    "DictShape",
    "arguments",
    "bases",
    "declares_field",
    "dict_shape",
    "generic_fields",
    "is_dict_shape",
    "is_named_tuple",
    "named_tuple_items",
    "upper_bound",
]


def arguments(annotation: object, count: int) -> tuple[object, ...]:
    """The arguments of a generic, filled up with object where none were written."""
    given = get_args(annotation)
    return given + (object,) * (count - len(given))


def bases(annotation: object, *, only_generic: bool = False) -> tuple[object, ...]:
    """The bases of a class as declared, its type variables replaced by its arguments.

    Args:
        annotation: A class, or a generic class with arguments.
        only_generic: Leave out the bases that do not depend on the arguments.
    """
    replacements = _replacements(annotation)
    return tuple(
        substitute(base, replacements)
        for base in _declared_bases(_class_of(annotation))
        if get_origin(base) not in (Generic, Protocol) and (not only_generic or type_variables(base))
    )


def generic_fields(annotation: object) -> dict[str, object]:
    """The fields that a generic class itself declares with its type variables, replaced by its arguments.

    Only attrs classes, dataclasses and NamedTuples have fields; fields of bases belong to the bases.

    Raises:
        HandlerSignatureError: The annotations of the class cannot be resolved.
    """
    kind = _class_of(annotation)
    names = _field_names(kind)
    if not names:
        return {}
    replacements = _replacements(annotation)
    hints = _hints(kind)
    own = [name for name in inspect.get_annotations(kind) if name in names]
    return {name: substitute(hints[name], replacements) for name in own if type_variables(hints[name])}


def is_named_tuple(kind: type) -> bool:
    """Whether a class was made by NamedTuple or namedtuple, or inherits from one that was."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def named_tuple_items(annotation: object) -> tuple[object, ...]:
    """The types of a NamedTuple's fields in order; object where none is declared."""
    kind = _class_of(annotation)
    replacements, hints = _replacements(annotation), _hints(kind)
    return tuple(substitute(hints.get(name, object), replacements) for name in _field_names(kind))


def declares_field(kind: type, name: str) -> bool:
    """Whether instances have a field of this name that the class itself need not have as an attribute."""
    models = getattr(kind, "model_fields", None)
    return name in _field_names(kind) or (isinstance(models, Mapping) and name in models)


def _class_of(annotation: object) -> type:
    kind = get_origin(annotation) or annotation
    assert isinstance(kind, type)
    return kind


def _field_names(kind: type) -> tuple[str, ...]:
    if attrs.has(kind):
        return tuple(field.name for field in attrs.fields(kind))
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return tuple(getattr(kind, "_fields", ())) if is_named_tuple(kind) else ()


def _replacements(annotation: object) -> dict[object, object]:
    """What each type variable of a generic class stands for; its upper bound where no argument says so."""
    parameters = _parameters(_class_of(annotation))
    given = get_args(annotation)
    # With a variadic parameter places do not line up; nothing is known then.
    if len(given) != len(parameters):
        given = ()
    known = dict(zip(parameters, given, strict=False))
    return {parameter: known.get(parameter, upper_bound(parameter)) for parameter in parameters}


def _parameters(kind: type) -> tuple[object, ...]:
    # A class made from list[T] without Generic has no __parameters__: they are those of its bases.
    declared: tuple[object, ...] = getattr(kind, "__parameters__", ())
    return declared or tuple(
        dict.fromkeys(variable for base in _declared_bases(kind) for variable in type_variables(base))
    )


def _declared_bases(kind: type) -> tuple[object, ...]:
    declared: tuple[object, ...] = kind.__dict__.get("__orig_bases__", kind.__bases__)
    return declared


def upper_bound(variable: object) -> object:
    """The most a type variable can stand for."""
    if not isinstance(variable, TypeVar):
        return variable
    if variable.__constraints__:
        return union_of(variable.__constraints__)
    return object if variable.__bound__ is None else variable.__bound__


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing_extensions.get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise HandlerSignatureError(
            f"the annotations of {kind.__qualname__} cannot be resolved: {error}; define or import that name at the "
            f"top level of {kind.__module__}"
        ) from error


# TypedDict.


@attrs.frozen
class DictShape:
    """What a TypedDict says about its keys.

    Attributes:
        fields: The type of every key.
        required: The keys that must be there.
    """

    fields: Mapping[str, object]
    required: frozenset[str]


def is_dict_shape(annotation: object) -> bool:
    """Whether an annotation is a TypedDict, with or without arguments."""
    return typing_extensions.is_typeddict(get_origin(annotation) or annotation)


def dict_shape(annotation: object) -> DictShape:
    """Read a TypedDict, with or without arguments.

    Raises:
        HandlerSignatureError: The annotations of the class cannot be resolved.
    """
    kind = _class_of(annotation)
    hints = _hints(kind)
    declared = frozenset(getattr(kind, "__required_keys__", ()))
    replacements = _replacements(annotation)
    return DictShape(
        fields={key: substitute(hint, replacements) for key, hint in hints.items()},
        required=frozenset(key for key, hint in hints.items() if _is_required(hint, declared=key in declared)),
    )


def _is_required(hint: object, *, declared: bool) -> bool:
    """Read the qualifier itself: ``__required_keys__`` does not see one in an annotation that was a string."""
    origin = get_origin(hint)
    if origin is Required or origin is NotRequired:
        return origin is Required
    return _is_required(get_args(hint)[0], declared=declared) if origin in QUALIFIERS else declared
