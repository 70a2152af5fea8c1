"""The table of a workflow's upcasters: checked when it is built, walked when something older is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from actorflow.checkpoint.codec.upcasters import Step, Upcaster
from actorflow.checkpoint.codec.wire import Malformed
from actorflow.core.naming import stable_name, stable_version
from actorflow.errors import UpcasterError

__all__ = ["Lifted", "Lifts", "how_to_lift"]


def how_to_lift(cls: type) -> str:
    """What to do about a class that was changed without its version."""
    name, version = stable_name(cls), stable_version(cls)
    return (
        f"if the class was changed, set __actorflow_version__ = {version + 1} in its body and declare "
        f"WorkflowBuilder(upcasters=[Upcaster({name!r}, version={version}, convert=...)])"
    )


@attrs.frozen
class Lifted:
    """What became of stored fields.

    Attributes:
        name: The name of the class they are of now; None if `value` is the finished value.
        value: Its fields, or the value itself.
        last: The upcaster that made it.
    """

    name: str | None
    value: Any
    last: Upcaster


class Lifts:
    """Which upcasters take a stored name and version to a present class.

    Args:
        upcasters: In the order they were declared, oldest first.
        present: Present version by stable name, of every class the workflow declares.

    Raises:
        UpcasterError: Two take the same, or one can never be used, or leads nowhere, or in a circle.
    """

    def __init__(self, upcasters: Iterable[Upcaster], present: Mapping[str, int]) -> None:
        self._present = present
        self._table: dict[tuple[str, int | None], Upcaster] = {}
        for upcaster in upcasters:
            self._add(upcaster)
        self.renames = tuple((each.name, each.target) for each in self._table.values() if each.renames)
        for upcaster in self._table.values():
            self._check(upcaster)

    def lift(self, name: str, version: int, fields: Any) -> Lifted:
        """Apply upcasters until the result is of a present class.

        Args:
            name: A stored name.
            version: A stored version; with the name not those of a present class.
            fields: What was stored.

        Raises:
            Malformed: None takes what is stored, or one raised or gave no fields.
        """
        lifted: Lifted | None = None
        while self._present.get(name) != version:
            upcaster = self._find(name, version)
            if upcaster is None:
                raise Malformed(self._missing(name, version))
            if type(fields) is not dict:
                raise Malformed(f"the stored form of {name!r} has no fields by name")
            if upcaster.replace is not None:
                return Lifted(None, _called(upcaster, upcaster.replace, fields), upcaster)
            if upcaster.convert is not None:
                fields = _converted(upcaster, upcaster.convert, fields)
            name, version = upcaster.lead(version)
            lifted = Lifted(name, fields, upcaster)
        assert lifted is not None, "what is present needs no upcaster"
        return lifted

    def _find(self, name: str, version: int) -> Upcaster | None:
        return self._table.get((name, version)) or self._table.get((name, None))

    # What is wrong with a declaration.

    def _add(self, upcaster: Upcaster) -> None:
        if not isinstance(upcaster, Upcaster):
            raise UpcasterError(f"upcasters is a list of Upcaster, not of {type(upcaster).__name__}")
        taken = self._table.setdefault((upcaster.name, upcaster.version), upcaster)
        if taken is not upcaster:
            raise UpcasterError(f"{taken} and {upcaster} take the same stored values; leave one out")
        present = self._present.get(upcaster.name)
        if present is not None and (upcaster.version is None or upcaster.version >= present):
            raise UpcasterError(
                f"{upcaster} takes the place of a class that the workflow declares, which is at version {present}; an "
                f"upcaster is for what is older: set __actorflow_version__ = {(upcaster.version or present) + 1} in the class, "
                f"or give the version that was stored"
            )

    def _check(self, upcaster: Upcaster) -> None:
        if upcaster.version is None:
            self._check_rename(upcaster)
            return
        step: Step = upcaster.name, upcaster.version
        seen: dict[Step, None] = {}
        while self._present.get(step[0]) != step[1]:
            following = self._find(*step)
            if following is None:
                raise UpcasterError(f"{upcaster} leads nowhere: {self._missing(*step)}")
            if following.replace is not None:
                return
            seen[step] = None
            step = following.lead(step[1])
            if step in seen:
                raise _in_a_circle(upcaster)

    def _check_rename(self, upcaster: Upcaster) -> None:
        """Follow names alone: which versions were stored under the old one, only the stored values say."""
        seen = [upcaster.name]
        name = upcaster.target
        while name not in self._present:
            following = self._table.get((name, None))
            if name in seen:
                raise _in_a_circle(upcaster)
            if following is None:
                if any(known == name for known, _ in self._table):
                    return
                raise UpcasterError(f"{upcaster} leads nowhere: {self._missing(name, 1)}")
            seen.append(name)
            name = following.target

    def _missing(self, name: str, version: int) -> str:
        present = self._present.get(name)
        if present is None:
            return (
                f"the stored type {name!r} is not declared by this workflow; if it was renamed, declare "
                f"WorkflowBuilder(upcasters=[Upcaster({name!r}, to=...)]) or set __actorflow_name__ to the old name, else add it "
                f"to WorkflowBuilder(state_types=[...])"
            )
        if version > present:
            return (
                f"a stored {name} is of version {version}, and here it is at version {present}; read it with the code that "
                f"wrote it, or newer"
            )
        return (
            f"a stored {name} is of version {version}, and here it is at version {present}; declare "
            f"WorkflowBuilder(upcasters=[Upcaster({name!r}, version={version}, convert=...)])"
        )


def _in_a_circle(upcaster: Upcaster) -> UpcasterError:
    return UpcasterError(f"{upcaster} leads back to itself; the last of a chain leads to a class of the workflow")


def _called(upcaster: Upcaster, function: Callable[[Any], Any], fields: dict[str, Any]) -> Any:
    try:
        return function(fields)
    except Exception as error:
        raise Malformed(f"{upcaster} raised {type(error).__name__}: {error}") from error


def _converted(upcaster: Upcaster, convert: Callable[[Any], Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Convert the fields; what a pydantic model keeps about itself, under names that begin with =, stays out of it."""
    about = {name: fields.pop(name) for name in [*fields] if name.startswith("=")}
    before = set(fields)
    converted = _called(upcaster, convert, fields)
    if type(converted) is not dict or not all(type(name) is str for name in converted):
        raise Malformed(f"{upcaster} gave {type(converted).__name__}, not a dict of fields by name")
    named = about.get("=set")
    if type(named) is list:  # what is new was given by the upcaster, so it counts as set
        about["=set"] = [name for name in named if name in converted or name not in before]
        about["=set"] += [name for name in converted if name not in before]
    return converted | about
