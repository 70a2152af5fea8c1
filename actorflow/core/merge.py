"""Folding a superstep's writes into the shared state, in canonical order (P4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from actorflow.core.effects import REMOVED, Write, WriteKind
from actorflow.core.values import private_copy

__all__ = ["Reducer", "fold", "merge_writes"]

Reducer = Callable[[Any, Any], Any]
"""``reducer(old, new)``: how a key combines several writes."""


def fold(old: Any, write: Write, reducer: Reducer | None) -> Any:
    """One write upon an old value.

    Args:
        old: The value, or `REMOVED` if there is none.
        write: What was written.
        reducer: The key's reducer; a first write is stored as it is.

    Returns:
        The new value, or `REMOVED`.
    """
    if write.kind is WriteKind.DELETE:
        return REMOVED
    if write.kind is WriteKind.REPLACE or reducer is None or old is REMOVED:
        return write.value
    return reducer(old, write.value)


def merge_writes(state: Mapping[str, Any], writes: Iterable[Write], reducers: Mapping[str, Reducer]) -> dict[str, Any]:
    """The new value of each written key.

    Args:
        state: The state committed by the previous superstep.
        writes: All writes of the superstep, in canonical order: the later wins, or the key's reducer folds them.
        reducers: Reducers by key.

    Returns:
        New value by key; `REMOVED` for a deleted one.
    """
    merged: dict[str, Any] = {}
    for write in writes:
        key = write.key
        reducer = reducers.get(key)
        if key in merged:
            old = merged[key]
        elif reducer is None:
            old = REMOVED
        else:
            old = private_copy(state.get(key, REMOVED))
        # A reducer may change its arguments in place. What is committed must not change before the commit, nor the writes:
        # if the commit fails they are merged again.
        private = write if reducer is None else Write(key, write.kind, private_copy(write.value))
        merged[key] = fold(old, private, reducer)
    return merged
