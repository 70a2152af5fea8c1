"""From any value to one that ``json`` writes: plain JSON values as they are, everything else in a tagged form.

Nothing fails: what has no form of its own, contains itself, nests too deep, or raises when it is looked at, is written by
its repr.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any, NewType, Union, get_args, get_origin
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs

from actorflow.event_json.standins import TAG, Opaque, OpaqueError, class_name

__all__ = ["Writer", "builtin_base"]

MAX_DEPTH = 64
"""How deep containers and objects may nest before the rest is written by its repr."""

_MEMBERS: Mapping[type, tuple[str, ...]] = {
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
}
"""What these keep in C members, neither in ``args`` nor in ``__dict__``."""

Write = Callable[["Writer", Any], Any]
Node = dict[str, Any]


@attrs.define(eq=False)
class Writer:
    """One walk over a value."""

    _around: set[int] = attrs.field(factory=set)

    def value(self, value: Any) -> Any:
        """The JSON form of a value."""
        cls = type(value)
        if value is None or cls is bool:
            return value
        atom = _ATOMS.get(cls)
        if atom is not None:
            return atom(value)
        if id(value) in self._around or (len(self._around) >= MAX_DEPTH and not _is_repr(value)):
            return by_repr(value)
        self._around.add(id(value))
        try:
            return _writer_of(value)(self, value)
        except Exception:  # noqa: BLE001 - whatever looking at it raises, its repr is what can be said
            return by_repr(value)
        finally:
            self._around.discard(id(value))

    def items(self, items: Iterable[Any]) -> list[Any]:
        """The JSON forms of several values."""
        return [self.value(item) for item in items]

    def fields(self, fields: Mapping[str, Any]) -> Node:
        """The JSON forms of named values."""
        return {str(name): self.value(value) for name, value in fields.items()}


def _is_repr(value: Any) -> bool:
    """Whether it stands for a repr already: a relay must not take the repr of a repr."""
    return type(value) is Opaque and value.form == "repr"


def by_repr(value: Any) -> Node:
    """What can be said of any value."""
    try:
        text = str(repr(value))
    except Exception:  # noqa: BLE001 - a broken repr is no reason to lose the event
        text = object.__repr__(value)
    return {TAG: "repr", "class": class_name(type(value)), "text": _text(text)}


# Values without parts.


def _text(value: str) -> Any:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return {TAG: "str", "text": value.encode("unicode_escape").decode("ascii")}
    return value


def _int(value: int) -> Any:
    return value if -(2**63) <= value < 2**64 else {TAG: "int", "text": hex(value)}


def _float(value: float) -> Any:
    return value if math.isfinite(value) else {TAG: "float", "text": repr(value)}


def _spelled(tag: str) -> Callable[[Any], Node]:
    return lambda value: {TAG: tag, "text": str(value)}


def _base64(tag: str) -> Callable[[Any], Node]:
    return lambda value: {TAG: tag, "base64": base64.b64encode(value).decode("ascii")}


def _moment(tag: str) -> Callable[[Any], Node]:
    def write(value: Any) -> Node:
        node: Node = {TAG: tag, "iso": value.isoformat()}
        if value.tzinfo is not None:
            node.update(_zone(value.tzinfo))
        if value.fold:
            node["fold"] = value.fold
        return node

    return write


def _zone(zone: tzinfo) -> Node:
    """What an offset does not say; a zone of an unknown kind comes back as its offset."""
    if type(zone) is ZoneInfo and zone.key:
        return {"zone": zone.key}
    if type(zone) is timezone:
        _, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # tells a name given from one made up
        return {"zone_name": name[0]} if name else {}
    return {}


def _timedelta(value: timedelta) -> Node:
    return {TAG: "timedelta", "days": value.days, "seconds": value.seconds, "microseconds": value.microseconds}


_ATOMS: Mapping[type, Callable[[Any], Any]] = {
    str: _text,
    int: _int,
    float: _float,
    bytes: _base64("bytes"),
    bytearray: _base64("bytearray"),
    Decimal: _spelled("Decimal"),
    UUID: _spelled("UUID"),
    complex: _spelled("complex"),
    datetime: _moment("datetime"),
    time: _moment("time"),
    date: lambda value: {TAG: "date", "iso": value.isoformat()},
    timedelta: _timedelta,
}


# Containers.


def _list(writer: Writer, value: list[Any]) -> Any:
    return writer.items(value)


def _dict(writer: Writer, value: dict[Any, Any]) -> Any:
    if TAG not in value and all(type(key) is str and _text(key) is key for key in value):
        return {key: writer.value(item) for key, item in value.items()}
    return {TAG: "dict", "items": [[writer.value(key), writer.value(item)] for key, item in value.items()]}


def _tuple(writer: Writer, value: tuple[Any, ...]) -> Node:
    return {TAG: "tuple", "items": writer.items(value)}


def _set(writer: Writer, value: set[Any] | frozenset[Any]) -> Node:
    # Sorted by what is written: equal sets give equal text in every process.
    return {TAG: type(value).__name__, "items": sorted(writer.items(value), key=json.dumps)}


_CONTAINERS: Mapping[type, Write] = {list: _list, dict: _dict, tuple: _tuple, set: _set, frozenset: _set}


# Instances of classes.


def _writer_of(value: Any) -> Write:
    cls = type(value)
    if cls in _CONTAINERS:
        return _CONTAINERS[cls]
    if cls is Opaque:
        return _opaque
    if cls is OpaqueError:
        return _opaque_error
    if isinstance(value, Enum):
        return _enum
    if isinstance(value, BaseException):
        return _exception
    if isinstance(value, (type, NewType)) or value is ... or get_origin(value) or cls.__module__ == "typing":
        return _type
    return _writer_of_object(cls)


def _writer_of_object(cls: Any) -> Write:
    if issubclass(cls, tuple):
        return _namedtuple if hasattr(cls, "_fields") else _repr
    if cls.__new__ is not object.__new__ and not _is_empty_object(cls):
        return _repr  # built on a builtin type, whose contents are not among the fields
    if attrs.has(cls) or dataclasses.is_dataclass(cls):
        return _object
    return _model if hasattr(cls, "__pydantic_fields_set__") and hasattr(cls, "model_fields") else _repr


def _is_empty_object(cls: type) -> bool:
    try:
        object.__new__(cls)
    except TypeError:
        return False
    return True


def _repr(_: Writer, value: Any) -> Node:
    return by_repr(value)


def _object(writer: Writer, value: Any) -> Node:
    names = field_names(type(value))
    return _of_class(value, {name: getattr(value, name) for name in names if hasattr(value, name)}, writer)


def _namedtuple(writer: Writer, value: Any) -> Node:
    return _of_class(value, dict(zip(value._fields, tuple(value), strict=True)), writer)


def _model(writer: Writer, value: Any) -> Node:
    node = _of_class(value, {name: value.__dict__[name] for name in type(value).model_fields}, writer)
    node["set"] = sorted(value.__pydantic_fields_set__)
    for about in ("extra", "private"):
        kept = getattr(value, f"__pydantic_{about}__")
        if kept is not None:
            node[about] = writer.value(dict(kept))
    return node


def _of_class(value: Any, fields: Mapping[str, Any], writer: Writer) -> Node:
    return {TAG: "object", "class": class_name(type(value)), "fields": writer.fields(fields)}


def field_names(cls: Any) -> list[str]:
    """Fields of an attrs class or a dataclass."""
    return [field.name for field in (attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls))]


def _enum(writer: Writer, value: Enum) -> Node:
    plain = value.value
    return {TAG: "enum", "class": class_name(type(value)), "name": value.name, "value": writer.value(plain)}


def _opaque(writer: Writer, value: Opaque) -> Node:
    rest = writer.fields(value.fields)
    if value.form == "object":
        rest = {"fields": rest}
    return {TAG: value.form, "class": value.type_name, **rest}


# Exceptions.


def _exception(writer: Writer, error: BaseException) -> Node:
    base = builtin_base(type(error))
    node: Node = {TAG: "exception", "class": class_name(type(error)), "message": writer.value(str(error))}
    # Not the exception's own `__reduce__`: the builtin one knows what its constructor wants, a file name of OSError too.
    node["args"] = writer.items(base.__reduce__(error)[1])
    return node | _about_error(writer, error, _attributes(error))


def _about_error(writer: Writer, error: BaseException, attributes: Mapping[str, Any]) -> Node:
    about: Node = {}
    if attributes:
        about["attributes"] = writer.fields(attributes)
    if getattr(error, "__notes__", None):
        about["notes"] = writer.items(map(str, error.__notes__))
    if error.__cause__ is not None:
        about["cause"] = writer.value(error.__cause__)
    return about


def _attributes(error: BaseException) -> Node:
    cls = type(error)
    names = list(field_names(cls)) if attrs.has(cls) or dataclasses.is_dataclass(cls) else []
    names += [name for base, members in _MEMBERS.items() if isinstance(error, base) for name in members]
    own = {name: value for name, value in vars(error).items() if not name.startswith("__")}
    return {name: getattr(error, name) for name in names if getattr(error, name, None) is not None} | own


def builtin_base(cls: type[BaseException]) -> type[BaseException]:
    """The builtin exception a class is made of."""
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def _opaque_error(writer: Writer, error: OpaqueError) -> Node:
    node: Node = {TAG: "exception", "class": error.type_name, "message": writer.value(error.message)}
    node |= writer.fields(error.details) | {"args": writer.items(error.details.get("args", ()))}
    return node | _about_error(writer, error, {})


# Types.


def _type(writer: Writer, annotation: Any) -> Node:
    if annotation is ...:
        return {TAG: "type", "class": "..."}
    origin = get_origin(annotation)
    if origin is None:
        return {TAG: "type", "class": class_name(annotation)}
    return {TAG: "type", "class": _origin_name(annotation, origin), "args": writer.items(get_args(annotation))}


def _origin_name(annotation: Any, origin: Any) -> str:
    if origin is Union or origin is types.UnionType:
        return "|"
    alias = getattr(annotation, "_name", None)
    if type(annotation).__module__ == "typing" and isinstance(alias, str) and hasattr(typing, alias):
        return f"typing.{alias}"
    return class_name(origin)
