"""The handlers of an executor, compiled: which one takes a message, and what it may send and yield."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from typing import Any, Final

import attrs

from actorflow.core.dispatch import TypeDispatch
from actorflow.core.types import compatible, describe, is_subtype
from actorflow.errors import MessageTypeError

__all__ = ["NO_REQUEST", "HandlerSpec", "HandlerTable"]

NO_REQUEST: Final[Any] = object()
"""The request type of a handler that takes messages, not answers."""


@attrs.frozen(eq=False, slots=False)
class HandlerSpec:
    """One compiled handler.

    Attributes:
        label: How errors name it: "Editor.edit".
        call: The function, to be called with the executor, the message (for responses: request, response) and the
            context.
        takes: Its message type; for responses the answer's.
        request: For responses, the request's type.
        sends: Types of message it may send.
        yields: Types of output it may yield.
    """

    label: str
    call: Callable[..., Awaitable[object]]
    takes: Any
    sends: tuple[Any, ...]
    yields: tuple[Any, ...]
    request: Any = NO_REQUEST

    @cached_property
    def send_check(self) -> TypeDispatch:
        """Which values may be sent."""
        return TypeDispatch(self.sends, [describe(kind) for kind in self.sends])

    @cached_property
    def yield_check(self) -> TypeDispatch:
        """Which values may be yielded."""
        return TypeDispatch(self.yields, [describe(kind) for kind in self.yields])


@attrs.frozen(eq=False)
class HandlerTable:
    """All handlers of an executor.

    Attributes:
        handlers: Message handlers.
        responses: Response handlers.
        dispatch: Picks the most specific message handler.
        response_dispatch: The same for (request, response) pairs.
    """

    handlers: tuple[HandlerSpec, ...]
    responses: tuple[HandlerSpec, ...]
    dispatch: TypeDispatch = attrs.field(init=False)
    response_dispatch: TypeDispatch = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        inputs = TypeDispatch([spec.takes for spec in self.handlers], [spec.label for spec in self.handlers])
        pairs = [tuple[spec.request, spec.takes] for spec in self.responses]  # type: ignore[name-defined]
        object.__setattr__(self, "dispatch", inputs)
        object.__setattr__(self, "response_dispatch", TypeDispatch(pairs, [spec.label for spec in self.responses]))

    @property
    def sends(self) -> tuple[Any, ...]:
        """Everything any handler may send, each type once."""
        return _once(kind for spec in (*self.handlers, *self.responses) for kind in spec.sends)

    @property
    def yields(self) -> tuple[Any, ...]:
        """Everything any handler may yield, each type once."""
        return _once(kind for spec in (*self.handlers, *self.responses) for kind in spec.yields)

    @property
    def annotations(self) -> list[Any]:
        """Every type that may travel through this executor; what a codec must know."""
        specs = (*self.handlers, *self.responses)
        requests = [spec.request for spec in self.responses]
        return [*(spec.takes for spec in specs), *requests, *self.sends, *self.yields]

    def find(self, executor_id: str, value: Any) -> HandlerSpec:
        """The most specific handler for a message.

        Raises:
            MessageTypeError: There is none.
        """
        index = self.dispatch.find(value)
        if index is None:
            raise MessageTypeError(self.refusal(executor_id, value))
        return self.handlers[index]

    def find_response(self, executor_id: str, request: Any, response: Any) -> HandlerSpec:
        """The most specific response handler for an answer.

        Raises:
            MessageTypeError: There is none.
        """
        index = self.response_dispatch.find((request, response))
        if index is None:
            pairs = ", ".join(f"({describe(spec.request)}, {describe(spec.takes)})" for spec in self.responses)
            raise MessageTypeError(
                f"executor {executor_id!r} has no @response_handler for a {type(request).__name__} answered by a "
                f"{type(response).__name__}; it has {pairs or 'none'}"
            )
        return self.responses[index]

    def can_answer(self, request: Any, response_type: Any) -> bool:
        """Whether some response handler takes answers of a type to this request."""
        return any(
            TypeDispatch([spec.request], [spec.label]).accepts(request)
            and (is_subtype(response_type, spec.takes) or compatible(response_type, spec.takes))
            for spec in self.responses
        )

    def refusal(self, executor_id: str, value: Any) -> str:
        """Say that nothing here takes a value, and what would."""
        taken = " | ".join(describe(spec.takes) for spec in self.handlers) or "nothing"
        return f"executor {executor_id!r} cannot take {type(value).__name__}; it handles {taken}"


def _once(kinds: Iterable[Any]) -> tuple[Any, ...]:
    seen: list[Any] = []
    for kind in kinds:
        if kind not in seen:
            seen.append(kind)
    return tuple(seen)
