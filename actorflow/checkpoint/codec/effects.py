"""How requests, deliveries, timers, outputs and finished deliveries are written down: as plain lists of encoded values.

Values are encoded one by one, inside, so that an error's path names the message and not a place in a list.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.values import Codec
from actorflow.core.effects import (
    REMOVED,
    Delivery,
    Effects,
    Finished,
    Output,
    OutputKind,
    PendingRequest,
    Sent,
    Write,
    WriteKind,
)
from actorflow.core.subworkflows import ChildInput
from actorflow.core.timers import Arrival, Timer
from actorflow.errors import CodecError, StateTypeError

__all__ = ["Forms"]


@attrs.frozen
class Forms:
    """Lowers values to plain lists, and raises them again.

    Attributes:
        registry: Names response types.
        codec: Encodes values.
    """

    registry: TypeRegistry
    codec: Codec

    def lower_request(self, request: PendingRequest) -> list[Any]:
        """Write a request down.

        Raises:
            CodecError: It cannot be stored.
        """
        path = f"request {request.id!r} of {request.executor_id!r}"
        try:
            type_name = self.registry.annotation_name(request.response_type)
        except StateTypeError as error:
            raise CodecError(path, str(error)) from error
        lowered = [request.id, request.executor_id, self.codec.encode(request.data, path), type_name]
        return lowered if request.timeout is None else [*lowered, request.timeout, request.due]

    def raise_request(self, lowered: Any) -> PendingRequest:
        """Read a request."""
        request_id, executor_id, data, type_name, *times = lowered
        response_type = self.registry.annotation_of(type_name)
        if response_type is None:
            raise CodecError(f"request {request_id!r}", _undeclared(type_name))
        value = self.codec.decode(data, f"request {request_id!r}")
        timeout, due = times or (None, None)
        _check_times(f"request {request_id!r}", timeout, due)
        return PendingRequest(request_id, executor_id, value, response_type, timeout, due)

    def lower_delivery(self, delivery: Delivery) -> list[Any]:
        """Write a delivery down."""
        value = self.codec.encode(delivery.value, f"message to {delivery.target_id!r}")
        request = None if delivery.request is None else self.lower_request(delivery.request)
        return [delivery.target_id, value, list(delivery.source_ids), request]

    def raise_delivery(self, lowered: Any) -> Delivery:
        """Read a delivery."""
        target_id, data, sources, request = lowered
        value = self.codec.decode(data, f"message to {target_id!r}")
        return Delivery(target_id, value, tuple(sources), None if request is None else self.raise_request(request))

    def lower_timer(self, timer: Timer) -> list[Any]:
        """Write a timer down; its name says the rest."""
        if isinstance(timer.what, Delivery):
            return [timer.due, self.lower_delivery(timer.what)]
        arrival = timer.what
        value = self.codec.encode(arrival.value, f"message to join {arrival.join_id!r}")
        return [timer.due, arrival.join_id, arrival.source_id, value]

    def raise_timer(self, name: str, lowered: Any) -> Timer:
        """Read a timer."""
        due, *rest = lowered
        superstep, index = map(int, name.split("-"))
        if type(due) is not float:
            raise CodecError(f"timer {name!r}", f"is due at {due!r}, which is no time")
        _check_times(f"timer {name!r}", due)
        if len(rest) == 1:
            return Timer(due, superstep, index, self.raise_delivery(rest[0]))
        join_id, source_id, data = rest
        value = self.codec.decode(data, f"message to join {join_id!r}")
        return Timer(due, superstep, index, Arrival(join_id, source_id, value))

    def lower_input(self, given: ChildInput) -> list[Any]:
        """Write down an input that waits for a child."""
        value = self.codec.encode(given.value, f"input of {given.executor_id!r}")
        return [given.executor_id, value, given.origin]

    def raise_input(self, lowered: Any) -> ChildInput:
        """Read an input that waits for a child."""
        executor_id, data, origin = lowered
        return ChildInput(executor_id, self.codec.decode(data, f"input of {executor_id!r}"), origin)

    def lower_output(self, output: Output) -> list[Any]:
        """Write an output down."""
        data = self.codec.encode(output.value, f"output of {output.executor_id!r}")
        return [output.executor_id, data, output.kind.value]

    def raise_output(self, lowered: Any) -> Output:
        """Read an output."""
        executor_id, data, kind = lowered
        return Output(executor_id, self.codec.decode(data, f"output of {executor_id!r}"), OutputKind(kind))

    def lower_finished(self, finished: Finished) -> list[Any]:
        """Write down what a finished delivery did."""
        executor_id, effects = finished.delivery.target_id, finished.effects
        return [
            [self._lower_sent(each, executor_id) for each in effects.sent],
            [[each.key, each.kind.value, self._optional(each.value, each.key)] for each in effects.writes],
            [self.lower_output(each) for each in effects.outputs],
            [self.lower_request(each) for each in effects.requests],
            [[key, self._optional(value, key)] for key, value in finished.overlay.items()],
            self._optional(finished.state_after, executor_id),
        ]

    def raise_finished(self, delivery: Delivery, lowered: Any) -> Finished:
        """Read what a finished delivery did."""
        sent, writes, outputs, requests, overlay, state_after = lowered
        effects = Effects(
            sent=[_sent(self.codec.decode(data, "message"), *rest) for data, *rest in sent],
            writes=[Write(key, WriteKind(kind), self._raised(data, key)) for key, kind, data in writes],
            outputs=[self.raise_output(each) for each in outputs],
            requests=[self.raise_request(each) for each in requests],
        )
        seen = {key: self._raised(data, key) for key, data in overlay}
        return Finished(delivery, effects, seen, self._raised(state_after, "executor"))

    def _lower_sent(self, sent: Sent, executor_id: str) -> list[Any]:
        lowered = [self.codec.encode(sent.value, f"message from {executor_id!r}"), sent.target_id]
        return [*lowered, sent.delay] if sent.delay else lowered

    def _optional(self, value: Any, what: str) -> bytes | None:
        return None if value is REMOVED else self.codec.encode(value, f"state[{what!r}]")

    def _raised(self, data: bytes | None, what: str) -> Any:
        return REMOVED if data is None else self.codec.decode(data, f"state[{what!r}]")


def _sent(value: Any, target_id: str | None, delay: float = 0.0) -> Sent:
    _check_times("message", delay)
    return Sent(value, target_id, delay)


def _check_times(path: str, *times: object) -> None:
    """Refuse what would upset the order of due times."""
    for time in times:
        if time is not None and (type(time) is not float or not math.isfinite(time)):
            raise CodecError(path, f"has {time!r} in the place of a time")


def _undeclared(type_name: object) -> str:
    return (
        f"no response handler declares its response type {type_name!r}; if a class in it was renamed, declare "
        f"WorkflowBuilder(upcasters=[Upcaster('OldName', to=NewClass)])"
    )
