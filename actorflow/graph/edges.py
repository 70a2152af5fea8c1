"""Edge groups: where a message may go.

A group answers with `choose`, a generator: it *yields* what a condition returned (possibly an awaitable) and is sent the
answer. So the graph asks and never waits; whoever drives it decides how (see `actorflow.graph.routing`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

import attrs

from actorflow.core.joins import Join

__all__ = [
    "Case", "Choosing", "Condition", "Default", "Edge", "EdgeGroup", "FanInEdges", "FanOutEdges",
    "MultiSelectionEdges", "Selection", "SwitchCaseEdges",
]  # fmt: skip

Condition = Callable[[Any], bool | Awaitable[bool]]
"""Looks at a message; sync or async."""

Selection = Callable[[Any, list[str]], Sequence[str] | Awaitable[Sequence[str]]]
"""Looks at a message and the ids of the targets, and returns the ids that get it; sync or async."""

Choosing = Generator[Any, Any, Sequence[str]]
"""Yields what a user's function returned, is sent its final value, returns the chosen targets."""


@attrs.frozen
class Case:
    """One arm of a switch: the first case whose condition holds takes the message.

    Attributes:
        condition: Looks at the message.
        target: An executor, a factory of one, or the id of one already added.
    """

    condition: Condition
    target: Any


@attrs.frozen
class Default:
    """The last arm of a switch: takes what no case took.

    Attributes:
        target: An executor, a factory of one, or the id of one already added.
    """

    target: Any


@attrs.frozen
class Edge:
    """One source, one target, perhaps a condition."""

    source: str
    target: str
    condition: Condition | None = None
    # As the other groups have them, and read for every message.
    targets: tuple[str, ...] = attrs.field(init=False, eq=False, repr=False)
    always: bool = attrs.field(init=False, eq=False, repr=False)

    @targets.default
    def _the_one(self) -> tuple[str, ...]:
        return (self.target,)

    @always.default
    def _is_unconditional(self) -> bool:
        return self.condition is None

    def __str__(self) -> str:
        return f"edge {self.source!r} -> {self.target!r}"

    def choose(self, value: Any) -> Choosing:
        """Choose targets for a message."""
        if self.condition is None:
            return self.targets
        return self.targets if (yield self.condition(value)) else ()


@attrs.frozen
class FanOutEdges:
    """One source, several targets, all of which get every message."""

    source: str
    targets: tuple[str, ...]

    always = True

    def __str__(self) -> str:
        return f"fan-out {self.source!r} -> {list(self.targets)}"

    def choose(self, _value: Any) -> Choosing:
        """Choose targets for a message."""
        yield from ()
        return self.targets


@attrs.frozen
class MultiSelectionEdges:
    """One source, several targets, a function that selects among them."""

    source: str
    targets: tuple[str, ...]
    selection: Selection

    always = False

    def __str__(self) -> str:
        return f"selection {self.source!r} -> {list(self.targets)}"

    def choose(self, value: Any) -> Choosing:
        """Choose targets for a message, in declared order whatever order the function answers in."""
        selected = yield self.selection(value, list(self.targets))
        if selected is None:
            raise ValueError(f"the selection function returned None; it may return a list of {list(self.targets)}")
        chosen = {selected} if isinstance(selected, str) else set(selected)
        unknown = chosen - set(self.targets)
        if unknown:
            raise ValueError(
                f"the selection function returned {sorted(map(str, unknown))}; it may return {list(self.targets)}"
            )
        return tuple(target for target in self.targets if target in chosen)


@attrs.frozen
class SwitchCaseEdges:
    """One source, cases in order, a default."""

    source: str
    cases: tuple[tuple[Condition, str], ...]
    default: str

    always = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The ends, in order, each once."""
        return tuple(dict.fromkeys([*(target for _, target in self.cases), self.default]))

    def __str__(self) -> str:
        return f"switch {self.source!r} -> {list(self.targets)}"

    def choose(self, value: Any) -> Choosing:
        """Choose the target of the first case that holds."""
        for condition, target in self.cases:
            if (yield condition(value)):
                return (target,)
        return (self.default,)


@attrs.frozen
class FanInEdges:
    """Several sources whose messages are joined into one list for the target."""

    join: Join

    always = True

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, in declared order."""
        return self.join.sources

    @property
    def targets(self) -> tuple[str, ...]:
        """The one end."""
        return (self.join.target,)

    def __str__(self) -> str:
        return f"fan-in {list(self.join.sources)} -> {self.join.target!r}"

    def choose(self, _value: Any) -> Choosing:
        """Choose the target."""
        yield from ()
        return self.targets


EdgeGroup = Edge | FanOutEdges | MultiSelectionEdges | SwitchCaseEdges | FanInEdges


def sources_of(group: EdgeGroup) -> tuple[str, ...]:
    """The sources of any group."""
    return group.sources if isinstance(group, FanInEdges) else (group.source,)
