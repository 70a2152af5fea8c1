"""Which annotations fit where, judged when a workflow is built, without any value at hand.

The answer errs on the side of no: it is yes only where every value of the one is sure to be taken by the other, with a
single exception, ``Any``, about which nothing is known and which therefore fits everywhere. Dispatch must not make that
exception (a handler for Any is the least specific one), so it asks ``is_more_specific``. Arguments of generics are
covariant, as messages are values that nobody writes to.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import typing_extensions

from actorflow.core.annotations import (
    CALLABLE,
    ELEMENT_CONTAINERS,
    PAIR_CONTAINERS,
    alternatives,
    is_everything,
    union_of,
)
from actorflow.core.generics import (
    arguments,
    bases,
    declares_field,
    dict_shape,
    is_dict_shape,
    is_named_tuple,
    named_tuple_items,
    upper_bound,
)

__all__ = ["compatible", "is_equivalent", "is_more_specific", "is_subtype"]

# What iteration over classes without arguments gives.
_TEXTS: dict[type, object] = {str: str, bytes: int, bytearray: int, memoryview: int, range: int}


def is_subtype(narrow: object, wide: object) -> bool:
    """Whether everything of one type may be handed to what takes the other.

    Args:
        narrow: The annotation of what is given. Any fits everywhere, since nothing is known about it.
        wide: The annotation of what is taken. Any and object take everything.

    Returns:
        True if every member of ``narrow`` surely fits some member of ``wide``.
    """
    return _Relation(unknown_fits=True).fits(narrow, wide)


def is_more_specific(narrow: object, wide: object) -> bool:
    """Whether one type takes strictly fewer values than another; Any counts as object here."""
    relation = _Relation(unknown_fits=False)
    return relation.fits(narrow, wide) and not relation.fits(wide, narrow)


def is_equivalent(one: object, other: object) -> bool:
    """Whether two types take the same values; Any counts as object here."""
    relation = _Relation(unknown_fits=False)
    return relation.fits(one, other) and relation.fits(other, one)


def compatible(source: object, target: object) -> bool:
    """Whether an edge from one type to another can carry anything at all.

    Args:
        source: The annotation of what may be sent.
        target: The annotation of what is taken.

    Returns:
        True if some member of ``source`` might be taken: one of a pair of members is a subtype of the other, or holds
        a protocol that only a value can answer for.
    """
    return any(_may_meet(sent, taken) for sent in alternatives(source) for taken in alternatives(target))


def _may_meet(sent: object, taken: object) -> bool:
    return is_subtype(sent, taken) or is_subtype(taken, sent) or _needs_an_instance(sent) or _needs_an_instance(taken)


@attrs.define(eq=False)
class _Relation:
    """One question and what may be assumed while it is answered: recursive types hold if nothing contradicts them."""

    unknown_fits: bool
    _assumed: list[tuple[object, object]] = attrs.field(factory=list)

    def fits(self, narrow: object, wide: object) -> bool:
        wider = alternatives(wide)
        if any(map(is_everything, wider)):
            return True
        return all(self._fits_one_of(member, wider) for member in alternatives(narrow))

    def _fits_one_of(self, narrow: object, wider: tuple[object, ...]) -> bool:
        if isinstance(narrow, TypeVar) and narrow not in wider:
            return all(self._fits_one_of(part, wider) for part in alternatives(upper_bound(narrow)))
        return any(self._member_fits(narrow, wide) for wide in wider)

    def _all_fit(self, narrow: tuple[object, ...], wide: tuple[object, ...]) -> bool:
        return len(narrow) == len(wide) and all(map(self.fits, narrow, wide))

    def _member_fits(self, narrow: object, wide: object) -> bool:
        if narrow == wide or (narrow, wide) in self._assumed:
            return True
        self._assumed.append((narrow, wide))
        try:
            return self._by_kind(narrow, wide)
        finally:
            self._assumed.pop()

    def _by_kind(self, narrow: object, wide: object) -> bool:
        if narrow is Any:
            return self.unknown_fits
        if get_origin(narrow) is Literal:
            return self.fits(type(get_args(narrow)[0]), wide)
        if is_dict_shape(narrow):
            return self._dict_shape_fits(narrow, wide)
        return not is_dict_shape(wide) and self._class_fits(narrow, wide)

    def _dict_shape_fits(self, narrow: object, wide: object) -> bool:
        shape = dict_shape(narrow)
        if not is_dict_shape(wide):
            # str as the only alternative for keys and the values in one union say all a mapping can ask.
            return self.fits(dict[str, union_of(tuple(shape.fields.values()))], wide)  # type: ignore[misc]
        other = dict_shape(wide)
        return (
            shape.fields.keys() <= other.fields.keys()
            and other.required <= shape.required
            and all(self.fits(kind, other.fields[key]) for key, kind in shape.fields.items())
        )

    def _class_fits(self, narrow: object, wide: object) -> bool:
        inner, outer = get_origin(narrow) or narrow, get_origin(wide) or wide
        if not isinstance(inner, type) or not isinstance(outer, type):
            return False
        if not _inherits(inner, outer):
            return False
        wanted = get_args(wide)
        if outer is tuple:
            return get_origin(wide) is None or self._tuple_fits(narrow, wanted)
        if outer is CALLABLE:
            return not wanted or self._callable_fits(narrow, wanted)
        return not wanted or self._all_fit(_seen_as(narrow, outer, len(wanted)), wanted)

    def _tuple_fits(self, narrow: object, wanted: tuple[object, ...]) -> bool:
        items = _tuple_items(narrow)
        repeats = items[1:] == (...,)
        if wanted[1:] == (...,):
            return all(self.fits(item, wanted[0]) for item in (items[:1] if repeats else items))
        return not repeats and self._all_fit(items, wanted)

    def _callable_fits(self, narrow: object, wanted: tuple[object, ...]) -> bool:
        given = get_args(narrow)
        if get_origin(narrow) is not CALLABLE:
            return self.unknown_fits
        taken, passed = given[0], wanted[0]
        if not self.fits(given[1], wanted[1]):
            return False
        if isinstance(taken, list) and isinstance(passed, list):
            return self._all_fit(tuple(passed), tuple(taken))
        return taken == passed or passed is ...


def _inherits(inner: type, outer: type) -> bool:
    if not typing_extensions.is_protocol(outer):
        return issubclass(inner, outer)
    try:
        return issubclass(inner, outer)
    except TypeError:  # data members, or not runtime-checkable: compare the names
        wanted = typing_extensions.get_protocol_members(outer)
        return all(declares_field(inner, name) or hasattr(inner, name) for name in wanted)


def _needs_an_instance(member: object) -> bool:
    """Whether only a value can tell if it fits: a protocol with data members, which __init__ may set."""
    kind = get_origin(member) or member
    if not isinstance(kind, type) or not typing_extensions.is_protocol(kind):
        return False
    try:
        issubclass(object, kind)
    except TypeError:
        return True
    return False


def _seen_as(narrow: object, outer: type, count: int) -> tuple[object, ...]:
    """The arguments that a class has when looked at as one of its bases; object where nothing is declared."""
    inner = get_origin(narrow) or narrow
    if inner is outer and inner is not Counter:
        return arguments(narrow, count)
    if inner in _TEXTS:
        return (_TEXTS[inner],)
    if isinstance(inner, type) and issubclass(inner, tuple) and issubclass(tuple, outer):
        return (union_of(tuple(item for item in _tuple_items(narrow) if item is not ...)),)
    if inner in ELEMENT_CONTAINERS:
        return arguments(narrow, 1)
    if inner in PAIR_CONTAINERS:
        return _pair(narrow)[:count]
    for base in bases(narrow):
        kind = get_origin(base) or base
        if isinstance(kind, type) and _inherits(kind, outer):
            return _seen_as(base, outer, count)
    return (object,) * count


def _pair(narrow: object) -> tuple[object, object]:
    if get_origin(narrow) is Counter:
        return (*get_args(narrow), int)
    key, value = arguments(narrow, 2)
    return key, value


def _tuple_items(narrow: object) -> tuple[object, ...]:
    """The arguments of a tuple, of a NamedTuple, or of the tuple a class is made from."""
    inner = get_origin(narrow) or narrow
    if inner is tuple:
        return (object, ...) if get_origin(narrow) is None else get_args(narrow)
    assert isinstance(inner, type)
    if is_named_tuple(inner):
        return named_tuple_items(narrow)
    for base in bases(narrow):
        kind = get_origin(base) or base
        if isinstance(kind, type) and issubclass(kind, tuple):
            return _tuple_items(base)
    return (object, ...)
