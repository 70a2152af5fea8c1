"""``@handler`` and ``@response_handler``: how methods are marked."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs

from actorflow.errors import HandlerSignatureError

__all__ = ["MARK", "UNSET", "HandlerMark", "handler", "response_handler"]

F = TypeVar("F", bound=Callable[..., Any])

MARK: Final = "__actorflow_handler__"
"""Attribute of a marked method."""

UNSET: Final[Any] = object()
"""A type the decorator was not told."""


@attrs.frozen
class HandlerMark:
    """What the decorator was told; `request` only for response handlers."""

    is_response: bool
    input: Any
    output: Any
    workflow_output: Any
    request: Any = UNSET


@typing.overload
def handler(function: F) -> F: ...
@typing.overload
def handler(*, input: Any = ..., output: Any = ..., workflow_output: Any = ...) -> Callable[[F], F]: ...
def handler(
    function: Callable[..., Any] | None = None,
    *,
    input: Any = UNSET,  # noqa: A002 - the design's name
    output: Any = UNSET,
    workflow_output: Any = UNSET,
) -> Any:
    """Mark a method ``async def name(self, message: T, ctx: WorkflowContext[Out, WorkflowOut]) -> None`` as a handler.

    The types come from the annotations, or explicitly from the arguments; an argument given wins over an annotation.

    Args:
        function: The method, when used without parentheses.
        input: Type of message it takes.
        output: Type of message it may send; several as a union.
        workflow_output: Type of output it may yield.
    """

    def mark(method: F) -> F:
        _check_decorated("handler", "input=...", method)
        setattr(
            method, MARK, HandlerMark(is_response=False, input=input, output=output, workflow_output=workflow_output)
        )
        return method

    return mark if function is None else mark(function)


@typing.overload
def response_handler(function: F) -> F: ...
@typing.overload
def response_handler(
    *, request: Any = ..., response: Any = ..., output: Any = ..., workflow_output: Any = ...
) -> Callable[[F], F]: ...
def response_handler(
    function: Callable[..., Any] | None = None,
    *,
    request: Any = UNSET,
    response: Any = UNSET,
    output: Any = UNSET,
    workflow_output: Any = UNSET,
) -> Any:
    """Mark a method ``async def name(self, request: Q, response: R, ctx) -> None``: it gets answers to `request_info`.

    Args:
        function: The method, when used without parentheses.
        request: Type of request.
        response: Type of answer.
        output: Type of message it may send.
        workflow_output: Type of output it may yield.
    """

    def mark(method: F) -> F:
        _check_decorated("response_handler", "request=..., response=...", method)
        mark = HandlerMark(
            is_response=True, request=request, input=response, output=output, workflow_output=workflow_output
        )
        setattr(method, MARK, mark)
        return method

    return mark if function is None else mark(function)


def _check_decorated(decorator: str, arguments: str, decorated: object) -> None:
    if isinstance(decorated, type) or not callable(decorated):
        raise HandlerSignatureError(
            f"@{decorator} decorates a method, not {decorated!r}; give types by name: @{decorator}({arguments})"
        )
