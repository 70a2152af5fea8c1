"""Driving the graph's generators where every condition is synchronous."""

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")


def settle(asking: Generator[Any, Any, T]) -> T:
    try:
        answer = next(asking)
        while True:
            if hasattr(answer, "__await__"):
                raise TypeError("an awaitable condition reached the synchronous driver")
            answer = asking.send(answer)
    except StopIteration as stop:
        return stop.value
