"""The one file that touches private names of trio.

trio has no public way to choose a schedule, nor to ask a channel whether it is closed. Both are read and written
here and nowhere else; ``tests/test_trio_internals.py`` fails when a new trio has moved them. Nothing outside
``actorflow.testing`` may import this module: the product is deterministic by sorting, never by scheduling.
"""
# ruff: noqa: SLF001

from __future__ import annotations

__all__ = ["AnyChannel", "is_closed", "seeded_scheduling"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import trio

AnyChannel: TypeAlias = trio.MemorySendChannel[Any] | trio.MemoryReceiveChannel[Any]

_run = trio._core._run

_FLAG = "_ALLOW_DETERMINISTIC_SCHEDULING"


@contextmanager
def seeded_scheduling(seed: int) -> Iterator[None]:
    """Let the order of tasks within a tick be drawn from ``seed``, and put everything back afterwards.

    Without the flag trio only ever runs a batch forwards or backwards, in an order that depends on sets.

    Args:
        seed: Any whole number; equal seeds give equal schedules in every process.
    """
    flag, state = getattr(_run, _FLAG), _run._r.getstate()
    setattr(_run, _FLAG, True)
    _run._r.seed(seed)
    try:
        yield
    finally:
        setattr(_run, _FLAG, flag)
        _run._r.setstate(state)


def is_closed(channel: AnyChannel) -> bool:
    """Tell whether this end of a memory channel was closed; its statistics only count the open ends."""
    return channel._closed
