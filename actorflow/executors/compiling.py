"""Handlers: how methods become typed message handlers, compiled once per class."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Never

import attrs

from actorflow.core.annotations import substitute
from actorflow.core.types import describe, members, type_variables
from actorflow.errors import HandlerSignatureError
from actorflow.executors.context import WorkflowContext
from actorflow.executors.decorators import MARK, UNSET, HandlerMark
from actorflow.executors.handler_table import NO_REQUEST, HandlerSpec, HandlerTable
from actorflow.executors.resolving import names_for, resolve, type_arguments

__all__ = ["compile_function", "compile_handlers"]


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
        tuple(spec for spec in specs if spec.request is NO_REQUEST),
        tuple(spec for spec in specs if spec.request is not NO_REQUEST),
    )


def _marked_methods(cls: type) -> list[tuple[str, type, Callable[..., Any], HandlerMark]]:
    """Name, defining class, function and mark of each handler; what a subclass overrides counts once."""
    marked = []
    seen: set[str] = set()
    for base in cls.__mro__:
        for name, attribute in base.__dict__.items():
            if name in seen or not hasattr(attribute, MARK):
                continue
            seen.add(name)
            owner = next(each for each in cls.__mro__ if name in each.__dict__)
            actual = owner.__dict__[name]
            mark = getattr(actual, MARK, None)
            if mark is None:
                raise HandlerSignatureError(
                    f"{cls.__name__}.{name} overrides a handler but is not one; decorate it, or rename it"
                )
            marked.append((name, owner, actual, mark))
    return marked


def _compile(
    label: str, method: Callable[..., Any], mark: HandlerMark, names: Mapping[str, Any], bound: Mapping[Any, Any]
) -> HandlerSpec:
    wanted = ["self", "request", "response", "ctx"] if mark.is_response else ["self", "message", "ctx"]
    if not inspect.iscoroutinefunction(method):
        raise HandlerSignatureError(f"handler {label} must be 'async def'")
    parameters = _positional(label, method, wanted)
    hints = _Hints(label, method, names)
    takes = _message_type(label, parameters[-2], mark.input, hints, bound)
    request = _message_type(label, parameters[1], mark.request, hints, bound) if mark.is_response else NO_REQUEST
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
    mark = HandlerMark(is_response=False, input=UNSET, output=UNSET, workflow_output=UNSET)
    takes = _message_type(label, parameters[0], UNSET, hints, {})
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
    annotation = given if given is not UNSET else hints.get(parameter, UNSET)
    if annotation is UNSET:
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
    label: str, parameter: str, mark: HandlerMark, hints: _Hints, bound: Mapping[Any, Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    given = mark.output is not UNSET and mark.workflow_output is not UNSET
    annotation = UNSET if given else hints.get(parameter, UNSET)
    explicit = mark.input is not UNSET or mark.output is not UNSET or mark.workflow_output is not UNSET
    if annotation is UNSET and not explicit:
        raise HandlerSignatureError(
            f"handler {label} has no annotation for {parameter!r}; annotate it as WorkflowContext[Out, WorkflowOut]"
        )
    if annotation is not UNSET and (typing.get_origin(annotation) or annotation) is not WorkflowContext:
        raise HandlerSignatureError(
            f"handler {label}: {parameter!r} is annotated {describe(annotation)}; it must be a WorkflowContext"
        )
    declared = (*typing.get_args(annotation), Never, Never)[:2]
    output = declared[0] if mark.output is UNSET else mark.output
    workflow_output = declared[1] if mark.workflow_output is UNSET else mark.workflow_output
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
