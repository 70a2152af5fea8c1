"""Between a snapshot's sections and their stored bytes: what each table's values look like when encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from actorflow.checkpoint.codec import Codec
from actorflow.checkpoint.registry import TypeRegistry
from actorflow.core.effects import Delivery, Output, OutputKind, PendingRequest
from actorflow.core.snapshot import (
    EXECUTORS,
    INFLIGHT,
    JOINS,
    OUTPUTS,
    REQUESTS,
    RUN,
    STATE,
    RunMark,
    Section,
    Snapshot,
)
from actorflow.errors import CodecError, StateTypeError

__all__ = ["SectionCodec", "section_key"]


def section_key(section: Section) -> str:
    """The stored key of a section."""
    return f"{section[0]}/{section[1]}"


class SectionCodec:
    """Encodes and decodes whole sections with the types one graph declares.

    Args:
        registry: Those types.
    """

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry
        self._codec = Codec(registry)
        self._encoders: dict[str, Callable[[str, Any], bytes]] = {
            STATE: lambda name, value: self._codec.encode(value, f"state[{name!r}]"),
            EXECUTORS: lambda name, value: self._codec.encode(value, f"state of executor {name!r}"),
            JOINS: self._encode_join,
            REQUESTS: lambda _, request: self._plain(self._lower_request(request)),
            INFLIGHT[0]: lambda _, deliveries: self._plain([self._lower_delivery(each) for each in deliveries]),
            OUTPUTS: lambda _, outputs: self._plain([self._lower_output(each) for each in outputs]),
            RUN[0]: lambda _, mark: self._plain([mark.origin, mark.begun_at]),
        }
        self._decoders: dict[str, Callable[[str, bytes], Any]] = {
            STATE: lambda name, data: self._codec.decode(data, f"state[{name!r}]"),
            EXECUTORS: lambda name, data: self._codec.decode(data, f"state of executor {name!r}"),
            JOINS: lambda name, data: self._codec.decode(data, f"join {name!r}"),
            REQUESTS: lambda _, data: self._raise_request(self._codec.decode(data, "request")),
            INFLIGHT[0]: self._decode_inflight,
            OUTPUTS: self._decode_outputs,
            RUN[0]: lambda _, data: RunMark(*self._decoded(data, "run")),
        }

    def encode(self, section: Section, value: Any) -> bytes:
        """Encode one section.

        Raises:
            CodecError: Some value in it cannot be stored exactly; names where it sits.
        """
        table, name = section
        return self._encoders[table](name, value)

    def decode(self, contents: Mapping[str, bytes], superstep: int) -> Snapshot:
        """Rebuild a snapshot from a checkpoint's contents.

        Args:
            contents: Encoded value by section key.
            superstep: The checkpoint's superstep.

        Raises:
            CodecError: The contents are damaged, or name a type this graph does not declare.
        """
        snapshot = Snapshot(superstep=superstep)
        for key, data in contents.items():
            table, _, name = key.partition("/")
            decoder = self._decoders.get(table)
            if decoder is None:
                raise CodecError(key, "is a section of no known kind; it was written by something newer, or is damaged")
            try:
                value = decoder(name, data)
            except (TypeError, ValueError, KeyError, IndexError) as error:
                if isinstance(error, CodecError):
                    raise
                raise CodecError(key, f"does not have the form of a stored {table} ({error})") from error
            snapshot.apply({(table, name): value})
        return snapshot

    def _plain(self, value: Any) -> bytes:
        return self._codec.encode(value, "checkpoint")

    def _decoded(self, data: bytes, path: str) -> Any:
        return self._codec.decode(data, path)

    def _encode_join(self, name: str, held: Mapping[str, tuple[Any, ...]]) -> bytes:
        return self._codec.encode(dict(held), f"join {name!r}")

    # Values are encoded one by one, inside, so that an error's path names the message and not a place in a list.

    def _lower_request(self, request: PendingRequest) -> list[Any]:
        try:
            type_name = self._registry.annotation_name(request.response_type)
        except StateTypeError as error:
            raise CodecError(f"request {request.id!r} of {request.executor_id!r}", str(error)) from error
        data = self._codec.encode(request.data, f"request {request.id!r} of {request.executor_id!r}")
        return [request.id, request.executor_id, data, type_name]

    def _raise_request(self, lowered: Any) -> PendingRequest:
        request_id, executor_id, data, type_name = lowered
        response_type = self._registry.annotation_of(type_name)
        if response_type is None:
            raise CodecError(f"request {request_id!r}", f"no response handler declares its response type {type_name!r}")
        value = self._codec.decode(data, f"request {request_id!r}")
        return PendingRequest(request_id, executor_id, value, response_type)

    def _lower_delivery(self, delivery: Delivery) -> list[Any]:
        value = self._codec.encode(delivery.value, f"message to {delivery.target_id!r}")
        request = None if delivery.request is None else self._lower_request(delivery.request)
        return [delivery.target_id, value, list(delivery.source_ids), request]

    def _decode_inflight(self, _name: str, data: bytes) -> tuple[Delivery, ...]:
        return tuple(
            Delivery(
                target_id,
                self._codec.decode(value, f"message to {target_id!r}"),
                tuple(sources),
                None if request is None else self._raise_request(request),
            )
            for target_id, value, sources, request in self._decoded(data, "messages")
        )

    def _lower_output(self, output: Output) -> list[Any]:
        data = self._codec.encode(output.value, f"output of {output.executor_id!r}")
        return [output.executor_id, data, output.kind.value]

    def _decode_outputs(self, _name: str, data: bytes) -> tuple[Output, ...]:
        return tuple(
            Output(executor_id, self._codec.decode(value, f"output of {executor_id!r}"), OutputKind(kind))
            for executor_id, value, kind in self._decoded(data, "outputs")
        )
