"""Upcasters: how values that were stored under an older form of their class become values of today's.

An upcaster is a plain function on plain data, declared in code by the workflow that reads; stored bytes only ever say which
name and which version they bear (P9). They are applied to what was read, one after the other, until the name is one of a
class and the version is its present one. Stored bytes are never rewritten for it: a section keeps its old bytes until its value
changes, so an upcaster is needed as long as any checkpoint that could be resumed was made before it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import attrs

from actorflow.core.naming import stable_name
from actorflow.errors import UpcasterError

__all__ = ["Step", "Upcaster"]

Fields = dict[str, Any]
Step = tuple[str, int]
"""A stored name and version."""


@attrs.frozen(repr=False)
class Upcaster:
    """Lifts stored values of one class and version to the next.

    The function is called with the fields by name, their values already lifted: of an enum they are ``{"member": name}``, of a
    Flag ``{"value": int}``. It must not wait, must depend on nothing but what it is given, and gets a dict that is its own.

    Args:
        name: The name that was stored: of a class its ``__actorflow_name__`` then, or its ``__name__``.
        to: What the class is called now: the class, or its name. None if it kept its name. Without `convert` this is a rename
            and nothing else, of every version, or of `version` alone.
        version: The stored version this takes; 1 if there is a function and nothing else is said.
        convert: Makes the fields of the next version.
        replace: Makes, in place of `convert`, the value itself, as the workflow stores values today: for a class that is gone
            or was split.
        to_version: The version that results. Without it a function leads to the next version of the same name; and under a
            new name the number stays.

    Raises:
        UpcasterError: The arguments do not go together.
    """

    name: str
    to: type | str | None = None
    version: int | None = attrs.field(default=None, kw_only=True)
    convert: Callable[[Fields], Fields] | None = attrs.field(default=None, kw_only=True)
    replace: Callable[[Fields], Any] | None = attrs.field(default=None, kw_only=True)
    to_version: int | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        problem = self._problem()
        if problem is not None:
            raise UpcasterError(f"{self!r}: {problem}")
        if self.version is None and (self.convert is not None or self.replace is not None):
            object.__setattr__(self, "version", 1)

    def __repr__(self) -> str:
        """Name it as the code that declares it does; functions by their names."""
        words = [repr(self.name)]
        if self.to is not None:
            words.append(f"to={getattr(self.to, '__name__', None) or repr(self.to)}")
        if self.version is not None:
            words.append(f"version={self.version}")
        return f"Upcaster({', '.join(words)})"

    @property
    def target(self) -> str:
        """The name that results."""
        if self.to is None:
            return self.name
        return self.to if isinstance(self.to, str) else stable_name(self.to)

    @property
    def renames(self) -> bool:
        """Whether the name changes."""
        return self.replace is None and self.target != self.name

    def lead(self, version: int) -> Step:
        """The name and version that a stored version becomes."""
        if self.to_version is not None:
            return self.target, self.to_version
        return self.target, version + 1 if self.to is None else version

    def _problem(self) -> str | None:
        if not isinstance(self.name, str) or not self.name:
            return "name is the stored name of a class, a non-empty str"
        if not (self.to is None or isinstance(self.to, type) or (isinstance(self.to, str) and self.to)):
            return "to is a class or its name"
        for what, number in (("version", self.version), ("to_version", self.to_version)):
            if number is not None and (type(number) is not int or number < 1):
                return f"{what} is a whole number from 1, not {number!r}"
        for what, function in (("convert", self.convert), ("replace", self.replace)):
            if function is not None and (not callable(function) or inspect.iscoroutinefunction(function)):
                return f"{what} is a plain function of the stored fields"
        return self._contradiction()

    def _contradiction(self) -> str | None:
        if self.convert is not None and self.replace is not None:
            return "give convert or replace, not both"
        if self.replace is not None and (self.to is not None or self.to_version is not None):
            return "replace makes the value itself; leave out to and to_version"
        if self.to is None and self.convert is None and self.replace is None:
            return "it does nothing; give to= for a rename, or convert= for other fields"
        if self.to_version is not None and (self.to is None or self.convert is None):
            return "to_version goes with to= and convert=; other upcasters lead to the next version, or keep it"
        return None
