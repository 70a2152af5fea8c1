"""The stable names of classes: what stored values and graph signatures call them, wherever they live.

A class is called by its own ``__actorflow_name__``, or else by its ``__name__``: no module, no enclosing class or function is
part of it, so moving a class changes nothing. A class that was renamed had other names before; which ones, a workflow
declares as renames, oldest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from actorflow.errors import StateTypeError

__all__ = ["Naming", "former_namings", "stable_name", "stable_version"]

Naming = Callable[[type], str]
"""Gives the name of a class."""

_NEWEST = 2**31 - 1


def stable_name(cls: type) -> str:
    """The name of a class; not inherited.

    Raises:
        StateTypeError: Its ``__actorflow_name__`` is no name.
    """
    name = cls.__dict__.get("__actorflow_name__", cls.__name__)
    if isinstance(name, str) and name:
        return name
    raise StateTypeError(f"__actorflow_name__ of {cls.__module__}.{cls.__qualname__} is {name!r}, not a non-empty str")


def stable_version(cls: type) -> int:
    """The version of a class: its own ``__actorflow_version__``, not an inherited one, or else 1.

    Raises:
        StateTypeError: It is no whole number from 1.
    """
    version = cls.__dict__.get("__actorflow_version__", 1)
    if type(version) is int and 1 <= version <= _NEWEST:
        return version
    raise StateTypeError(
        f"__actorflow_version__ of {cls.__module__}.{cls.__qualname__} is {version!r}, not a whole number from 1"
    )


def former_namings(renames: Sequence[tuple[str, str]]) -> Iterator[Naming]:
    """How classes were called before the last rename, before the last two, and so on back to the first.

    Args:
        renames: (old, new) pairs, oldest first.
    """
    for since in reversed(range(len(renames))):
        yield _naming_before(renames[since:])


def _naming_before(renames: Sequence[tuple[str, str]]) -> Naming:
    def name_of(cls: type) -> str:
        name = stable_name(cls)
        for old, new in reversed(renames):
            if name == new:
                name = old
        return name

    return name_of
