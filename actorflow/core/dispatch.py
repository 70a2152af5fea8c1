"""Which of several typed handlers takes a value: the most specific one, whatever their names and order.

Every annotation is taken apart into claims, one for each member of its union. A value goes to the handler with the most
specific claim that takes it. Where claims are equal or unrelated, the annotations as wholes decide; where they cannot
either, that is an error: when the handlers are declared, if two claims are the same type, and otherwise when the first
value comes that both take. Both steps pick the minima of a partial order, so the order of declaration cannot show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import attrs

from actorflow.core.annotations import alternatives, union_of
from actorflow.core.describing import describe
from actorflow.core.matching import TypeMatcher, compile_type
from actorflow.core.subtyping import is_equivalent, is_more_specific
from actorflow.errors import AmbiguousHandlersError, MessageTypeError

__all__ = ["TypeDispatch"]

_T = TypeVar("_T")

# In place of an index: the class of a value does not settle who takes it.
_LOOK_INSIDE = -1

# Programs that make classes as they run must not fill memory: past this many, what was learnt is let go.
_REMEMBERED_CLASSES = 4096


@attrs.frozen
class _Claim:
    """One member of the annotation of one handler.

    Attributes:
        index: The place among the claims of all handlers.
        handler: The index of the handler.
        matcher: The test of values.
        kind: What the claim means at run time: where only the class is tested, just the class.
    """

    index: int
    handler: int
    matcher: TypeMatcher
    kind: object

    def precedes(self, other: _Claim) -> bool:
        """Whether this claim is more specific: a narrower class, or of one class a narrower type."""
        inner, outer = self.matcher.outer, other.matcher.outer
        if inner is outer:
            return is_more_specific(self.kind, other.kind)
        return issubclass(inner, outer) and not issubclass(outer, inner)

    def equals(self, other: _Claim) -> bool:
        """Whether both claims take the same values."""
        return self.kind == other.kind or (
            self.matcher.outer is other.matcher.outer and is_equivalent(self.kind, other.kind)
        )


class TypeDispatch:
    """Finds the handler for a value by its type.

    Args:
        annotations: What each handler takes, in any order. One for Never takes nothing.
        labels: The names of the handlers, for error messages.

    Raises:
        AmbiguousHandlersError: Two handlers claim one type and neither is more specific as a whole.
        HandlerSignatureError: Values cannot be tested against an annotation.
    """

    def __init__(self, annotations: Sequence[object], labels: Sequence[str]) -> None:
        self._annotations = tuple(annotations)
        self._labels = tuple(labels)
        self._claims = _claims(self._annotations)
        # As tested, not as written: Box[int] is no narrower than Box if a Box shows nothing of its argument.
        wholes = [
            union_of(tuple(claim.kind for claim in self._claims if claim.handler == handler))
            for handler in range(len(self._annotations))
        ]
        # Both orders are worked out once: a message must not walk annotations.
        self._narrower_claims = _predecessors(self._claims, _Claim.precedes)
        self._narrower_wholes = _predecessors(wholes, is_more_specific)
        self._answers: dict[type, int | None] = {}
        self._accepted: dict[type, bool] = {}
        self._candidates: dict[type, tuple[_Claim, ...]] = {}
        self._refuse_ambiguous_claims()

    @property
    def annotations(self) -> tuple[object, ...]:
        """What the handlers take, in the order given."""
        return self._annotations

    def find(self, value: object) -> int | None:
        """Find the handler that takes a value.

        Args:
            value: Any value. One look-up by its class answers where the class settles it.

        Returns:
            The index of the most specific annotation that takes the value, or None if none does.

        Raises:
            MessageTypeError: Several annotations take it and none of them is the most specific.
        """
        answer = self._answers.get(type(value), _LOOK_INSIDE)
        return answer if answer != _LOOK_INSIDE else self._look(value)

    def accepts(self, value: object) -> bool:
        """Whether any handler takes a value, be it one of several that tie."""
        accepted = self._accepted.get(type(value))
        return accepted if accepted is not None else self._is_claimed(value)

    def _is_claimed(self, value: object) -> bool:
        possible = self._possible(value)
        accepted = any(claim.matcher.matches(value) for claim in possible)
        if _settled_by_class(value, possible):
            self._accepted[type(value)] = accepted
        return accepted

    def _look(self, value: object) -> int | None:
        possible = self._possible(value)
        answer = self._choose([claim for claim in possible if claim.matcher.matches(value)], value)
        if _settled_by_class(value, possible):
            self._answers[type(value)] = answer
            self._accepted[type(value)] = answer is not None
        return answer

    def _possible(self, value: object) -> tuple[_Claim, ...]:
        """The claims that values of this class may meet, less those that a surely met one precedes."""
        kind = type(value)
        # A proxy shows the class of what it stands for: isinstance must be asked for each value.
        if value.__class__ is not kind:
            return self._claims
        known = self._candidates.get(kind)
        if known is None:
            known = self._candidates_for(value)
            self._remember(kind, known)
        return known

    def _candidates_for(self, value: object) -> tuple[_Claim, ...]:
        claims = [claim for claim in self._claims if isinstance(value, claim.matcher.outer)]
        certain = {claim.index for claim in claims if claim.matcher.plain is not None}
        return tuple(claim for claim in claims if self._narrower_claims[claim.index].isdisjoint(certain))

    def _remember(self, kind: type, candidates: tuple[_Claim, ...]) -> None:
        if len(self._candidates) >= _REMEMBERED_CLASSES:
            self._candidates.clear()
            self._answers.clear()
            self._accepted.clear()
        self._candidates[kind] = candidates

    def _choose(self, met: list[_Claim], value: object) -> int | None:
        if len(met) < 2:
            return met[0].handler if met else None
        present = {claim.index for claim in met}
        narrowest = {claim.handler for claim in met if self._narrower_claims[claim.index].isdisjoint(present)}
        handlers = self._narrowest_wholes(narrowest)
        if len(handlers) > 1:
            names = self._names(handlers)
            raise MessageTypeError(
                f"a {describe(type(value))} is taken by {names}, and none of them is more specific; add a handler for "
                f"{describe(type(value))} itself, or narrow one of these"
            )
        return handlers[0]

    def _narrowest_wholes(self, handlers: set[int]) -> list[int]:
        return sorted(handler for handler in handlers if self._narrower_wholes[handler].isdisjoint(handlers))

    def _refuse_ambiguous_claims(self) -> None:
        for claim in self._claims:
            rivals = {other.handler for other in self._claims if claim.equals(other)}
            tied = self._narrowest_wholes(rivals)
            if len(tied) > 1:
                member = describe(claim.matcher.annotation)
                raise AmbiguousHandlersError(
                    f"{self._names(tied)} all take {member}, and none of them is more specific; take {member} out of "
                    f"all but one, or add a handler for {member} alone"
                )

    def _names(self, handlers: Iterable[int]) -> str:
        return " and ".join(f"{self._labels[index]} ({describe(self._annotations[index])})" for index in handlers)


def _settled_by_class(value: object, possible: Iterable[_Claim]) -> bool:
    """Whether all values of this class are taken alike."""
    return value.__class__ is type(value) and all(claim.matcher.plain is not None for claim in possible)


def _claims(annotations: Sequence[object]) -> tuple[_Claim, ...]:
    pairs = [(handler, member) for handler, whole in enumerate(annotations) for member in alternatives(whole)]
    return tuple(_claim(index, handler, member) for index, (handler, member) in enumerate(pairs))


def _claim(index: int, handler: int, member: object) -> _Claim:
    matcher = compile_type(member)
    return _Claim(index, handler, matcher, member if matcher.plain is None else matcher.plain)


def _predecessors(items: Sequence[_T], precedes: Callable[[_T, _T], bool]) -> tuple[frozenset[int], ...]:
    """For each item, the places of those that precede it."""
    return tuple(
        frozenset(place for place, other in enumerate(items) if other is not item and precedes(other, item))
        for item in items
    )
