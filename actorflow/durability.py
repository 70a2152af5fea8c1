"""When a run's commits are written, by the names that users give; `actorflow.runtime.recorder` has what each comes to."""

from __future__ import annotations

from typing import Any, Literal, get_args

__all__ = ["DURABILITIES", "Durability", "checked_durability"]

Durability = Literal["superstep", "async", "exit", "delivery"]
"""When commits are stored: before the next superstep starts, while it runs, when the run ends, or with each delivery, too."""

DURABILITIES: tuple[Durability, ...] = get_args(Durability)
"""Every one of them, the default first."""


def checked_durability(given: Any) -> Durability:
    """The durability that was given; None stands for the default.

    Raises:
        ValueError: There is none of that name.
    """
    if given is None:
        return DURABILITIES[0]
    for each in DURABILITIES:
        if given == each:
            return each
    raise ValueError(f"durability={given!r} is unknown; give one of {', '.join(map(repr, DURABILITIES))}")
