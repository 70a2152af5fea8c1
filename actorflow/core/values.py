"""Private copies and exact comparison of values: what keeps a mutable value from leaking between executors.

An executor that reads a list from the shared state gets a copy of its own, and whether it changed the copy in place is
found by comparing. Immutable values are handed out as they are. A value that cannot be copied (a client, a lock) is
shared by reference and never taken for changed: only a workflow without storage can hold one.
"""

from __future__ import annotations

import copy
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from uuid import UUID

__all__ = ["is_immutable", "private_copy", "same_value"]

_ATOMS = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, date, datetime, time, timedelta, timezone,
        Decimal, UUID, type, FunctionType, BuiltinFunctionType, range,
    }
)  # fmt: skip


def is_immutable(value: object) -> bool:
    """Whether a value can be shared freely: an atom, an enum member, or a tuple or frozenset of such."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(is_immutable, value))  # type: ignore[call-overload]
    return isinstance(value, (Enum, type))


def private_copy(value: object) -> object:
    """Copy a value so that changing the copy in place cannot be seen through the original.

    Args:
        value: Anything.

    Returns:
        A deep copy; the value itself where it is immutable or cannot be copied.
    """
    copied = _copy_plain(value, 0)
    if copied is not _NOT_PLAIN:
        return copied
    if is_immutable(value):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - any class may refuse in any way; such a value is shared by reference, as documented
        return value


_NOT_PLAIN = object()
_DEEPEST = 50


def _copy_plain(value: object, depth: int) -> object:
    """Copy nested lists and dicts of atoms, which hold most of any state, at a sixth of deepcopy's price."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if depth > _DEEPEST:  # deep, or cyclic: deepcopy's memo copes
        return _NOT_PLAIN
    if kind is list:
        items = [_copy_plain(item, depth + 1) for item in value]  # type: ignore[attr-defined]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else items
    if kind is dict:
        pairs = {key: _copy_plain(item, depth + 1) for key, item in value.items()}  # type: ignore[attr-defined]
        plain = all(type(key) in _ATOMS for key in pairs) and not any(v is _NOT_PLAIN for v in pairs.values())
        return pairs if plain else _NOT_PLAIN
    return _NOT_PLAIN


def same_value(one: object, other: object) -> bool:
    """Whether two values are equal in type and content, recursively (``1``, ``True`` and ``1.0`` differ).

    Objects are compared by their fields, whatever their ``==`` says. A comparison that raises counts as different.
    """
    try:
        return _same(one, other, 0)
    except Exception:  # noqa: BLE001 - a user's __eq__ may raise anything; "different" only costs a copy
        return False


def _same(one: object, other: object, depth: int) -> bool:
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other) or depth > _DEEPEST:
        return False
    if kind is list or kind is tuple:
        return len(one) == len(other) and all(  # type: ignore[arg-type]
            _same(a, b, depth + 1)
            for a, b in zip(one, other, strict=True)  # type: ignore[call-overload]
        )
    if kind is dict:
        return list(one) == list(other) and all(  # type: ignore[call-overload]
            _same(a, b, depth + 1)
            for a, b in zip(one.values(), other.values(), strict=True)  # type: ignore[attr-defined]
        )
    if kind is float:
        return repr(one) == repr(other)  # nan is the same as nan, 0.0 is not -0.0
    if kind in _ATOMS or kind is set or kind is frozenset or isinstance(one, Enum):
        return bool(one == other)
    # Fields before __eq__: a class may leave fields out of its equality, and a change there would be lost.
    return _same(_fields(one), _fields(other), depth + 1)


def _fields(value: object) -> object:
    """The state that copying takes (what pickle would take; nothing is pickled)."""
    return value.__reduce_ex__(2)[1:]  # type: ignore[index]
