"""From what ``json`` read back to values: the way back of ``actorflow.event_json.writing``.

A class is only ever looked up among those that were given; nothing in a text can name a module to import or a function to
call. Instances are made empty and their fields are set, so no constructor, validator or converter runs.
"""

from __future__ import annotations

import base64
import builtins
import collections.abc
import dataclasses
import functools
import json
import types
import typing
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from typing import Any, Union
from uuid import UUID

import attrs

from actorflow import errors
from actorflow.errors import EventFormatError
from actorflow.event_json.standins import TAG, Opaque, OpaqueError, class_name, has_cached_hash
from actorflow.event_json.writing import builtin_base, field_names

__all__ = ["READERS", "Reader", "known_classes", "rebuild"]

Node = Mapping[str, Any]

_MISSING = object()


@attrs.define(eq=False)
class Reader:
    """One walk over what ``json`` read.

    Attributes:
        known: Classes by name.
    """

    known: Mapping[str, Any]

    def value(self, node: Any) -> Any:
        """The value that was written as `node`.

        Raises:
            EventFormatError: Nothing is written like that.
        """
        if isinstance(node, list):
            return [self.value(item) for item in node]
        if not isinstance(node, dict):
            return node
        if TAG not in node:
            return {key: self.value(item) for key, item in node.items()}
        read = READERS.get(node[TAG]) if isinstance(node[TAG], str) else None
        if read is None:
            raise EventFormatError(f"unknown form {node[TAG]!r} in {_shown(node)}")
        try:
            return read(self, node)
        except EventFormatError:
            raise
        except KeyError as error:
            raise EventFormatError(f"{error} is missing in {_shown(node)}") from error
        except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise EventFormatError(f"{error} in {_shown(node)}") from error

    def items(self, node: Node, key: str = "items") -> list[Any]:
        """The values of a list in a node."""
        return [self.value(item) for item in _list(node, key)]

    def fields(self, node: Node, key: str = "fields") -> dict[str, Any]:
        """The named values in a node."""
        fields = node[key]
        if not isinstance(fields, dict):
            raise EventFormatError(f"{key!r} is not an object in {_shown(node)}")
        return {name: self.value(value) for name, value in fields.items()}


def known_classes(types: Iterable[Any]) -> dict[str, Any]:
    """Classes by name: those given, those of Python itself, and the package's errors.

    Raises:
        ValueError: Two classes have one name, or something is no class.
    """
    given: dict[str, Any] = {}
    for each in types:
        try:
            name = class_name(each)
        except AttributeError:
            raise ValueError(f"types are classes, not {each!r}") from None
        if given.setdefault(name, each) is not each:
            raise ValueError(f"types has two classes of the name {name!r}; give one an __actorflow_name__")
    return {**_python_classes(), **given}


@functools.cache
def _python_classes() -> dict[str, Any]:
    named = [each for each in vars(builtins).values() if isinstance(each, type)]
    named += [date, datetime, time, timedelta, timezone, Decimal, UUID, types.NoneType, Opaque, OpaqueError]
    known = {class_name(each): each for each in named}
    known |= {f"typing.{name}": getattr(typing, name) for name in typing.__all__}
    known |= {f"collections.abc.{name}": getattr(collections.abc, name) for name in collections.abc.__all__}
    known |= {class_name(each): each for each in map(vars(errors).__getitem__, errors.__all__)}
    return {**known, "...": ...}


def _list(node: Node, key: str) -> list[Any]:
    if not isinstance(node[key], list):
        raise EventFormatError(f"{key!r} is not a list in {_shown(node)}")
    return node[key]  # type: ignore[no-any-return]


def _text(node: Node, key: str) -> str:
    if not isinstance(node[key], str):
        raise EventFormatError(f"{key!r} is not a string in {_shown(node)}")
    return node[key]  # type: ignore[no-any-return]


def _shown(node: Node) -> str:
    text = json.dumps(node)
    return text if len(text) <= 200 else f"{text[:197]}..."


# Values without parts.


def _from_text(make: Callable[[str], Any]) -> Callable[[Reader, Node], Any]:
    return lambda _, node: make(_text(node, "text"))


def _bytes(_: Reader, node: Node) -> bytes:
    return base64.b64decode(_text(node, "base64"), validate=True)


def _moment(cls: Any) -> Callable[[Reader, Node], Any]:
    def read(_: Reader, node: Node) -> Any:
        moment = cls.fromisoformat(_text(node, "iso"))
        if "zone" in node and node["zone"] in _zones():  # else the offset is what is known of it
            moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(node["zone"]))
        elif "zone_name" in node:
            moment = moment.replace(tzinfo=timezone(moment.utcoffset(), _text(node, "zone_name")))
        return moment.replace(fold=node["fold"]) if "fold" in node else moment

    return read


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _timedelta(_: Reader, node: Node) -> timedelta:
    return timedelta(node["days"], node["seconds"], node["microseconds"])


# Instances of classes.


def _dict(reader: Reader, node: Node) -> dict[Any, Any]:
    return {reader.value(key): reader.value(value) for key, value in _list(node, "items")}


def _class(reader: Reader, node: Node, base: type) -> Any:
    """The class that a node names, if it is known and of the right kind."""
    cls = reader.known.get(_text(node, "class"))
    return cls if isinstance(cls, type) and issubclass(cls, base) else None


def _opaque(reader: Reader, node: Node) -> Opaque:
    rest = {name: reader.value(value) for name, value in node.items() if name not in (TAG, "class")}
    return Opaque(_text(node, "class"), rest, node[TAG])


def _object(reader: Reader, node: Node) -> Any:
    cls = _class(reader, node, object)
    fields = reader.fields(node)
    if cls is None:
        return Opaque(_text(node, "class"), fields)
    if attrs.has(cls) or dataclasses.is_dataclass(cls):
        return rebuild(cls, fields)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return tuple.__new__(cls, [fields[name] for name in cls._fields])
    if hasattr(cls, "model_fields"):
        return _model(cls, fields, reader, node)
    raise EventFormatError(f"{cls.__qualname__} has no fields, but {_shown(node)} has")


def rebuild(cls: Any, fields: Mapping[str, Any]) -> Any:
    """Make an instance of an attrs class or a dataclass from its fields; one that is missing takes its default.

    Raises:
        EventFormatError: A field has no value, or the class no such field.
    """
    names = field_names(cls)
    unknown = ", ".join(map(repr, fields.keys() - set(names)))
    if unknown:
        raise EventFormatError(f"{cls.__qualname__} has no field {unknown}; it has {', '.join(names) or 'none'}")
    instance = object.__new__(cls)
    for name in names:
        value = fields[name] if name in fields else _default(cls, name)
        if value is _MISSING:
            raise EventFormatError(f"field {name!r} of {cls.__qualname__} is missing")
        object.__setattr__(instance, name, value)
    if has_cached_hash(cls):
        object.__setattr__(instance, "_attrs_cached_hash", None)
    return instance


def _default(cls: Any, name: str) -> Any:
    if not attrs.has(cls):
        field = cls.__dataclass_fields__[name]
        if field.default is not dataclasses.MISSING:
            return field.default
        return _MISSING if field.default_factory is dataclasses.MISSING else field.default_factory()
    default: Any = attrs.fields_dict(cls)[name].default
    if type(default) is attrs.Factory:
        return _MISSING if default.takes_self else default.factory()
    return _MISSING if default is attrs.NOTHING else default


def _model(cls: Any, fields: dict[str, Any], reader: Reader, node: Node) -> Any:
    if fields.keys() != cls.model_fields.keys():
        raise EventFormatError(f"the fields of {cls.__qualname__} are {', '.join(cls.model_fields)}")
    model = object.__new__(cls)
    object.__setattr__(model, "__dict__", fields)
    object.__setattr__(model, "__pydantic_fields_set__", set(_list(node, "set")))
    for about in ("extra", "private"):
        kept = reader.value(node[about]) if about in node else None
        object.__setattr__(model, f"__pydantic_{about}__", kept)
    return model


def _enum(reader: Reader, node: Node) -> Any:
    cls = _class(reader, node, Enum)
    if cls is None:
        return _opaque(reader, node)
    if issubclass(cls, Flag):
        return cls(reader.value(node["value"]))
    member = cls.__members__.get(_text(node, "name"))
    if member is None:
        raise EventFormatError(f"{cls.__qualname__} has no member {node['name']!r}")
    return member


# Exceptions.


def _exception(reader: Reader, node: Node) -> BaseException:
    error = _error(reader, node)
    for note in reader.items(node, "notes") if "notes" in node else ():
        error.add_note(note)
    cause = reader.value(node["cause"]) if "cause" in node else None
    if isinstance(cause, BaseException):
        error.__cause__ = cause
    return error


def _error(reader: Reader, node: Node) -> BaseException:
    cls = _class(reader, node, BaseException)
    arguments = reader.items(node, "args")
    attributes = reader.fields(node, "attributes") if "attributes" in node else {}
    if cls is not None:
        try:
            return _made(cls, arguments, attributes)
        except (TypeError, ValueError, AttributeError):
            pass  # made of stand-ins, which this class does not take: it gets a stand-in itself
    message = reader.value(node["message"])
    if not isinstance(message, str):
        raise EventFormatError(f"'message' is not a string in {_shown(node)}")
    details = {"args": arguments, **({"attributes": attributes} if attributes else {})}
    return OpaqueError(_text(node, "class"), message, details)


def _made(cls: Any, arguments: list[Any], attributes: Mapping[str, Any]) -> BaseException:
    base = builtin_base(cls)
    error: BaseException = base.__new__(cls, *arguments)
    base.__init__(error, *arguments)
    for name, value in attributes.items():
        if name.startswith("__"):
            raise EventFormatError(f"an exception has no attribute {name!r} to set")
        if isinstance(getattr(cls, name, None), (types.MemberDescriptorType, types.GetSetDescriptorType)):
            object.__setattr__(error, name, value)
        else:
            vars(error)[name] = value
    return error


# Types.


def _type(reader: Reader, node: Node) -> Any:
    name = _text(node, "class")
    origin = Union if name == "|" else reader.known.get(name)
    if origin is None:
        return _opaque(reader, node)
    if "args" not in node:
        return origin
    arguments = reader.items(node, "args")
    if any(isinstance(each, Opaque) for each in arguments):
        return _opaque(reader, node)
    try:
        return origin[tuple(arguments)]
    except TypeError:  # an origin that another version of the class could subscribe
        return _opaque(reader, node)


READERS: Mapping[str, Callable[[Reader, Node], Any]] = {
    "tuple": lambda reader, node: tuple(reader.items(node)),
    "set": lambda reader, node: set(reader.items(node)),
    "frozenset": lambda reader, node: frozenset(reader.items(node)),
    "dict": _dict,
    "str": _from_text(lambda text: text.encode("ascii").decode("unicode_escape")),
    "int": _from_text(lambda text: int(text, 16)),
    "float": _from_text(float),
    "complex": _from_text(complex),
    "Decimal": _from_text(Decimal),
    "UUID": _from_text(UUID),
    "bytes": _bytes,
    "bytearray": lambda reader, node: bytearray(_bytes(reader, node)),
    "datetime": _moment(datetime),
    "time": _moment(time),
    "date": lambda _, node: date.fromisoformat(_text(node, "iso")),
    "timedelta": _timedelta,
    "object": _object,
    "enum": _enum,
    "exception": _exception,
    "type": _type,
    "repr": _opaque,
}
