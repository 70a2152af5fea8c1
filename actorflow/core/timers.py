"""Timers: messages that are on their way and not due yet, and what an expired request is answered with.

A delayed message is routed when its superstep commits, like any other; what it became waits as a timer. So a timer that
fires asks no condition: it only moves.
"""

from __future__ import annotations

import math
from datetime import timedelta

import attrs

from actorflow.core.effects import Delivery

__all__ = ["Arrival", "RequestTimeout", "Timer", "seconds"]


@attrs.frozen
class Arrival:
    """A message on its way to a join.

    Attributes:
        join_id: The join.
        source_id: The executor that sent it.
        value: The message.
    """

    join_id: str
    source_id: str
    value: object


@attrs.frozen
class Timer:
    """One delayed message for one target.

    Its name is a function of the state alone, and no two that wait share one: a superstep's number is never used twice
    while what it sent is waiting.

    Attributes:
        due: When it fires, in seconds since 1970 UTC.
        superstep: The superstep that sent it.
        index: Its place, from 0, among the timers of that superstep, in canonical order.
        what: What it puts in flight.
    """

    due: float
    superstep: int
    index: int
    what: Delivery | Arrival

    @property
    def name(self) -> str:
        """Its name in the snapshot's table."""
        return f"{self.superstep}-{self.index}"


@attrs.frozen
class RequestTimeout:
    """What a response handler gets in the place of an answer, when a request's deadline has passed.

    Attributes:
        request_id: The request; it is open no more.
        timeout: The seconds it was given.
    """

    request_id: str
    timeout: float


def seconds(value: object, name: str) -> float:
    """Read a length of time.

    Args:
        value: Seconds, or a timedelta.
        name: How an error names it.

    Raises:
        ValueError: It is neither, negative, or not finite.
    """
    length = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(length, (int, float)) and not isinstance(length, bool) and length >= 0:
        try:
            length = float(length)
        except OverflowError:
            length = math.inf
        if math.isfinite(length):
            return length
    raise ValueError(f"{name}={value!r} is no length of time: give seconds from 0, finite, or a timedelta")
