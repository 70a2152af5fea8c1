"""How an instance of a declared class is taken apart into its stored fields, and rebuilt from them.

The hooks are cattrs hooks, one pair per class of the registry, and cattrs dispatches by class. They are our own rather
than the ones cattrs generates, because those call the constructor (so that converters, validators and ``__post_init__``
run a second time, and a class whose constructor refuses its own fields could be saved but not loaded) and trust the
declared type of a field (so that an int in a float field changes type). Here the fields that are stored are what comes
back: an instance is made empty and its fields are set, and no code of the class runs. Whatever would make that inexact is
refused when the value is saved.

Field values are passed through as they are; the codec encodes each by its run-time type.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import MemberDescriptorType
from typing import Any

import attrs
from cattrs import Converter

from actorflow.checkpoint.codec.declared import Kind, kind_of
from actorflow.checkpoint.codec.lifting import how_to_lift
from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.wire import Malformed, Refused

__all__ = ["Fields", "Rebuild", "TakeApart", "shape_converter"]

Fields = dict[str, object]
TakeApart = Callable[[Any], Fields]
Rebuild = Callable[[Fields, Any], object]

_HASH_CACHE = "_attrs_cached_hash"
_NOT_STATE = {_HASH_CACHE, "__orig_class__", "__weakref__", "__dict__"}
"""Attributes outside the fields that carry no state of their own."""


def shape_converter(registry: TypeRegistry) -> Converter:
    """Make the converter that knows every class of the registry that has fields, and no other."""
    hooks = {cls: pair for cls in registry.classes() if (pair := _hooks(cls))}
    converter = Converter()
    # By predicate, since registering by class would imply subclasses.
    converter.register_unstructure_hook_factory(hooks.__contains__, lambda cls: hooks[cls][0])
    converter.register_structure_hook_factory(hooks.__contains__, lambda cls: hooks[cls][1])
    return converter


def _hooks(cls: type) -> tuple[TakeApart, Rebuild] | None:
    match kind_of(cls):
        case Kind.ATTRS:
            return _object_hooks(cls, [field.name for field in attrs.fields(cls)])
        case Kind.DATACLASS:
            return _object_hooks(cls, [field.name for field in dataclasses.fields(cls)])
        case Kind.NAMEDTUPLE:
            return _namedtuple_hooks(cls)
        case Kind.PYDANTIC:
            return _model_hooks(cls)
        case _:
            return None


def _check_names(cls: type, fields: object, names: frozenset[str]) -> None:
    if type(fields) is not dict:
        raise Malformed(f"the stored form of {cls.__qualname__} has no fields by name")
    if fields.keys() != names:
        stored, now = (", ".join(sorted(map(str, each))) for each in (fields, names))
        raise Malformed(
            f"the stored fields of {cls.__qualname__} ({stored}) are not those it has ({now}); {how_to_lift(cls)}"
        )


# Classes whose fields are attributes: attrs classes and dataclasses.


def _object_hooks(cls: Any, names: list[str]) -> tuple[TakeApart, Rebuild]:
    expected = frozenset(names)
    caches_hash = _HASH_CACHE in getattr(getattr(cls.__hash__, "__code__", None), "co_names", ())

    def rebuild(fields: Fields, _: object) -> object:
        _check_names(cls, fields, expected)
        instance = object.__new__(cls)
        for name, value in fields.items():
            object.__setattr__(instance, name, value)
        if caches_hash:
            object.__setattr__(instance, _HASH_CACHE, None)
        return instance

    hindrance = _hindrance(cls, names)
    return (_refuse_always(cls, hindrance) if hindrance else _take_apart(cls, names)), rebuild


def _hindrance(cls: Any, names: list[str]) -> str | None:
    """Say why instances could not be rebuilt from their fields alone, if so."""
    try:
        object.__new__(cls)
    except TypeError:
        return "it is built on a builtin type, whose contents are not among its fields"
    if cls.__getattribute__ is not object.__getattribute__:
        return "it defines __getattribute__, so what it shows need not be what it holds"
    for name in names:
        place = inspect.getattr_static(cls, name, None)
        if isinstance(place, MemberDescriptorType):
            continue
        if hasattr(type(place), "__set__"):
            return f"its field {name!r} is a {type(place).__name__}, which computes what it gives"
        if not cls.__dictoffset__:
            return f"it has no place to keep its field {name!r}"
    return None


def _refuse_always(cls: type, hindrance: str) -> TakeApart:
    def refuse(_: object) -> Fields:
        raise Refused(f"cannot store {cls.__qualname__}: {hindrance}; send a plain attrs class or dataclass instead")

    return refuse


def _take_apart(cls: type, names: list[str]) -> TakeApart:
    values_of = _values_getter(names)
    known = {*names, *_derived_names(cls)}
    hidden_slots = _slot_names(cls) - known
    has_dict = bool(cls.__dictoffset__)

    def take_apart(instance: object) -> Fields:
        if has_dict and not instance.__dict__.keys() <= known:
            raise Refused(_extra(cls, instance.__dict__.keys() - known))
        for slot in hidden_slots:
            if hasattr(instance, slot):
                raise Refused(_extra(cls, {slot}))
        try:
            return dict(zip(names, values_of(instance), strict=True))
        except AttributeError as error:
            raise Refused(_unset(cls, error.name)) from None

    return take_apart


def _values_getter(names: list[str]) -> Callable[[object], Iterable[object]]:
    if not names:
        return lambda _: ()
    getter = attrgetter(*names)
    if len(names) == 1:
        return lambda instance: (getter(instance),)
    return getter


def _extra(cls: type, names: Iterable[str]) -> str:
    return (
        f"cannot store this {cls.__qualname__}: it carries attributes that are not fields "
        f"({', '.join(map(repr, sorted(names)))}); declare them as fields or keep them elsewhere"
    )


def _unset(cls: type, name: str | None) -> str:
    return f"cannot store this {cls.__qualname__}: its field {name!r} was never set; set it in __init__ or give it a default"


def _derived_names(cls: type) -> set[str]:
    """Give the attributes that a class can compute again: cached properties and the like."""
    derived = set(_NOT_STATE)
    for base in cls.__mro__:
        derived |= {name for name, value in vars(base).items() if isinstance(value, functools.cached_property)}
        if "__attrs_attrs__" in vars(base):
            # attrs replaces the slots of a class it makes; beside the fields it adds cached properties only.
            derived |= _own_slots(base)
    return derived


def _slot_names(cls: type) -> set[str]:
    return {slot for base in cls.__mro__ for slot in _own_slots(base)}


def _own_slots(cls: type) -> set[str]:
    return {name for name, value in vars(cls).items() if isinstance(value, MemberDescriptorType)}


# NamedTuples.


def _namedtuple_hooks(cls: Any) -> tuple[TakeApart, Rebuild]:
    names: tuple[str, ...] = cls._fields
    expected = frozenset(names)

    def take_apart(instance: tuple[object, ...]) -> Fields:
        if getattr(instance, "__dict__", None):
            raise Refused(_extra(cls, instance.__dict__))
        if tuple.__len__(instance) != len(names):
            raise Refused(f"cannot store this {cls.__qualname__}: it does not hold one item per field")
        return dict(zip(names, tuple.__iter__(instance), strict=True))

    def rebuild(fields: Fields, _: object) -> object:
        _check_names(cls, fields, expected)
        return tuple.__new__(cls, [fields[name] for name in names])

    return take_apart, rebuild


# pydantic models: the fields, and beside them what a model keeps about itself, under names no field can have.

_FIELDS_SET, _EXTRA, _PRIVATE = "=set", "=extra", "=private"
_ABOUT = (_FIELDS_SET, _EXTRA, _PRIVATE)


def _model_hooks(cls: Any) -> tuple[TakeApart, Rebuild]:
    names = frozenset(cls.model_fields)
    known = names | _derived_names(cls)

    def take_apart(model: Any) -> Fields:
        values = model.__dict__
        if not values.keys() <= known:
            raise Refused(_extra(cls, values.keys() - known))
        for name in names - values.keys():
            raise Refused(_unset(cls, name))
        fields: Fields = {name: value for name, value in values.items() if name in names}
        fields[_FIELDS_SET] = sorted(model.__pydantic_fields_set__)
        fields[_EXTRA] = model.__pydantic_extra__
        fields[_PRIVATE] = model.__pydantic_private__
        return fields

    def rebuild(fields: Fields, _: object) -> object:
        about = _about_model(cls, fields, names)
        model = object.__new__(cls)
        object.__setattr__(model, "__dict__", fields)
        object.__setattr__(model, "__pydantic_fields_set__", set(about[_FIELDS_SET]))
        object.__setattr__(model, "__pydantic_extra__", about[_EXTRA])
        object.__setattr__(model, "__pydantic_private__", about[_PRIVATE])
        return model

    hindrance = _hindrance(cls, [])
    return (_refuse_always(cls, hindrance) if hindrance else take_apart), rebuild


def _about_model(cls: type, fields: Fields, names: frozenset[str]) -> Mapping[str, Any]:
    """Take what is about the model out of the fields, and check both."""
    if type(fields) is not dict or not fields.keys() >= set(_ABOUT):
        raise Malformed(f"the stored form of {cls.__qualname__} is not one of a pydantic model")
    about: dict[str, Any] = {key: fields.pop(key) for key in _ABOUT}
    _check_names(cls, fields, names)
    if type(about[_FIELDS_SET]) is not list or not all(type(name) is str for name in about[_FIELDS_SET]):
        raise Malformed(f"the stored set fields of {cls.__qualname__} are not names")
    if any(about[key] is not None and type(about[key]) is not dict for key in (_EXTRA, _PRIVATE)):
        raise Malformed(f"the stored extras of {cls.__qualname__} are not a mapping")
    return about
