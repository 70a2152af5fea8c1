"""Handlers: how methods become typed message handlers, compiled once per class."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any, Never, TypeVar

import attrs

from actorflow.core.annotations import substitute
from actorflow.core.dispatch import TypeDispatch
from actorflow.core.types import compatible, describe, is_subtype, members, type_variables
from actorflow.errors import HandlerSignatureError, MessageTypeError
from actorflow.executors.annotations import names_for, resolve, type_arguments
from actorflow.executors.context import WorkflowContext

__all__ = ["HandlerSpec", "HandlerTable", "compile_function", "compile_handlers", "handler", "response_handler"]

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__actorflow_handler__"
_UNSET: Any = object()


@attrs.frozen
class _Mark:
    """What the decorator was told; `request` only for response handlers."""

    is_response: bool
    input: Any
    output: Any
    workflow_output: Any
    request: Any = _UNSET


@typing.overload
def handler(function: F) -> F: ...
@typing.overload
def handler(*, input: Any = ..., output: Any = ..., workflow_output: Any = ...) -> Callable[[F], F]: ...
def handler(
    function: Callable[..., Any] | None = None,
    *,
    input: Any = _UNSET,  # noqa: A002 - the design's name
    output: Any = _UNSET,
    workflow_output: Any = _UNSET,
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
        setattr(method, _MARK, _Mark(is_response=False, input=input, output=output, workflow_output=workflow_output))
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
    request: Any = _UNSET,
    response: Any = _UNSET,
    output: Any = _UNSET,
    workflow_output: Any = _UNSET,
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
        mark = _Mark(is_response=True, request=request, input=response, output=output, workflow_output=workflow_output)
        setattr(method, _MARK, mark)
        return method

    return mark if function is None else mark(function)


def _check_decorated(decorator: str, arguments: str, decorated: object) -> None:
    if isinstance(decorated, type) or not callable(decorated):
        raise HandlerSignatureError(
            f"@{decorator} decorates a method, not {decorated!r}; give types by name: @{decorator}({arguments})"
        )


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
    request: Any = _UNSET

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


def _once(kinds: typing.Iterable[Any]) -> tuple[Any, ...]:
    seen: list[Any] = []
    for kind in kinds:
        if kind not in seen:
            seen.append(kind)
    return tuple(seen)


def compile_handlers(cls: type, names: Mapping[type, Mapping[str, Any]]) -> HandlerTable:
    """Compile the marked methods of an executor class.

    Args:
        cls: The class.
        names: Local names that string annotations use, by the class that defines the method.

    Raises:
        HandlerSignatureError: A handler is not as it must be, or there is none.
        AmbiguousHandlersError: Two handlers claim one type.
    """
    marked = _marked_methods(cls)
    if not marked:
        raise HandlerSignatureError(f"executor class {cls.__name__} has no @handler method; add one")
    bound = type_arguments(cls)
    specs = []
    for name, owner, method, mark in marked:
        scope = names_for(method, names.get(owner, {}), owner)
        specs.append(_compile(f"{cls.__name__}.{name}", method, mark, scope, bound.get(owner, {})))
    return HandlerTable(
        tuple(spec for spec in specs if spec.request is _UNSET),
        tuple(spec for spec in specs if spec.request is not _UNSET),
    )


def _marked_methods(cls: type) -> list[tuple[str, type, Callable[..., Any], _Mark]]:
    """Name, defining class, function and mark of each handler; what a subclass overrides counts once."""
    marked = []
    seen: set[str] = set()
    for base in cls.__mro__:
        for name, attribute in base.__dict__.items():
            if name in seen or not hasattr(attribute, _MARK):
                continue
            seen.add(name)
            owner = next(each for each in cls.__mro__ if name in each.__dict__)
            actual = owner.__dict__[name]
            mark = getattr(actual, _MARK, None)
            if mark is None:
                raise HandlerSignatureError(
                    f"{cls.__name__}.{name} overrides a handler but is not one; decorate it, or rename it"
                )
            marked.append((name, owner, actual, mark))
    return marked


def _compile(
    label: str, method: Callable[..., Any], mark: _Mark, names: Mapping[str, Any], bound: Mapping[Any, Any]
) -> HandlerSpec:
    wanted = ["self", "request", "response", "ctx"] if mark.is_response else ["self", "message", "ctx"]
    if not inspect.iscoroutinefunction(method):
        raise HandlerSignatureError(f"handler {label} must be 'async def'")
    parameters = _positional(label, method, wanted)
    hints = _Hints(label, method, names)
    takes = _message_type(label, parameters[-2], mark.input, hints, bound)
    request = _message_type(label, parameters[1], mark.request, hints, bound) if mark.is_response else _UNSET
    sends, yields = _context_types(label, parameters[-1], mark, hints, bound)
    _check_return(label, hints)
    return HandlerSpec(label, method, takes, sends, yields, request)


def compile_function(label: str, function: Callable[..., Any], names: Mapping[str, Any]) -> tuple[HandlerSpec, bool]:
    """Compile a function executor: ``(message, ctx)`` or ``(message)``.

    Returns:
        The handler (whose `call` is the bare function), and whether it wants a context.
    """
    count = len(inspect.signature(function).parameters)
    wants_context = count != 1
    parameters = _positional(label, function, ["message", "ctx"] if wants_context else ["message"])
    hints = _Hints(label, function, names_for(function, names))
    mark = _Mark(is_response=False, input=_UNSET, output=_UNSET, workflow_output=_UNSET)
    takes = _message_type(label, parameters[0], _UNSET, hints, {})
    sends, yields = _context_types(label, parameters[1], mark, hints, {}) if wants_context else ((), ())
    _check_return(label, hints)
    return HandlerSpec(label, function, takes, sends, yields), wants_context


def _positional(label: str, function: Callable[..., Any], wanted: list[str]) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) != len(wanted) or any(parameter.kind not in plain for parameter in parameters):
        raise HandlerSignatureError(
            f"handler {label} takes {inspect.signature(function)}; it must take ({', '.join(wanted)})"
        )
    return [parameter.name for parameter in parameters]


@attrs.frozen
class _Hints:
    """The annotations of a handler, each resolved when it is asked for: a type given to the decorator replaces one."""

    label: str
    function: Callable[..., Any]
    names: Mapping[str, Any]

    def get(self, parameter: str, default: Any) -> Any:
        try:
            return resolve(self.function, parameter, self.names, default)
        except (NameError, SyntaxError, TypeError, AttributeError) as error:
            raise HandlerSignatureError(
                f"the annotation of {parameter!r} of handler {self.label} cannot be resolved ({error}); import the name "
                f"at module level, or give the types to the decorator"
            ) from error


def _message_type(label: str, parameter: str, given: Any, hints: _Hints, bound: Mapping[Any, Any]) -> Any:
    annotation = given if given is not _UNSET else hints.get(parameter, _UNSET)
    if annotation is _UNSET:
        raise HandlerSignatureError(
            f"handler {label} has no annotation for {parameter!r}; annotate it, or give its type to the decorator"
        )
    return _concrete(label, parameter, annotation, bound)


def _concrete(label: str, what: str, annotation: Any, bound: Mapping[Any, Any]) -> Any:
    concrete = substitute(annotation, bound)
    unresolved = type_variables(concrete)
    if unresolved:
        raise HandlerSignatureError(
            f"handler {label}: the type variable {unresolved[0]} of {what!r} is unresolved; subclass with a concrete "
            f"type, or give the type to the decorator"
        )
    return concrete


def _context_types(
    label: str, parameter: str, mark: _Mark, hints: _Hints, bound: Mapping[Any, Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    given = mark.output is not _UNSET and mark.workflow_output is not _UNSET
    annotation = _UNSET if given else hints.get(parameter, _UNSET)
    explicit = mark.input is not _UNSET or mark.output is not _UNSET or mark.workflow_output is not _UNSET
    if annotation is _UNSET and not explicit:
        raise HandlerSignatureError(
            f"handler {label} has no annotation for {parameter!r}; annotate it as WorkflowContext[Out, WorkflowOut]"
        )
    if annotation is not _UNSET and (typing.get_origin(annotation) or annotation) is not WorkflowContext:
        raise HandlerSignatureError(
            f"handler {label}: {parameter!r} is annotated {describe(annotation)}; it must be a WorkflowContext"
        )
    declared = (*typing.get_args(annotation), Never, Never)[:2]
    output = declared[0] if mark.output is _UNSET else mark.output
    workflow_output = declared[1] if mark.workflow_output is _UNSET else mark.workflow_output
    return (
        members(_concrete(label, parameter, output, bound)),
        members(_concrete(label, parameter, workflow_output, bound)),
    )


def _check_return(label: str, hints: _Hints) -> None:
    returned = hints.get("return", type(None))
    if returned is not type(None) and returned is not Never:
        raise HandlerSignatureError(
            f"handler {label} is annotated to return {describe(returned)}; a handler returns None: send with "
            f"ctx.send_message, or yield with ctx.yield_output"
        )
