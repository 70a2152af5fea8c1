"""Strict conversions of single values: each returns the value it was given, or one made from its text, or raises."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum, Flag
from typing import Any, get_args
from uuid import UUID

__all__ = ["Misfit", "enum_hook", "got", "leaf_hooks", "literal_hook"]


class Misfit(ValueError):  # noqa: N818  a verdict on an answer; what the user gets is a ResponseTypeError
    """A value that does not fit a type."""


def got(value: object) -> str:
    """Say what was given, in a few words."""
    return f"got {type(value).__name__} {reprlib.repr(value)}"


def _exactly(kind: type) -> Callable[[object], object]:
    def check(value: object) -> object:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Misfit(f"expected {kind.__name__}, {got(value)}")
        return value

    return check


def _none(value: object) -> None:
    if value is not None:
        raise Misfit(f"expected null, {got(value)}")


def _float(value: object) -> float:
    if isinstance(value, float):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise Misfit(f"expected a number, {got(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = float("nan")
    if number != value:
        raise Misfit(f"expected a number that a float holds exactly, {got(value)}")
    return number


def _date(value: object) -> object:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    return _from_text(date, date.fromisoformat, value)


def _decimal(value: object) -> object:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return _from_text(Decimal, Decimal, value)


def _text_form(kind: type, parse: Callable[[str], object]) -> Callable[[object], object]:
    return lambda value: value if isinstance(value, kind) else _from_text(kind, parse, value)


def _from_text(kind: type, parse: Callable[[str], object], value: object) -> object:
    if not isinstance(value, str):
        raise Misfit(f"expected {kind.__name__} or its text, {got(value)}")
    try:
        return parse(value)
    except (ValueError, InvalidOperation):
        raise Misfit(f"expected the text of a {kind.__name__}, {got(value)}") from None


_LEAVES: Mapping[type, Callable[[object], object]] = {
    type(None): _none,
    bool: _exactly(bool),
    int: _exactly(int),
    str: _exactly(str),
    bytes: _exactly(bytes),
    timedelta: _exactly(timedelta),
    float: _float,
    datetime: _text_form(datetime, datetime.fromisoformat),
    time: _text_form(time, time.fromisoformat),
    date: _date,
    Decimal: _decimal,
    UUID: _text_form(UUID, UUID),
}


def leaf_hooks() -> Iterator[tuple[type, Callable[[Any, Any], object]]]:
    """Give the hook of each class of single values; cattrs uses it for subclasses (IntEnum) too."""
    for cls, convert in _LEAVES.items():
        yield cls, _leaf_hook(cls, convert)


def _leaf_hook(cls: type, convert: Callable[[object], object]) -> Callable[[Any, Any], object]:
    def structure(value: object, kind: Any) -> object:
        if not isinstance(kind, type) or kind is cls:
            return convert(value)
        if issubclass(kind, Enum):
            return enum_hook(kind)(value, kind)
        if not isinstance(value, kind):
            raise Misfit(f"expected {kind.__name__}, {got(value)}")
        return value

    return structure


def enum_hook(cls: type[Enum]) -> Callable[[Any, Any], object]:
    """Make the hook of an enum: a member, or the value of one, of the same type."""

    def structure(value: object, _: object) -> object:
        if isinstance(value, cls):
            return value
        if issubclass(cls, Flag) and type(value) is int:
            return cls(value)
        for member in cls:
            if _is_same(member.value, value):
                return member
        choices = ", ".join(repr(member.value) for member in cls)
        raise Misfit(f"expected {cls.__name__}, one of {choices}, {got(value)}")

    return structure


def literal_hook(annotation: Any) -> Callable[[Any, Any], object]:
    """Make the hook of a Literal: one of its values, of the same type; an enum member also by its value."""
    choices = get_args(annotation)

    def structure(value: object, _: object) -> object:
        for choice in choices:
            if _is_same(choice, value):
                return value
        for choice in choices:
            if isinstance(choice, Enum) and _is_same(choice.value, value):
                return choice
        raise Misfit(f"expected one of {', '.join(map(repr, choices))}, {got(value)}")

    return structure


def _is_same(choice: object, value: object) -> bool:
    return type(choice) is type(value) and choice == value
