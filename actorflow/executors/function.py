"""Executors made from functions."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from actorflow.errors import HandlerSignatureError
from actorflow.executors.compiling import compile_function
from actorflow.executors.context import WorkflowContext
from actorflow.executors.executor import Executor
from actorflow.executors.handler_table import HandlerTable
from actorflow.executors.resolving import local_names
from actorflow.policy import RateLimit, SupervisionPolicy
from actorflow.threads import run_in_thread

__all__ = ["FunctionExecutor", "executor"]


class FunctionExecutor(Executor):
    """An executor that is one function. It keeps no state, so the same object may serve several workflows.

    Args:
        function: ``(message, ctx)`` or ``(message)``; async, or sync, which then runs in a worker thread.
        id: The executor's id.
        policy: As for `Executor`.
        concurrency: As for `Executor`.
        rate_limit: As for `Executor`.
        names: Local names that the function's string annotations use.

    Raises:
        HandlerSignatureError: The function is not as a handler must be.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        id: str,  # noqa: A002 - the design's name
        *,
        policy: SupervisionPolicy | None = None,
        concurrency: int = 1,
        rate_limit: RateLimit | None = None,
        names: typing.Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(id, policy=policy, concurrency=concurrency, rate_limit=rate_limit)
        self.function = function
        self._names = names or {}
        self._function_table: HandlerTable | None = None

    @property
    def handler_table(self) -> HandlerTable:
        """The compiled function."""
        if self._function_table is None:
            spec, wants_context = compile_function(_name_of(self.function), self.function, self._names)
            call = _caller(self.function, wants_context=wants_context)
            self._function_table = HandlerTable((attrs.evolve(spec, call=call),), ())
        return self._function_table

    @property
    def signature_name(self) -> str:
        """The function's name."""
        return type(self).type_name or _name_of(self.function)


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _own_name(function: Callable[..., Any]) -> str:
    """The id of an executor that was given none.

    Raises:
        HandlerSignatureError: It is a lambda, which has no name that tells it from others.
    """
    name = _name_of(function)
    if name == "<lambda>":
        raise HandlerSignatureError(
            "a lambda has no name to make an executor's id of; write a def with annotations, or give the id: "
            "executor(id='...')(function)"
        )
    return name


def _caller(function: Callable[..., Any], *, wants_context: bool) -> Callable[..., Awaitable[None]]:
    if inspect.iscoroutinefunction(function):

        async def call(_executor: Executor, message: Any, ctx: WorkflowContext[Any, Any]) -> None:
            arguments = (message, ctx) if wants_context else (message,)
            return typing.cast("None", await function(*arguments))

    else:

        async def call(_executor: Executor, message: Any, ctx: WorkflowContext[Any, Any]) -> None:
            arguments = (message, ctx) if wants_context else (message,)
            return typing.cast("None", await run_in_thread(function, *arguments))

    return call


@typing.overload
def executor(function: Callable[..., Any]) -> FunctionExecutor: ...
@typing.overload
def executor(
    *,
    id: str | None = ...,
    policy: SupervisionPolicy | None = ...,
    concurrency: int = ...,
    rate_limit: RateLimit | None = ...,
) -> Callable[[Callable[..., Any]], FunctionExecutor]: ...
def executor(
    function: Callable[..., Any] | None = None,
    *,
    id: str | None = None,  # noqa: A002 - the design's name
    policy: SupervisionPolicy | None = None,
    concurrency: int = 1,
    rate_limit: RateLimit | None = None,
) -> Any:
    """Make an executor from a function ``(message: T, ctx: WorkflowContext[Out, WorkflowOut]) -> None``.

    An async function runs in the actor's task. A sync function runs in a worker thread; it may call the context's plain
    methods directly and the async ones through ``trio.from_thread.run``. A thread cannot be killed: on a timeout or a
    cancellation it is waited for, so a long one calls ``trio.from_thread.check_cancelled()`` now and then.

    Args:
        function: The function, when used without parentheses.
        id: The executor's id; the function's name unless given.
        policy: Supervision of its deliveries; it replaces the workflow's.
        concurrency: How many deliveries of one superstep are handled at once.
        rate_limit: How many attempts may begin in a period.

    Raises:
        HandlerSignatureError: It is not a function, or a lambda without an id: its name would be ``<lambda>``.
    """
    if function is not None and (isinstance(function, type) or not callable(function)):
        raise HandlerSignatureError(f"@executor decorates a function, not {function!r}; write @executor(id=...)")

    def make(target: Callable[..., Any]) -> FunctionExecutor:
        names = local_names(target, getattr(target, "__annotations__", {}).values())
        name = _own_name(target) if id is None else id
        return FunctionExecutor(
            target, name, policy=policy, concurrency=concurrency, rate_limit=rate_limit, names=names
        )

    return make if function is None else make(function)
