"""WorkflowContext: what a handler may do, and where its effects are collected."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Generic, Never, Protocol

import outcome
import trio
from typing_extensions import TypeVar

from actorflow.core.effects import NO_EFFECTS, Delivery, Effects, Output, OutputKind, PendingRequest, Sent
from actorflow.core.merge import Reducer
from actorflow.core.timers import RequestTimeout, seconds
from actorflow.core.types import describe
from actorflow.errors import ContextClosedError, MessageTypeError, RequestIdError
from actorflow.events import RUNTIME_KINDS, WorkflowEvent
from actorflow.executors.handler_table import HandlerSpec, HandlerTable
from actorflow.executors.state_view import StateView

__all__ = ["ContextPort", "WorkflowContext"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})

OutT_contra = TypeVar("OutT_contra", default=Never, contravariant=True)
WorkflowOutT_contra = TypeVar("WorkflowOutT_contra", default=Never, contravariant=True)


class ContextPort(Protocol):
    """What a context needs of the run it belongs to."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The mapping given to this run."""
        ...

    @property
    def superstep(self) -> int:
        """Number of the superstep under way."""
        ...

    @property
    def state(self) -> Mapping[str, Any]:
        """The shared state as the previous superstep left it."""
        ...

    @property
    def reducers(self) -> Mapping[str, Reducer]:
        """Reducers by key."""
        ...

    def output_kind(self, executor_id: str) -> OutputKind:
        """Who sees an executor's outputs."""
        ...

    def check_request_id(self, request_id: str) -> None:
        """Refuse the id of a request that is open already."""
        ...

    async def stream_output(self, output: Output, attempt: int, delivery_id: str) -> None:
        """Hand an output to whoever listens."""
        ...

    async def stream_event(self, event: WorkflowEvent, delivery_id: str | None) -> None:
        """Hand a user's event to whoever listens."""
        ...


class WorkflowContext(Generic[OutT_contra, WorkflowOutT_contra]):
    """A handler's way to the workflow. Valid until the handler returns.

    ``WorkflowContext`` alone may send and yield nothing, ``WorkflowContext[Out]`` may send ``Out`` messages,
    ``WorkflowContext[Out, WorkflowOut]`` may also yield ``WorkflowOut`` outputs; ``Never`` stands for "none".

    What cannot block is a plain method, so a synchronous handler in a worker thread may call it as well. Messages, state
    writes and requests take effect when the superstep commits; those of a failed attempt never do. Outputs and custom
    events stream at once.
    """

    __slots__ = (
        "_attempt", "_delivery", "_delivery_id", "_effects", "_executor_id", "_overlay", "_port", "_requests_made", "_spec", "_table",
        "_unawaited", "_view",
    )  # fmt: skip

    def __init__(
        self,
        port: ContextPort,
        executor_id: str,
        table: HandlerTable,
        *,
        spec: HandlerSpec | None = None,
        delivery: Delivery | None = None,
        delivery_id: str = "",
        overlay: Mapping[str, Any] | None = None,
        attempt: int = 1,
    ) -> None:
        self._port = port
        self._executor_id = executor_id
        self._table = table
        self._spec = spec
        self._delivery = delivery
        self._delivery_id = delivery_id
        self._overlay = overlay
        self._attempt = attempt
        self._effects: Effects | None = Effects() if spec is not None else None
        self._view: StateView | None = None
        self._requests_made = 0
        self._unawaited: list[str] | tuple[()] = ()

    # What a handler is told.

    @property
    def source_executor_ids(self) -> tuple[str, ...]:
        """The executors the message came from: one, or those that contributed to a join; empty for a run's input."""
        return self._delivery.source_ids if self._delivery else ()

    @property
    def request_id(self) -> str | None:
        """In a response handler, the id of the request that is answered."""
        request = self._delivery.request if self._delivery else None
        return request.id if request else None

    @property
    def superstep(self) -> int:
        """Number of the superstep under way, from 1."""
        return self._port.superstep

    @property
    def attempt(self) -> int:
        """1 for the first attempt at this delivery."""
        return self._attempt

    @property
    def config(self) -> Mapping[str, Any]:
        """The mapping given to this run. It is never stored: the place for tokens and clients."""
        return self._port.config

    @property
    def delivery_id(self) -> str:
        """The same string on every retry and resume of this delivery: an idempotency key for outside systems.

        Raises:
            ContextClosedError: In a lifecycle hook, which handles no delivery.
        """
        self._handling("delivery_id")
        return self._delivery_id

    @property
    def is_cancelled(self) -> bool:
        """Whether this attempt is to end, because it took too long or the run is being cancelled.

        For a handler that works for long without awaiting anything. A plain function in a worker thread may also call
        ``trio.from_thread.check_cancelled()``, which raises where this is true; nothing else can end a thread.

        Raises:
            RuntimeError: Asked in a thread that trio did not start.
        """
        if trio.lowlevel.in_trio_task():
            return trio.current_effective_deadline() <= trio.current_time()
        asked = outcome.capture(trio.from_thread.check_cancelled)
        if isinstance(asked, outcome.Error) and isinstance(asked.error, trio.Cancelled):
            return True
        asked.unwrap()  # no thread of trio's
        return False

    # What takes effect when the superstep commits.

    def send_message(
        self, message: OutT_contra, target_id: str | None = None, *, delay: float | timedelta | None = None
    ) -> None:
        """Send a message along this executor's edges, at once or later.

        A delayed message is a durable timer: it survives a restart, and ``run`` waits for it. It is routed when the
        superstep commits, like any other, and delivered in the first superstep after it is due.

        Args:
            message: The message, of a type the handler declares. Treat it as immutable from here on.
            target_id: Only along edges that lead to this executor.
            delay: Seconds, or a timedelta, counted from the commit of this superstep; None or 0 for none.

        Raises:
            ValueError: The delay is negative, or no finite length of time.
            MessageTypeError: The handler does not declare this type.
            ContextClosedError: The handler has returned, or this is a lifecycle hook.
        """
        effects, spec = self._handling("send_message")
        if not spec.send_check.accepts(message):
            raise MessageTypeError(self._undeclared(spec, "send", message, spec.sends))
        effects.sent = sent = effects.sent or []
        sent.append(Sent(message, target_id, 0.0 if delay is None else seconds(delay, "delay")))

    def request_info(
        self,
        data: Any,
        response_type: Any,
        *,
        request_id: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> str:
        """Ask the outside world; a `response_handler` of this executor gets the answer, perhaps days later.

        Args:
            data: The request.
            response_type: The type an answer must have.
            request_id: An id of your own; otherwise one that is the same on every retry and resume of this delivery.
            timeout: Seconds, or a timedelta, counted from the commit of this superstep. When they have passed without an
                answer, the response handler gets a `RequestTimeout` in its place.

        Returns:
            The request's id.

        Raises:
            MessageTypeError: No response handler takes such a pair, or with a timeout a `RequestTimeout`.
            ValueError: The timeout is negative, or no finite length of time.
            RequestIdError: The id belongs to an open request.
            ContextClosedError: The handler has returned, or this is a lifecycle hook.
        """
        effects, _ = self._handling("request_info")
        if not self._table.can_answer(data, response_type):
            named = isinstance(response_type, str)
            raise MessageTypeError(
                f"executor {self._executor_id!r} has no @response_handler for a {type(data).__name__} answered by "
                f"{describe(response_type)}; {'give the type itself, not its name' if named else 'add one'}"
            )
        limit = None if timeout is None else seconds(timeout, "timeout")
        if limit is not None and not self._table.can_answer(data, RequestTimeout):
            raise MessageTypeError(
                f"executor {self._executor_id!r} asks with a timeout, and has no @response_handler for a "
                f"{type(data).__name__} answered by RequestTimeout; annotate the response as "
                f"'{describe(response_type)} | RequestTimeout', or add a handler for it"
            )
        self._requests_made += 1
        chosen = request_id if request_id is not None else f"{self._delivery_id}-r{self._requests_made}"
        self._port.check_request_id(chosen)
        if any(request.id == chosen for request in effects.requests):
            raise RequestIdError(f"request id {chosen!r} is used twice by one delivery; give each request its own")
        effects.requests = requests = effects.requests or []
        requests.append(PendingRequest(chosen, self._executor_id, data, response_type, limit))
        return chosen

    def get_state(self, key: str, default: Any = None) -> Any:
        """Read the shared state: what the previous superstep committed, plus this executor's own writes.

        A mutable value is yours to change in place: the change is a write.

        Args:
            key: Its key.
            default: What to return where there is none.

        Raises:
            ContextClosedError: The handler has returned, or this is a lifecycle hook.
        """
        return self._state("get_state").get(key, default)

    def has_state(self, key: str) -> bool:
        """Whether the shared state has a key.

        Raises:
            ContextClosedError: The handler has returned, or this is a lifecycle hook.
        """
        return self._state("has_state").has(key)

    def set_state(self, key: str, value: Any) -> None:
        """Write the shared state, through the key's reducer if it has one.

        Args:
            key: Its key.
            value: What the codec knows, if the run has a storage; it is checked when the superstep commits.

        Raises:
            TypeError: The key is not a string.
            ContextClosedError: The handler has returned, or this is a lifecycle hook.
        """
        if not isinstance(key, str):
            raise TypeError(f"a state key is a str, not {type(key).__name__} ({key!r})")
        self._state("set_state").set(key, value)

    def delete_state(self, key: str) -> None:
        """Delete a key of the shared state; nothing happens if it is not there.

        Raises:
            ContextClosedError: The handler has returned, or this is a lifecycle hook.
        """
        self._state("delete_state").delete(key)

    # What streams at once.

    def yield_output(self, value: WorkflowOutT_contra) -> Coroutine[Any, Any, None]:
        """Yield an output of the workflow. A slow consumer of the run's stream holds this back.

        It streams now, marked with this attempt; it is part of the result once the superstep commits. If cancelled, the
        output may have been streamed or not. To be awaited: a handler that returns without having done so fails, so that no
        output is lost in silence.

        Args:
            value: The output, of a type the handler declares.

        Raises:
            MessageTypeError: The handler does not declare this type.
            ContextClosedError: The handler has returned, or this is a lifecycle hook.
        """
        effects, spec = self._handling("yield_output")
        if not spec.yield_check.accepts(value):
            raise MessageTypeError(self._undeclared(spec, "yield", value, spec.yields))
        output = Output(self._executor_id, value, self._port.output_kind(self._executor_id))
        effects.outputs = outputs = effects.outputs or []
        outputs.append(output)
        return self._stream_output(output, self._owe("yield_output"))

    def add_event(self, event: WorkflowEvent) -> Coroutine[Any, Any, None]:
        """Stream an event of your own. A slow consumer of the run's stream holds this back.

        It streams now, and stays even if this attempt fails: its `delivery_id` tells whether it became void. If cancelled,
        it may have been streamed or not. To be awaited, like `yield_output`.

        Args:
            event: An instance of a subclass of `WorkflowEvent`; the runtime fills in the common fields.

        Raises:
            TypeError: It is no such event, or one of the runtime's own kinds.
            ContextClosedError: The handler has returned.
        """
        if not isinstance(event, WorkflowEvent):
            raise TypeError(f"add_event takes a WorkflowEvent, not {type(event).__name__}; subclass WorkflowEvent")
        if type(event) is WorkflowEvent or type(event) in RUNTIME_KINDS.values():
            raise TypeError(f"{type(event).__name__} is the runtime's own; subclass WorkflowEvent for yours")
        if self._spec is not None:
            self._handling("add_event")
        return self._stream_event(event, self._owe("add_event"))

    def _owe(self, verb: str) -> list[str]:
        """Note that something is to be awaited."""
        self._unawaited = owed = self._unawaited or []
        owed.append(verb)
        return owed

    async def _stream_output(self, output: Output, owed: list[str]) -> None:
        owed.pop()
        await self._port.stream_output(output, self._attempt, self._delivery_id)

    async def _stream_event(self, event: WorkflowEvent, owed: list[str]) -> None:
        owed.pop()
        await self._port.stream_event(event, self._delivery_id or None)

    # For the runtime.

    def finish(self) -> tuple[Effects, Mapping[str, Any]]:
        """End the delivery: take its effects, and what the executor's next delivery sees of the state.

        Every later use of the context is an error, so that nothing done too late is lost in silence.
        """
        effects, spec = self._handling("finish")
        if self._unawaited:
            verb = self._unawaited[0]
            raise ContextClosedError(
                f"{spec.label} called ctx.{verb}(...) without awaiting it: write 'await ctx.{verb}(...)', or in a plain "
                f"function 'trio.from_thread.run(ctx.{verb}, ...)'"
            )
        overlay = self._overlay or _NOTHING
        if self._view is not None:
            effects.writes, written = self._view.finish()
            if written:
                overlay = {**overlay, **written}
        self._effects = None
        return effects or NO_EFFECTS, overlay

    def _handling(self, what: str) -> tuple[Effects, HandlerSpec]:
        if self._effects is not None and self._spec is not None:
            return self._effects, self._spec
        if self._spec is None:
            raise ContextClosedError(
                f"{what} needs a delivery: on_start and on_stop of {self._executor_id!r} have none"
            )
        raise ContextClosedError(
            f"{what} after {self._spec.label} returned: its effects are decided; do it before returning"
        )

    def _state(self, what: str) -> StateView:
        if self._view is None or self._effects is None:
            self._handling(what)
            self._view = StateView(self._port.state, self._overlay or {}, self._port.reducers)
        return self._view

    def _undeclared(self, spec: HandlerSpec, verb: str, value: Any, declared: tuple[Any, ...]) -> str:
        allowed = " | ".join(map(describe, declared)) or "nothing"
        return (
            f"{spec.label} of executor {self._executor_id!r} may not {verb} {type(value).__name__}: its context declares "
            f"{allowed}; add the type to WorkflowContext[...]"
        )
