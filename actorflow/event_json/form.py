"""The JSON form of a whole event: ``type`` first, then the common fields, then the kind's own.

The fields of the runtime's own kinds are written by their declared type (a status as its word, a path as a list); a user's
event also bears its ``class``, and its fields, like the values inside any event, have the forms of `actorflow.event_json.standins`.
"""

from __future__ import annotations

import functools
import json
import types
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import msgspec

from actorflow.errors import EventFormatError
from actorflow.event_json.reading import Reader, known_classes, rebuild
from actorflow.event_json.standins import class_name
from actorflow.event_json.writing import Writer

__all__ = ["EventForm"]


@attrs.frozen(eq=False)
class EventForm:
    """Writes and reads events.

    Attributes:
        base: The base of all events.
        kinds: The runtime's own kinds by their wire name.
        unknown: Stands in for a user's kind that the reader was not given.
        words: Enums that fields of the kinds have.
    """

    base: Any
    kinds: Mapping[str, Any]
    unknown: Any
    words: tuple[Any, ...]

    def write(self, event: Any) -> str:
        """The JSON text of an event.

        Raises:
            TypeError: `event` is none.
        """
        if not isinstance(event, self.base):
            raise TypeError(
                f"event is {event!r}, not a {self.base.__name__}; give one that a run emitted, or of a kind of your own"
            )
        writer = Writer()
        cls: Any = type(event)
        if cls is self.unknown:
            named, own = event.type_name, dict(event.fields)
        else:
            named = None if cls in self.kinds.values() else class_name(cls)
            own = {name: getattr(event, name, None) for name in _names(cls) if name not in self._common}
        hints = self._hints(cls)
        node = {"type": event.kind if cls is self.unknown else _wire_name(cls)}
        node |= {name: _written(writer, hints[name], getattr(event, name)) for name in self._common}
        if named is not None:
            node["class"] = named
        node |= {name: _written(writer, hints.get(name, Any), value) for name, value in own.items() if name not in node}
        return json.dumps(node, ensure_ascii=False, allow_nan=False)

    def read(self, text: str | bytes, given: Iterable[Any]) -> Any:
        """The event of a JSON text.

        Raises:
            EventFormatError: The text is not the JSON of an event.
            ValueError: `given` is no collection of differently named classes.
            TypeError: The text is neither str nor bytes.
        """
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"text is {text!r}, not str or bytes; give what to_json wrote")
        given = tuple(given)
        own = {class_name(each): each for each in (*self.kinds.values(), self.unknown, *self.words)}
        reader = Reader({**own, **known_classes(given)})
        try:
            node = _object(text)
            return self._read(node, reader, given)
        except RecursionError:
            raise EventFormatError("not the JSON of an event: it nests too deep") from None
        except EventFormatError as error:
            raise EventFormatError(f"not the JSON of an event: {error}") from error

    def _read(self, node: dict[str, Any], reader: Reader, given: tuple[Any, ...]) -> Any:
        kind, named = node.pop("type", None), node.pop("class", None)
        if not isinstance(kind, str):
            raise EventFormatError(f"'type' is {kind!r}, not the name of a kind of event")
        if named is not None and not isinstance(named, str):
            raise EventFormatError(f"'class' is {named!r}, not the name of a class")
        cls = self.kinds.get(kind) if named is None else None
        if cls is None:
            cls = self._users_kind(kind, named, reader, given)
        fields = {name: reader.value(value) for name, value in node.items()}
        hints = self._hints(cls)
        typed = {name: _read_as(hints.get(name, Any), name, value) for name, value in fields.items()}
        if cls is not self.unknown:
            return rebuild(cls, typed)
        common = {name: typed.pop(name) for name in self._common if name in typed}
        return self.unknown(kind=kind, type_name=named, fields=typed, **common)

    def _users_kind(self, kind: str, named: str | None, reader: Reader, given: tuple[Any, ...]) -> Any:
        """The class by its name; one that has moved since, and one of a hand-written text, by its wire name."""
        cls = reader.known.get(named) if named is not None else None
        if isinstance(cls, type) and issubclass(cls, self.base):
            return cls
        events = [each for each in given if isinstance(each, type) and issubclass(each, self.base)]
        fitting = [each for each in dict.fromkeys(events) if _wire_name(each) == kind != self.base.type]
        if len(fitting) > 1:
            raise EventFormatError(
                f"several of the given types have the type {kind!r}: {', '.join(map(repr, fitting))}"
            )
        return fitting[0] if fitting else self.unknown

    @property
    def _common(self) -> list[str]:
        return _names(self.base)

    def _hints(self, cls: Any) -> Mapping[str, Any]:
        """Declared types; of a user's kind those of the common fields, since its own need not be resolvable."""
        return _hints_of(cls if cls in self.kinds.values() else self.base)


@functools.cache
def _names(cls: Any) -> list[str]:
    return [field.name for field in attrs.fields(cls)]


@functools.cache
def _hints_of(cls: Any) -> Mapping[str, Any]:
    return types.MappingProxyType({name: hint for name, hint in get_type_hints(cls).items() if name in _names(cls)})


def _wire_name(cls: Any) -> str:
    return cls.type if isinstance(cls.type, str) else class_name(cls)


def _written(writer: Writer, hint: Any, value: Any) -> Any:
    if get_origin(hint) is tuple and type(value) is tuple:
        return writer.items(value)
    if type(value) is hint and issubclass(hint, StrEnum):
        return value.value
    return writer.value(value)


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        node = json.loads(text, parse_constant=_refuse_constant)
    except EventFormatError:
        raise
    except ValueError as error:
        raise EventFormatError(str(error)) from error
    if not isinstance(node, dict):
        raise EventFormatError(f"it is a JSON {type(node).__name__}, not an object")
    return node


def _refuse_constant(name: str) -> Any:
    raise EventFormatError(f"{name} is not JSON")


def _read_as(hint: Any, name: str, value: Any) -> Any:
    """Check a field by its declared type, and give it that type."""
    if hint is Any:
        return value
    if hint is BaseException:
        if isinstance(value, BaseException):
            return value
        raise EventFormatError(f"field {name!r} is not an exception but {value!r}")
    if get_origin(hint) is tuple and get_args(hint)[0] is Any and isinstance(value, list):
        return tuple(value)
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise EventFormatError(f"field {name!r}: {error}") from error
