"""Answers from outside, as ``json.loads`` gives them, to the type a request declared: strictly, or not at all.

cattrs makes the classes and carries the problems with their places; its leaf conversions are replaced, because they turn
``"5"`` into 5, 1.9 into 1, None into ``"None"`` and ``"false"`` into True. What is taken here, beside a value that has the
type already: an int for a float, an enum's value, the text of a datetime, date, time, Decimal or UUID, a list for a tuple,
set or frozenset, a dict (by the names the constructor takes) for a class.

For a union the member that the value already belongs to wins, then the first that fits; of classes that fit one dict, the
one with the fewest fields left to their defaults.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_origin

import attrs
from cattrs import Converter, ForbiddenExtraKeysError, transform_error
from cattrs.cols import namedtuple_dict_structure_factory
from cattrs.gen import make_dict_structure_fn
from cattrs.gen.typeddicts import make_dict_structure_fn as make_typeddict_structure_fn

from actorflow.checkpoint.codec.declared import Kind, field_annotations, kind_of
from actorflow.coercion.containers import DICTS, LISTS, SETS, dict_hook, kept, list_hook, set_hook, tuple_hook
from actorflow.coercion.scalars import Misfit, enum_hook, got, leaf_hooks, literal_hook
from actorflow.core.annotations import TYPE_ALIASES, UNIONS, is_everything, members
from actorflow.core.types import describe

__all__ = ["coerce"]

Hook = Callable[[Any, Any], Any]


def coerce(value: object, annotation: object) -> object:
    """Turn a JSON-like answer into a value of a declared type.

    Args:
        value: What was given.
        annotation: The declared type.

    Returns:
        The value itself if it has the type already, else one made from it.

    Raises:
        ValueError: It does not fit; the text names every problem and, within the answer ``$``, its place.
    """
    try:
        return _structure(value, type(None) if annotation is None else annotation)
    except Exception as error:  # constructors and validators of declared classes raise what they like
        raise ValueError(_problems(error)) from error


def _problems(error: Exception) -> str:
    return "; ".join(problem.removesuffix(" @ $") for problem in transform_error(error, format_exception=_problem))


def _problem(error: BaseException, _: object) -> str:
    if isinstance(error, ValueError) and callable(details := getattr(error, "errors", None)):
        return "; ".join(f"{detail['msg']} @ {'.'.join(map(str, detail['loc']))}" for detail in details())
    match error:
        case KeyError():
            return f"required field {error} is missing"
        case ForbiddenExtraKeysError():
            return f"unknown fields {', '.join(map(repr, sorted(map(str, error.extra_fields))))}"
        case ValueError():
            return str(error)
        case _:
            return f"{type(error).__name__}: {error}"


# Which hook makes a type.


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, structure_fallback_factory=_instance_hook)
    converter.register_structure_hook_factory(_is_class, _class_hook)
    converter.register_structure_hook_factory(_is_container, _container_hook)
    converter.register_structure_hook_factory(lambda kind: _origin(kind) is Literal, literal_hook)
    converter.register_structure_hook_factory(_has_members, _union_hook)
    converter.register_structure_hook_factory(_takes_anything, lambda _: lambda value, _: value)
    for cls, hook in leaf_hooks():
        converter.register_structure_hook(cls, hook)
    return converter


def _origin(annotation: object) -> object:
    return get_origin(annotation)


def _has_members(annotation: object) -> bool:
    return (
        _origin(annotation) in UNIONS
        or isinstance(annotation, TYPE_ALIASES)
        or isinstance(_origin(annotation), TYPE_ALIASES)
    )


def _takes_anything(kind: object) -> bool:
    return is_everything(kind) or isinstance(kind, TypeVar)


def _instance_hook(kind: Any) -> Hook:
    def check(value: object, _: object) -> object:
        if not isinstance(value, kind):
            raise Misfit(f"expected {describe(kind)}, {got(value)}")
        return value

    return check


def _is_container(annotation: object) -> bool:
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and (kind in LISTS or kind in SETS or kind in DICTS or kind is tuple)


def _container_hook(annotation: Any) -> Hook:
    kind = get_origin(annotation) or annotation
    if kind is tuple:
        return tuple_hook(annotation, _structure)
    if kind in SETS:
        return set_hook(annotation, _structure)
    return dict_hook(annotation, _structure) if kind in DICTS else list_hook(annotation, _structure)


def _structure(value: object, annotation: Any) -> object:
    return _CONVERTER.structure(value, annotation)


# Unions.


def _union_hook(annotation: Any) -> Hook:
    options = members(annotation)
    concrete = [option for option in options if option is not type(None)]

    def choose(value: object, _: object) -> object:
        if len(concrete) == 1 and value is not None:
            return _structure(value, concrete[0])
        fits, problems = _try_each(value, options)
        if not fits:
            raise Misfit(_no_member(annotation, value, problems))
        for _, made in fits:
            if made is value:
                return value
        return min(fits, key=lambda fit: _fields_left(value, fit[0]))[1]

    return choose


def _try_each(value: object, options: tuple[object, ...]) -> tuple[list[tuple[object, object]], dict[str, str]]:
    fits: list[tuple[object, object]] = []
    problems: dict[str, str] = {}
    for option in options:
        try:
            fits.append((option, _structure(value, option)))
        except Exception as error:  # noqa: BLE001  constructors and validators of declared classes raise what they like
            problems[describe(option)] = _problems(error)
    return fits, problems


def _no_member(annotation: object, value: object, problems: dict[str, str]) -> str:
    reasons = " | ".join(f"{name}: {problem}" for name, problem in problems.items() if name != "None")
    return f"expected {describe(annotation)}, {got(value)} ({reasons})"


def _fields_left(value: object, annotation: object) -> int:
    """Count the fields of a class that a dict does not mention."""
    kind = get_origin(annotation) or annotation
    if not isinstance(value, dict) or not isinstance(kind, type):
        return 0
    return len(set(_constructor_names(kind)) - value.keys())


def _constructor_names(cls: Any) -> list[str]:
    match kind_of(cls):
        case Kind.ATTRS:
            return [field.alias for field in attrs.fields(cls) if field.init]
        case Kind.DATACLASS:
            return [name for name, field in cls.__dataclass_fields__.items() if field.init]
        case Kind.NAMEDTUPLE:
            return list(cls._fields)
        case Kind.PYDANTIC:
            return list(cls.model_fields)
        case Kind.TYPEDDICT:
            return list(cls.__annotations__)
        case _:
            return []


# Classes.


def _is_class(annotation: object) -> bool:
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and kind_of(kind) is not None


def _class_hook(annotation: Any, converter: Converter) -> Hook:
    cls = get_origin(annotation) or annotation
    match kind_of(cls):
        case Kind.ENUM:
            return enum_hook(cls)
        case Kind.PYDANTIC:
            return _model_hook(cls)
        case Kind.TYPEDDICT:
            made = make_typeddict_structure_fn(annotation, converter, _cattrs_forbid_extra_keys=True)
            return _from_dict(dict, lambda value, kind: kept(value, made(value, kind)))
        case Kind.NAMEDTUPLE:
            return _namedtuple_hook(cls, converter)
        case _:
            make = make_dict_structure_fn(annotation, converter, _cattrs_forbid_extra_keys=True, _cattrs_use_alias=True)
            return _from_dict(cls, make)


def _from_dict(cls: type, make: Hook) -> Hook:
    def structure(value: object, annotation: Any) -> object:
        if isinstance(value, cls) and cls is not dict:
            return value
        if not isinstance(value, dict):
            raise Misfit(f"expected {describe(annotation)} as an object of its fields, {got(value)}")
        return make(value, annotation)

    return structure


def _namedtuple_hook(cls: Any, converter: Converter) -> Hook:
    by_name = _from_dict(cls, namedtuple_dict_structure_factory(cls, converter, "from_converter", True))
    kinds: Any = tuple(Any if kind is None else kind for _, kind in field_annotations(cls, Kind.NAMEDTUPLE))
    items: Any = types.GenericAlias(tuple, kinds)

    def structure(value: object, annotation: Any) -> object:
        if type(value) is not list:
            return by_name(value, annotation)
        made: Any = converter.structure(value, items)
        return cls(*made)

    return structure


def _model_hook(cls: Any) -> Hook:
    """Leave a pydantic model to its own strict mode, in which only JSON text may stand for a datetime and the like."""

    def structure(value: object, _: object) -> object:
        if isinstance(value, cls):
            return value
        try:
            text = json.dumps(value)
        except (TypeError, ValueError):
            return cls.model_validate(value, strict=True, extra="forbid")
        return cls.model_validate_json(text, strict=True, extra="forbid")

    return structure


_CONVERTER = _make_converter()
