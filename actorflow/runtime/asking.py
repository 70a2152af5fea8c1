"""Driving the generators of the graph: what users' conditions return is awaited here, and only here."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any, TypeVar

__all__ = ["answered"]

T = TypeVar("T")


async def answered(asking: Generator[Any, Any, T]) -> T:
    """Drive a generator that yields what a condition returned, to its result; awaits what is awaitable.

    If cancelled, the generator is left where it was; it has touched nothing.
    """
    try:
        answer = next(asking)
        while True:
            if type(answer) is not bool and inspect.isawaitable(answer):
                try:
                    answer = await answer
                except Exception as error:  # noqa: BLE001 - the generator names the edge and raises it again
                    answer = asking.throw(error)
                    continue
            answer = asking.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
