"""Private copies and exact comparison of values: what keeps a mutable value from leaking between executors.

An executor that reads a list from the shared state gets a copy of its own, and whether it changed the copy in place is
found by comparing. Immutable values are handed out as they are. A value that cannot be copied (a client, a lock) is
shared by reference and never taken for changed: only a workflow without storage can hold one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any, cast
from uuid import UUID

__all__ = ["is_immutable", "private_copy", "same_value"]

_ATOMS = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, date, datetime, time, timedelta, timezone,
        Decimal, UUID, type, FunctionType, BuiltinFunctionType, range,
    }
)  # fmt: skip
_TOLD_BY_REPR = frozenset({float, complex, Decimal, datetime, time})


def is_immutable(value: object) -> bool:
    """Whether a value can be shared freely: an atom, an enum member, or a tuple or frozenset of such."""
    if type(value) in _ATOMS:
        return True
    seen: set[int] = set()
    todo = [value]
    while todo:
        each = todo.pop()
        kind = type(each)
        if kind is tuple or kind is frozenset:
            if id(each) not in seen:  # a tuple met twice would double the work at every level
                seen.add(id(each))
                todo.extend(_items(each))
        elif kind not in _ATOMS and not isinstance(each, (Enum, type)):
            return False
    return True


def private_copy(value: object) -> object:
    """Copy a value so that changing the copy in place cannot be seen through the original.

    Args:
        value: Anything.

    Returns:
        A deep copy; the value itself where it is immutable or cannot be copied.
    """
    if type(value) in _ATOMS:
        return value
    copied = _copy_plain(value)
    if copied is not _NOT_PLAIN:
        return copied
    if is_immutable(value):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - any class may refuse in any way; such a value is shared by reference, as documented
        return value


def _items(value: Any) -> Iterable[Any]:
    """The items of a list, tuple, set or frozenset."""
    return cast("Iterable[Any]", value)


_NOT_PLAIN = object()


def _copy_plain(value: object) -> object:
    """Copy nested lists and dicts of atoms, which hold most of any state, at a fraction of deepcopy's price.

    Without recursion, and each object once: so deep, cyclic and shared structures come out as they went in.
    """
    copies: dict[int, Any] = {}
    todo: list[Any] = []

    def copy_of(inner: Any) -> Any:
        copied = copies.get(id(inner))
        if copied is None:
            kind = type(inner)
            copied = [] if kind is list else {} if kind is dict else _NOT_PLAIN
            copies[id(inner)] = copied
            todo.append(inner)
        return copied

    root = copy_of(value)
    while todo:
        source = todo.pop()
        copied = copies[id(source)]
        if copied is _NOT_PLAIN:
            return _NOT_PLAIN
        if type(source) is list:
            copied.extend([item if type(item) in _ATOMS else copy_of(item) for item in source])
        elif all(type(key) in _ATOMS for key in source):
            copied.update({key: item if type(item) in _ATOMS else copy_of(item) for key, item in source.items()})
        else:
            return _NOT_PLAIN
    return root


def same_value(one: object, other: object) -> bool:
    """Whether two values are equal in type and content, recursively (``1``, ``True`` and ``1.0`` differ).

    Objects are compared by their fields, whatever their ``==`` says. A comparison that raises counts as different.
    """
    if one is other:
        return True
    try:
        return _same(one, other)
    except Exception:  # noqa: BLE001 - a user's __eq__ may raise anything; "different" only costs a copy
        return False


def _same(one: object, other: object) -> bool:
    """Compare without recursion. A pair met again is taken for equal: whatever differs below it is found the first time."""
    met: dict[tuple[int, int], object] = {}
    todo = [(one, other)]
    while todo:
        first, second = todo.pop()
        if first is second:
            continue
        if type(first) is not type(second):
            return False
        if type(first) in _ATOMS or isinstance(first, Enum):
            if not _same_atom(first, second):
                return False
        elif (id(first), id(second)) not in met:
            met[id(first), id(second)] = (first, second)  # kept alive: an id must not be given to another object
            inner = _pairs(first, second)
            if inner is None:
                return False
            todo.extend(inner)
    return True


def _same_atom(one: object, other: object) -> bool:
    # nan is the same as nan, 0.0 is not -0.0, Decimal("1.0") not Decimal("1.00"), noon in Paris not 11 o'clock in London.
    return repr(one) == repr(other) if type(one) in _TOLD_BY_REPR else bool(one == other)


def _pairs(one: Any, other: Any) -> Iterable[tuple[Any, Any]] | None:
    """What of two values of one type must be the same in pairs; None if they differ already."""
    kind = type(one)
    if kind is set or kind is frozenset:
        # Elements have no order to pair them by; with their types beside them 1 and True differ.
        return () if {(type(item), item) for item in one} == {(type(item), item) for item in other} else None
    if kind is dict:
        one, other = [*one.keys(), *one.values()], [*other.keys(), *other.values()]
    elif kind is not list and kind is not tuple:
        # Fields before __eq__: a class may leave fields out of its equality, and a change there would be lost.
        one, other = _fields(one), _fields(other)
    if len(one) != len(other):
        return None
    return [(first, second) for first, second in zip(one, other, strict=True) if first is not second]


def _fields(value: Any) -> list[Any]:
    """What copying takes (what pickle would take; nothing is pickled), with its iterators read out."""
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):  # the name of a singleton
        return [reduced]
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    return [make, arguments, state, list(items or ()), list(pairs or ())]
