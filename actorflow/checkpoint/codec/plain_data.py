"""A fast check that a value is plain JSON-like data, a whole level of it at a time and without a Python call per item.

Only an optimisation: what it does not find plain is walked value by value, with the same result.
"""

from __future__ import annotations

from itertools import chain, compress, islice, repeat
from operator import is_
from typing import Any

__all__ = ["ATOMS", "is_plain"]

ATOMS = frozenset({type(None), bool, int, float, str, bytes})
"""Types that MessagePack keeps by itself, a huge int and a lone surrogate aside: the packer raises on those."""

_CONTAINERS = frozenset({list, dict})
_DEEPEST = 16
_WIDEST = 250_000


def is_plain(value: object) -> bool:
    """Whether a value surely consists of atoms, lists and dicts with atoms as keys; False also for "cannot say"."""
    if type(value) in ATOMS:
        return True
    level = [value]
    for _ in range(_DEEPEST):
        kinds = list(map(type, level))
        odd = set(kinds) - ATOMS
        if not odd:
            return True
        if not odd <= _CONTAINERS:
            return False
        dicts = _of_kind(dict, level, kinds) if dict in odd else []
        if not ATOMS.issuperset(map(type, chain.from_iterable(dicts))):
            return False
        lists = _of_kind(list, level, kinds) if list in odd else []
        inside = chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, dicts)))
        level = list(islice(inside, _WIDEST + 1))
        if len(level) > _WIDEST:  # far too wide, or it contains itself more than once
            return False
    return False


def _of_kind(kind: type, level: list[Any], kinds: list[type]) -> list[Any]:
    return list(compress(level, map(is_, kinds, repeat(kind))))
