"""The shared state as one delivery sees it: committed values, then what its executor wrote, then what it writes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actorflow.core.effects import REMOVED, Write, WriteKind
from actorflow.core.merge import Reducer, fold
from actorflow.core.values import is_immutable, private_copy, same_value

__all__ = ["StateView"]


class StateView:
    """Snapshot reads plus own writes.

    A mutable value that is read is handed out as a private copy. If the copy was changed in place by the time the
    delivery is done, the change counts as a write.

    Args:
        committed: The state as the previous superstep left it.
        earlier: What earlier deliveries to the same executor wrote in this superstep, by key.
        reducers: Reducers by key.
    """

    __slots__ = ("_committed", "_copies", "_earlier", "_own", "_reducers", "_writes")

    def __init__(
        self, committed: Mapping[str, Any], earlier: Mapping[str, Any], reducers: Mapping[str, Reducer]
    ) -> None:
        self._committed = committed
        self._earlier = earlier
        self._reducers = reducers
        self._own: dict[str, Any] = {}
        self._copies: dict[str, tuple[Any, Any]] = {}
        self._writes: list[Write] = []

    def get(self, key: str, default: Any) -> Any:
        """The value of a key, or `default`."""
        if key in self._copies:
            return self._copies[key][1]
        value = self._current(key)
        if value is REMOVED:
            return default
        own_object = key in self._own and key not in self._reducers
        if own_object or is_immutable(value):
            return value
        copied = private_copy(value)
        self._copies[key] = (value, copied)
        return copied

    def set(self, key: str, value: Any) -> None:
        """Write a key, through its reducer if it has one."""
        self._write(Write(key, WriteKind.SET, value))

    def delete(self, key: str) -> None:
        """Delete a key; nothing happens if it is not there."""
        if self._current(key) is not REMOVED:
            self._write(Write(key, WriteKind.DELETE))

    def has(self, key: str) -> bool:
        """Whether a key has a value."""
        return self._current(key) is not REMOVED

    def finish(self) -> tuple[list[Write], dict[str, Any]]:
        """End the delivery.

        Returns:
            All its writes, in order, and the value of each written key as the executor's next delivery sees it; none of
            them within reach of later changes to the executor's objects.
        """
        for key in list(self._copies):
            self._settle(key)
        return list(map(_frozen, self._writes)), {key: private_copy(value) for key, value in self._own.items()}

    def _current(self, key: str) -> Any:
        if key in self._own:
            return self._own[key]
        if key in self._earlier:
            return self._earlier[key]
        return self._committed.get(key, REMOVED)

    def _write(self, write: Write) -> None:
        self._settle(write.key)
        reducer = self._reducers.get(write.key)
        if reducer is None:
            self._own[write.key] = fold(REMOVED, write, None)
        else:  # every write counts, so each must keep the value it had when it was made
            write = _frozen(write)
            self._own[write.key] = fold(private_copy(self._current(write.key)), _frozen(write), reducer)
        self._writes.append(write)

    def _settle(self, key: str) -> None:
        """Turn a copy that was changed in place into a write."""
        original, copied = self._copies.pop(key, (None, None))
        if not same_value(original, copied):
            write = Write(key, WriteKind.REPLACE, copied)
            self._own[key] = copied
            self._writes.append(_frozen(write) if key in self._reducers else write)


def _frozen(write: Write) -> Write:
    """A write that nobody's later changes reach."""
    return write if is_immutable(write.value) else Write(write.key, write.kind, private_copy(write.value))
